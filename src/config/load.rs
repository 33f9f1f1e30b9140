//! From words to types: `Config`, and the refusal of what is unknown, unreadable or unsafe.

use super::amount::{self, AmountError};
use super::environment;
use super::file::{self, IssuerTable};
use super::issuer;
use super::layer::{self, Layer, Place, Resolved, Source};
use super::origin;
use super::refusal::{Refusal, Refusals};
use super::setting::Kind;
use super::value::{
    as_hub_url, parse_cookie_name, parse_io, parse_listen, parse_log, parse_resource, url_of,
};
use crate::protocol::keys::SigningKey;
use crate::protocol::token::{Issuer, TokenRules};
use crate::protocol::topic::{HUB_PATH, HubUrl};
use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More event loops than this are a slip.
const SHARDS_MAX: usize = 1024;

/// Everything the hub is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where connections are accepted.
    pub listen: SocketAddr,
    /// Development mode: check `Host` against loopback names, allow loopback origins, say more in error bodies.
    pub dev: bool,
    /// Where keys survive a restart; always there in development mode.
    pub data: Option<PathBuf>,
    /// What tokens must name in `aud`.
    pub resource: String,
    /// The base of relative topics and patterns: `resource` where that is the hub's URL.
    pub hub_url: HubUrl,
    /// Who may issue tokens; development mode adds its own (`open_data_folder`).
    pub issuers: Vec<Issuer>,
    /// Whether subscribers may come without a token.
    pub anonymous: bool,
    /// Whether subscriptions are announced and listed.
    pub subscriptions: bool,
    /// Whose pages may use the hub.
    pub cors_origins: CorsOrigins,
    /// Whose pages may publish with the cookie.
    pub publish_origins: Vec<String>,
    /// Where a token is taken from when there is no `Authorization` header.
    pub cookie_name: String,
    /// Where events are kept.
    pub history: History,
    /// Bytes of the newest events that stay at hand, over all shards.
    pub tail_bytes: usize,
    /// Silence after which a stream gets a comment; none sends none.
    pub heartbeat: Option<Duration>,
    /// How long a stream may last; none leaves it to the token's `exp`.
    pub max_lifetime: Option<Duration>,
    /// How long a subscriber may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// The largest body of a publish.
    pub max_body_bytes: usize,
    /// The largest head of a request.
    pub max_head_bytes: usize,
    /// How long a client may take to send a head.
    pub head_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// Event loops.
    pub shards: usize,
    /// Connections held at once, over all shards; none is as many as the machine allows.
    pub max_connections: Option<usize>,
    /// How the kernel is talked to.
    pub io: IoChoice,
    /// How long a stop may take.
    pub shutdown_timeout: Duration,
    /// The filter of the log.
    pub log: String,
    /// The key that enciphers event ids, when it survives restarts (`open_data_folder`); none is a random one per start.
    pub id_key: Option<IdKey>,
    /// What isn't wrong but should be said in the log.
    pub warnings: Vec<String>,
    /// What development tokens are signed with (`open_data_folder`).
    pub(super) dev_key: Option<SigningKey>,
    pub(super) resolved: Resolved,
}

/// Which pages browsers let use the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every page, without credentials.
    Any,
    /// These, with credentials. Development mode allows loopback origins besides.
    Listed(Vec<String>),
}

/// Where events are kept for those who come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// In memory, until the process ends.
    Memory {
        /// Events.
        max_events: usize,
        /// Bytes of events.
        max_bytes: usize,
        /// Age of the oldest; none sets no limit.
        max_age: Option<Duration>,
    },
}

/// How the hub talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring or refuse to start.
    Uring,
    /// epoll and plain system calls.
    Epoll,
}

/// A key that enciphers event ids. Its bytes stay out of debug output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdKey(pub [u8; 32]);

impl std::fmt::Debug for IdKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdKey(…)")
    }
}

impl Config {
    /// Layers what the flags, the variables and the file named by either say.
    ///
    /// # Errors
    /// Everything that is wrong, each with a sentence that says what to change.
    pub fn load(
        flags: Layer,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Refusals> {
        let environment = environment::read(variables);
        let mut refusals = environment.refusals;
        let path = flags
            .get("config")
            .or_else(|| environment.layer.get("config"))
            .and_then(|said| said.words.first());
        let file = path
            .map(|path| read_file(Path::new(path)))
            .unwrap_or_default();
        refusals.extend(file.refusals);
        let resolved = Resolved::new(&[flags, environment.layer, file.layer]);
        let reader = Reader {
            resolved: &resolved,
            refusals,
            warnings: environment.warnings,
        };
        reader.config(&file.issuers)
    }

    /// Puts the port that was really bound where `--listen` had port 0, which means any: into the URLs and the issuer
    /// that development mode takes from it.
    pub fn set_bound(&mut self, bound: SocketAddr) {
        if self.listen.port() != 0 {
            return;
        }
        let issuer = self.dev_issuer();
        self.listen.set_port(bound.port());
        if !self.resolved.is_set("resource") {
            self.resource = url_of(self.listen).as_str().to_owned();
        }
        self.hub_url = as_hub_url(&self.resource).unwrap_or_else(|| url_of(self.listen));
        let renamed = self.dev_issuer();
        if self.dev
            && let Some(config) = self.issuers.iter_mut().find(|config| config.id == issuer)
        {
            config.id = renamed;
        }
    }

    /// The URL clients on this machine reach the hub under, whatever it is called in public.
    pub fn local_url(&self) -> HubUrl {
        url_of(self.listen)
    }

    /// Whose tokens are accepted, and for what.
    pub fn token_rules(&self) -> TokenRules {
        TokenRules {
            issuers: self.issuers.clone(),
            audience: self.resource.clone(),
            hub: self.hub_url.clone(),
        }
    }
}

fn read_file(path: &Path) -> file::File {
    match std::fs::read_to_string(path) {
        Ok(text) => file::read(path, &text),
        Err(why) => {
            let refusal = Refusal::FileUnreadable {
                path: path.to_owned(),
                why: why.to_string(),
            };
            file::File {
                refusals: vec![refusal],
                ..file::File::default()
            }
        }
    }
}

/// Reads words as types and remembers what doesn't fit.
struct Reader<'a> {
    resolved: &'a Resolved,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn config(mut self, tables: &[IssuerTable]) -> Result<Config, Refusals> {
        let listen = self
            .one("listen", parse_listen)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3000)));
        let dev = self.switch("dev");
        if dev && !listen.ip().is_loopback() {
            let (place, value) = (self.resolved.place("listen"), listen.to_string());
            self.refusals
                .push(Refusal::DevelopmentBeyondLoopback { place, value });
        }
        let resource = self.resource(listen, dev);
        let hub_url = as_hub_url(&resource).unwrap_or_else(|| url_of(listen));
        let issuers = issuer::build(self.resolved, tables, &mut self.refusals);
        let anonymous = self.switch("anonymous");
        self.nobody(dev, anonymous, &issuers, !tables.is_empty());
        let cookie_name = self
            .one("cookie-name", parse_cookie_name)
            .unwrap_or_default();
        let cors_origins = self.cors_origins();
        let publish_origins = self.publish_origins();
        let history = self.history();
        let max_body_bytes = self.more_than_zero(
            "max-body-bytes",
            amount::parse_size,
            "nothing could be published",
        );
        let tail_bytes = self.more_than_zero(
            "tail-bytes",
            amount::parse_size,
            "an event must be somewhere while it is sent",
        );
        if tail_bytes < max_body_bytes {
            self.warnings.push(format!(
                "the largest publish ({max_body_bytes} bytes) is larger than the tail ({tail_bytes} bytes): \
                 raise --tail-bytes or lower --max-body-bytes"
            ));
        }
        let config = Config {
            listen,
            dev,
            data: self.resolved.word("data").map(PathBuf::from),
            resource,
            hub_url,
            issuers,
            anonymous,
            subscriptions: self.switch("subscriptions"),
            cors_origins,
            publish_origins,
            cookie_name,
            history,
            tail_bytes,
            heartbeat: self.off_at_zero("heartbeat"),
            max_lifetime: self.off_at_zero("max-lifetime"),
            write_timeout: self.more_than_zero(
                "write-timeout",
                amount::parse_duration,
                "a stalled subscriber would be kept for ever",
            ),
            max_body_bytes,
            max_head_bytes: self.more_than_zero(
                "max-head-bytes",
                amount::parse_size,
                "every request has a head",
            ),
            head_timeout: self.more_than_zero(
                "head-timeout",
                amount::parse_duration,
                "a silent client would be kept for ever",
            ),
            body_timeout: self.more_than_zero(
                "body-timeout",
                amount::parse_duration,
                "a silent client would be kept for ever",
            ),
            shards: self.shards(),
            max_connections: self.max_connections(),
            io: self.one("io", parse_io).unwrap_or(IoChoice::Auto),
            shutdown_timeout: self
                .one("shutdown-timeout", amount::parse_duration)
                .unwrap_or_default(),
            log: self.one("log", parse_log).unwrap_or_default(),
            id_key: None,
            dev_key: None,
            warnings: self.warnings,
            resolved: self.resolved.clone(),
        };
        if self.refusals.is_empty() {
            Ok(config)
        } else {
            Err(Refusals(self.refusals))
        }
    }

    /// The value of a setting; none when nobody set it, or when it was refused.
    fn one<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        debug_assert_ne!(
            super::setting::setting(name).kind,
            Kind::Many,
            "{name} has several values"
        );
        let word = self.resolved.word(name)?;
        parse(word)
            .map_err(|why| self.refuse(name, word, &why))
            .ok()
    }

    fn refuse(&mut self, name: &'static str, value: &str, why: &dyn Display) {
        let place = self.resolved.place(name);
        self.refusals.push(Refusal::Value {
            place,
            value: value.to_owned(),
            why: why.to_string(),
        });
    }

    fn switch(&mut self, name: &'static str) -> bool {
        self.one(name, |word| {
            layer::parse_switch(word).ok_or("is neither true nor false")
        })
        .unwrap_or_default()
    }

    fn off_at_zero(&mut self, name: &'static str) -> Option<Duration> {
        self.one(name, amount::parse_duration)
            .filter(|duration| !duration.is_zero())
    }

    fn more_than_zero<T: Default + PartialEq>(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<T, AmountError>,
        why: &'static str,
    ) -> T {
        let value = self.one(name, parse);
        if value.as_ref() == Some(&T::default()) {
            self.refusals.push(Refusal::Zero {
                place: self.resolved.place(name),
                why,
            });
        }
        value.unwrap_or_default()
    }

    fn resource(&mut self, listen: SocketAddr, dev: bool) -> String {
        if !self.resolved.is_set("resource") {
            if !dev {
                let file = self.resolved.word("config").map(PathBuf::from);
                let example = format!("https://hub.example{HUB_PATH}");
                self.refusals
                    .push(Refusal::ResourceMissing { example, file });
            }
            return url_of(listen).as_str().to_owned();
        }
        let resource = self.one("resource", parse_resource).unwrap_or_default();
        if !resource.is_empty() && as_hub_url(&resource).is_none() {
            self.warnings.push(format!(
                "the resource {resource} isn't an http(s) URL that ends in {HUB_PATH}, so relative topics and patterns are \
                 resolved against {} instead", url_of(listen).as_str()
            ));
        }
        resource
    }

    fn nobody(&mut self, dev: bool, anonymous: bool, issuers: &[Issuer], tables: bool) {
        let said = tables || self.resolved.is_set("issuer");
        if !dev
            && !said
            && !anonymous
            && !self.resolved.is_set("publisher-jwt-key")
            && !self.resolved.is_set("subscriber-jwt-key")
        {
            self.refusals.push(Refusal::NobodyCouldUseIt);
        }
        if !dev && issuers.iter().all(|issuer| issuer.publisher.is_none()) {
            self.warnings
                .push("nobody can publish, as no issuer has a publisher key".to_owned());
        }
        if tables && !matches!(self.resolved.said("issuer").source, Source::File(_)) {
            let place = self.resolved.place("issuer");
            self.warnings.push(format!(
                "{place} replaces the [[issuer]] tables of the file"
            ));
        }
    }

    fn origins(&mut self, name: &'static str) -> Vec<String> {
        let words = self.resolved.said(name).words.clone();
        for word in words.iter().filter(|word| *word != "*") {
            if let Err(why) = origin::check(word) {
                self.refuse(name, word, &why);
            }
        }
        words
    }

    fn cors_origins(&mut self) -> CorsOrigins {
        let origins = self.origins("cors-origin");
        if !origins.iter().any(|origin| origin == "*") {
            return CorsOrigins::Listed(origins);
        }
        let cors = self.resolved.place("cors-origin");
        if origins.iter().any(|origin| origin != "*") {
            self.refusals.push(Refusal::EveryOriginAmongOthers {
                place: cors.clone(),
            });
        }
        let credential: Option<Place> = ["publish-origin", "cookie-name"]
            .into_iter()
            .find(|name| self.resolved.is_set(name))
            .map(|name| self.resolved.place(name));
        if let Some(credential) = credential {
            self.refusals
                .push(Refusal::EveryOriginWithCredentials { cors, credential });
        }
        CorsOrigins::Any
    }

    fn publish_origins(&mut self) -> Vec<String> {
        let origins = self.origins("publish-origin");
        if origins.iter().any(|origin| origin == "*") {
            self.refusals.push(Refusal::EveryOriginPublishes {
                place: self.resolved.place("publish-origin"),
            });
        }
        origins
    }

    fn history(&mut self) -> History {
        let place = self.resolved.place("history");
        if let Some(value) = self
            .resolved
            .word("history")
            .filter(|word| *word != "memory")
        {
            self.refusals.push(Refusal::HistoryFolder {
                place,
                value: value.to_owned(),
            });
        }
        const UNCLEAR: &str = "zero could mean no history or no limit; 1 keeps next to nothing";
        History::Memory {
            max_events: self.more_than_zero("history-max-events", amount::parse_count, UNCLEAR),
            max_bytes: self.more_than_zero("history-max-bytes", amount::parse_size, UNCLEAR),
            max_age: self.off_at_zero("history-max-age"),
        }
    }

    fn shards(&mut self) -> usize {
        let parse = |word: &str| match amount::parse_count(word) {
            Ok(1..=SHARDS_MAX) => Ok(amount::parse_count(word).expect("it was just parsed")),
            _ => Err(format!("isn't a number from 1 to {SHARDS_MAX}")),
        };
        self.one("shards", parse)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn max_connections(&mut self) -> Option<usize> {
        let value = self.one("max-connections", amount::parse_count);
        if value == Some(0) {
            let place = self.resolved.place("max-connections");
            let why = "nobody could connect; leave it out for as many as the machine allows";
            self.refusals.push(Refusal::Zero { place, why });
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags;
    use crate::config::setting::SETTINGS;
    use crate::protocol::keys::VerificationKey;
    use jsonwebtoken::Algorithm;
    use std::io::Write;

    const SECRET: &str = "a secret of more than thirty-two bytes";
    const RESOURCE: &str = "https://hub.example/.well-known/mercure";

    fn load(given: &[(&'static str, &str)]) -> Result<Config, Refusals> {
        let mut layer = std::collections::BTreeMap::<&'static str, Vec<String>>::new();
        for (name, word) in given {
            layer.entry(name).or_default().push((*word).to_owned());
        }
        Config::load(flags(layer), [])
    }

    /// A configuration that would start, and these flags besides.
    fn safe(given: &[(&'static str, &str)]) -> Result<Config, Refusals> {
        let base = [
            ("resource", RESOURCE),
            ("issuer", "https://a.example"),
            ("publisher-jwt-key", SECRET),
        ];
        load(&[&base, given].concat())
    }

    /// The one sentence this is refused with.
    fn sentence(loaded: Result<Config, Refusals>) -> String {
        let refusals = loaded.expect_err("it should be refused").0;
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        refusals[0].to_string()
    }

    fn refused(given: &[(&'static str, &str)]) -> String {
        sentence(safe(given))
    }

    fn ids(issuers: &[Issuer]) -> Vec<&str> {
        issuers.iter().map(|issuer| issuer.id.as_str()).collect()
    }

    /// Whether a role's first key is this secret.
    fn checks(role: &Option<Vec<VerificationKey>>, secret: &str) -> bool {
        let signature = SigningKey::from_text(secret, None)
            .unwrap()
            .sign(b"x")
            .unwrap();
        role.as_ref().unwrap()[0].verifies(Algorithm::HS256, b"x", &signature)
    }

    /// A file that is gone when the test is.
    struct TomlFile(PathBuf);

    impl TomlFile {
        fn new(text: &str) -> TomlFile {
            let path = crate::config::data_folder::scratch("file").with_extension("toml");
            std::fs::File::create_new(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            TomlFile(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for TomlFile {
        fn drop(&mut self) {
            _ = std::fs::remove_file(&self.0);
        }
    }

    fn from_file(text: &str) -> Result<Config, Refusals> {
        let file = TomlFile::new(text);
        load(&[("config", file.path())])
    }

    #[test]
    fn the_defaults_are_the_promised_ones() {
        let config = safe(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:3000".parse().unwrap());
        let history = History::Memory {
            max_events: 1_000_000,
            max_bytes: 256 << 20,
            max_age: None,
        };
        assert_eq!(config.history, history);
        assert_eq!(config.tail_bytes, 64 << 20);
        assert_eq!(config.heartbeat, Some(Duration::from_secs(25)));
        assert_eq!(config.max_lifetime, Some(Duration::from_secs(3600)));
        assert_eq!(config.write_timeout, Duration::from_secs(60));
        assert_eq!(config.io, IoChoice::Auto);
        assert_eq!(config.max_connections, None);
        assert_eq!(config.hub_url.as_str(), RESOURCE);
        assert_eq!(config.data, None);
        assert!(!config.anonymous && !config.subscriptions && !config.dev);
        assert!(config.shards >= 1);
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn flags_beat_variables_and_variables_beat_the_file() {
        let file = TomlFile::new(
            "heartbeat = '3s'\nmax_lifetime = '3h'\nwrite_timeout = '3m'\nanonymous = true",
        );
        let given = [
            ("config", file.path()),
            ("heartbeat", "1s"),
            ("resource", RESOURCE),
        ];
        let variables = [
            ("CINNABAR_HEARTBEAT", "2s"),
            ("CINNABAR_MAX_LIFETIME", "2h"),
        ];
        let config = Config::load(
            flags(given.map(|(name, word)| (name, vec![word.to_owned()]))),
            variables.map(|(name, word)| (name.into(), word.into())),
        )
        .unwrap();
        assert_eq!(config.heartbeat, Some(Duration::from_secs(1)));
        assert_eq!(config.max_lifetime, Some(Duration::from_secs(7200)));
        assert_eq!(config.write_timeout, Duration::from_secs(180));
        assert_eq!(config.tail_bytes, 64 << 20);
        let sources = ["heartbeat", "max-lifetime", "write-timeout", "tail-bytes"]
            .map(|name| config.source(name).clone());
        let expected = [
            Source::Flag,
            Source::Environment("CINNABAR_MAX_LIFETIME".to_owned()),
            Source::File(file.0.clone()),
            Source::Default,
        ];
        assert_eq!(sources, expected);
    }

    #[test]
    fn the_file_may_be_named_by_a_variable() {
        let file = TomlFile::new(&format!("anonymous = true\nresource = '{RESOURCE}'"));
        let config = Config::load(
            Layer::new(),
            [("CINNABAR_CONFIG".into(), file.path().into())],
        )
        .unwrap();
        assert!(config.anonymous);
    }

    #[test]
    fn every_setting_can_stand_in_the_file() {
        for setting in SETTINGS {
            let Some(key) = setting.key() else { continue };
            let value = match setting.kind {
                Kind::Switch => "true",
                Kind::One | Kind::Many => "'1'",
            };
            let found = file::read(Path::new("hub.toml"), &format!("{key} = {value}"));
            assert!(found.layer.contains_key(setting.name), "{key}");
            assert_eq!(found.refusals, [], "{key}");
        }
    }

    #[test]
    fn development_mode_needs_nothing() {
        let config = load(&[("dev", "true")]).unwrap();
        assert_eq!(
            config.hub_url.as_str(),
            "http://localhost:3000/.well-known/mercure"
        );
        assert_eq!(config.resource, config.hub_url.as_str());
        assert!(config.anonymous && config.dev);
        assert_eq!(config.data.as_deref(), Some(Path::new("./cinnabar-data")));
        let config = load(&[("dev", "true"), ("listen", "[::1]:80"), ("data", "d")]).unwrap();
        assert_eq!(config.hub_url.as_str(), "http://[::1]/.well-known/mercure");
        assert_eq!(config.data.as_deref(), Some(Path::new("d")));
    }

    #[test]
    fn the_public_url_is_asked_for_outside_development() {
        assert_eq!(
            sentence(load(&[("anonymous", "true")])),
            "the hub must know its public URL, which tokens name as their audience: add \
             `--resource https://hub.example/.well-known/mercure` with your own host name, or start with `--dev` to try \
             things out on this machine"
        );
        let file = TomlFile::new("anonymous = true");
        let sentence = sentence(load(&[("config", file.path())]));
        let line = format!(
            "(or `resource = \"https://hub.example/.well-known/mercure\"` to {})",
            file.path()
        );
        assert!(sentence.contains(&line), "{sentence}");
    }

    #[test]
    fn development_mode_stays_on_this_machine() {
        for listen in ["0.0.0.0:3000", "[::]:3000", "192.0.2.1:3000"] {
            let sentence = sentence(load(&[("dev", "true"), ("listen", listen)]));
            let expected = format!(
                "development mode listens on loopback only, and `--listen` is {listen}: use 127.0.0.1, or leave `--dev` \
                 out and add `--resource`"
            );
            assert_eq!(sentence, expected);
        }
    }

    #[test]
    fn a_hub_nobody_could_use_is_refused() {
        let sentence = sentence(load(&[("resource", RESOURCE)]));
        assert!(
            sentence.starts_with("nobody could use this hub"),
            "{sentence}"
        );
        assert!(sentence.contains("add `--issuer ISS`"), "{sentence}");
        let config = load(&[("resource", RESOURCE), ("anonymous", "true")]).unwrap();
        assert_eq!(
            config.warnings,
            ["nobody can publish, as no issuer has a publisher key"]
        );
    }

    #[test]
    fn every_origin_and_credentials_do_not_go_together() {
        assert_eq!(
            refused(&[
                ("cors-origin", "*"),
                ("publish-origin", "https://a.example")
            ]),
            "`--cors-origin` has `*`, which allows every page and so can't go with `--publish-origin`, which lets pages act \
             with a user's cookie: list the origins instead of `*`"
        );
        assert!(
            refused(&[("cors-origin", "*"), ("cookie-name", "c")])
                .contains("can't go with `--cookie-name`")
        );
        assert_eq!(
            refused(&[("cors-origin", "*"), ("cors-origin", "https://a.example")]),
            "`--cors-origin` has `*` beside other origins: leave `*` alone (every page, without cookies) or list the origins only"
        );
        assert_eq!(
            refused(&[("publish-origin", "*")]),
            "`--publish-origin` is `*`, which would let every page publish with a user's cookie: list the origins"
        );
        assert_eq!(
            safe(&[("cors-origin", "*")]).unwrap().cors_origins,
            CorsOrigins::Any
        );
    }

    #[test]
    fn an_origin_no_browser_would_send_is_refused() {
        assert_eq!(
            refused(&[("cors-origin", "https://a.example/")]),
            "`--cors-origin` is `https://a.example/`, which isn't how a browser writes it: write https://a.example"
        );
        assert_eq!(
            refused(&[("publish-origin", "a.example")]),
            "`--publish-origin` is `a.example`, which isn't an origin: write scheme and host, such as https://app.example"
        );
    }

    #[test]
    fn history_in_a_folder_and_key_sets_wait() {
        assert_eq!(
            refused(&[("history", "./events")]),
            "`--history` is `./events`, but history in a folder isn't supported yet: use `memory`, which keeps events until the \
             process ends"
        );
        let text = format!(
            "resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ jwks_url = 'https://a/keys' }}"
        );
        assert_eq!(
            sentence(from_file(&text)),
            "the publisher of issuer `a` has `jwks_url`, but key sets aren't supported yet: use `key` or `key_file`"
        );
    }

    #[test]
    fn amounts_that_make_no_sense_are_refused() {
        assert_eq!(
            refused(&[("heartbeat", "25")]),
            "`--heartbeat` is `25`, which has no unit: write 25s for seconds, or another of ms, m, h, d"
        );
        assert_eq!(
            refused(&[("tail-bytes", "64M")]),
            "`--tail-bytes` is `64M`, which isn't a size: write bytes as a number, or with a unit such as 64KiB, 256MiB, 1GB"
        );
        assert_eq!(
            refused(&[("history-max-events", "many")]),
            "`--history-max-events` is `many`, which isn't a count: write a whole number, such as 1000000"
        );
        for (name, why) in [
            (
                "write-timeout",
                "a stalled subscriber would be kept for ever",
            ),
            ("head-timeout", "a silent client would be kept for ever"),
            ("body-timeout", "a silent client would be kept for ever"),
            (
                "max-connections",
                "nobody could connect; leave it out for as many as the machine allows",
            ),
            (
                "history-max-events",
                "zero could mean no history or no limit; 1 keeps next to nothing",
            ),
            (
                "history-max-bytes",
                "zero could mean no history or no limit; 1 keeps next to nothing",
            ),
        ] {
            assert_eq!(
                refused(&[(name, "0")]),
                format!("`--{name}` must be more than zero: {why}")
            );
        }
        assert_eq!(
            refused(&[("shards", "0")]),
            "`--shards` is `0`, which isn't a number from 1 to 1024"
        );
    }

    #[test]
    fn zero_switches_off_what_can_be_off() {
        let config = safe(&[
            ("heartbeat", "0"),
            ("max-lifetime", "0"),
            ("history-max-age", "0"),
            ("shutdown-timeout", "0"),
        ]);
        let config = config.unwrap();
        assert_eq!(
            (
                config.heartbeat,
                config.max_lifetime,
                config.shutdown_timeout
            ),
            (None, None, Duration::ZERO)
        );
    }

    #[test]
    fn words_of_a_fixed_choice_are_refused_otherwise() {
        assert_eq!(
            refused(&[("io", "kqueue")]),
            "`--io` is `kqueue`, which isn't auto, uring or epoll"
        );
        assert_eq!(
            refused(&[("anonymous", "maybe")]),
            "`--anonymous` is `maybe`, which is neither true nor false"
        );
        assert_eq!(
            refused(&[("cookie-name", "a b")]),
            "`--cookie-name` is `a b`, which isn't a cookie name: use letters, digits, `-` and `_`"
        );
        assert_eq!(
            refused(&[("listen", ":3000")]),
            "`--listen` is `:3000`, which has no address: write 127.0.0.1:3000 for this machine only, 0.0.0.0:3000 for everybody"
        );
        assert!(refused(&[("listen", "hub.example:80")]).contains("isn't an address and port"));
        assert!(
            refused(&[("log", "a=b=c")])
                .starts_with("`--log` is `a=b=c`, which isn't a log filter")
        );
    }

    #[test]
    fn the_resource_stays_as_it_was_written() {
        assert!(
            sentence(load(&[("anonymous", "true"), ("resource", "hub.example")]))
                .contains("which isn't a URL")
        );
        assert!(
            sentence(load(&[("anonymous", "true"), ("resource", "https://h/#f")]))
                .contains("has a fragment")
        );
        let config = load(&[("anonymous", "true"), ("resource", "https://hub.example")]).unwrap();
        assert_eq!(config.resource, "https://hub.example");
        assert_eq!(
            config.hub_url.as_str(),
            "http://localhost:3000/.well-known/mercure"
        );
        assert!(
            config
                .warnings
                .iter()
                .any(|warning| warning.contains("relative topics")),
            "{:?}",
            config.warnings
        );
    }

    #[test]
    fn issuers_and_keys_come_together() {
        let base = [("resource", RESOURCE)];
        let with = |given: &[(&'static str, &str)]| sentence(load(&[&base, given].concat()));
        assert_eq!(
            with(&[("publisher-jwt-key", SECRET)]),
            "`--publisher-jwt-key` is set, but it isn't said whose key it is: add `--issuer ISS` with the `iss` of those tokens"
        );
        assert_eq!(
            with(&[("issuer", "https://a.example")]),
            "the issuer `https://a.example` has no key: add `--publisher-jwt-key KEY`, `--subscriber-jwt-key KEY` or both"
        );
        assert_eq!(
            with(&[
                ("issuer", "a"),
                ("issuer", "a"),
                ("subscriber-jwt-key", SECRET)
            ]),
            "the issuer `a` is listed twice: leave one"
        );
    }

    #[test]
    fn issuers_named_together_share_the_keys() {
        let long = "a secret that is long enough for HS384, which asks for forty-eight bytes";
        let config = load(&[
            ("resource", RESOURCE),
            ("issuer", "https://a.example https://b.example"),
            ("publisher-jwt-key", long),
            ("publisher-jwt-alg", "HS256 HS384"),
            ("subscriber-jwt-key", SECRET),
        ]);
        let issuers = config.unwrap().issuers;
        assert_eq!(ids(&issuers), ["https://a.example", "https://b.example"]);
        for issuer in &issuers {
            assert!(checks(&issuer.publisher, long) && !checks(&issuer.publisher, SECRET));
            assert!(checks(&issuer.subscriber, SECRET));
            let algorithms = issuer.publisher.as_ref().unwrap()[0].algorithms();
            assert_eq!(algorithms, [Algorithm::HS256, Algorithm::HS384]);
        }
    }

    #[test]
    fn keys_must_fit_their_algorithms() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        assert_eq!(
            refused(&[("subscriber-jwt-key", pem)]),
            "the subscriber key of issuer `https://a.example` is a PEM key, and HS256 needs a shared secret: name the key's own \
             algorithm, e.g. `--subscriber-jwt-alg EdDSA`"
        );
        assert!(safe(&[("subscriber-jwt-key", pem), ("subscriber-jwt-alg", "EdDSA")]).is_ok());
        for algorithm in ["none", "hs256", "ES512", "ES256K"] {
            assert!(
                refused(&[("subscriber-jwt-key", SECRET), ("subscriber-jwt-alg", algorithm)])
                    .starts_with(&format!("the subscriber key of issuer `https://a.example` is allowed `{algorithm}`, which isn't an algorithm: use HS256")),
                "{algorithm}"
            );
        }
        let sentence = sentence(load(&[
            ("resource", RESOURCE),
            ("issuer", "a"),
            ("publisher-jwt-key", "too-short-a-secret"),
        ]));
        assert!(
            sentence.starts_with("the publisher key of issuer `a` can't be used: "),
            "{sentence}"
        );
        assert!(!sentence.contains("too-short"), "{sentence}");
    }

    #[test]
    fn tables_of_issuers_have_one_key_a_role() {
        let table = |rest: &str| format!("resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\n{rest}");
        assert_eq!(
            sentence(from_file(&table(""))),
            "the issuer `a` has no key: add a `publisher` or `subscriber` table with `key` or `key_file`"
        );
        assert!(
            sentence(from_file(&table("publisher = { }"))).starts_with("the issuer `a` has no key")
        );
        assert_eq!(
            sentence(from_file(&table(&format!(
                "publisher = {{ key = '{SECRET}', key_file = 'f' }}"
            )))),
            "the publisher of issuer `a` has both `key` and `key_file`: leave one"
        );
        let missing = sentence(from_file(&table(
            "subscriber = { key_file = 'nowhere.pem' }",
        )));
        assert!(
            missing.starts_with("the subscriber key of issuer `a` can't be read from "),
            "{missing}"
        );
        assert!(missing.contains("nowhere.pem: No such file"), "{missing}");
        let text = table(&format!("publisher = {{ key = '{SECRET}' }}"));
        assert!(from_file(&text).is_ok());
        let file = TomlFile::new(&text);
        let beside = sentence(load(&[
            ("config", file.path()),
            ("publisher-jwt-key", SECRET),
        ]));
        assert!(
            beside.starts_with(
                "`--publisher-jwt-key` is set, but the issuers come from [[issuer]] tables in "
            ),
            "{beside}"
        );
    }

    #[test]
    fn a_key_file_may_end_with_a_line_break() {
        let key = TomlFile::new(&format!("{SECRET}\n"));
        let config = from_file(&format!(
            "resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ key_file = '{}' }}",
            key.path()
        ));
        assert!(checks(&config.unwrap().issuers[0].publisher, SECRET));
    }

    #[test]
    fn flags_replace_the_tables_of_the_file() {
        let file = TomlFile::new(&format!(
            "resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ key = '{SECRET}' }}"
        ));
        let config = load(&[
            ("config", file.path()),
            ("issuer", "b"),
            ("publisher-jwt-key", SECRET),
        ])
        .unwrap();
        assert_eq!(
            config
                .issuers
                .iter()
                .map(|issuer| issuer.id.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
        assert_eq!(
            config.warnings,
            ["`--issuer` replaces the [[issuer]] tables of the file"]
        );
    }

    #[test]
    fn a_file_that_is_missing_is_refused() {
        let refusals = load(&[("config", "nowhere.toml"), ("dev", "true")]).unwrap_err();
        assert!(
            refusals
                .to_string()
                .starts_with("the configuration file nowhere.toml can't be read: No such file")
        );
    }

    #[test]
    fn all_refusals_come_at_once() {
        let refusals = load(&[("heartbeat", "x"), ("io", "x")]).unwrap_err().0;
        assert_eq!(
            refusals.len(),
            4,
            "both values, the missing resource, nobody: {refusals:?}"
        );
    }

    #[test]
    fn a_tail_smaller_than_an_event_is_warned_about() {
        let config = safe(&[("tail-bytes", "64KiB")]).unwrap();
        assert!(
            config.warnings[0].contains("raise --tail-bytes or lower --max-body-bytes"),
            "{:?}",
            config.warnings
        );
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!format!("{:?}", safe(&[]).unwrap().issuers).contains(SECRET));
        assert!(!format!("{:?}", safe(&[]).unwrap()).contains(SECRET));
    }
}
