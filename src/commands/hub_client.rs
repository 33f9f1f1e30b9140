//! A client of a hub: one agent that keeps its connection, and errors that say what to do.

use anyhow::{Context, Result, anyhow, bail};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body, Proxy};
use url::{Host, Url};

/// How much of an error's body is read.
const ERROR_BYTES_MAX: u64 = 64 << 10;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer's head may take. A hub that can't keep up holds a publish for some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An agent for this hub that gives up after so long a silence.
pub(super) fn agent(url: &Url, silence: Option<Duration>) -> Agent {
    // A proxy can't reach this machine's loopback on our behalf.
    let proxy = if is_loopback(url) { None } else { Proxy::try_from_env() };
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .user_agent(concat!("cinnabar/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_per_read(silence)
        .build()
        .into()
}

/// Reads a hub's URL as people give it.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|why| format!("not a URL ({why}); write http://localhost:3000/.well-known/mercure"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL of a hub begins with http:// or https://".to_owned());
    }
    Ok(url)
}

/// Whether the hub is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// No answer came: says where from and what may be done.
pub(super) fn unreachable(url: &Url, why: &ureq::Error) -> anyhow::Error {
    let hint = match why {
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed if is_loopback(url) => {
            "; is it running? `cinnabar` starts one"
        }
        _ => "",
    };
    anyhow!("no answer from {url}: {why}{hint}")
}

/// What an answer other than success means, from its problem document where there is one.
pub(super) fn refusal(url: &Url, mut response: Response<Body>, with_token: bool) -> anyhow::Error {
    let status = response.status();
    let body =
        response.body_mut().with_config().limit(ERROR_BYTES_MAX).lossy_utf8(true).read_to_string().unwrap_or_default();
    let said = explanation(response.headers(), &body);
    let hint = match status.as_u16() {
        401 if !with_token => "; give a token with --token or CINNABAR_TOKEN, or a key with --key-file",
        401 => "; `cinnabar token explain` says what is wrong with a token",
        404 => "; is this the whole URL? It usually ends in /.well-known/mercure",
        301..=308 => "; use the URL it names",
        _ => "",
    };
    let whereto = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let whereto = whereto.map(|whereto| format!(" to {whereto}")).unwrap_or_default();
    anyhow!("{url} answered {status}{whereto}{said}{hint}")
}

fn explanation(headers: &HeaderMap, body: &str) -> String {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/problem+json") || kind.starts_with("application/json"));
    let problem = is_json.then(|| serde_json::from_str::<serde_json::Value>(body).ok()).flatten();
    let member = |name: &str| problem.as_ref().and_then(|problem| problem.get(name)?.as_str()).map(str::to_owned);
    let said = match (member("title"), member("detail")) {
        (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
        (title, detail) => detail.or(title).unwrap_or_else(|| first_line(headers, body)),
    };
    if said.is_empty() { said } else { format!(": {}", super::outside::printable(&said)) }
}

/// A plain body's first line; a page of a proxy says nothing worth repeating.
fn first_line(headers: &HeaderMap, body: &str) -> String {
    let is_page = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page { String::new() } else { body.lines().next().unwrap_or_default().trim().chars().take(300).collect() }
}

/// Publishes one update and gives back the id the hub answers with.
pub(super) fn publish(agent: &Agent, url: &Url, token: Option<&str>, form: &str) -> Result<String> {
    let mut request = agent.post(url.as_str()).content_type("application/x-www-form-urlencoded");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let mut response = request.send(form).map_err(|why| unreachable(url, &why))?;
    if !response.status().is_success() {
        return Err(refusal(url, response, token.is_some()));
    }
    // Read to its end, or the connection couldn't be used again.
    let id = response.body_mut().read_to_string().context("the answer broke off")?;
    if id.contains(['\r', '\n']) {
        bail!("{url} answered something that isn't the id of an event: is this a hub?");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::super::fake_hub::{FakeHub, answer};
    use super::*;

    fn headers(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])
    }

    #[test]
    fn problem_documents_are_put_in_words() {
        let problem = headers("application/problem+json");
        assert_eq!(
            explanation(&problem, r#"{"title":"Forbidden","detail":"no grant on `a`"}"#),
            ": Forbidden: no grant on `a`"
        );
        assert_eq!(explanation(&problem, r#"{"title":"Forbidden"}"#), ": Forbidden");
        assert_eq!(explanation(&problem, "not json"), ": not json");
        assert_eq!(explanation(&headers("text/plain"), "Unauthorized\nmore"), ": Unauthorized");
        assert_eq!(explanation(&headers("text/html"), "<html>"), "");
    }

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for (url, loopback) in [
            ("http://localhost:3000/", true),
            ("http://app.localhost/", true),
            ("http://127.0.0.2/", true),
            ("http://[::1]:3000/", true),
            ("https://hub.example/", false),
            ("http://localhost.example/", false),
            ("http://192.0.2.1/", false),
        ] {
            assert_eq!(is_loopback(&parse_url(url).unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_hub_is_said_so() {
        assert!(parse_url("localhost:3000").unwrap_err().contains("begins with http://"));
        assert!(parse_url("hub").unwrap_err().contains("not a URL"));
    }

    #[test]
    fn publishes_share_a_connection() {
        let id = |id: &str| answer("200 OK", "text/plain; charset=utf-8", id);
        let hub = FakeHub::new(vec![id("urn:1"), id("urn:2"), id("urn:3")]);
        let agent = agent(&hub.url, Some(Duration::from_secs(5)));
        for expected in ["urn:1", "urn:2", "urn:3"] {
            assert_eq!(publish(&agent, &hub.url, Some("T"), "topic=a&data=b").unwrap(), expected);
        }
        let asked = hub.asked();
        assert!(asked.iter().all(|asked| asked.connection == 0 && asked.body == "topic=a&data=b"), "{asked:?}");
        assert_eq!(asked[0].header("authorization"), Some("Bearer T"));
        assert_eq!(asked[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    }

    #[test]
    fn a_refused_publish_says_why_and_what_to_do() {
        let problem = r#"{"title":"Unauthorized","detail":"publishing needs a token"}"#;
        let hub = FakeHub::new(vec![answer("401 Unauthorized", "application/problem+json", problem)]);
        let why = publish(&agent(&hub.url, None), &hub.url, None, "topic=a").unwrap_err().to_string();
        assert!(
            why.ends_with(
                "answered 401 Unauthorized: Unauthorized: publishing needs a token; give a token with --token or CINNABAR_TOKEN, \
                 or a key with --key-file"
            ),
            "{why}"
        );
    }

    #[test]
    fn where_no_hub_is_one_is_suggested() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Url::parse(&format!("http://{nobody}/.well-known/mercure")).unwrap();
        let why = publish(&agent(&url, None), &url, None, "topic=a").unwrap_err().to_string();
        assert!(why.ends_with("is it running? `cinnabar` starts one"), "{why}");
    }
}
