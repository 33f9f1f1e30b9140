//! The request target and the host it is meant for (RFC 9112 §3.2).

use super::authority;
use super::framing::values;
use super::head::{HeadError, Method, Version};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    pub(super) path: &'b str,
    pub(super) query: Option<&'b str>,
    /// Of an absolute target.
    pub(super) authority: Option<&'b str>,
}

impl<'b> Target<'b> {
    pub(super) fn parse(method: Method, target: &'b str) -> Result<Self, HeadError> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(HeadError::TargetBytes);
        }
        if target == "*" && method == Method::Options {
            return Ok(Self { path: "*", query: None, authority: None });
        }
        if target.starts_with('/') {
            return Ok(Self::of_path(target, None));
        }
        let rest = strip_http_scheme(target).ok_or(HeadError::TargetForm)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(HeadError::TargetForm);
        }
        if !authority::is_valid(authority) {
            return Err(HeadError::HostInvalid);
        }
        // RFC 9112 §3.2.4: OPTIONS of a URL with neither path nor query is the asterisk form on its way here.
        if path.is_empty() && method == Method::Options {
            return Ok(Self { path: "*", query: None, authority: Some(authority) });
        }
        Ok(Self::of_path(path, Some(authority)))
    }

    pub(super) fn of_path(text: &'b str, authority: Option<&'b str>) -> Self {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        Self { path: if path.is_empty() { "/" } else { path }, query, authority }
    }
}

fn strip_http_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    scheme.eq_ignore_ascii_case("http").then_some(rest)
}

/// The host the request is for: that of an absolute target, else of the `Host` field.
///
/// RFC 9112 §3.2.2 lets an absolute target win over `Host`. A client sends both alike; where they differ, a proxy
/// may have judged the other one, so the request is refused.
pub(super) fn effective_host<'b>(
    target: &Target<'b>,
    version: Version,
    fields: &[httparse::Header<'b>],
) -> Result<Option<&'b str>, HeadError> {
    let mut hosts = values(fields, "host");
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(HeadError::HostRepeated),
        (None, _) if version == Version::Http11 => return Err(HeadError::HostMissing),
        (None, _) => None,
        (Some(value), None) => {
            let host = std::str::from_utf8(value).ok().filter(|host| authority::is_valid(host));
            Some(host.ok_or(HeadError::HostInvalid)?)
        }
    };
    match (target.authority, host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => Err(HeadError::HostDisagrees),
        (None, None) if version == Version::Http2 => Err(HeadError::HostMissing),
        (named, host) => Ok(named.or(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, target: &str) -> Result<(&str, Option<&str>, Option<&str>), HeadError> {
        Target::parse(method, target).map(|target| (target.path, target.query, target.authority))
    }

    #[test]
    fn forms_that_are_read() {
        let get = |target| parts(Method::Get, target);
        assert_eq!(get("/"), Ok(("/", None, None)));
        assert_eq!(get("/a/b?c=d?e"), Ok(("/a/b", Some("c=d?e"), None)));
        assert_eq!(get("/a?"), Ok(("/a", Some(""), None)));
        assert_eq!(get("//a"), Ok(("//a", None, None)));
        assert_eq!(get("/?match={a}|b"), Ok(("/", Some("match={a}|b"), None)));
        assert_eq!(get("http://e.com:3000/a?b"), Ok(("/a", Some("b"), Some("e.com:3000"))));
        assert_eq!(get("HTTP://e.com"), Ok(("/", None, Some("e.com"))));
        assert_eq!(get("http://e.com?b"), Ok(("/", Some("b"), Some("e.com"))));
        assert_eq!(parts(Method::Options, "*"), Ok(("*", None, None)));
        assert_eq!(parts(Method::Options, "http://e.com"), Ok(("*", None, Some("e.com"))));
    }

    #[test]
    fn forms_that_are_refused() {
        let cases = [
            ("*", HeadError::TargetForm),
            ("a", HeadError::TargetForm),
            ("e.com:443", HeadError::TargetForm),
            ("https://e.com/", HeadError::TargetForm),
            ("ftp://e.com/", HeadError::TargetForm),
            ("http:/a", HeadError::TargetForm),
            ("http://me@e.com/", HeadError::TargetForm),
            ("http:///a", HeadError::HostInvalid),
            ("http://e.com:/a", HeadError::HostInvalid),
            ("http://e.com\\@f.com/a", HeadError::TargetForm),
            ("/a#b", HeadError::TargetBytes),
            ("/é", HeadError::TargetBytes),
            ("/a\u{7f}", HeadError::TargetBytes),
        ];
        for (target, error) in cases {
            assert_eq!(parts(Method::Get, target), Err(error), "{target}");
        }
    }
}
