//! The cluster a hub belongs to: which engine, where it is, and what opens it.

use super::issuer::Secret;
use super::layer::{Resolved, Said};
use super::refusal::Refusal;
use super::value::without_credentials;
use crate::cluster::Address;
use percent_encoding::percent_decode_str;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Characters of a cluster's name at most.
const NAME_CHARS_MAX: usize = 32;

/// The engine that joins hubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Redis, or Valkey.
    Redis,
    /// NATS with JetStream.
    Nats,
    /// PostgreSQL.
    Postgres,
}

/// What a hub of a cluster is told.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Which engine.
    pub engine: EngineKind,
    /// Where it is and how to get in.
    pub address: Address,
    /// After so long a silence a hub is taken for dead by the others.
    pub lease: Duration,
}

/// Takes the password out of the URL of `--cluster`, so that nothing that shows the configuration can show it.
pub(super) fn hide_password(resolved: &mut Resolved, refusals: &mut Vec<Refusal>) -> Option<Secret> {
    let place = resolved.place("cluster");
    let word = resolved.word("cluster")?.to_owned();
    let mut refuse = |resolved: &mut Resolved, why: &str| {
        let value = without_credentials(word.split(['?', '#']).next().unwrap_or_default());
        refusals.push(Refusal::Value { place: place.clone(), value, why: why.to_owned() });
        resolved.unset("cluster");
    };
    let Some(mut url) = Url::parse(&word).ok().filter(|url| !url.cannot_be_a_base()) else {
        refuse(resolved, "isn't a URL: write one such as redis://10.0.0.5:6379, nats://… or postgres://…");
        return None;
    };
    if url.query_pairs().any(|(name, _)| matches!(&*name.to_ascii_lowercase(), "password" | "pass" | "sslpassword")) {
        refuse(resolved, "has a password in its query: give it by CINNABAR_CLUSTER_PASSWORD instead");
        return None;
    }
    let said = ["cluster-password", "cluster-password-file", "cluster-credentials"];
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    // As NATS has it: where there is no password, what looks like a user is a token.
    let has_token = matches!(url.scheme(), "nats" | "tls") && url.password().is_none();
    let token = (has_token && !said.iter().any(|name| resolved.is_set(name))).then(|| decoded(url.username()));
    let token = token.filter(|token| !token.is_empty());
    let password = token.clone().or(url.password().map(decoded));
    if password.is_some() {
        // A URL that had them can lose them.
        let _ = url.set_password(None);
        if token.is_some() {
            let _ = url.set_username("");
        }
        resolved.replace("cluster", url.to_string());
        if resolved.is_set("cluster-password") {
            refuse(resolved, "has a password, and --cluster-password is another one: leave one");
        }
    }
    password.map(Secret::new)
}

impl Cluster {
    /// What was said about the cluster, if there is one. `password` stood in the URL.
    pub(super) fn read(
        resolved: &Resolved,
        password: Option<Secret>,
        lease: Duration,
        refusals: &mut Vec<Refusal>,
    ) -> Option<Cluster> {
        let word = |name: &str| resolved.word(name).map(str::to_owned);
        let path = |name: &str| resolved.word(name).map(PathBuf::from);
        let value = |name: &'static str, why: &str| Refusal::Value {
            place: resolved.place(name),
            value: without_credentials(resolved.word(name).unwrap_or_default()),
            why: why.to_owned(),
        };
        let name = word("cluster-name").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
            refusals.push(value("cluster-name", "isn't a name: use up to 32 letters, digits and `_`"));
        }
        let url = word("cluster")?;
        // What can't be read has been refused already.
        let url = Url::parse(&url).ok()?;
        let engine = match url.scheme() {
            "redis" | "rediss" => EngineKind::Redis,
            "nats" | "tls" => EngineKind::Nats,
            "postgres" | "postgresql" => EngineKind::Postgres,
            _ => {
                let why = "names no engine: it begins with redis:, rediss:, nats:, tls: or postgres:";
                refusals.push(value("cluster", why));
                return None;
            }
        };
        let certificate = match (path("cluster-certificate"), path("cluster-key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                refusals.push(value("cluster-certificate", "is of no use without its key: add --cluster-key"));
                None
            }
            (None, Some(_)) => {
                refusals.push(value("cluster-key", "is of no use without the certificate: add --cluster-certificate"));
                None
            }
        };
        let credentials = path("cluster-credentials");
        if credentials.is_some() && engine != EngineKind::Nats {
            refusals.push(value("cluster-credentials", "is for NATS: use --cluster-user and --cluster-password"));
        }
        if url.scheme() == "redis" {
            for name in ["cluster-ca", "cluster-certificate"].into_iter().filter(|name| resolved.is_set(name)) {
                refusals.push(value(name, "is for TLS, which `redis:` is without: write `rediss:`"));
            }
        }
        for name in ["history", "history-durability"] {
            if resolved.is_set(name) {
                refusals
                    .push(value(name, "can't be chosen in a cluster, whose engine keeps the history: leave it out"));
            }
        }
        let said = word("cluster-password").or(password.map(|password| password.expose().to_owned()));
        let password = match (said, path("cluster-password-file")) {
            (Some(_), Some(_)) => {
                refusals.push(value("cluster-password-file", "isn't the only password that is given: leave one"));
                None
            }
            (None, Some(file)) => match fs::read_to_string(&file) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    refusals.push(value("cluster-password-file", &format!("can't be read: {error}")));
                    None
                }
            },
            (said, None) => said,
        };
        let address = Address {
            url,
            name,
            user: word("cluster-user"),
            password,
            credentials,
            ca: path("cluster-ca"),
            certificate,
        };
        Some(Cluster { engine, address, lease })
    }
}

impl Resolved {
    fn unset(&mut self, name: &'static str) {
        self.change(name, |said| said.words.clear());
    }

    fn replace(&mut self, name: &'static str, word: String) {
        self.change(name, |said: &mut Said| said.words = vec![word]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, HistoryEngine, flags};
    use super::*;

    fn load(given: &[(&'static str, &str)]) -> Result<Config, String> {
        let fixed = [("resource", "https://hub.example/.well-known/mercure"), ("anonymous", "true")];
        let all = fixed.iter().chain(given).map(|&(name, word)| (name, vec![word.to_owned()]));
        Config::load(flags(all), []).map_err(|refusals| refusals.to_string())
    }

    #[test]
    fn the_scheme_chooses_the_engine_which_keeps_the_history() {
        for (url, engine) in [
            ("redis://127.0.0.1:6379", EngineKind::Redis),
            ("rediss://r.example", EngineKind::Redis),
            ("nats://a:4222", EngineKind::Nats),
            ("tls://a:4222", EngineKind::Nats),
            ("postgres://u@db/x?sslmode=disable", EngineKind::Postgres),
            ("postgresql://db", EngineKind::Postgres),
        ] {
            let config = load(&[("cluster", url), ("data", "none")]).unwrap();
            assert_eq!(config.history.engine, HistoryEngine::Cluster);
            let cluster = config.cluster.unwrap();
            assert_eq!((cluster.engine, cluster.address.name.as_str()), (engine, "cinnabar"), "{url}");
        }
        assert!(load(&[]).unwrap().cluster.is_none());
    }

    #[test]
    fn a_password_in_the_url_is_used_and_never_shown() {
        let config = load(&[("cluster", "redis://u:s3cr%20t@r.example:1/0")]).unwrap();
        assert!(!config.table().contains("s3cr") && config.table().contains("redis://u@r.example:1/0"));
        assert!(!format!("{config:?}").contains("s3cr"));
        assert_eq!(config.cluster.unwrap().address.password.as_deref(), Some("s3cr t"));
        let config = load(&[("cluster", "nats://n"), ("cluster-password", "s3cret")]).unwrap();
        assert!(!config.table().contains("s3cret"));
        assert_eq!(config.cluster.unwrap().address.password.as_deref(), Some("s3cret"));
    }

    #[test]
    fn a_token_of_nats_in_the_url_is_a_secret_too() {
        let config = load(&[("cluster", "nats://s3cret@n.example")]).unwrap();
        assert!(!format!("{} {config:?}", config.table()).contains("s3cret"));
        let address = config.cluster.unwrap().address;
        assert_eq!((address.password.as_deref(), address.url.username()), (Some("s3cret"), ""));
        let config = load(&[("cluster", "nats://hub@n.example"), ("cluster-password", "s3cret")]).unwrap();
        assert_eq!(config.cluster.unwrap().address.url.username(), "hub");
    }

    #[test]
    fn a_password_may_stand_in_a_file_that_ends_with_a_line_break() {
        let path = crate::config::data_folder::scratch("password");
        fs::write(&path, "s3cr t\n").unwrap();
        let file = path.to_str().unwrap();
        let config = load(&[("cluster", "redis://u@r.example"), ("cluster-password-file", file)]).unwrap();
        assert!(!format!("{config:?}").contains("s3cr"));
        assert_eq!(config.cluster.unwrap().address.password.as_deref(), Some("s3cr t"));
        let both = [("cluster", "redis://a"), ("cluster-password", "s3cret"), ("cluster-password-file", file)];
        let refused = load(&both).expect_err("two passwords");
        assert!(refused.contains("leave one") && !refused.contains("s3cret"), "{refused}");
        fs::remove_file(&path).unwrap();
        let refused = load(&[("cluster", "redis://a"), ("cluster-password-file", "nowhere")]).expect_err("no file");
        assert!(refused.contains("nowhere") && refused.contains("can't be read"), "{refused}");
    }

    #[test]
    fn what_cannot_be_is_refused_without_the_secret() {
        for (given, sentence) in [
            (&[("cluster", "redis://u:s3cret@a"), ("cluster-password", "other")][..], "leave one"),
            (&[("cluster", "postgres://a/b?password=s3cret")], "has a password in its query"),
            (&[("cluster", "u:s3cret@a")], "isn't a URL"),
            (&[("cluster", "//u:s3cret@a")], "isn't a URL"),
            (&[("cluster", "mysql://u:s3cret@a")], "names no engine"),
            (&[("cluster", "redis://a"), ("cluster-name", "a b")], "isn't a name"),
            (&[("cluster", "redis://a"), ("cluster-key", "k")], "add --cluster-certificate"),
            (&[("cluster", "redis://a"), ("cluster-certificate", "k")], "add --cluster-key"),
            (&[("cluster", "redis://a"), ("cluster-ca", "k")], "write `rediss:`"),
            (&[("cluster", "redis:u:s3cret@a")], "isn't a URL"),
            (&[("cluster", "redis://a"), ("cluster-credentials", "k")], "is for NATS"),
            (&[("cluster", "redis://a"), ("history", "memory")], "whose engine keeps the history"),
            (&[("cluster", "redis://a"), ("history-durability", "fsync")], "whose engine keeps the history"),
        ] {
            let refused = load(given).expect_err(sentence);
            assert!(refused.contains(sentence) && !refused.contains("s3cret"), "{given:?}: {refused}");
        }
    }
}
