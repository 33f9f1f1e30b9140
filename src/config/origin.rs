//! Web origins as a browser writes them in `Origin`: scheme, host, port when it isn't the scheme's own.

use url::Url;

/// Why a text is no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginError {
    /// No scheme and host.
    #[error("isn't an origin: write scheme and host, such as https://app.example")]
    NotAnOrigin,
    /// Something a browser would write differently, so that it would never match.
    #[error("isn't how a browser writes it: write {0}")]
    WrittenOtherwise(String),
}

/// Checks that a browser would send exactly this text.
pub(super) fn check(text: &str) -> Result<(), OriginError> {
    let url = Url::parse(text).map_err(|_| OriginError::NotAnOrigin)?;
    let origin = url.origin();
    // Extensions and apps have opaque origins to the URL standard but send `scheme://host`.
    let written = if origin.is_tuple() {
        origin.ascii_serialization()
    } else {
        match url.host_str() {
            Some(host) if !host.is_empty() => format!("{}://{host}", url.scheme()),
            _ => return Err(OriginError::NotAnOrigin),
        }
    };
    if written == text { Ok(()) } else { Err(OriginError::WrittenOtherwise(written)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_browsers_write_them() {
        for text in ["https://app.example", "http://localhost:8080", "http://[::1]:3000", "chrome-extension://abcdef"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_would_never_match_is_corrected() {
        for (text, written) in [
            ("https://app.example/", "https://app.example"),
            ("https://app.example/path?x", "https://app.example"),
            ("https://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(check(text), Err(OriginError::WrittenOtherwise(written.to_owned())), "{text}");
        }
        for text in ["app.example", "null", "", "data:x", "https://"] {
            assert_eq!(check(text), Err(OriginError::NotAnOrigin), "{text}");
        }
    }
}
