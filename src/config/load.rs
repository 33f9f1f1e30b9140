//! From words to types: `Config`, and the refusal of what is unknown, unreadable or unsafe.

use super::acme::Acme;
use super::admin::{Admin, AdminListen, parse_admin, parse_token};
use super::amount::{self, AmountError};
use super::cluster::{self, Cluster};
use super::discovery;
use super::environment;
use super::file::{self, IssuerTable};
use super::issuer::{self, Secret};
use super::key_set::KeySetSource;
use super::layer::{self, Layer, Place, Resolved, Source};
use super::limits::ClientLimits;
use super::listen::Listen;
use super::refusal::{Refusal, Refusals};
use super::setting::Kind;
use super::tls::{CertificateFiles, DevelopmentCertificate};
use super::value::{
    local_url, parse_compat, parse_compression, parse_cookie_name, parse_io, parse_listen, parse_log, parse_resource,
    url_of, without_credentials,
};
use crate::http::host_list::HostList;
use crate::http::origin::OriginList;
use crate::protocol::coding::Codings;
use crate::protocol::compat::Compat;
use crate::protocol::keys::{SigningKey, VerificationKey};
use crate::protocol::prelude::{PADDING_BYTES_MAX, PADDING_BYTES_MIN};
use crate::protocol::token::{Issuer, TokenRules};
use crate::protocol::topic::{HUB_PATH, HubUrl};
use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a publish's body at most: as an event it can be seven times as long, and frames count in 32 bits.
const BODY_BYTES_MAX: usize = 256 << 20;

/// Clients count the time to reconnect in milliseconds, and some overflow after three weeks.
const RETRY_MAX: Duration = Duration::from_secs(24 * 3600);

/// More event loops than this are a slip.
const SHARDS_MAX: usize = 1024;

/// Everything the hub is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where connections are accepted; not empty.
    pub listen: Vec<Listen>,
    /// Where those without TLS are sent, unless it is the first place with it.
    pub redirect_to_port: Option<u16>,
    /// What is shown to those who come with TLS; the first one to whoever names nobody the hub knows.
    pub certificates: Vec<CertificateFiles>,
    /// The one development mode makes for itself, which is then the one above.
    pub development_certificate: Option<DevelopmentCertificate>,
    /// Those that are got by ACME and kept renewed, beside the ones above.
    pub acme: Option<Acme>,
    /// Development mode: check `Host` against loopback names, allow loopback origins, say more in error bodies.
    pub dev: bool,
    /// Where keys survive a restart; always there in development mode.
    pub data: Option<PathBuf>,
    /// What tokens must name in `aud`.
    pub resource: String,
    /// The hub's public URL, which is `resource` as a URL: the path it answers at, and the base of relative topics and
    /// patterns.
    pub hub_url: HubUrl,
    /// The hosts requests must be for; empty leaves that to whoever is in front.
    pub public_hosts: HostList,
    /// The issuers that the hub's metadata names as authorization servers.
    pub authorization_servers: Vec<String>,
    /// Who may issue tokens; development mode adds its own (`open_data_folder`).
    pub issuers: Vec<Issuer>,
    /// The key sets that give some of them their keys; those aren't among `issuers` until they are fetched.
    pub key_sets: Vec<KeySetSource>,
    /// Whether subscribers may come without a token.
    pub anonymous: bool,
    /// The version of the protocol before 1.0 that is spoken too.
    pub compat: Option<Compat>,
    /// Whether subscriptions are announced and listed.
    pub subscriptions: bool,
    /// Whose pages may use the hub; every page without credentials, these with. Development mode allows loopback origins
    /// besides.
    pub cors_origins: OriginList,
    /// Whose pages may publish with the cookie.
    pub publish_origins: OriginList,
    /// Where a token is taken from when there is no `Authorization` header.
    pub cookie_name: String,
    /// Where events are kept.
    pub history: History,
    /// The cluster the hub belongs to.
    pub cluster: Option<Cluster>,
    /// Bytes of the newest events that stay at hand, over all shards.
    pub tail_bytes: usize,
    /// Silence after which a stream gets a comment; none sends none.
    pub heartbeat: Option<Duration>,
    /// How long a stream may last; none leaves it to the token's `exp`.
    pub max_lifetime: Option<Duration>,
    /// Bytes of the comment every stream begins with; 0 is none.
    pub padding_bytes: usize,
    /// How long clients wait before they come back, unless an event says otherwise; none leaves it to them.
    pub retry: Option<Duration>,
    /// The content codings of streams.
    pub compression: Codings,
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
    /// How much one client may have.
    pub client_limits: ClientLimits,
    /// Where administrators come in.
    pub admin: Admin,
    /// Whether the console is served on the public listener too.
    pub console: bool,
    /// Where spans of requests are sent to.
    #[cfg(feature = "otel")]
    pub otlp_endpoint: Option<url::Url>,
    /// Event loops.
    pub shards: usize,
    /// Connections held at once, over all shards; none is as many as the machine allows.
    pub max_connections: Option<usize>,
    /// Bytes the hub may take; 0 is no ceiling, none a share of what there is.
    pub memory_max: Option<usize>,
    /// How the kernel is talked to.
    pub io: IoChoice,
    /// How long everything is still served when the hub has said that it is about to stop.
    pub drain_delay: Duration,
    /// Over how long streams are ended one by one.
    pub drain_window: Duration,
    /// How long a stop may take after that.
    pub shutdown_timeout: Duration,
    /// The filter of the log.
    pub log: String,
    /// The key that enciphers event ids, when it survives restarts (`open_data_folder`); none is a random one per start.
    pub id_key: Option<IdKey>,
    /// What isn't wrong but should be said in the log.
    pub warnings: Vec<String>,
    /// What development tokens are signed with (`open_data_folder`).
    pub(super) dev_key: Option<SigningKey>,
    /// What they are checked with.
    pub(super) dev_trust: Option<VerificationKey>,
    /// What the command line said, for reading everything again.
    pub(super) flags: Layer,
    pub(super) resolved: Resolved,
}

/// What is kept for those who come back, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Where.
    pub engine: HistoryEngine,
    /// Events.
    pub max_events: usize,
    /// Bytes of events.
    pub max_bytes: usize,
    /// Age of the oldest; none sets no limit.
    pub max_age: Option<Duration>,
}

/// Where events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryEngine {
    /// In memory, until the process ends.
    Memory,
    /// In files in the data folder.
    File {
        /// Synced before a publish is answered, and not only written.
        fsync: bool,
    },
    /// In the engine of the cluster.
    Cluster,
}

/// How much history keeps unless somebody says so: events and bytes.
const MEMORY_HISTORY: (usize, usize) = (1_000_000, 256 << 20);
const FILE_HISTORY: (usize, usize) = (10_000_000, 1 << 30);

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
    pub fn load(flags: Layer, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Config, Refusals> {
        let environment = environment::read(variables);
        let mut refusals = environment.refusals;
        let path = flags.get("config").or_else(|| environment.layer.get("config")).and_then(|said| said.words.first());
        let file = path.map(|path| read_file(Path::new(path))).unwrap_or_default();
        refusals.extend(file.refusals);
        if file.unread {
            // What it would have said is unknown: refusals that build on its absence would mislead.
            return Err(Refusals(refusals));
        }
        let mut resolved = Resolved::new(&[flags.clone(), environment.layer, file.layer]);
        let password = cluster::hide_password(&mut resolved, &mut refusals);
        let reader = Reader { resolved: &resolved, refusals, warnings: environment.warnings };
        reader.config(&file.issuers, password).map(|config| Config { flags, ..config })
    }

    /// Puts the places that were really opened where `--listen` left that to the system, with port 0 or to systemd: into the URLs and
    /// the issuer that development mode takes from the first.
    pub fn set_bound(&mut self, bound: Vec<Listen>) {
        let issuer = self.dev_issuer();
        self.listen = bound;
        if !self.resolved.is_set("resource") {
            self.hub_url = url_of(&self.listen);
            self.resource = self.hub_url.as_str().to_owned();
        }
        let renamed = self.dev_issuer();
        if self.dev
            && let Some(config) = self.issuers.iter_mut().find(|config| config.id == issuer)
        {
            config.id = renamed;
        }
    }

    /// The URL clients on this machine reach the hub under, whatever it is called in public.
    pub fn local_url(&self) -> HubUrl {
        local_url(&self.listen, &self.hub_url)
    }

    /// Whose tokens are accepted, and for what.
    pub fn token_rules(&self) -> TokenRules {
        TokenRules {
            issuers: self.issuers.clone(),
            audience: self.resource.clone(),
            hub: self.hub_url.clone(),
            compat: self.compat,
        }
    }
}

fn read_file(path: &Path) -> file::File {
    match std::fs::read_to_string(path) {
        Ok(text) => file::read(path, &text),
        Err(why) => {
            let refusal = Refusal::FileUnreadable { path: path.to_owned(), why: why.to_string() };
            file::File { refusals: vec![refusal], unread: true, ..file::File::default() }
        }
    }
}

/// Reads words as types and remembers what doesn't fit.
pub(super) struct Reader<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) refusals: Vec<Refusal>,
    pub(super) warnings: Vec<String>,
}

impl Reader<'_> {
    fn config(mut self, tables: &[IssuerTable], engine_password: Option<Secret>) -> Result<Config, Refusals> {
        let dev = self.switch("dev");
        let (mut listen, data) = (self.listen(dev), self.data());
        let development_certificate = self.development_certificate(dev, data.as_deref(), &mut listen);
        let acme = self.acme(&listen, dev, data.is_some());
        let certificates = self.certificates(&listen, development_certificate.as_ref(), acme.is_some());
        let redirect_to_port = self.redirect_to_port(&listen);
        let (resource, hub_url) = self.resource(&listen, dev);
        let allow_http = self.switch("jwks-allow-http");
        let compat = self.one("compat", parse_compat);
        if let Some(compat) = compat {
            let loosened = compat.loosened();
            self.warnings.extend(loosened.into_iter().map(|rule| format!("--compat {compat} loosens a rule: {rule}")));
        }
        let (issuers, key_sets) = issuer::build(self.resolved, tables, allow_http, compat, &mut self.refusals);
        let named = self.switch("authorization-server");
        let authorization_servers = discovery::authorization_servers(self.resolved, named, tables, &mut self.refusals);
        let public_hosts =
            discovery::public_hosts(self.resolved, &hub_url, dev, &mut self.refusals, &mut self.warnings);
        let anonymous = self.switch("anonymous");
        self.nobody(dev, anonymous, &issuers, !tables.is_empty());
        let cookie_name = self.one("cookie-name", parse_cookie_name).unwrap_or_default();
        let cors_origins = self.cors_origins();
        let publish_origins = self.publish_origins();
        let why = "the hub would be taken for dead whenever the engine takes a moment";
        self.at_least("cluster-lease", amount::parse_duration, "2s", why);
        let lease = self.more_than_zero("cluster-lease", amount::parse_duration, why);
        let cluster = Cluster::read(self.resolved, engine_password, lease, &mut self.refusals);
        let history = self.history(dev, cluster.is_some());
        let max_body_bytes = self.more_than_zero("max-body-bytes", amount::parse_size, "nothing could be published");
        self.at_least("max-body-bytes", amount::parse_size, "1KiB", "next to nothing could be published");
        if max_body_bytes > BODY_BYTES_MAX {
            let why = format!("is more than {} MiB, the most a publish can have", BODY_BYTES_MAX >> 20);
            self.refuse_said("max-body-bytes", &why);
        }
        let tail_bytes =
            self.more_than_zero("tail-bytes", amount::parse_size, "an event must be somewhere while it is sent");
        self.at_least(
            "tail-bytes",
            amount::parse_size,
            "64KiB",
            "every delay of a subscriber would cost a look into history",
        );
        if tail_bytes < max_body_bytes {
            self.warnings.push(format!(
                "the largest publish ({max_body_bytes} bytes) is larger than the tail ({tail_bytes} bytes): \
                 raise --tail-bytes or lower --max-body-bytes"
            ));
        }
        for name in ["head-timeout", "body-timeout"] {
            self.at_least(name, amount::parse_duration, "100ms", "clients far away couldn't be that fast");
        }
        self.at_least("max-head-bytes", amount::parse_size, "1KiB", "a request with a token wouldn't fit");
        self.at_least("write-timeout", amount::parse_duration, "1s", "every delay of the network would end streams");
        let console = self.console(dev, &hub_url);
        let client_limits = ClientLimits::read(self.resolved, &listen, &mut self.refusals, &mut self.warnings);
        let admin = self.admin(&listen);
        self.at_least("memory-max", amount::parse_size, "16MiB", "the hub itself takes as much");
        let config = Config {
            listen,
            redirect_to_port,
            certificates,
            development_certificate,
            acme,
            dev,
            data,
            resource,
            hub_url,
            public_hosts,
            authorization_servers,
            issuers,
            key_sets,
            anonymous,
            compat,
            subscriptions: self.switch("subscriptions"),
            cors_origins,
            publish_origins,
            cookie_name,
            history,
            cluster,
            tail_bytes,
            heartbeat: self.off_at_zero("heartbeat"),
            max_lifetime: self.max_lifetime(),
            padding_bytes: self.padding_bytes(),
            retry: self.retry(),
            compression: self.compression(),
            write_timeout: self.more_than_zero(
                "write-timeout",
                amount::parse_duration,
                "a stalled subscriber would be kept for ever",
            ),
            max_body_bytes,
            max_head_bytes: self.more_than_zero("max-head-bytes", amount::parse_size, "every request has a head"),
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
            client_limits,
            admin,
            console,
            #[cfg(feature = "otel")]
            otlp_endpoint: self.one("otlp-endpoint", super::admin::parse_otlp_endpoint),
            shards: self.shards(),
            max_connections: self.max_connections(),
            memory_max: self.one("memory-max", amount::parse_size),
            io: self.one("io", parse_io).unwrap_or(IoChoice::Auto),
            drain_delay: self.at_most_an_hour("drain-delay"),
            drain_window: self.at_most_an_hour("drain-window"),
            shutdown_timeout: self.one("shutdown-timeout", amount::parse_duration).unwrap_or_default(),
            log: self.one("log", parse_log).unwrap_or_default(),
            id_key: None,
            dev_key: None,
            dev_trust: None,
            flags: Layer::new(),
            warnings: self.warnings,
            resolved: self.resolved.clone(),
        };
        if self.refusals.is_empty() { Ok(config) } else { Err(Refusals(self.refusals)) }
    }

    /// The value of a setting; none when nobody set it, or when it was refused.
    pub(super) fn one<T, E: Display>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        debug_assert_ne!(super::setting::setting(name).kind, Kind::Many, "{name} has several values");
        let word = self.resolved.word(name)?;
        parse(word).map_err(|why| self.refuse(name, word, &why)).ok()
    }

    pub(super) fn refuse(&mut self, name: &'static str, value: &str, why: &dyn Display) {
        let place = self.resolved.place(name);
        self.refusals.push(Refusal::Value { place, value: value.to_owned(), why: why.to_string() });
    }

    /// Refuses a value that could be read.
    fn refuse_said(&mut self, name: &'static str, why: &dyn Display) {
        let word = self.resolved.word(name).unwrap_or_default().to_owned();
        self.refuse(name, &word, why);
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        self.one(name, |word| layer::parse_switch(word).ok_or("is neither true nor false")).unwrap_or_default()
    }

    fn off_at_zero(&mut self, name: &'static str) -> Option<Duration> {
        self.one(name, amount::parse_duration).filter(|duration| !duration.is_zero())
    }

    fn more_than_zero<T: Default + PartialEq>(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<T, AmountError>,
        why: &'static str,
    ) -> T {
        let value = self.one(name, parse);
        if value.as_ref() == Some(&T::default()) {
            self.refusals.push(Refusal::Zero { place: self.resolved.place(name), why });
        }
        value.unwrap_or_default()
    }

    fn at_most_an_hour(&mut self, name: &'static str) -> Duration {
        let duration = self.one(name, amount::parse_duration).unwrap_or_default();
        if duration > Duration::from_secs(3_600) {
            self.refuse_said(name, &"is longer than an hour: nobody waits so long for a stop");
        }
        duration
    }

    /// Refuses a value that can be read and makes the hub useless; zero has a sentence of its own.
    fn at_least<T: Default + PartialOrd>(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<T, AmountError>,
        least: &'static str,
        why: &'static str,
    ) {
        let least_value = parse(least).expect("the least value is written as one");
        let value = self.resolved.word(name).and_then(|word| parse(word).ok());
        if value.is_some_and(|value| value != T::default() && value < least_value) {
            self.refuse_said(name, &format!("is less than {least}: {why}"));
        }
    }

    fn max_lifetime(&mut self) -> Option<Duration> {
        self.at_least("max-lifetime", amount::parse_duration, "1s", "clients would do nothing but come back");
        self.off_at_zero("max-lifetime")
    }

    fn padding_bytes(&mut self) -> usize {
        let bytes = self.one("padding", amount::parse_size).unwrap_or_default();
        if bytes != 0 && !(PADDING_BYTES_MIN..=PADDING_BYTES_MAX).contains(&bytes) {
            let why = format!("isn't 0 or from {PADDING_BYTES_MIN} to {PADDING_BYTES_MAX} bytes: 2KiB is usual");
            self.refuse_said("padding", &why);
        }
        bytes
    }

    fn compression(&mut self) -> Codings {
        let words = self.resolved.said("compression").words.clone();
        parse_compression(&words).unwrap_or_else(|(word, why)| {
            self.refuse("compression", &word, &why);
            Codings::default()
        })
    }

    fn retry(&mut self) -> Option<Duration> {
        self.at_least("retry", amount::parse_duration, "100ms", "clients would do nothing but come back");
        let retry = self.off_at_zero("retry");
        if retry > Some(RETRY_MAX) {
            self.refuse_said("retry", &"is longer than a day: clients would seem gone");
        }
        retry
    }

    /// What tokens name, as it was written, since it is compared byte by byte; and the hub's URL, which it is.
    fn resource(&mut self, listen: &[Listen], dev: bool) -> (String, HubUrl) {
        let local = || (url_of(listen).as_str().to_owned(), url_of(listen));
        if !self.resolved.is_set("resource") {
            if !dev {
                let file = self.resolved.word("config").map(PathBuf::from);
                let example = format!("https://hub.example{HUB_PATH}");
                self.refusals.push(Refusal::ResourceMissing { example, file });
            }
            return local();
        }
        let word = self.resolved.word("resource").unwrap_or_default().to_owned();
        match parse_resource(&word) {
            Ok(url) => (word, url),
            Err(why) => {
                self.refuse("resource", &without_credentials(&word), &why);
                local()
            }
        }
    }

    fn nobody(&mut self, dev: bool, anonymous: bool, issuers: &[Issuer], tables: bool) {
        let issuer = self.resolved.said("issuer");
        // An empty list is set, and names nobody.
        let said = issuer.words.iter().any(|word| !word.trim().is_empty())
            || tables && matches!(issuer.source, Source::File(_));
        if !dev && !said && !anonymous && !issuer::KEY_SETTINGS.iter().any(|name| self.resolved.is_set(name)) {
            self.refusals.push(Refusal::NobodyCouldUseIt);
        }
        if !dev && issuers.iter().all(|issuer| issuer.publisher.is_none()) {
            self.warnings.push("nobody can publish, as no issuer has a publisher key".to_owned());
        }
        if tables && !matches!(self.resolved.said("issuer").source, Source::File(_)) {
            let place = self.resolved.place("issuer");
            self.warnings.push(format!("{place} replaces the [[issuer]] tables of the file"));
        }
    }

    fn origins(&mut self, name: &'static str) -> OriginList {
        let words = self.resolved.said(name).words.clone();
        let refused = self.refusals.len();
        for word in &words {
            if let Err(error) = OriginList::parse(std::slice::from_ref(word)) {
                self.refusals.push(Refusal::Origin { place: self.resolved.place(name), error });
            }
        }
        if self.refusals.len() > refused {
            return OriginList::default();
        }
        OriginList::parse(&words).unwrap_or_else(|error| {
            self.refusals.push(Refusal::Origin { place: self.resolved.place(name), error });
            OriginList::default()
        })
    }

    fn cors_origins(&mut self) -> OriginList {
        let origins = self.origins("cors-origin");
        let credential: Option<Place> = ["publish-origin", "cookie-name"]
            .into_iter()
            .find(|name| self.resolved.is_set(name))
            .map(|name| self.resolved.place(name));
        if let Some(credential) = credential
            && origins.allows_any()
        {
            self.refusals
                .push(Refusal::EveryOriginWithCredentials { cors: self.resolved.place("cors-origin"), credential });
        }
        origins
    }

    fn publish_origins(&mut self) -> OriginList {
        let origins = self.origins("publish-origin");
        if origins.allows_any() {
            self.refusals.push(Refusal::EveryOriginPublishes { place: self.resolved.place("publish-origin") });
        }
        origins
    }

    fn history(&mut self, dev: bool, in_cluster: bool) -> History {
        let in_files = self.one("history", |word| match word {
            "file" => Ok(true),
            "memory" => Ok(false),
            _ => Err("isn't one: write `file` or `memory`"),
        });
        let fsync = self.one("history-durability", |word| match word {
            "fsync" => Ok(true),
            "written" => Ok(false),
            _ => Err("isn't one: write `fsync` or `written`"),
        });
        let engine = match in_files {
            _ if in_cluster => HistoryEngine::Cluster,
            Some(true) => HistoryEngine::File { fsync: fsync != Some(false) },
            _ => HistoryEngine::Memory,
        };
        if engine == HistoryEngine::Memory && self.resolved.is_set("history-durability") {
            self.warnings.push("--history-durability means nothing as long as history is in memory".to_owned());
        }
        if matches!(engine, HistoryEngine::File { .. }) && self.data().is_none() {
            let place = self.resolved.place("data");
            self.refusals.push(Refusal::HistoryWithoutData { place });
        } else if dev && self.data().is_none() {
            let place = self.resolved.place("data");
            self.refusals.push(Refusal::DevelopmentWithoutData { place });
        }
        let (events, bytes) = if engine == HistoryEngine::Memory { MEMORY_HISTORY } else { FILE_HISTORY };
        History {
            engine,
            max_events: self.at_most_said("history-max-events", amount::parse_count, events),
            max_bytes: self.at_most_said("history-max-bytes", amount::parse_size, bytes),
            max_age: self.off_at_zero("history-max-age"),
        }
    }

    /// A bound of history, or what it is if nobody says so.
    fn at_most_said(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<usize, AmountError>,
        unsaid: usize,
    ) -> usize {
        const UNCLEAR: &str = "zero could mean no history or no limit; 1 keeps next to nothing";
        if self.resolved.is_set(name) { self.more_than_zero(name, parse, UNCLEAR) } else { unsaid }
    }

    /// The data folder.
    fn data(&self) -> Option<PathBuf> {
        self.resolved.word("data").filter(|word| *word != "none").map(PathBuf::from)
    }

    fn admin(&mut self, listen: &[Listen]) -> Admin {
        let by_default = !self.resolved.is_set("admin");
        let data = self.data();
        let said = self.one("admin", parse_admin);
        let admin = said.unwrap_or_else(|| Admin::default_listen(data.as_deref()));
        let word = self.resolved.word("admin-token").map(str::to_owned);
        let token = word.as_deref().map(parse_token).transpose().unwrap_or_else(|why| {
            self.refuse("admin-token", "(secret)", &why);
            None
        });
        if matches!(admin, AdminListen::Tcp(_)) && word.is_none() {
            self.refuse_said(
                "admin",
                &"everybody who reaches it could use: add `--admin-token` with 32 bytes or more, or use unix:PATH",
            );
        }
        let health = self.one("health-listen", parse_listen);
        let taken = |address: SocketAddr| address.port() != 0 && listen.iter().any(|it| it.address() == Some(address));
        if matches!(admin, AdminListen::Tcp(address) if taken(address)) {
            self.refuse_said("admin", &"is where the hub itself listens: use another port");
        }
        if let Some(address) = health
            && (taken(address) || address.port() != 0 && admin == AdminListen::Tcp(address))
        {
            self.refuse_said("health-listen", &"is in use for something else: use another port");
        }
        Admin { listen: admin, by_default, token, health }
    }

    /// The hub's own path comes first: there is no console where it would be in the way.
    fn console(&mut self, dev: bool, hub: &HubUrl) -> bool {
        let on = self.switch("console");
        if on && (hub.path() == "/console" || hub.path().starts_with("/console/")) {
            if self.resolved.is_set("console") {
                self.refuse_said(
                    "console",
                    &"wants the path /console, which is the hub's own: change that of --resource",
                );
            }
            return false;
        }
        if on && !dev && self.resolved.word("admin-token").is_none() {
            self.warnings
                .push("the console shows nothing of the hub to anybody, as there is no --admin-token".to_owned());
        }
        on
    }

    fn shards(&mut self) -> usize {
        let parse = |word: &str| match amount::parse_count(word) {
            Ok(1..=SHARDS_MAX) => Ok(amount::parse_count(word).expect("it was just parsed")),
            _ => Err(format!("isn't a number from 1 to {SHARDS_MAX}")),
        };
        self.one("shards", parse).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
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
mod tests;
