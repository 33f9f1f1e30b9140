//! What the hub says of itself in public: the hosts it answers to, and the authorization servers it names.

use super::file::IssuerTable;
use super::layer::{Resolved, Source};
use super::refusal::Refusal;
use super::value::{parse_public_url, without_credentials};
use crate::http::authority;
use crate::http::host_list::HostList;
use crate::protocol::topic::HubUrl;
use url::{Position, Url};

/// The hosts of `--public-url`; a warning where the hub's own isn't among them.
pub(super) fn public_hosts(
    resolved: &Resolved,
    hub: &HubUrl,
    dev: bool,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> HostList {
    let place = || resolved.place("public-url");
    let mut urls = Vec::new();
    for word in &resolved.said("public-url").words {
        match parse_public_url(word, hub) {
            Ok(url) => urls.push(url),
            Err(why) => {
                refusals.push(Refusal::Value { place: place(), value: without_credentials(word), why: why.to_owned() })
            }
        }
    }
    let hosts = HostList::of_urls(&urls);
    let own = &hub.url()[Position::BeforeHost..Position::AfterPort];
    let answered = hosts.allows(own) || (dev && authority::is_loopback(own));
    if !hosts.is_empty() && !answered {
        warnings.push(format!(
            "{} doesn't name {own}, the host of the resource: requests for it are answered 421",
            place()
        ));
    }
    hosts
}

/// The issuers that the metadata names, so that clients can find out where tokens are to be had (RFC 9728).
pub(super) fn authorization_servers(
    resolved: &Resolved,
    switch: bool,
    tables: &[IssuerTable],
    refusals: &mut Vec<Refusal>,
) -> Vec<String> {
    let said = resolved.said("issuer");
    let by_table = !tables.is_empty() && matches!(said.source, Source::File(_));
    let place = || resolved.place("authorization-server");
    let mut refuse = |why: &str| {
        refusals.push(Refusal::Value { place: place(), value: "true".to_owned(), why: why.to_owned() });
        Vec::new()
    };
    let servers: Vec<String> = match (by_table, switch) {
        (true, true) => {
            return refuse(
                "would name every issuer: with [[issuer]] tables write `authorization_server = true` into those to be named",
            );
        }
        (true, false) => {
            tables.iter().filter(|table| table.authorization_server).map(|table| table.id.clone()).collect()
        }
        (false, true) => said.words.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned).collect(),
        (false, false) => return Vec::new(),
    };
    if switch && servers.is_empty() {
        return refuse("names the trusted issuers in public, and there are none: add `--issuer`");
    }
    for issuer in servers.iter().filter(|issuer| !is_server(issuer)) {
        refusals.push(Refusal::AuthorizationServer { issuer: issuer.clone() });
    }
    servers
}

/// RFC 8414 §2: an `https` URL without query and fragment. On this machine `http` will do, for trying things out.
fn is_server(issuer: &str) -> bool {
    Url::parse(issuer).is_ok_and(|url| {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && authority::is_loopback(host));
        scheme_fits && url.query().is_none() && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::is_server;
    use crate::config::{Config, Refusals, flags};

    const RESOURCE: &str = "https://hub.example/.well-known/mercure";

    fn load(given: &[(&'static str, &str)]) -> Result<Config, Refusals> {
        let all = [("resource", RESOURCE), ("anonymous", "true")].into_iter().chain(given.iter().copied());
        Config::load(flags(all.map(|(name, word)| (name, vec![word.to_owned()]))), [])
    }

    fn sentence(given: &[(&'static str, &str)]) -> String {
        load(given).unwrap_err().to_string()
    }

    #[test]
    fn public_urls_are_hosts_with_the_hubs_path_or_none() {
        for url in ["https://hub.example", "https://hub.example/", RESOURCE] {
            let config = load(&[("public-url", url)]).unwrap();
            assert!(config.public_hosts.allows("hub.example") && !config.public_hosts.allows("other.example"));
            assert_eq!(config.warnings.iter().filter(|warning| warning.contains("421")).count(), 0);
        }
        assert!(load(&[]).unwrap().public_hosts.is_empty());
        for url in ["hub.example", "ftp://hub.example", "https://hub.example/x", "https://hub.example?x"] {
            assert!(sentence(&[("public-url", url)]).starts_with(&format!("`--public-url` is `{url}`, which ")));
        }
        assert!(!sentence(&[("public-url", "https://me:secret@hub.example")]).contains("secret"));
    }

    #[test]
    fn a_resource_elsewhere_is_worth_a_warning() {
        let warned = |config: Config| config.warnings.iter().any(|warning| warning.contains("answered 421"));
        assert!(warned(load(&[("public-url", "http://inside:3000")]).unwrap()));
        // Development mode answers loopback names besides.
        let dev =
            [("dev", "true"), ("public-url", "https://tunnel.example")].map(|(name, word)| (name, vec![word.into()]));
        assert!(!warned(Config::load(flags(dev), []).unwrap()));
    }

    #[test]
    fn only_urls_are_authorization_servers() {
        for issuer in ["https://login.example", "https://login.example/realms/a", "http://localhost:8080/realms/a"] {
            assert!(is_server(issuer), "{issuer}");
        }
        for issuer in ["app", "http://login.example", "https://login.example?x", "https://login.example#x", "urn:x"] {
            assert!(!is_server(issuer), "{issuer}");
        }
    }

    #[test]
    fn issuers_are_named_only_when_asked_for() {
        let key = ("publisher-jwt-key", "a secret of more than thirty-two bytes");
        let issuers = ("issuer", "https://a.example https://b.example");
        assert!(load(&[issuers, key]).unwrap().authorization_servers.is_empty());
        let named = load(&[issuers, key, ("authorization-server", "true")]).unwrap().authorization_servers;
        assert_eq!(named, ["https://a.example", "https://b.example"]);
        assert!(sentence(&[("authorization-server", "true")]).contains("add `--issuer`"));
        let text = sentence(&[("issuer", "app"), key, ("authorization-server", "true")]);
        assert_eq!(
            text,
            "the issuer `app` can't be named as an authorization server: its `iss` isn't an https URL without query and fragment"
        );
    }
}
