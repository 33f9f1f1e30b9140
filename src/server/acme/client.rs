//! The authority's server: requests go out by the hub's one HTTP client, from a thread that may block.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::server::clock;

/// Time for an exchange from beginning to end.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer at most: a chain of certificates is a tenth of it.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    /// When the authority wants to be asked again, as its last refusal said: seconds of Unix time.
    wanted_s: Arc<Mutex<Option<u64>>>,
}

/// There was no answer, or none of an ACME server.
#[derive(Debug)]
pub(super) struct Absent(pub(super) String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Absent {}

impl Client {
    /// With the certificates that the server is judged by; none are those browsers trust.
    ///
    /// # Errors
    /// When there are none in that file.
    pub(super) fn new(authority: Option<&Path>) -> io::Result<Client> {
        let roots = match authority {
            None => RootCerts::WebPki,
            Some(file) => {
                let text = std::fs::read(file)?;
                let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
                let found = found.ok().filter(|found| !found.is_empty());
                let found = found.ok_or_else(|| io::Error::other("it has no certificate in PEM"))?;
                let roots: Vec<_> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
                RootCerts::new_with_certs(&roots)
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("cinnabar/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(EXCHANGE_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Client { agent: Agent::new_with_config(config), wanted_s: Arc::default() })
    }

    /// Takes what the authority has said about when it wants to be asked again.
    pub(super) fn take_wanted_s(&self) -> Option<u64> {
        self.wanted_s.lock().expect("nobody panics while holding a number").take()
    }

    fn exchange(&self, request: Request<Vec<u8>>) -> Result<BytesResponse, Error> {
        let absent = |why: String| Error::Other(Box::new(Absent(why)));
        let (parts, body) = request.into_parts();
        let answered = match body.is_empty() {
            true => self.agent.run(Request::from_parts(parts, ())),
            false => self.agent.run(Request::from_parts(parts, body)),
        };
        let response = answered.map_err(|why| absent(format!("no answer: {why}")))?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|why| absent(format!("its answer breaks off: {why}")))?;
        if parts.status.as_u16() >= 400 {
            let now_s = clock::wall_ms() / 1000;
            *self.wanted_s.lock().expect("nobody panics while holding a number") = wanted_s(&parts.headers, now_s);
            if !is_problem(&parts.headers) {
                return Err(absent(format!("the answer is {}, and not in words of ACME", parts.status.as_u16())));
            }
        }
        Ok(BytesResponse { parts, body: Box::new(Bytes::from(body)) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes().to_vec(),
                Err(never) => match never {},
            };
            let asked = Request::from_parts(parts, body);
            let answered = tokio::task::spawn_blocking(move || client.exchange(asked)).await;
            answered.unwrap_or_else(|_| Err(Error::Other(Box::new(Absent("the hub is stopping".to_owned())))))
        })
    }
}

/// RFC 7807 §3: what isn't that comes from something in front of the authority, or from something else.
fn is_problem(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/problem+json")
}

/// `Retry-After` (RFC 9110 §10.2.3) as a time.
fn wanted_s(headers: &HeaderMap, now_s: u64) -> Option<u64> {
    let said = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match said.parse::<u64>() {
        Ok(seconds) => Some(now_s.saturating_add(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(said).ok()?;
            Some(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn when_to_come_back_is_read_in_both_spellings() {
        for (said, want) in [
            ("120", Some(1_120)),
            (" 7 ", Some(1_007)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("18446744073709551615", Some(u64::MAX)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(wanted_s(&headers(header::RETRY_AFTER, said), 1_000), want, "{said}");
        }
        assert_eq!(wanted_s(&HeaderMap::new(), 1_000), None);
    }

    #[test]
    fn problems_are_known_by_their_type() {
        for (kind, want) in [
            ("application/problem+json", true),
            ("Application/Problem+JSON; charset=utf-8", true),
            ("application/json", false),
            ("text/html", false),
        ] {
            assert_eq!(is_problem(&headers(header::CONTENT_TYPE, kind)), want, "{kind}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_no_authority() {
        assert!(Client::new(None).is_ok());
        let said = Client::new(Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert_eq!(said.kind(), io::ErrorKind::NotFound);
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(Client::new(Some(manifest)).unwrap_err().to_string().contains("no certificate"));
    }
}
