//! What the hub says about itself so that others find it and learn how to get in: the `Link` on its answers, and its
//! protected-resource metadata (RFC 9728). Made once.

use serde_json::json;
use url::Position;

use crate::config::Config;
use crate::protocol::grants::DETAIL_TYPE;
use crate::protocol::topic::HubUrl;

/// What stands before the path of a resource in the path of its metadata (RFC 9728 §3.1).
const METADATA_PREFIX: &str = "/.well-known/oauth-protected-resource";

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovery {
    /// The value of `Link` on the hub's own answers. Its target is relative, so that it holds behind every proxy.
    pub(crate) link: String,
    /// There is none where there are no tokens.
    pub(crate) metadata: Option<Metadata>,
}

/// The metadata document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Where it is on this server.
    pub(crate) path: String,
    /// Where it is in public: what challenges name.
    pub(crate) url: String,
    /// The document.
    pub(crate) document: String,
}

impl Discovery {
    /// What this configuration says. Tokens are configured when an issuer is trusted.
    pub(crate) fn new(config: &Config) -> Discovery {
        let path = config.hub_url.path();
        let metadata = (!config.issuers.is_empty()).then(|| {
            let path = format!("{METADATA_PREFIX}{path}");
            Metadata { url: format!("{}{path}", origin(&config.hub_url)), path, document: document(config) }
        });
        Discovery { link: format!("<{path}>; rel=\"mercure\""), metadata }
    }
}

/// `https://hub.example`: what stands before the path.
fn origin(hub: &HubUrl) -> &str {
    &hub.url()[..Position::BeforePath]
}

fn document(config: &Config) -> String {
    let mut document = json!({
        "resource": config.resource,
        "bearer_methods_supported": ["header"],
        "authorization_details_types_supported": [DETAIL_TYPE],
        "mercure_cookie": config.cookie_name,
    });
    if !config.authorization_servers.is_empty() {
        document["authorization_servers"] = config.authorization_servers.clone().into();
    }
    if config.subscriptions {
        document["mercure_subscriptions"] = true.into();
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::flags;

    fn discovery(given: &[(&'static str, &str)]) -> Discovery {
        let given = given.iter().map(|(name, word)| (*name, vec![(*word).to_owned()]));
        Discovery::new(&Config::load(flags(given), []).unwrap())
    }

    const KEYED: [(&str, &str); 2] =
        [("issuer", "https://app.example"), ("publisher-jwt-key", "a secret of more than thirty-two bytes")];

    #[test]
    fn everything_follows_the_path_of_the_resource() {
        let found = discovery(&[KEYED[0], KEYED[1], ("resource", "https://hub.example:8443/live/events")]);
        assert_eq!(found.link, "</live/events>; rel=\"mercure\"");
        let metadata = found.metadata.unwrap();
        assert_eq!(metadata.path, "/.well-known/oauth-protected-resource/live/events");
        assert_eq!(metadata.url, "https://hub.example:8443/.well-known/oauth-protected-resource/live/events");
        let document: Value = serde_json::from_str(&metadata.document).unwrap();
        assert_eq!(document["resource"], "https://hub.example:8443/live/events");
    }

    #[test]
    fn what_is_off_is_left_out() {
        let resource = ("resource", "https://hub.example/.well-known/mercure");
        let document = |extra: &[(&'static str, &str)]| -> Value {
            let found = discovery(&[&[resource, KEYED[0], KEYED[1]], extra].concat());
            serde_json::from_str(&found.metadata.unwrap().document).unwrap()
        };
        let expected = json!({
            "resource": "https://hub.example/.well-known/mercure",
            "bearer_methods_supported": ["header"],
            "authorization_details_types_supported": ["https://mercure.rocks/authorization-detail"],
            "mercure_cookie": "__Secure-mercure_access_token",
        });
        assert_eq!(document(&[]), expected);
        let more =
            document(&[("authorization-server", "true"), ("subscriptions", "true"), ("cookie-name", "own_cookie")]);
        assert_eq!(more["authorization_servers"], json!(["https://app.example"]));
        assert_eq!(more["mercure_subscriptions"], json!(true));
        assert_eq!(more["mercure_cookie"], json!("own_cookie"));
        assert_eq!(discovery(&[resource, ("anonymous", "true")]).metadata, None);
    }
}
