//! The head of a request that came in HTTP/2's frames (RFC 9113 §8.3): the same [`Head`] as of one that came as text, by the same
//! rules and limits.
//!
//! Frames, their compression and what makes a message malformed as such are judged before: names are in lower case, fields that
//! belong to a connection are not among them.

use super::authority;
use super::framing::of_frames;
use super::head::{Head, HeadError, HeadLimits, Method, Version};
use super::target::{Target, effective_host};

/// What stands before the fields of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pseudo<'b> {
    /// `:method`
    pub method: &'b str,
    /// `:authority`, if it is there.
    pub authority: Option<&'b str>,
    /// `:path`, with the query; `CONNECT` has none.
    pub path: Option<&'b str>,
}

/// Puts a head together. `ended`: there is no body.
///
/// # Errors
/// [`HeadError`], with the status to answer; the connection goes on.
pub fn assemble<'b>(
    pseudo: Pseudo<'b>,
    fields: Vec<(&'b str, &'b [u8])>,
    ended: bool,
    limits: &HeadLimits,
) -> Result<Head<'b>, HeadError> {
    let path = pseudo.path.ok_or(HeadError::TargetForm)?;
    if path.len() > limits.target_bytes_max {
        return Err(HeadError::TargetTooLong { bytes_max: limits.target_bytes_max });
    }
    if fields.len() > limits.fields_max {
        return Err(HeadError::TooManyFields { fields_max: limits.fields_max });
    }
    let size = |(name, value): &(&str, &[u8])| name.len() + value.len();
    let bytes = pseudo.method.len() + path.len() + pseudo.authority.map_or(0, str::len);
    if bytes + fields.iter().map(size).sum::<usize>() > limits.head_bytes_max {
        return Err(HeadError::TooLarge { bytes_max: limits.head_bytes_max });
    }
    let fields: Vec<_> = fields.into_iter().map(|(name, value)| httparse::Header { name, value }).collect();
    let method = Method::from_token(pseudo.method);
    // An absolute URL is what a proxy is asked for in text (RFC 9112 §3.2.2); here the authority has a place of its own.
    if !path.starts_with('/') && path != "*" {
        return Err(HeadError::TargetForm);
    }
    let mut target = Target::parse(method, path)?;
    if let Some(named) = pseudo.authority {
        if !authority::is_valid(named) {
            return Err(HeadError::HostInvalid);
        }
        target.authority = Some(named);
    }
    let host = effective_host(&target, Version::Http2, &fields)?;
    let framing = of_frames(&fields, ended)?;
    Ok(Head {
        method,
        path: target.path,
        query: target.query,
        version: Version::Http2,
        host,
        body: framing.body,
        keep_alive: framing.keep_alive,
        expect_continue: framing.expect_continue,
        len: 0,
        fields,
    })
}

#[cfg(test)]
mod tests {
    use super::super::head::{BodyFraming, HeadStatus, parse};
    use super::*;

    const GET: Pseudo<'static> = Pseudo { method: "GET", authority: Some("e.com"), path: Some("/a?b=c") };

    fn assembled<'b>(pseudo: Pseudo<'b>, fields: &[(&'b str, &'b str)]) -> Result<Head<'b>, HeadError> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assemble(pseudo, fields, true, &HeadLimits::default())
    }

    #[test]
    fn it_is_the_head_that_the_same_request_has_as_text() {
        let head = assembled(GET, &[("accept", "text/event-stream"), ("x", "y")]).unwrap();
        let text = b"GET /a?b=c HTTP/1.1\r\nhost: e.com\r\naccept: text/event-stream\r\nx: y\r\n\r\n";
        let Ok(HeadStatus::Complete(same)) = parse(text, &HeadLimits::default()) else { panic!("a head") };
        assert_eq!((head.method, head.path, head.query, head.host), (same.method, same.path, same.query, same.host));
        assert_eq!((head.body, head.keep_alive, head.version), (BodyFraming::None, true, Version::Http2));
        assert_eq!(head.get_str("Accept"), same.get_str("accept"));
    }

    #[test]
    fn the_authority_is_the_host_and_differs_from_no_host_field() {
        let host = |pseudo, fields: &[(&'static str, &'static str)]| assembled(pseudo, fields).map(|head| head.host);
        let nameless = Pseudo { authority: None, ..GET };
        assert_eq!(host(GET, &[]), Ok(Some("e.com")));
        assert_eq!(host(GET, &[("host", "E.com")]), Ok(Some("e.com")));
        assert_eq!(host(GET, &[("host", "f.com")]), Err(HeadError::HostDisagrees));
        assert_eq!(host(GET, &[("host", "e.com"), ("host", "e.com")]), Err(HeadError::HostRepeated));
        assert_eq!(host(nameless, &[("host", "f.com")]), Ok(Some("f.com")));
        assert_eq!(host(nameless, &[]), Err(HeadError::HostMissing));
        for authority in ["me@e.com", "e.com,f.com", ""] {
            assert_eq!(host(Pseudo { authority: Some(authority), ..GET }, &[]), Err(HeadError::HostInvalid));
        }
    }

    #[test]
    fn targets_are_paths() {
        let path = |method, path| assembled(Pseudo { method, path, ..GET }, &[]).map(|head| head.path);
        assert_eq!(path("OPTIONS", Some("*")), Ok("*"));
        assert_eq!(path("GET", Some("*")), Err(HeadError::TargetForm));
        assert_eq!(path("GET", Some("http://e.com/")), Err(HeadError::TargetForm));
        assert_eq!(path("CONNECT", None), Err(HeadError::TargetForm));
        assert_eq!(path("GET", Some("/é")), Err(HeadError::TargetBytes));
    }

    #[test]
    fn the_limits_are_those_of_text() {
        let limits = HeadLimits { head_bytes_max: 100, fields_max: 2, target_bytes_max: 20 };
        let judged = |path, fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            assemble(Pseudo { path: Some(path), ..GET }, fields, true, &limits)
                .map(|_| ())
                .map_err(|error| error.status())
        };
        assert_eq!(judged("/12345678901234567890", &[]), Err(414));
        assert_eq!(judged("/", &[("a", ""), ("b", ""), ("c", "")]), Err(431));
        let long = "0123456789012345678901234567890123456789012345";
        assert_eq!(judged("/", &[("a", long), ("b", long)]), Err(431));
        assert_eq!(judged("/", &[("a", long), ("b", "")]), Ok(()));
    }

    #[test]
    fn the_body_is_as_long_as_said_or_ends_with_its_frames() {
        let body = |length: Option<&'static str>, ended| {
            let fields = length.map(|length| ("content-length", length.as_bytes())).into_iter().collect();
            assemble(GET, fields, ended, &HeadLimits::default()).map(|head| head.body)
        };
        assert_eq!(body(None, true), Ok(BodyFraming::None));
        assert_eq!(body(Some("3"), true), Ok(BodyFraming::None));
        assert_eq!(body(Some("3"), false), Ok(BodyFraming::Length(3)));
        assert_eq!(body(None, false), Ok(BodyFraming::Frames));
        assert_eq!(body(Some("+3"), false), Err(HeadError::ContentLengthInvalid));
    }
}
