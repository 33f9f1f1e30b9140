//! Whoever comes without TLS to a place that is for sending on: told where the same is to be had with TLS.

use super::refusal::refusal;
use crate::http::authority;
use crate::http::head::Head;
use crate::http::response::ResponseHead;
use crate::server::settings::Settings;

/// The port that URLs with `https` needn't name.
const USUAL_PORT: u16 = 443;

/// 308 to the same path of the same host, with `https` and the port where TLS is spoken (RFC 9110 §15.4.9): method and body stay what they
/// are. The host is one of the hub's names where it has a list of them.
pub(super) fn redirect(settings: &Settings, head: &Head<'_>) -> ResponseHead {
    let Some((host, _)) = head.host.and_then(authority::split) else {
        return refusal(400, "the request names no host, so there is nowhere to send it on to");
    };
    // The port is the one without TLS, or whatever a proxy made of it.
    let names = &settings.public_hosts;
    let known = names.has_name(host) || names.is_empty() && (!settings.dev || authority::is_loopback(host));
    if !known {
        return refusal(421, "the hub has no such host name; the operator lists its names with --public-url");
    }
    if !head.path.starts_with('/') {
        return refusal(400, "only a path can be sent on to where TLS is spoken");
    }
    let port = match settings.redirect_port {
        USUAL_PORT => String::new(),
        port => format!(":{port}"),
    };
    let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
    ResponseHead::new(308).field("Location", format!("https://{host}{port}{}{query}", head.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, flags};
    use crate::http::head::{HeadLimits, HeadStatus, parse};

    fn settings(more: &[(&'static str, &str)]) -> Settings {
        let given = [("resource", "https://hub.example/.well-known/mercure"), ("anonymous", "true")];
        let given = given.iter().chain(more).map(|&(name, word)| (name, vec![word.to_owned()]));
        let listen = ["redirect:127.0.0.1:0", "127.0.0.1:0"].map(str::to_owned).to_vec();
        let config = Config::load(flags(given.chain([("listen", listen)])), []).unwrap();
        Settings::new(&config)
    }

    fn answer(settings: &Settings, request: &str) -> (u16, Option<String>) {
        let raw = format!("{request}\r\n\r\n");
        let Ok(HeadStatus::Complete(head)) = parse(raw.as_bytes(), &HeadLimits::default()) else {
            panic!("no head: {raw:?}")
        };
        let answer = redirect(settings, &head);
        let mut bytes = Vec::new();
        answer.encode(head.version, false, false, "", &mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let location = text.lines().find_map(|line| line.strip_prefix("Location: ")).map(str::to_owned);
        (answer.status(), location)
    }

    #[test]
    fn the_same_path_of_the_same_host_with_tls() {
        let settings = settings(&[("redirect-to-port", "8443")]);
        for (request, location) in [
            ("GET /a?b=c&d HTTP/1.1\r\nHost: hub.example", "https://hub.example:8443/a?b=c&d"),
            ("POST / HTTP/1.1\r\nHost: hub.example:8080\r\nContent-Length: 0", "https://hub.example:8443/"),
            ("GET /? HTTP/1.1\r\nHost: [::1]:80", "https://[::1]:8443/?"),
            ("GET http://hub.example/x HTTP/1.1\r\nHost: hub.example", "https://hub.example:8443/x"),
            ("GET //evil.example/x HTTP/1.1\r\nHost: hub.example", "https://hub.example:8443//evil.example/x"),
        ] {
            assert_eq!(answer(&settings, request), (308, Some(location.to_owned())), "{request}");
        }
    }

    #[test]
    fn the_usual_port_is_not_named_and_what_has_no_host_or_path_is_refused() {
        let settings = settings(&[("redirect-to-port", "443")]);
        assert_eq!(answer(&settings, "GET /a HTTP/1.1\r\nHost: h:80").1.as_deref(), Some("https://h/a"));
        assert_eq!(answer(&settings, "GET /a HTTP/1.0").0, 400);
        assert_eq!(answer(&settings, "OPTIONS * HTTP/1.1\r\nHost: h").0, 400);
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_is_none_of_the_hubs_names() {
        let settings = settings(&[("redirect-to-port", "443"), ("public-url", "https://hub.example")]);
        assert_eq!(answer(&settings, "GET /a HTTP/1.1\r\nHost: evil.example").0, 421);
        let listed = answer(&settings, "GET /a HTTP/1.1\r\nHost: hub.example");
        assert_eq!(listed, (308, Some("https://hub.example/a".to_owned())));
        assert_eq!(answer(&settings, "GET /a HTTP/1.1\r\nHost: Hub.Example:8080").0, 308, "the port is another one");
    }
}
