//! What the environment says: `CINNABAR_*`, and the `MERCURE_*` names that have a meaning here.

use super::layer::{self, Layer, Said, Source};
use super::nearest::nearest;
use super::refusal::Refusal;
use super::setting::{ENV_PREFIX, SETTINGS};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables of the client commands; a hub started from the same shell must not stumble over them.
const CLIENT_VARIABLES: &[&str] = &["CINNABAR_URL", "CINNABAR_TOKEN", "CINNABAR_KEY", "CINNABAR_KEY_FILE"];

/// What was found in the environment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Environment {
    /// The settings it names.
    pub(super) layer: Layer,
    /// What can't stand.
    pub(super) refusals: Vec<Refusal>,
    /// What has no meaning here and is worth a word.
    pub(super) warnings: Vec<String>,
}

/// Reads variables as settings. An empty variable counts as unset, as `NAME=` in a compose file means.
pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    let mut found = Environment::default();
    let mut texts = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX) || name.starts_with("MERCURE_"))
        else {
            continue;
        };
        if value.is_empty() {
            continue;
        }
        match value.into_string() {
            Ok(value) => _ = texts.insert(name.to_owned(), value),
            Err(_) => found.refusals.push(Refusal::VariableNotUtf8 { name: name.to_owned() }),
        }
    }
    // Ours beats the reference's where both are set.
    for setting in SETTINGS {
        let own = texts.remove_entry(&setting.env());
        let theirs = setting.mercure_env.and_then(|name| texts.remove_entry(name));
        if let Some((name, value)) = own.or(theirs) {
            let words = layer::words(setting, &value);
            found.layer.insert(setting.name, Said { words, source: Source::Environment(name) });
        }
    }
    for (name, value) in texts {
        if name.starts_with("MERCURE_") {
            found.warnings.push(format!("{name} has no meaning here and is ignored"));
        } else if !CLIENT_VARIABLES.contains(&name.as_str()) && !is_service_link(&name, &value) {
            let known: Vec<String> = SETTINGS.iter().map(|setting| setting.env()).collect();
            let nearest = nearest(&name, known.iter().map(String::as_str));
            found.refusals.push(Refusal::UnknownVariable { name, nearest });
        }
    }
    found
}

/// Kubernetes gives every container variables named after the services beside it; with a service called `cinnabar`
/// (or `cinnabar-…`) they begin with our prefix and nobody wrote them.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let port_part = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        let port = parts.next().is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        port && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || port_part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Environment {
        read(pairs.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn words<'a>(found: &'a Environment, name: &str) -> &'a [String] {
        &found.layer[name].words
    }

    #[test]
    fn own_names_beat_those_of_the_reference() {
        let pairs = [("MERCURE_PUBLISHER_JWT_KEY", "theirs"), ("CINNABAR_PUBLISHER_JWT_KEY", "ours")];
        let found = read_pairs(&pairs);
        assert_eq!(words(&found, "publisher-jwt-key"), ["ours"]);
        let found = read_pairs(&pairs[..1]);
        assert_eq!(words(&found, "publisher-jwt-key"), ["theirs"]);
        assert_eq!(
            found.layer["publisher-jwt-key"].source,
            Source::Environment("MERCURE_PUBLISHER_JWT_KEY".to_owned())
        );
    }

    #[test]
    fn every_name_of_the_reference_that_has_a_meaning_is_read() {
        let found = read_pairs(&[
            ("MERCURE_TRUSTED_ISSUERS", "https://a.example  https://b.example"),
            ("MERCURE_PUBLISHER_JWT_KEY", "p"),
            ("MERCURE_PUBLISHER_JWT_ALG", "HS512"),
            ("MERCURE_SUBSCRIBER_JWT_KEY", "s"),
            ("MERCURE_SUBSCRIBER_JWT_ALG", "HS384"),
            ("MERCURE_EXTRA_DIRECTIVES", "anonymous"),
        ]);
        assert_eq!(words(&found, "issuer"), ["https://a.example", "https://b.example"]);
        assert_eq!(words(&found, "publisher-jwt-alg"), ["HS512"]);
        assert_eq!(words(&found, "subscriber-jwt-key"), ["s"]);
        assert_eq!(words(&found, "subscriber-jwt-alg"), ["HS384"]);
        assert_eq!(found.warnings, ["MERCURE_EXTRA_DIRECTIVES has no meaning here and is ignored"]);
        assert_eq!(found.refusals, []);
    }

    #[test]
    fn repeatable_settings_are_separated_by_spaces() {
        let found = read_pairs(&[("CINNABAR_CORS_ORIGIN", "https://a.example https://b.example")]);
        assert_eq!(words(&found, "cors-origin"), ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_name() {
        let found = read_pairs(&[("CINNABAR_HARTBEAT", "1s")]);
        assert_eq!(
            found.refusals[0].to_string(),
            "the environment has CINNABAR_HARTBEAT, which isn't known; did you mean `CINNABAR_HEARTBEAT`?; \
             unset it if it is meant for something else"
        );
    }

    #[test]
    fn empty_foreign_and_client_variables_are_left_alone() {
        let found = read_pairs(&[
            ("CINNABAR_HEARTBEAT", ""),
            ("MERCURE_PUBLISHER_JWT_KEY", ""),
            ("CINNABAR_TOKEN", "t"),
            ("CINNABAR_URL", "u"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(found, Environment::default());
    }

    /// A hub behind a Kubernetes service of its own name must start.
    #[test]
    fn service_links_of_kubernetes_are_no_settings() {
        let found = read_pairs(&[
            ("CINNABAR_SERVICE_HOST", "10.0.0.1"),
            ("CINNABAR_SERVICE_PORT", "80"),
            ("CINNABAR_SERVICE_PORT_HTTP", "80"),
            ("CINNABAR_PORT", "tcp://10.0.0.1:80"),
            ("CINNABAR_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("CINNABAR_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("CINNABAR_METRICS_SERVICE_HOST", "10.0.0.2"),
        ]);
        assert_eq!(found, Environment::default());
        assert_eq!(read_pairs(&[("CINNABAR_PORT", "3000")]).refusals.len(), 1);
    }
}
