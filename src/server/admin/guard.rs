//! Who may ask: the right `Host`, no page of a browser, and over the network the token.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

use crate::admin::Reply;
use crate::config::Secret;
use crate::config::data_folder::random_key;
use crate::http::authority;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Over the Unix socket, which this user and root alone can open.
    Owner,
    /// Over the network: the token decides.
    Bearer,
    /// To the address for health and metrics.
    Anybody,
    /// To the console of a hub in development mode, which is heard on loopback only.
    Developer,
}

/// The administrators' token, compared in a time that says nothing about it.
pub(crate) struct TokenGuard {
    /// A random key: what is compared is nothing a stranger could choose.
    key: hmac::Key,
    tag: hmac::Tag,
}

impl TokenGuard {
    pub(crate) fn new(token: &Secret) -> TokenGuard {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random_key());
        let tag = hmac::sign(&key, token.expose().as_bytes());
        TokenGuard { key, tag }
    }

    fn is(&self, presented: &str) -> bool {
        hmac::verify(&self.key, presented.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

/// Whether the `Authorization` field has the token.
pub(super) fn check_token(token: Option<&TokenGuard>, authorization: Option<&str>) -> Result<(), Reply> {
    let Some(token) = token else {
        let detail = "this hub has no token for administrators: set --admin-token, or use the Unix socket";
        return Err(Reply::problem(403, "Forbidden", detail));
    };
    let presented = authorization.and_then(|field| field.split_once(' '));
    let presented = presented.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match presented {
        Some((_, presented)) if token.is(presented.trim_matches(' ')) => Ok(()),
        Some(_) => Err(unauthorized("this isn't the token of --admin-token", "Bearer error=\"invalid_token\"")),
        None => Err(unauthorized("send the token of --admin-token as `Authorization: Bearer TOKEN`", "Bearer")),
    }
}

fn unauthorized(detail: &str, challenge: &str) -> Reply {
    Reply::problem(401, "Unauthorized", detail).with_field("WWW-Authenticate", challenge)
}

/// What pages of browsers send along, and what a name that was bent to this address looks like.
pub(super) fn check_browser(
    has_origin: bool,
    hosts: &[&str],
    local: Option<SocketAddr>,
    caller: Caller,
) -> Result<(), Reply> {
    if has_origin {
        return Err(Reply::problem(
            403,
            "Forbidden",
            "pages can't use this: requests with an Origin field are refused",
        ));
    }
    let Some(local) = local else {
        // A port may be forwarded to the socket, and then a browser must not come by a name that somebody bent to it.
        if hosts.iter().any(|host| host.contains('.') && !authority::is_loopback(host)) {
            return Err(Reply::problem(421, "Misdirected Request", "this is a Unix socket; send localhost as Host"));
        }
        return Ok(());
    };
    let [host] = hosts else {
        return Err(Reply::problem(400, "Bad Request", "a request has one Host field"));
    };
    // Prometheus reaches a service under whatever name; what is on loopback nobody reaches by chance.
    if is_own_host(host, local) || caller == Caller::Anybody && !local.ip().is_loopback() {
        return Ok(());
    }
    Err(Reply::problem(
        421,
        "Misdirected Request",
        &format!("this is {local}; send it as Host, or use the Unix socket"),
    ))
}

/// Whether a `Host` is the address itself, which no stranger's name can be, or a name for loopback.
fn is_own_host(host: &str, local: SocketAddr) -> bool {
    let ip = local.ip().to_canonical();
    if ip.is_loopback() && authority::is_loopback(host) {
        return true;
    }
    let named = host.parse::<SocketAddr>().map(|address| (address.ip(), address.port()));
    let bare = || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| (ip, 80));
    named.or_else(|_| bare()).is_ok_and(|(host, port)| host.to_canonical() == ip && port == local.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn status(checked: Result<(), Reply>) -> u16 {
        checked.map_or_else(|reply| reply.status, |()| 200)
    }

    #[test]
    fn the_token_is_compared_as_a_whole() {
        let guard = TokenGuard::new(&Secret::new(TOKEN));
        let check = |field: Option<&str>| status(check_token(Some(&guard), field));
        assert_eq!(check(Some(&format!("Bearer {TOKEN}"))), 200);
        assert_eq!(check(Some(&format!("bearer  {TOKEN}"))), 200);
        for wrong in [None, Some(""), Some("Bearer"), Some("Bearer "), Some(TOKEN), Some("Basic 0123")] {
            assert_eq!(check(wrong), 401, "{wrong:?}");
        }
        assert_eq!(check(Some(&format!("Bearer {}", &TOKEN[1..]))), 401);
        assert_eq!(check(Some(&format!("Bearer {TOKEN}x"))), 401);
        assert_eq!(status(check_token(None, Some(&format!("Bearer {TOKEN}")))), 403, "no token, nobody");
    }

    #[test]
    fn only_the_own_address_is_the_host() {
        let check = |hosts: &[&str], local: &str, caller| {
            status(check_browser(false, hosts, Some(local.parse().unwrap()), caller))
        };
        for (host, local, expected) in [
            ("127.0.0.1:9000", "127.0.0.1:9000", 200),
            ("localhost:9000", "127.0.0.1:9000", 200),
            ("LOCALHOST:8000", "127.0.0.1:9000", 200),
            ("[::1]:9000", "[::1]:9000", 200),
            ("10.0.0.5:9000", "10.0.0.5:9000", 200),
            ("10.0.0.5:9000", "[::ffff:10.0.0.5]:9000", 200),
            ("10.0.0.5", "10.0.0.5:80", 200),
            ("10.0.0.5:9001", "10.0.0.5:9000", 421),
            ("localhost:9000", "10.0.0.5:9000", 421),
            ("evil.example:9000", "127.0.0.1:9000", 421),
            ("evil.example", "10.0.0.5:9000", 421),
            ("", "127.0.0.1:9000", 421),
        ] {
            assert_eq!(check(&[host], local, Caller::Bearer), expected, "{host} at {local}");
        }
        assert_eq!(check(&[], "127.0.0.1:9000", Caller::Bearer), 400);
        assert_eq!(check(&["a", "b"], "127.0.0.1:9000", Caller::Bearer), 400);
        assert_eq!(check(&["hub.example:9000"], "10.0.0.5:9000", Caller::Anybody), 200);
        assert_eq!(check(&["evil.example:9000"], "127.0.0.1:9000", Caller::Anybody), 421);
        for (host, expected) in
            [("anything", 200), ("localhost:3001", 200), ("127.0.0.1", 200), ("evil.example:3001", 421)]
        {
            assert_eq!(
                status(check_browser(false, &[host], None, Caller::Owner)),
                expected,
                "a Unix socket for {host}"
            );
        }
    }

    #[test]
    fn pages_are_refused_whoever_they_are() {
        for caller in [Caller::Owner, Caller::Bearer, Caller::Anybody] {
            assert_eq!(status(check_browser(true, &["localhost"], None, caller)), 403);
        }
    }
}
