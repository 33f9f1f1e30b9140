//! Where a request carries its access token (RFC 6750 §2.1), and which origin a request that relies on a cookie
//! came from.
//!
//! Never read: the body, and the query but for the protocol before 1.0. Whether the token is any good is judged elsewhere.

use std::borrow::Cow;

use thiserror::Error;
use url::Url;

use super::cookie::{self, CookieLookup};
use super::head::Head;

/// The cookie of the protocol before 1.0.
const COMPAT_COOKIE: &str = "mercureAuthorization";
/// The query parameter of the protocol before 1.0.
const COMPAT_PARAMETER: &str = "authorization";
/// What is shorter can't be a signed token, and isn't taken for one in the query.
const COMPAT_TOKEN_BYTES_MIN: usize = 41;

/// The token a request presents.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials<'b> {
    /// None.
    None,
    /// In `Authorization: Bearer …`. A cookie doesn't count then, however bad this one is.
    Header(&'b str),
    /// In the query, as before version 1.0.
    Query(Cow<'b, str>),
    /// In the cookie; may be empty. With POST the origin must be checked, see [`origin_for_cookie_publish`].
    Cookie(&'b str),
}

/// Shows where the token is, not the token.
impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Header(_) => "Header(…)",
            Self::Query(_) => "Query(…)",
            Self::Cookie(_) => "Cookie(…)",
        })
    }
}

/// Why the presentation of a token is malformed: a 400 with the error code [`CredentialsError::CODE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum CredentialsError {
    #[error("there is more than one Authorization field")]
    AuthorizationRepeated,
    #[error("the Authorization field doesn't use the Bearer scheme")]
    OtherScheme,
    #[error("the Authorization field holds no token after its scheme")]
    TokenEmpty,
    #[error("the token in the Authorization field holds characters that no token has")]
    TokenMalformed,
    #[error("there are several token cookies with different values; clear those set for other paths or parent domains")]
    CookieRepeated,
    #[error("the token cookie isn't ASCII")]
    CookieMalformed,
}

impl CredentialsError {
    /// The error code of the challenge (RFC 6750 §3.1).
    pub const CODE: &str = "invalid_request";

    /// The status to answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        400
    }
}

impl<'b> Credentials<'b> {
    /// Finds the token: in the `Authorization` field, and only if there is none, in the cookie of this name.
    ///
    /// # Errors
    /// [`CredentialsError`]; never for a request without an `Authorization` field and without the cookie.
    pub fn from_head(head: &Head<'b>, cookie_name: &str) -> Result<Self, CredentialsError> {
        match Self::in_header(head)? {
            Self::None => Self::in_cookie(head, cookie_name),
            found => Ok(found),
        }
    }

    /// The same for a hub that speaks the protocol before 1.0 too: after the header it looks into the query, and when the
    /// cookie of this name is absent, for the one of old.
    ///
    /// # Errors
    /// As [`Credentials::from_head`].
    pub fn from_head_compat(head: &Head<'b>, cookie_name: &str) -> Result<Self, CredentialsError> {
        let found = Self::in_header(head)?;
        if found != Self::None {
            return Ok(found);
        }
        if let Some(token) = head.query.and_then(in_query) {
            return Ok(Self::Query(token));
        }
        match Self::in_cookie(head, cookie_name)? {
            Self::None => Self::in_cookie(head, COMPAT_COOKIE),
            found => Ok(found),
        }
    }

    fn in_header(head: &Head<'b>) -> Result<Self, CredentialsError> {
        let mut fields = head.get_all("authorization");
        match (fields.next(), fields.next()) {
            (Some(_), Some(_)) => Err(CredentialsError::AuthorizationRepeated),
            (Some(value), None) => bearer(value).map(Self::Header),
            (None, _) => Ok(Self::None),
        }
    }

    fn in_cookie(head: &Head<'b>, name: &str) -> Result<Self, CredentialsError> {
        match cookie::find(head.get_all("cookie"), name) {
            CookieLookup::None => Ok(Self::None),
            CookieLookup::One(token) => Ok(Self::Cookie(token)),
            CookieLookup::Several => Err(CredentialsError::CookieRepeated),
            CookieLookup::Malformed => Err(CredentialsError::CookieMalformed),
        }
    }
}

/// The one token in a query; there is none where there are several, or where it is too short to be one.
fn in_query(query: &str) -> Option<Cow<'_, str>> {
    let mut tokens = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == COMPAT_PARAMETER);
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Some(token).filter(|token| token.len() >= COMPAT_TOKEN_BYTES_MIN),
        _ => None,
    }
}

/// `Bearer`, in any letter case, spaces, and a `b64token` (RFC 6750 §2.1).
fn bearer(value: &[u8]) -> Result<&str, CredentialsError> {
    let scheme_len = value.iter().position(|&byte| byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_len);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(if scheme.is_empty() { CredentialsError::TokenEmpty } else { CredentialsError::OtherScheme });
    }
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    let token = &rest[spaces..];
    if token.is_empty() {
        return Err(CredentialsError::TokenEmpty);
    }
    // All of them, without a branch for each: a token has hundreds of bytes and comes with every publish.
    if !token.iter().fold(true, |all, &byte| all & is_b64token(byte)) {
        return Err(CredentialsError::TokenMalformed);
    }
    std::str::from_utf8(token).map_err(|_| CredentialsError::TokenMalformed)
}

fn is_b64token(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    let sign = (byte == b'-') | (byte == b'.') | (byte == b'_') | (byte == b'~') | (byte == b'+') | (byte == b'/');
    letter | digit | sign | (byte == b'=')
}

/// The origin a request with a token cookie comes from: the `Origin` field, else the origin of `Referer`.
///
/// None means that it can't be told, and such a publish must be refused: any site can make a browser send the
/// cookie along. An `Origin` that is there but unusable never falls back to `Referer`.
#[must_use]
pub fn origin_for_cookie_publish(head: &Head<'_>) -> Option<String> {
    if head.get("origin").is_some() {
        return head.get_str("origin").map(str::to_owned);
    }
    let origin = Url::parse(head.get_str("referer")?).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::with_fields;
    use super::*;

    fn presented(fields: &str) -> Result<(&'static str, String), CredentialsError> {
        with_fields(fields, |head| {
            Credentials::from_head(head, "tok").map(|credentials| match credentials {
                Credentials::None => ("none", String::new()),
                Credentials::Header(token) => ("header", token.to_owned()),
                Credentials::Query(token) => ("query", token.into_owned()),
                Credentials::Cookie(token) => ("cookie", token.to_owned()),
            })
        })
    }

    fn ok(place: &'static str, token: &str) -> Result<(&'static str, String), CredentialsError> {
        Ok((place, token.to_owned()))
    }

    #[test]
    fn places() {
        assert_eq!(presented(""), ok("none", ""));
        assert_eq!(presented("Cookie: other=x\r\n"), ok("none", ""));
        assert_eq!(presented("Authorization: Bearer a.b-c_\r\n"), ok("header", "a.b-c_"));
        assert_eq!(presented("authorization: bEARER   a.b.c\r\n"), ok("header", "a.b.c"));
        assert_eq!(presented("Cookie: a=b; tok=x.y\r\n"), ok("cookie", "x.y"));
        assert_eq!(presented("Cookie: tok=\r\n"), ok("cookie", ""));
        assert_eq!(presented("Cookie: tok=x.y\r\nAuthorization: Bearer a\r\n"), ok("header", "a"));
    }

    #[test]
    fn malformed_presentations() {
        let cases = [
            ("Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", CredentialsError::AuthorizationRepeated),
            ("Authorization: Basic YTpi\r\n", CredentialsError::OtherScheme),
            ("Authorization: Bearera\r\n", CredentialsError::OtherScheme),
            ("Authorization: a.b.c\r\n", CredentialsError::OtherScheme),
            ("Authorization: Bearer\ta\r\n", CredentialsError::OtherScheme),
            ("Authorization: Bearer\r\n", CredentialsError::TokenEmpty),
            ("Authorization: Bearer  \r\n", CredentialsError::TokenEmpty),
            ("Authorization:\r\n", CredentialsError::TokenEmpty),
            ("Authorization: Bearer a b\r\n", CredentialsError::TokenMalformed),
            ("Authorization: Bearer a, Bearer b\r\n", CredentialsError::TokenMalformed),
            ("Authorization: Bearer \"a\"\r\n", CredentialsError::TokenMalformed),
            ("Authorization: Bearer é\r\n", CredentialsError::TokenMalformed),
            ("Cookie: tok=a; tok=b\r\n", CredentialsError::CookieRepeated),
            ("Cookie: tok=é\r\n", CredentialsError::CookieMalformed),
            // A bad header isn't rescued by a cookie.
            ("Authorization: Basic YTpi\r\nCookie: tok=a\r\n", CredentialsError::OtherScheme),
        ];
        for (fields, error) in cases {
            assert_eq!(presented(fields), Err(error), "{fields}");
        }
    }

    #[test]
    fn a_token_in_the_query_is_never_read() {
        let raw = b"GET /?access_token=a&authorization=b HTTP/1.1\r\nHost: e\r\n\r\n";
        let head = super::super::head::tests::whole(raw).unwrap();
        assert_eq!(Credentials::from_head(&head, "tok"), Ok(Credentials::None));
    }

    fn presented_compat(target: &str, fields: &str) -> Result<String, CredentialsError> {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: e\r\n{fields}\r\n");
        let head = super::super::head::tests::whole(raw.as_bytes()).unwrap();
        Credentials::from_head_compat(&head, "tok").map(|credentials| match credentials {
            Credentials::None => "none".to_owned(),
            Credentials::Header(token) => format!("header {token}"),
            Credentials::Query(token) => format!("query {token}"),
            Credentials::Cookie(token) => format!("cookie {token}"),
        })
    }

    #[test]
    fn of_old_the_header_beats_the_query_and_the_query_the_cookies() {
        let token = "t".repeat(41);
        let target = format!("/?a=b&authorization={token}");
        let found = |target: &str, fields: &str| presented_compat(target, fields).unwrap();
        assert_eq!(found(&target, "Authorization: Bearer h\r\nCookie: tok=c\r\n"), "header h");
        assert_eq!(found(&target, "Cookie: tok=c; mercureAuthorization=m\r\n"), format!("query {token}"));
        assert_eq!(found("/?a=b", "Cookie: mercureAuthorization=m; tok=c\r\n"), "cookie c");
        assert_eq!(found("/?a=b", "Cookie: mercureAuthorization=m\r\n"), "cookie m");
        assert_eq!(found("/", "Cookie: mercureauthorization=m\r\n"), "none");
        let bad = presented_compat(&target, "Authorization: Basic YTpi\r\n");
        assert_eq!(bad, Err(CredentialsError::OtherScheme), "a bad header isn't rescued");
        let several = presented_compat("/", "Cookie: mercureAuthorization=a; mercureAuthorization=b\r\n");
        assert_eq!(several, Err(CredentialsError::CookieRepeated));
    }

    #[test]
    fn of_old_a_short_or_repeated_token_in_the_query_is_not_there() {
        let (token, short) = ("t".repeat(41), "t".repeat(40));
        for query in [
            format!("authorization={short}"),
            format!("authorization={token}&authorization={token}"),
            format!("authorization={token}&authorization="),
            format!("Authorization={token}&access_token={token}"),
        ] {
            assert_eq!(presented_compat(&format!("/?{query}"), "Cookie: tok=c\r\n").unwrap(), "cookie c", "{query}");
        }
        let encoded = format!("/?%61uthorization={}", "%74".repeat(41));
        assert_eq!(presented_compat(&encoded, "").unwrap(), format!("query {token}"));
    }

    #[test]
    fn tokens_stay_out_of_logs() {
        assert_eq!(format!("{:?}", Credentials::Query("secret".into())), "Query(…)");
        assert_eq!(format!("{:?}", Credentials::Header("secret")), "Header(…)");
    }

    #[test]
    fn where_a_cookie_publish_comes_from() {
        let origin = |fields: &str| with_fields(fields, origin_for_cookie_publish);
        let some = |origin: &str| Some(origin.to_owned());
        assert_eq!(origin(""), None);
        assert_eq!(origin("Origin: https://e.com\r\n"), some("https://e.com"));
        assert_eq!(origin("Origin: https://e.com\r\nReferer: https://f.com/\r\n"), some("https://e.com"));
        assert_eq!(origin("Origin: null\r\nReferer: https://f.com/\r\n"), some("null"));
        assert_eq!(origin("Origin: https://e.com\r\nOrigin: https://f.com\r\n"), None);
        assert_eq!(origin("Origin: \r\nReferer: https://f.com/\r\n"), some(""));
        assert_eq!(origin("Referer: https://F.com:443/a?b#c\r\n"), some("https://f.com"));
        assert_eq!(origin("Referer: http://f.com:8080\r\n"), some("http://f.com:8080"));
        assert_eq!(origin("Referer: https://me:pw@f.com/\r\n"), some("https://f.com"));
        assert_eq!(origin("Referer: about:blank\r\n"), None);
        assert_eq!(origin("Referer: /a\r\n"), None);
        assert_eq!(origin("Referer: https://f.com/\r\nReferer: https://g.com/\r\n"), None);
    }
}
