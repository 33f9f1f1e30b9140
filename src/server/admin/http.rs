//! HTTP for administrators: small, bounded, and in no hurry.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::guard::check_browser;
use super::{Admin, Caller, Door, Request};
use crate::admin::{Reply, is_console_file};

/// Connections of one listener at once. One more ends the oldest: whoever holds them all keeps nobody else out.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head: a token to be explained must fit.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Header fields of a request.
const FIELDS_MAX: usize = 64;
/// Bytes of a request's body, which nothing here needs.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// How long a client may take to send a head, be idle between two, or send a body.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection lasts: whoever still needs it makes another one.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// How long its last exchange may still take then.
const LAST_EXCHANGE: Duration = Duration::from_secs(30);
/// How long nobody is accepted after that has failed.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Serves one listener for as long as the hub runs.
pub(crate) async fn serve(door: Door, admin: Arc<Admin>, caller: Caller) {
    let mut connections = Connections::default();
    let served = match door {
        Door::Tcp(listener) => match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let local = stream.local_addr().ok();
                        // Without a local address nothing could be said about `Host`.
                        if local.is_some() {
                            connections.add(connection(stream, local, admin.clone(), caller));
                        }
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                }
            },
            Err(error) => Err(error),
        },
        Door::Unix(listener, _file) => match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        connections.add(connection(stream, None, admin.clone(), caller));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                }
            },
            Err(error) => Err(error),
        },
    };
    let failed: Result<Infallible, std::io::Error> = served;
    let Err(error) = failed;
    tracing::error!(%error, "administrators can't be heard");
}

/// The connections of a listener, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<AbortHandle>);

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.0.retain(|connection| !connection.is_finished());
        if self.0.len() >= CONNECTIONS_MAX
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(tokio::spawn(connection).abort_handle());
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    local: Option<SocketAddr>,
    admin: Arc<Admin>,
    caller: Caller,
) {
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(response(exchange(request, local, admin, caller).await)) }
    });
    let serving = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    if tokio::time::timeout(CONNECTION_LIFETIME, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_EXCHANGE, serving).await;
    }
}

async fn exchange(
    request: hyper::Request<Incoming>,
    local: Option<SocketAddr>,
    admin: Arc<Admin>,
    caller: Caller,
) -> Reply {
    let (head, body) = request.into_parts();
    let hosts: Vec<&str> = head.headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default()).collect();
    // Browsers name the page's own origin when they load its modules.
    let has_origin = head.headers.contains_key(ORIGIN) && !is_console_file(head.uri.path());
    if let Err(refusal) = check_browser(has_origin, &hosts, local, caller) {
        return refusal;
    }
    let Some((path, query)) = target(&head.uri) else {
        return Reply::problem(400, "Bad Request", "the target of a request is a path");
    };
    if !body.is_end_stream() {
        let reading = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect());
        if !matches!(reading.await, Ok(Ok(_))) {
            let detail = format!("a request here needs no body, and {BODY_BYTES_MAX} bytes are the most it may have");
            return Reply::problem(413, "Content Too Large", &detail);
        }
    }
    let field = |name: HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?.to_owned();
        values.next().is_none().then_some(value)
    };
    let request = Request {
        method: head.method.as_str().to_owned(),
        path,
        query,
        authorization: field(AUTHORIZATION),
        token: field(HeaderName::from_static("x-token")),
    };
    // What was begun is done, whether the client waits for it or not: a denial and the end of the streams belong together.
    let handled = tokio::spawn(async move { admin.handle(caller, request).await }).await;
    handled.unwrap_or_else(|_| Reply::problem(500, "Internal Server Error", "the request failed; see the log"))
}

/// Path and query; `None`: the target names another host, or is `*`.
fn target(uri: &Uri) -> Option<(String, String)> {
    let plain = uri.authority().is_none() && uri.scheme().is_none() && uri.path().starts_with('/');
    plain.then(|| (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned()))
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    for (name, value) in reply.fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path() {
        let read = |text: &str| target(&text.parse().unwrap());
        assert_eq!(read("/slow?limit=1"), Some(("/slow".to_owned(), "limit=1".to_owned())));
        assert_eq!(read("/slow"), Some(("/slow".to_owned(), String::new())));
        assert_eq!((read("http://evil.example/slow"), read("*")), (None, None));
    }
}
