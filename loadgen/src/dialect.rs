//! How a kind of server is spoken to: what a subscription and a publish look like on the wire.

use std::io;
use std::net::TcpStream;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::target::{Target, percent_encoded};
use crate::tls::{Trust, Wire};
use crate::token::{Claims, Issuer};

/// The kinds of servers this program knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Preset {
    /// This hub
    #[default]
    Cinnabar,
    /// A Mercure 1.0 hub
    #[value(name = "mercure-1")]
    Mercure1,
    /// A Mercure hub before 1.0: `topic=`, the `mercure` claim
    #[value(name = "mercure-0")]
    Mercure0,
    /// Centrifugo: unidirectional SSE and the HTTP API
    CentrifugoSse,
    /// nchan with `/sub?id=` and `/pub?id=`, as this program configures it
    Nchan,
    /// Any server, by --subscribe-url, --publish-url and --publish-body
    Plain,
}

/// The templates of a plain server. `{topic}` is percent-encoded, `{topics}` all of them with commas between,
/// `{topic:raw}` as it is; `{data}` is the event's data, `{data:form}` the same in a form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain {
    /// Path and query of a subscription.
    pub(crate) subscribe: String,
    /// Path and query of a publish.
    pub(crate) publish: String,
    /// The body of a publish.
    pub(crate) body: String,
    /// Its media type.
    pub(crate) media_type: String,
}

/// Whose tokens subscribers present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenUse {
    /// None.
    #[default]
    None,
    /// All the same.
    Shared,
    /// Each one of its own, for its topics only.
    Own,
}

/// What a subscriber asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) topics: &'a [String],
    pub(crate) token: Option<&'a str>,
    /// The id to go on after.
    pub(crate) last_id: Option<&'a [u8]>,
    /// The content coding to ask for.
    pub(crate) encoding: Option<&'a str>,
}

/// A publish to one topic without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    /// The request's head, without the length of the body and the blank line.
    head: String,
    before: String,
    after: String,
    form: bool,
}

impl Publish {
    /// The bytes around data of a size, and how a space and an equals sign are written in between.
    pub(crate) fn around(&self, size: usize) -> (Vec<u8>, &[u8], &'static str, &'static str) {
        let (space, equals) = if self.form { ("+", "%3D") } else { (" ", "=") };
        // The data has three equals signs.
        let length = self.before.len() + size + 3 * (equals.len() - 1) + self.after.len();
        let before = format!("{}Content-Length: {length}\r\n\r\n{}", self.head, self.before);
        (before.into_bytes(), self.after.as_bytes(), space, equals)
    }
}

/// A server, and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    pub(crate) preset: Preset,
    pub(crate) target: Target,
    pub(crate) plain: Plain,
    /// How TLS is spoken, where it is.
    pub(crate) trust: Option<Trust>,
    /// Who makes tokens for subscribers.
    pub(crate) issuer: Option<Issuer>,
    /// What publishers present: a bearer token, or an API key at Centrifugo.
    pub(crate) publish_token: Option<String>,
}

impl Dialect {
    /// What is spoken over this socket, whose connection may be under way still. A subscriber's sends one request.
    pub(crate) fn wire(&self, socket: TcpStream, subscribes: bool) -> io::Result<Wire> {
        match &self.trust {
            None => Ok(Wire::Plain(socket)),
            Some(trust) => Ok(Wire::tls(socket, trust.session()?, subscribes)),
        }
    }

    /// The claims of this kind of server's tokens.
    pub(crate) fn claims(preset: Preset) -> Claims {
        match preset {
            Preset::Mercure0 => Claims::Mercure0,
            Preset::CentrifugoSse => Claims::Centrifugo,
            _ => Claims::Mercure1,
        }
    }

    /// The token of the `n`th subscriber, who asks for these topics.
    pub(crate) fn subscriber_token(&self, kind: TokenUse, topics: &[String], n: usize) -> Option<String> {
        let issuer = self.issuer.as_ref()?;
        // Centrifugo's tokens name the channels, whoever has them.
        let all = ["*".to_owned()];
        let shared = if self.preset == Preset::CentrifugoSse { topics } else { &all };
        match kind {
            TokenUse::None => None,
            TokenUse::Shared => Some(issuer.mint("subscribe", shared, "everybody")),
            TokenUse::Own => Some(issuer.mint("subscribe", topics, &format!("somebody {n}"))),
        }
    }

    /// The request of a subscriber.
    pub(crate) fn subscribe(&self, ask: Ask<'_>) -> Vec<u8> {
        let encoded: Vec<String> = ask.topics.iter().map(|topic| percent_encoded(topic)).collect();
        let parameters =
            |name: &str| encoded.iter().map(|topic| format!("{name}={topic}")).collect::<Vec<_>>().join("&");
        let path = &self.target.path;
        let (target, bearer) = match self.preset {
            Preset::Cinnabar | Preset::Mercure1 => (format!("{path}?{}", parameters("match")), ask.token),
            Preset::Mercure0 => (format!("{path}?{}", parameters("topic")), ask.token),
            Preset::CentrifugoSse => {
                let connect = match ask.token {
                    Some(token) => json!({"token": token}),
                    None => {
                        let subs: serde_json::Map<_, _> =
                            ask.topics.iter().map(|topic| (topic.clone(), json!({}))).collect();
                        json!({"subs": subs})
                    }
                };
                let connect = percent_encoded(&connect.to_string());
                (format!("/connection/uni_sse?cf_connect={connect}"), None)
            }
            Preset::Nchan => (format!("/sub?id={}", encoded.join(",")), None),
            Preset::Plain => {
                let first = ask.topics.first().map_or("", String::as_str);
                (fill(&self.plain.subscribe, first).replace("{topics}", &encoded.join(",")), ask.token)
            }
        };
        let mut request =
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n", self.target.authority);
        if let Some(encoding) = ask.encoding {
            request += &format!("Accept-Encoding: {encoding}\r\n");
        }
        if let Some(token) = bearer {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        let mut request = request.into_bytes();
        if let Some(id) = ask.last_id {
            request.extend_from_slice(b"Last-Event-ID: ");
            request.extend_from_slice(id);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    /// A publish to a topic.
    pub(crate) fn publish(&self, topic: &str) -> Publish {
        let encoded = percent_encoded(topic);
        let (target, media_type, before, after, form) = match self.preset {
            Preset::Cinnabar | Preset::Mercure1 | Preset::Mercure0 => {
                let before = format!("topic={encoded}&data=");
                (self.target.path.clone(), "application/x-www-form-urlencoded", before, String::new(), true)
            }
            Preset::CentrifugoSse => {
                let before = format!("{{\"channel\":{},\"data\":\"", json!(topic));
                ("/api/publish".to_owned(), "application/json", before, "\"}".to_owned(), false)
            }
            Preset::Nchan => (format!("/pub?id={encoded}"), "text/plain", String::new(), String::new(), false),
            Preset::Plain => {
                let (form, mark) =
                    if self.plain.body.contains("{data:form}") { (true, "{data:form}") } else { (false, "{data}") };
                let (before, after) = self.plain.body.split_once(mark).unwrap_or((&self.plain.body, ""));
                let target = fill(&self.plain.publish, topic);
                (target, self.plain.media_type.as_str(), fill(before, topic), fill(after, topic), form)
            }
        };
        let credentials = self.publish_token.as_deref().map_or_else(String::new, |token| match self.preset {
            Preset::CentrifugoSse => format!("X-API-Key: {token}\r\n"),
            _ => format!("Authorization: Bearer {token}\r\n"),
        });
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\n{credentials}Content-Type: {media_type}\r\n",
            self.target.authority
        );
        Publish { head, before, after, form }
    }

    /// Does the answer say that the event was accepted? nchan answers 201 where somebody listens and 202 where nobody
    /// does; Centrifugo answers 200 to what it refuses, with an `error`.
    pub(crate) fn accepts(&self, status: u16, body: &[u8]) -> bool {
        match self.preset {
            Preset::CentrifugoSse => status == 200 && memchr::memmem::find(body, b"\"error\"").is_none(),
            _ => (200..300).contains(&status),
        }
    }
}

fn fill(template: &str, topic: &str) -> String {
    template.replace("{topic}", &percent_encoded(topic)).replace("{topic:raw}", topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Number, Template};

    fn dialect(preset: Preset) -> Dialect {
        let plain = Plain {
            subscribe: "/events/{topic}?all={topics}".to_owned(),
            publish: "/send?to={topic}".to_owned(),
            body: "<{topic:raw}>{data}</>".to_owned(),
            media_type: "text/xml".to_owned(),
        };
        let target = Target::parse("http://127.0.0.1:3000/hub").expect("parses");
        Dialect { preset, target, plain, trust: None, issuer: None, publish_token: Some("secret".to_owned()) }
    }

    fn subscription(preset: Preset, token: Option<&str>, last_id: Option<&[u8]>, encoding: Option<&str>) -> String {
        let topics = ["a/1".to_owned(), "b".to_owned()];
        let request = dialect(preset).subscribe(Ask { topics: &topics, token, last_id, encoding });
        String::from_utf8(request).expect("text")
    }

    #[test]
    fn a_subscription_to_a_mercure_hub() {
        assert_eq!(
            subscription(Preset::Cinnabar, Some("t"), Some(b"urn:1"), Some("gzip")),
            "GET /hub?match=a%2F1&match=b HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nAccept: text/event-stream\r\n\
             Accept-Encoding: gzip\r\nAuthorization: Bearer t\r\nLast-Event-ID: urn:1\r\n\r\n"
        );
        assert_eq!(subscription(Preset::Mercure1, None, None, None), subscription(Preset::Cinnabar, None, None, None));
        assert!(
            subscription(Preset::Mercure0, Some("t"), None, None)
                .starts_with("GET /hub?topic=a%2F1&topic=b HTTP/1.1\r\n")
        );
    }

    #[test]
    fn a_subscription_to_others() {
        let line = |preset, token| subscription(preset, token, None, None).lines().next().unwrap_or("").to_owned();
        assert_eq!(line(Preset::Nchan, None), "GET /sub?id=a%2F1,b HTTP/1.1");
        assert_eq!(line(Preset::Plain, None), "GET /events/a%2F1?all=a%2F1,b HTTP/1.1");
        let connect = percent_encoded(r#"{"token":"t"}"#);
        assert_eq!(
            line(Preset::CentrifugoSse, Some("t")),
            format!("GET /connection/uni_sse?cf_connect={connect} HTTP/1.1")
        );
        let connect = percent_encoded(r#"{"subs":{"a/1":{},"b":{}}}"#);
        assert_eq!(line(Preset::CentrifugoSse, None), format!("GET /connection/uni_sse?cf_connect={connect} HTTP/1.1"));
        assert!(!subscription(Preset::CentrifugoSse, Some("t"), None, None).contains("Bearer"));
    }

    fn post(preset: Preset) -> String {
        let publish = dialect(preset).publish("a/1");
        let (before, after, space, equals) = publish.around(64);
        let mut template = Template::new(&before, 64, after, space, equals);
        String::from_utf8(template.fill(Number::new(0, 1), 7).to_vec()).expect("text")
    }

    #[test]
    fn the_length_of_a_publish_is_that_of_its_body() {
        for preset in [Preset::Cinnabar, Preset::Mercure0, Preset::CentrifugoSse, Preset::Nchan, Preset::Plain] {
            let request = post(preset);
            let (head, body) = request.split_once("\r\n\r\n").expect("a head");
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{preset:?}: {request}");
        }
    }

    #[test]
    fn a_publish_of_each_kind() {
        let data = format!("n={:016} t={:020} {} e=00000064", Number::new(0, 1).0, 7, "x".repeat(11));
        let form = data.replace(' ', "+").replace('=', "%3D");
        let ends = |preset, line: &str, body: &str| {
            let request = post(preset);
            assert!(request.starts_with(&format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n")), "{request}");
            assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
            request
        };
        let request = ends(Preset::Cinnabar, "POST /hub", &format!("topic=a%2F1&data={form}"));
        assert!(request.contains("\r\nAuthorization: Bearer secret\r\n"));
        ends(Preset::Nchan, "POST /pub?id=a%2F1", &data);
        ends(Preset::Plain, "POST /send?to=a%2F1", &format!("<a/1>{data}</>"));
        let request =
            ends(Preset::CentrifugoSse, "POST /api/publish", &format!(r#"{{"channel":"a/1","data":"{data}"}}"#));
        assert!(request.contains("\r\nX-API-Key: secret\r\n"));
    }

    #[test]
    fn what_counts_as_accepted() {
        assert!(dialect(Preset::Nchan).accepts(202, b""));
        assert!(!dialect(Preset::Cinnabar).accepts(401, b""));
        assert!(dialect(Preset::CentrifugoSse).accepts(200, br#"{"result":{}}"#));
        assert!(!dialect(Preset::CentrifugoSse).accepts(200, br#"{"error":{"code":107}}"#));
    }
}
