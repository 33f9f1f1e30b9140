//! Fetching one key set, in a thread that may block.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use url::Url;

use crate::config::{KeySetUrl, is_link_local};
use crate::protocol::keys::KEY_SET_BYTES_MAX;

/// Time for a fetch from beginning to end, redirects included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects that are followed, to the same origin only.
const REDIRECTS_MAX: usize = 3;

/// What was fetched: not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) text: Vec<u8>,
    /// How long the server says that it holds.
    pub(super) max_age: Option<Duration>,
}

/// Why a set wasn't fetched.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    /// No answer, or one that broke off.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// Another status than 200.
    #[error("the answer is {0}")]
    Status(u16),
    /// A redirect to another origin, or without an end.
    #[error("it redirects to {0}, and only redirects within the same origin are followed, {REDIRECTS_MAX} at most")]
    Redirect(String),
    /// Longer than a key set may be.
    #[error("it has more than {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
    /// The file can't be read.
    #[error("the file can't be read: {0}")]
    File(String),
}

/// Fetches the text of a set.
pub(super) fn fetch(url: &KeySetUrl) -> Result<Fetched, FetchError> {
    match url {
        KeySetUrl::Web { url, loopback_only } => from_web(url, *loopback_only),
        KeySetUrl::File(path) => from_file(path),
    }
}

fn from_file(path: &Path) -> Result<Fetched, FetchError> {
    let failed = |why: io::Error| FetchError::File(why.to_string());
    // A pipe could keep the thread for ever.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(FetchError::File("it isn't a file".to_owned()));
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_end(&mut text)).map_err(failed)?;
    if text.len() > KEY_SET_BYTES_MAX { Err(FetchError::TooLarge) } else { Ok(Fetched { text, max_age: None }) }
}

fn from_web(url: &Url, loopback_only: bool) -> Result<Fetched, FetchError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(url.scheme() == "https")
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Addresses are judged here: a proxy would choose its own.
        .proxy(None)
        .user_agent(concat!("cinnabar/", env!("CARGO_PKG_VERSION")))
        .accept("application/jwk-set+json, application/json")
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_idle_connections(0)
        .build();
    let resolver = Guarded { loopback_only, inner: DefaultResolver::default() };
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    let mut at = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let answer = agent.get(at.as_str()).call();
        let mut response = answer.map_err(|why| FetchError::NoAnswer(why.to_string()))?;
        match response.status().as_u16() {
            200 => {
                let max_age = max_age(response.headers());
                // The limit of the library is the first length that is too much.
                let body = response.body_mut().with_config().limit(KEY_SET_BYTES_MAX as u64 + 1).read_to_vec();
                let text = body.map_err(|why| match why {
                    ureq::Error::BodyExceedsLimit(_) => FetchError::TooLarge,
                    why => FetchError::NoAnswer(why.to_string()),
                })?;
                return Ok(Fetched { text, max_age });
            }
            301 | 302 | 303 | 307 | 308 => at = redirect(url, &at, response.headers())?,
            status => return Err(FetchError::Status(status)),
        }
    }
    Err(FetchError::Redirect("more redirects".to_owned()))
}

/// Where a redirect leads, if that is within the origin that the configuration trusts.
fn redirect(trusted: &Url, at: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
    match at.join(location) {
        Ok(to) if to.origin() == trusted.origin() => Ok(to),
        _ => Err(FetchError::Redirect(format!("{:?}", location.chars().take(200).collect::<String>()))),
    }
}

/// `Cache-Control: max-age`, less the answer's `Age` (RFC 9111 §4.2). A set that isn't to be stored is fetched as often as
/// the floor allows.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |text: &str| text.trim_matches('"').parse::<u64>().ok();
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut max_age = None;
    for directive in values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase()) {
        match directive.split_once('=') {
            Some(("max-age", said)) => max_age = max_age.or(seconds(said)),
            None if directive == "no-store" || directive == "no-cache" => return Some(Duration::ZERO),
            _ => {}
        }
    }
    let age = headers.get(header::AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or(0);
    max_age.map(|max_age| Duration::from_secs(max_age.saturating_sub(age)))
}

/// Leaves out the addresses that nothing is fetched from, whatever name led to them. What is connected to is what is
/// judged here: there is no second look-up that could answer otherwise.
#[derive(Debug)]
struct Guarded {
    loopback_only: bool,
    inner: DefaultResolver,
}

impl Guarded {
    fn allows(&self, address: IpAddr) -> bool {
        !is_link_local(address) && (!self.loopback_only || address.to_canonical().is_loopback())
    }
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        found
            .iter()
            .filter(|address: &&SocketAddr| self.allows(address.ip()))
            .for_each(|address| allowed.push(*address));
        if allowed.is_empty() {
            let only = if self.loopback_only { ", or not of this machine" } else { "" };
            let why = format!("the addresses of {} are link-local{only}", uri.host().unwrap_or_default());
            return Err(ureq::Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that gives each connection the next answer.
    fn serve(answers: Vec<String>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (mut socket, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                let _ = socket.read(&mut head);
                let _ = socket.write_all(answer.replace("{self}", &address.to_string()).as_bytes());
            }
        });
        address
    }

    fn ok(fields: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    fn to(location: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    fn fetch_from(answers: &[String]) -> Result<Fetched, FetchError> {
        let url = Url::parse(&format!("http://{}/keys", serve(answers.to_vec()))).unwrap();
        fetch(&KeySetUrl::Web { url, loopback_only: true })
    }

    #[test]
    fn a_set_is_fetched_with_how_long_it_holds() {
        let fetched = fetch_from(&[ok("Cache-Control: public, max-age=300\r\nAge: 100\r\n", "{}")]).unwrap();
        assert_eq!(fetched, Fetched { text: b"{}".to_vec(), max_age: Some(Duration::from_secs(200)) });
        assert_eq!(fetch_from(&[ok("", "{}")]).unwrap().max_age, None);
        assert_eq!(fetch_from(&[ok("Cache-Control: no-store\r\n", "{}")]).unwrap().max_age, Some(Duration::ZERO));
        assert_eq!(fetch_from(&[ok("Cache-Control: max-age=soon\r\n", "{}")]).unwrap().max_age, None);
    }

    #[test]
    fn redirects_stay_within_the_origin() {
        assert_eq!(fetch_from(&[to("/other"), to("http://{self}/more"), ok("", "{}")]).unwrap().text, b"{}");
        for elsewhere in ["http://localhost:9/keys", "https://{self}/keys", "//other.example/", "file:///etc/passwd"] {
            let refused = fetch_from(&[to(elsewhere), ok("", "{}")]);
            assert!(matches!(refused, Err(FetchError::Redirect(_))), "{elsewhere}: {refused:?}");
        }
        let endless = vec![to("/keys"); REDIRECTS_MAX + 1];
        assert!(matches!(fetch_from(&endless), Err(FetchError::Redirect(_))));
    }

    #[test]
    fn what_is_no_answer_or_too_large_is_refused() {
        assert_eq!(
            fetch_from(&["HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned()]),
            Err(FetchError::Status(500))
        );
        assert_eq!(fetch_from(&[ok("", &"x".repeat(KEY_SET_BYTES_MAX + 1))]), Err(FetchError::TooLarge));
        assert_eq!(fetch_from(&[ok("", &"x".repeat(KEY_SET_BYTES_MAX))]).unwrap().text.len(), KEY_SET_BYTES_MAX);
        let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
            + &format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(5);
        assert_eq!(fetch_from(&[endless]), Err(FetchError::TooLarge));
        assert!(matches!(fetch_from(&["garbage\r\n\r\n".to_owned()]), Err(FetchError::NoAnswer(_))));
        assert!(matches!(fetch_from(&[String::new()]), Err(FetchError::NoAnswer(_))));
    }

    #[test]
    fn https_is_spoken_or_nothing_is_fetched() {
        let url = Url::parse(&format!("https://{}/keys", serve(vec![ok("", "{}")]))).unwrap();
        let refused = fetch(&KeySetUrl::Web { url, loopback_only: false });
        assert!(matches!(refused, Err(FetchError::NoAnswer(_))), "{refused:?}");
    }

    #[test]
    fn link_local_addresses_are_not_connected_to_whatever_the_name() {
        let guarded = |loopback_only| Guarded { loopback_only, inner: DefaultResolver::default() };
        for (address, anywhere, loopback) in [
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("10.0.0.1", true, false),
            ("93.184.216.34", true, false),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                (guarded(false).allows(address), guarded(true).allows(address)),
                (anywhere, loopback),
                "{address}"
            );
        }
        let url = Url::parse("http://169.254.1.1:9/keys").unwrap();
        let refused = fetch(&KeySetUrl::Web { url, loopback_only: false });
        assert!(matches!(&refused, Err(FetchError::NoAnswer(why)) if why.contains("link-local")), "{refused:?}");
    }

    #[test]
    fn files_are_read_if_they_are_files() {
        let fetch = |path: &str| fetch(&KeySetUrl::File(path.into()));
        assert!(fetch(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).is_ok());
        assert!(matches!(fetch("/nowhere/keys.json"), Err(FetchError::File(_))));
        assert!(matches!(fetch("/dev/zero"), Err(FetchError::File(_))));
        assert!(matches!(fetch("/etc"), Err(FetchError::File(_))));
    }
}
