//! Whether a body is a form, by its media type.

use thiserror::Error;

use super::head::Head;

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Why a body isn't taken for a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FormError {
    /// No media type, several, or another one.
    #[error("the body must be of the media type application/x-www-form-urlencoded")]
    MediaType,
    /// Compressed.
    #[error("bodies with a Content-Encoding aren't accepted")]
    ContentCoding,
}

impl FormError {
    /// The status to answer: 415 (RFC 9110 §15.5.16 covers both).
    #[must_use]
    pub fn status(&self) -> u16 {
        415
    }
}

/// Checks that the body is declared a form. Parameters such as `charset` are allowed and ignored.
///
/// # Errors
/// [`FormError`], a 415.
pub fn check(head: &Head<'_>) -> Result<(), FormError> {
    let mut types = head.get_all("content-type");
    let (Some(media_type), None) = (types.next(), types.next()) else {
        return Err(FormError::MediaType);
    };
    if !is_form(media_type) {
        return Err(FormError::MediaType);
    }
    let plain = head.get_all("content-encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity"));
    if plain { Ok(()) } else { Err(FormError::ContentCoding) }
}

/// Whether this is the form media type, parameters allowed (RFC 9110 §8.3.1).
#[must_use]
pub fn is_form(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(FORM)
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::with_fields;
    use super::*;

    #[test]
    fn media_types() {
        for form in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "application/x-www-form-urlencoded ;charset=x",
        ] {
            assert!(is_form(form.as_bytes()), "{form}");
        }
        for other in [
            "",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded2",
            "x; application/x-www-form-urlencoded",
        ] {
            assert!(!is_form(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn declared_bodies() {
        const TYPE: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
        let checked = |fields: &str| with_fields(fields, check);
        assert_eq!(checked(TYPE), Ok(()));
        assert_eq!(checked(&format!("{TYPE}Content-Encoding: identity\r\n")), Ok(()));
        assert_eq!(checked(""), Err(FormError::MediaType));
        assert_eq!(checked(&format!("{TYPE}Content-Type: text/plain\r\n")), Err(FormError::MediaType));
        assert_eq!(checked("Content-Type: application/json\r\n"), Err(FormError::MediaType));
        assert_eq!(checked(&format!("{TYPE}Content-Encoding: gzip\r\n")), Err(FormError::ContentCoding));
    }
}
