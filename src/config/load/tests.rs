//! Each layer beats the next, each refusal has its sentence.

use super::*;
use crate::config::flags;
use crate::config::setting::SETTINGS;
use crate::protocol::compat::{Compat, IMPLICIT_ISSUER};
use crate::protocol::keys::{KEY_SET_ALGORITHMS, VerificationKey};
use crate::protocol::token::Role;
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
    let base = [("resource", RESOURCE), ("issuer", "https://a.example"), ("publisher-jwt-key", SECRET)];
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
    let signature = SigningKey::from_text(secret, None).unwrap().sign(b"x").unwrap();
    role.as_ref().unwrap()[0].verifies(Algorithm::HS256, b"x", &signature)
}

/// A file that is gone when the test is.
struct TomlFile(PathBuf);

impl TomlFile {
    fn new(text: &str) -> TomlFile {
        let path = crate::config::data_folder::scratch("file").with_extension("toml");
        std::fs::File::create_new(&path).unwrap().write_all(text.as_bytes()).unwrap();
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
    assert_eq!(config.listen, [Listen::plain("127.0.0.1:3000".parse().unwrap())]);
    let engine = HistoryEngine::File { fsync: true };
    let history = History { engine, max_events: 10_000_000, max_bytes: 1 << 30, max_age: None };
    assert_eq!(config.history, history);
    assert_eq!(config.tail_bytes, 64 << 20);
    assert_eq!(config.heartbeat, Some(Duration::from_secs(25)));
    assert_eq!(config.max_lifetime, Some(Duration::from_secs(3600)));
    assert_eq!(config.write_timeout, Duration::from_secs(60));
    assert_eq!(config.io, IoChoice::Auto);
    assert_eq!(config.max_connections, None);
    assert_eq!(config.hub_url.as_str(), RESOURCE);
    assert_eq!(config.data, Some("./cinnabar-data".into()));
    assert!(!config.anonymous && !config.subscriptions && !config.dev);
    assert!(config.shards >= 1);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn flags_beat_variables_and_variables_beat_the_file() {
    let file = TomlFile::new("heartbeat = '3s'\nmax_lifetime = '3h'\nwrite_timeout = '3m'\nanonymous = true");
    let given = [("config", file.path()), ("heartbeat", "1s"), ("resource", RESOURCE)];
    let variables = [("CINNABAR_HEARTBEAT", "2s"), ("CINNABAR_MAX_LIFETIME", "2h")];
    let config = Config::load(
        flags(given.map(|(name, word)| (name, vec![word.to_owned()]))),
        variables.map(|(name, word)| (name.into(), word.into())),
    )
    .unwrap();
    assert_eq!(config.heartbeat, Some(Duration::from_secs(1)));
    assert_eq!(config.max_lifetime, Some(Duration::from_secs(7200)));
    assert_eq!(config.write_timeout, Duration::from_secs(180));
    assert_eq!(config.tail_bytes, 64 << 20);
    let sources = ["heartbeat", "max-lifetime", "write-timeout", "tail-bytes"].map(|name| config.source(name).clone());
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
    let config = Config::load(Layer::new(), [("CINNABAR_CONFIG".into(), file.path().into())]).unwrap();
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
    assert_eq!(config.hub_url.as_str(), "http://localhost:3000/.well-known/mercure");
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
    let line = format!("(or `resource = \"https://hub.example/.well-known/mercure\"` to {})", file.path());
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
    assert!(sentence.starts_with("nobody could use this hub"), "{sentence}");
    assert!(sentence.contains("add `--issuer ISS`"), "{sentence}");
    let config = load(&[("resource", RESOURCE), ("anonymous", "true")]).unwrap();
    assert_eq!(config.warnings, ["nobody can publish, as no issuer has a publisher key"]);
}

/// Seen: an empty list of issuers counted as one.
#[test]
fn a_list_of_no_issuers_is_nobody() {
    let text = format!("resource = '{RESOURCE}'\nissuer = []");
    assert!(sentence(from_file(&text)).starts_with("nobody could use this hub"));
    assert!(sentence(load(&[("resource", RESOURCE), ("issuer", " ")])).starts_with("nobody could use this hub"));
    let variables = [("CINNABAR_ISSUER".into(), " ".into()), ("CINNABAR_RESOURCE".into(), RESOURCE.into())];
    assert!(sentence(Config::load(Layer::new(), variables)).starts_with("nobody could use this hub"));
    assert!(from_file(&format!("{text}\nanonymous = true")).is_ok());
    let file =
        TomlFile::new(&format!("resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ key = '{SECRET}' }}"));
    assert!(sentence(load(&[("config", file.path()), ("issuer", "")])).starts_with("nobody could use this hub"));
}

#[test]
fn every_origin_and_credentials_do_not_go_together() {
    assert_eq!(
        refused(&[("cors-origin", "*"), ("publish-origin", "https://a.example")]),
        "`--cors-origin` has `*`, which allows every page and so can't go with `--publish-origin`, which lets pages act \
         with a user's cookie: list the origins instead of `*`"
    );
    assert!(refused(&[("cors-origin", "*"), ("cookie-name", "c")]).contains("can't go with `--cookie-name`"));
    assert_eq!(
        refused(&[("cors-origin", "*"), ("cors-origin", "https://a.example")]),
        "`--cors-origin` has what can't be in a list of origins: \"*\" stands for every origin, without cookies: leave it \
         alone, or list the origins only"
    );
    assert_eq!(
        refused(&[("publish-origin", "*")]),
        "`--publish-origin` is `*`, which would let every page publish with a user's cookie: list the origins"
    );
    assert!(safe(&[("cors-origin", "*")]).unwrap().cors_origins.allows_any());
}

#[test]
fn an_origin_no_browser_would_send_is_refused() {
    assert_eq!(
        refused(&[("cors-origin", "https://a.example/")]),
        "`--cors-origin` has what can't be in a list of origins: \"https://a.example/\" is more than an origin: write \
         \"https://a.example\""
    );
    let sentence = refused(&[("publish-origin", "a.example")]);
    assert!(
        sentence
            .starts_with("`--publish-origin` has what can't be in a list of origins: \"a.example\" isn't an origin")
    );
    // Seen: what one judge of origins accepted at load another refused at start, and the other way round.
    for name in ["cors-origin", "publish-origin"] {
        assert!(refused(&[(name, "https://*.a.example")]).contains("has a wildcard inside"));
        for origin in
            ["app://local:8000", "https://App.Example", "https://app.example:443", "chrome-extension://abcdef"]
        {
            assert!(safe(&[(name, origin)]).is_ok(), "{name} {origin}");
        }
    }
    let both = safe(&[("cors-origin", "null"), ("cors-origin", "b")]).unwrap_err();
    assert_eq!(both.0.len(), 2, "{both}");
}

#[test]
fn history_is_in_files_or_in_memory() {
    assert_eq!(
        refused(&[("history", "./events")]),
        "`--history` is `./events`, which isn't one: write `file` or `memory`"
    );
    assert_eq!(
        refused(&[("data", "none")]),
        "`--data` is `none`, so there is no folder for history: name one, or add `--history memory`, which forgets events with \
         the process"
    );
    let without = load(&[("dev", "true"), ("data", "none"), ("history", "memory")]).unwrap_err().to_string();
    assert!(without.contains("the secret of development mode's tokens is kept in that folder"), "{without}");
    let config = safe(&[("data", "none"), ("history", "memory"), ("history-durability", "written")]).unwrap();
    assert_eq!((config.data, config.history.engine), (None, HistoryEngine::Memory));
    assert_eq!((config.history.max_events, config.history.max_bytes), (1_000_000, 256 << 20));
    assert_eq!(config.warnings, ["--history-durability means nothing as long as history is in memory"]);
    let config = safe(&[("history-durability", "written"), ("history-max-events", "5")]).unwrap();
    assert_eq!((config.history.engine, config.history.max_events), (HistoryEngine::File { fsync: false }, 5));
}

#[test]
fn key_sets_take_the_place_of_keys() {
    let text = format!(
        "resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ jwks_url = 'https://a/keys' }}\n\
         subscriber = {{ jwks_url = 'file:///k', algorithms = ['ES256'] }}"
    );
    let config = from_file(&text).unwrap();
    assert!(config.issuers[0].publisher.as_ref().is_some_and(Vec::is_empty) && config.key_sets.len() == 2);
    assert_eq!(config.key_sets[0].algorithms, KEY_SET_ALGORITHMS);
    assert_eq!(config.key_sets[1].algorithms, [Algorithm::ES256]);
    assert!(config.table().contains("publisher: set https://a/keys, subscriber: set file:///k"), "{}", config.table());

    let shared = [
        ("resource", RESOURCE),
        ("issuer", "a b"),
        ("publisher-jwks-url", "https://a/keys"),
        ("publisher-jwt-alg", "EdDSA"),
    ];
    let config = load(&shared).unwrap();
    assert_eq!((config.issuers.len(), config.key_sets.len()), (2, 2));
    assert_eq!((config.key_sets[1].issuer.as_str(), config.key_sets[1].role), ("b", Role::Publisher));
    assert!(config.issuers.iter().all(|issuer| issuer.subscriber.is_none()));
}

#[test]
fn key_sets_that_could_not_be_trusted_are_refused() {
    let table = |text: &str| {
        sentence(from_file(&format!("resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ {text} }}")))
    };
    assert_eq!(
        table("jwks_url = 'http://u:p@a.example/k'"),
        "the key set of the publisher of issuer `a` is `http://...@a.example/k`, which names a user or a password: a key set is \
         public, leave them out"
    );
    assert_eq!(
        table("jwks_url = 'https://a/k', key_file = 'k'"),
        "the publisher of issuer `a` has `jwks_url` and a key of its own: leave one"
    );
    assert_eq!(
        table("jwks_url = 'https://a/k', algorithms = ['RS256', 'HS256']"),
        "the key set of the publisher of issuer `a` is allowed HS256, which needs a shared secret, and a set holds public keys: \
         leave it out"
    );
    let set = ("subscriber-jwks-url", "http://a.example/k");
    assert!(refused(&[set]).contains("--jwks-allow-http"));
    assert!(safe(&[set, ("jwks-allow-http", "true")]).is_ok());
    let key = ("subscriber-jwt-key", "a secret of more than thirty-two bytes");
    assert_eq!(
        refused(&[("subscriber-jwks-url", "https://a/k"), key]),
        "`--subscriber-jwt-key` and `--subscriber-jwks-url` are both set, and a role has one or the other: leave one"
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
        ("write-timeout", "a stalled subscriber would be kept for ever"),
        ("head-timeout", "a silent client would be kept for ever"),
        ("body-timeout", "a silent client would be kept for ever"),
        ("max-connections", "nobody could connect; leave it out for as many as the machine allows"),
        ("history-max-events", "zero could mean no history or no limit; 1 keeps next to nothing"),
        ("history-max-bytes", "zero could mean no history or no limit; 1 keeps next to nothing"),
    ] {
        assert_eq!(refused(&[(name, "0")]), format!("`--{name}` must be more than zero: {why}"));
    }
    assert_eq!(refused(&[("shards", "0")]), "`--shards` is `0`, which isn't a number from 1 to 1024");
}

#[test]
fn values_that_make_a_hub_useless_are_refused() {
    for (name, useless, least) in [
        ("max-head-bytes", "1023", "1KiB"),
        ("max-body-bytes", "1", "1KiB"),
        ("tail-bytes", "1", "64KiB"),
        ("head-timeout", "1ms", "100ms"),
        ("body-timeout", "99ms", "100ms"),
        ("write-timeout", "999ms", "1s"),
        ("max-lifetime", "1ms", "1s"),
    ] {
        let sentence = refused(&[(name, useless)]);
        assert!(
            sentence.starts_with(&format!("`--{name}` is `{useless}`, which is less than {least}: ")),
            "{sentence}"
        );
        assert!(safe(&[(name, least)]).is_ok(), "{name}");
    }
}

#[test]
fn a_body_larger_than_a_frame_can_be_is_refused() {
    assert!(safe(&[("max-body-bytes", "256MiB"), ("tail-bytes", "1GiB")]).is_ok());
    assert_eq!(
        refused(&[("max-body-bytes", "257MiB")]),
        "`--max-body-bytes` is `257MiB`, which is more than 256 MiB, the most a publish can have"
    );
}

#[test]
fn zero_switches_off_what_can_be_off() {
    let config =
        safe(&[("heartbeat", "0"), ("max-lifetime", "0"), ("history-max-age", "0"), ("shutdown-timeout", "0")]);
    let config = config.unwrap();
    assert_eq!((config.heartbeat, config.max_lifetime, config.shutdown_timeout), (None, None, Duration::ZERO));
}

#[test]
fn words_of_a_fixed_choice_are_refused_otherwise() {
    assert_eq!(refused(&[("io", "kqueue")]), "`--io` is `kqueue`, which isn't auto, uring or epoll");
    assert_eq!(refused(&[("anonymous", "maybe")]), "`--anonymous` is `maybe`, which is neither true nor false");
    assert_eq!(
        refused(&[("cookie-name", "a b")]),
        "`--cookie-name` is `a b`, which isn't a cookie name: use letters, digits, `-` and `_`"
    );
    assert_eq!(
        refused(&[("listen", ":3000")]),
        "`--listen` is `:3000`, which has no address: write 127.0.0.1:3000 for this machine only, 0.0.0.0:3000 for everybody"
    );
    assert!(refused(&[("listen", "hub.example:80")]).contains("isn't an address and port"));
    assert!(refused(&[("log", "a=b=c")]).starts_with("`--log` is `a=b=c`, which isn't a log filter"));
}

#[test]
fn the_resource_is_the_url_of_the_hub_and_stays_as_it_was_written() {
    for (resource, path) in [
        ("https://hub.example/live", "/live"),
        ("https://Hub.example:443/.well-known/mercure", "/.well-known/mercure"),
        ("http://hub.example/app/.well-known/mercure", "/app/.well-known/mercure"),
    ] {
        let config = load(&[("anonymous", "true"), ("resource", resource)]).unwrap();
        assert_eq!((config.resource.as_str(), config.hub_url.path()), (resource, path));
        assert_eq!(config.hub_url.url().host_str(), Some("hub.example"));
        assert_eq!(config.local_url().as_str(), format!("http://localhost:3000{path}"));
        assert_eq!(config.warnings, ["nobody can publish, as no issuer has a publisher key"]);
    }
}

#[test]
fn a_resource_no_hub_can_be_at_is_refused() {
    for (resource, why) in [
        ("hub.example", "isn't a URL"),
        ("urn:hub", "begins with https://"),
        ("https://h/#f", "has a query or a fragment"),
        ("https://h/?q", "has a query or a fragment"),
        ("https://h", "has no path"),
        ("https://h/.well-known/mercure/", "ends in a slash"),
    ] {
        let sentence = sentence(load(&[("anonymous", "true"), ("resource", resource)]));
        assert!(sentence.starts_with(&format!("`--resource` is `{resource}`, which ")), "{sentence}");
        assert!(sentence.contains(why), "{sentence}");
    }
    for resource in ["https://user:hunter2@h/x", "https://hunter2@h:x/", "user:hunter2@h"] {
        let sentence = sentence(load(&[("anonymous", "true"), ("resource", resource)]));
        assert!(!sentence.contains("hunter2"), "{sentence}");
    }
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
        "the issuer `https://a.example` has no key: add `--publisher-jwt-key KEY`, `--subscriber-jwt-key KEY` or both (or `--publisher-jwks-url URL`, `--subscriber-jwks-url URL`)"
    );
    assert_eq!(
        with(&[("issuer", "a"), ("issuer", "a"), ("subscriber-jwt-key", SECRET)]),
        "the issuer `a` is listed twice: leave one"
    );
}

#[test]
fn in_compatibility_mode_keys_need_no_issuer() {
    let given = |more: &[(&'static str, &str)]| {
        load(&[&[("resource", RESOURCE), ("publisher-jwt-key", SECRET)], more].concat())
    };
    assert!(sentence(given(&[])).contains("--issuer"));
    let config = given(&[("compat", "8")]).unwrap();
    assert_eq!((config.compat, ids(&config.issuers)), (Some(Compat::Eight), vec![IMPLICIT_ISSUER]));
    assert!(checks(&config.issuers[0].publisher, SECRET) && config.issuers[0].subscriber.is_none());
    assert_eq!(config.token_rules().compat, Some(Compat::Eight));
    // One that is named is the one there is.
    let config = given(&[("compat", "7"), ("issuer", "https://a.example")]).unwrap();
    assert_eq!(ids(&config.issuers), ["https://a.example"]);
    assert_eq!(ids(&safe(&[("compat", "7"), ("anonymous", "true")]).unwrap().issuers), ["https://a.example"]);
    let nobody = load(&[("resource", RESOURCE), ("compat", "8"), ("anonymous", "true")]).unwrap();
    assert!(nobody.issuers.is_empty());
}

#[test]
fn compatibility_is_off_unless_asked_for_and_says_what_it_loosens() {
    assert_eq!(safe(&[]).unwrap().compat, None);
    assert!(safe(&[]).unwrap().warnings.is_empty());
    let warnings = safe(&[("compat", "7")]).unwrap().warnings;
    assert_eq!(warnings.len(), Compat::Seven.loosened().len());
    assert!(warnings.iter().all(|warning| warning.starts_with("--compat 7 loosens a rule: ")));
    for word in ["6", "9", "yes", ""] {
        assert!(refused(&[("compat", word)]).contains("neither 7 nor 8"), "{word}");
    }
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
    let sentence =
        sentence(load(&[("resource", RESOURCE), ("issuer", "a"), ("publisher-jwt-key", "too-short-a-secret")]));
    assert!(sentence.starts_with("the publisher key of issuer `a` can't be used: "), "{sentence}");
    assert!(!sentence.contains("too-short"), "{sentence}");
}

#[test]
fn tables_of_issuers_have_one_key_a_role() {
    let table = |rest: &str| format!("resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\n{rest}");
    assert_eq!(
        sentence(from_file(&table(""))),
        "the issuer `a` has no key: add a `publisher` or `subscriber` table with `key`, `key_file` or `jwks_url`"
    );
    assert!(sentence(from_file(&table("publisher = { }"))).starts_with("the issuer `a` has no key"));
    assert_eq!(
        sentence(from_file(&table(&format!("publisher = {{ key = '{SECRET}', key_file = 'f' }}")))),
        "the publisher of issuer `a` has both `key` and `key_file`: leave one"
    );
    let missing = sentence(from_file(&table("subscriber = { key_file = 'nowhere.pem' }")));
    assert!(missing.starts_with("the subscriber key of issuer `a` can't be read from "), "{missing}");
    assert!(missing.contains("nowhere.pem: No such file"), "{missing}");
    let text = table(&format!("publisher = {{ key = '{SECRET}' }}"));
    assert!(from_file(&text).is_ok());
    let file = TomlFile::new(&text);
    let beside = sentence(load(&[("config", file.path()), ("publisher-jwt-key", SECRET)]));
    assert!(
        beside.starts_with("`--publisher-jwt-key` is set, but the issuers come from [[issuer]] tables in "),
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
    let file =
        TomlFile::new(&format!("resource = '{RESOURCE}'\n[[issuer]]\nid = 'a'\npublisher = {{ key = '{SECRET}' }}"));
    let config = load(&[("config", file.path()), ("issuer", "b"), ("publisher-jwt-key", SECRET)]).unwrap();
    assert_eq!(config.issuers.iter().map(|issuer| issuer.id.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(config.warnings, ["`--issuer` replaces the [[issuer]] tables of the file"]);
}

#[test]
fn a_file_that_is_missing_is_refused() {
    let refusals = load(&[("config", "nowhere.toml")]).unwrap_err();
    assert_eq!(refusals.0.len(), 1, "nothing is said about what the file may have held: {refusals}");
    assert!(refusals.to_string().starts_with("the configuration file nowhere.toml can't be read: No such file"));
}

#[test]
fn all_refusals_come_at_once() {
    let refusals = load(&[("heartbeat", "x"), ("io", "x")]).unwrap_err().0;
    assert_eq!(refusals.len(), 4, "both values, the missing resource, nobody: {refusals:?}");
}

#[test]
fn a_tail_smaller_than_an_event_is_warned_about() {
    let config = safe(&[("tail-bytes", "64KiB")]).unwrap();
    assert!(config.warnings[0].contains("raise --tail-bytes or lower --max-body-bytes"), "{:?}", config.warnings);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    assert!(!format!("{:?}", safe(&[]).unwrap().issuers).contains(SECRET));
    assert!(!format!("{:?}", safe(&[]).unwrap()).contains(SECRET));
}
