//! Lists of web origins (RFC 6454): who may read answers, and whose pages may publish with a cookie.

use thiserror::Error;
use url::Url;

use super::authority;

/// The origins that are allowed something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginList {
    origins: Vec<String>,
    any: bool,
    loopback: bool,
}

/// Why an entry can't be in a list of origins; the sentences say what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum OriginError {
    #[error(
        "{entry:?} isn't an origin: write a scheme, a host and, if it isn't the usual one, a port, as in https://app.example:8443"
    )]
    Malformed { entry: String },
    #[error("{entry:?} is more than an origin: write {origin:?}")]
    MoreThanOrigin { entry: String, origin: String },
    #[error("{entry:?} has a wildcard inside: list each origin, or write \"*\" alone for all of them")]
    Wildcard { entry: String },
    #[error("\"null\" is the origin of every sandboxed page and local file of any author: it can't be allowed")]
    Null,
    #[error("\"*\" stands for every origin, without cookies: leave it alone, or list the origins only")]
    AnyWithOthers,
}

impl OriginList {
    /// Reads entries such as `https://app.example` or `http://localhost:8000`; `*` as the only one allows all.
    ///
    /// They are kept as browsers write them: lower case, internationalised hosts in their ASCII form, no default
    /// port.
    ///
    /// # Errors
    /// [`OriginError`] for the first entry that isn't an origin.
    pub fn parse(list: &[String]) -> Result<Self, OriginError> {
        if list.iter().any(|entry| entry == "*") {
            let alone = list.len() == 1;
            return if alone { Ok(Self { any: true, ..Self::default() }) } else { Err(OriginError::AnyWithOthers) };
        }
        let origins = list.iter().map(|entry| normal_form(entry)).collect::<Result<_, _>>()?;
        Ok(Self { origins, ..Self::default() })
    }

    /// The same list, and `http` and `https` pages served by this machine, on any port: for development.
    #[must_use]
    pub fn and_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Whether every origin is allowed (`*`). Never together with credentials.
    #[must_use]
    pub fn allows_any(&self) -> bool {
        self.any
    }

    /// Whether no origin is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any && !self.loopback && self.origins.is_empty()
    }

    /// Whether this value of an `Origin` field is allowed: compared exactly, but for the letter case of scheme and
    /// host.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.any
            || self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
            || self.loopback && is_loopback(origin)
    }
}

fn is_loopback(origin: &str) -> bool {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) && authority::is_loopback(authority)
}

fn normal_form(entry: &str) -> Result<String, OriginError> {
    let malformed = || OriginError::Malformed { entry: entry.to_owned() };
    if entry.eq_ignore_ascii_case("null") {
        return Err(OriginError::Null);
    }
    if entry.contains('*') {
        return Err(OriginError::Wildcard { entry: entry.to_owned() });
    }
    // The URL parser forgives white space, backslashes and missing slashes; an entry of a list shouldn't need it.
    let (_, authority) = entry.split_once("://").ok_or_else(malformed)?;
    if authority.is_empty() || entry.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(malformed());
    }
    let url = Url::parse(entry).map_err(|_| malformed())?;
    let origin = serialized(&url).ok_or_else(malformed)?;
    if authority.contains(['/', '?', '#', '@']) {
        return Err(OriginError::MoreThanOrigin { entry: entry.to_owned(), origin });
    }
    Ok(origin)
}

/// As in an `Origin` field. Apps in web views have schemes of their own (`capacitor://localhost`), whose origins
/// the URL standard calls opaque though browsers write them out.
fn serialized(url: &Url) -> Option<String> {
    if url.origin().is_tuple() {
        return Some(url.origin().ascii_serialization());
    }
    let host = url.host_str().filter(|host| !host.is_empty() && url.scheme() != "file")?.to_ascii_lowercase();
    Some(match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Result<OriginList, OriginError> {
        OriginList::parse(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn entries_are_kept_as_browsers_write_them() {
        let origins = |entry| list(&[entry]).unwrap().origins;
        assert_eq!(origins("https://app.example"), ["https://app.example"]);
        assert_eq!(origins("HTTPS://App.Example:443"), ["https://app.example"]);
        assert_eq!(origins("http://app.example:443"), ["http://app.example:443"]);
        assert_eq!(origins("https://bücher.example"), ["https://xn--bcher-kva.example"]);
        assert_eq!(origins("http://[::1]:8000"), ["http://[::1]:8000"]);
        assert_eq!(origins("capacitor://LocalHost"), ["capacitor://localhost"]);
        assert_eq!(origins("app://local:8000"), ["app://local:8000"]);
    }

    #[test]
    fn entries_that_are_refused() {
        let more =
            |entry: &str, origin: &str| OriginError::MoreThanOrigin { entry: entry.into(), origin: origin.into() };
        for entry in [
            "",
            "app.example",
            "app.example:80",
            "https:",
            "https://",
            "https:/e.com",
            "https:\\\\e.com",
            " https://e.com",
            "https://e .com",
            "https://e.com:99999",
            "mailto:a@e.com",
            "//e.com",
            "file:///a",
        ] {
            assert_eq!(list(&[entry]), Err(OriginError::Malformed { entry: entry.into() }), "{entry}");
        }
        assert_eq!(list(&["https://e.com/"]), Err(more("https://e.com/", "https://e.com")));
        assert_eq!(list(&["https://e.com/a?b#c"]), Err(more("https://e.com/a?b#c", "https://e.com")));
        assert_eq!(list(&["https://me@e.com"]), Err(more("https://me@e.com", "https://e.com")));
        assert_eq!(list(&["https://*.e.com"]), Err(OriginError::Wildcard { entry: "https://*.e.com".into() }));
        assert_eq!(list(&["null"]), Err(OriginError::Null));
        assert_eq!(list(&["*", "https://e.com"]), Err(OriginError::AnyWithOthers));
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let allowed = list(&["https://app.example", "http://e.com:8000"]).unwrap();
        for origin in ["https://app.example", "HTTPS://APP.example", "http://e.com:8000"] {
            assert!(allowed.allows(origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "*",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.",
            "https://app.example.evil.com",
            "https://evil.com/https://app.example",
            "https://xapp.example",
            "https://app.example/",
            "http://e.com",
            "http://localhost",
        ] {
            assert!(!allowed.allows(origin), "{origin}");
        }
    }

    #[test]
    fn an_empty_list_allows_nobody_and_a_star_everybody() {
        assert!(list(&[]).unwrap().is_empty());
        assert!(!list(&[]).unwrap().allows("https://e.com"));
        assert!(!list(&[]).unwrap().allows(""));
        let any = list(&["*"]).unwrap();
        assert!(any.allows_any() && any.allows("https://e.com") && any.allows("null") && !any.is_empty());
    }

    #[test]
    fn development_allows_pages_of_this_machine() {
        let development = OriginList::default().and_loopback();
        for origin in [
            "http://localhost",
            "https://localhost:5173",
            "http://127.0.0.1:3000",
            "http://127.1.2.3",
            "http://[::1]:8000",
        ] {
            assert!(development.allows(origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "localhost",
            "://localhost",
            "ftp://localhost",
            "http://localhost.evil.com",
            "http://localhost@evil.com",
            "http://127.0.0.1.evil.com",
            "http://localhost/",
            "http://localhost:x",
            "http://10.0.0.1",
            "file://localhost",
        ] {
            assert!(!development.allows(origin), "{origin}");
        }
        let both = list(&["https://app.example"]).unwrap().and_loopback();
        assert!(both.allows("https://app.example") && both.allows("http://localhost") && !both.allows("https://e.com"));
    }
}
