//! The deny list as the text of its file.

use serde_json::Value;

use super::views;
use crate::hub::{DENIED_BYTES_MAX, DENIED_ENTRIES_MAX, DenialError, Denials, Denied};

/// Bytes of the file at most: what every byte of the list may become in JSON, and what stands around an entry.
pub const DENY_LIST_BYTES_MAX: usize = DENIED_BYTES_MAX * 6 + DENIED_ENTRIES_MAX * 64;

/// Why a text isn't a deny list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyListError {
    /// No JSON.
    #[error("it isn't JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error("entry {0} isn't of the form {{\"sub\": \"…\", \"until_ms\": 0}}")]
    Entry(usize),
    /// More than there may be.
    #[error("{0}")]
    Denial(#[from] DenialError),
}

/// The list as text.
pub fn denials_to_text(denials: &Denials) -> String {
    format!("{:#}\n", views::denied(denials, 0))
}

/// Reads what [`denials_to_text`] has written; entries that are over are left out.
///
/// # Errors
/// When it is something else. Nobody is let in because a file can't be read.
pub fn denials_from_text(text: &str, now_ms: u64) -> Result<Denials, DenyListError> {
    let value: Value = serde_json::from_str(text).map_err(|why| DenyListError::NotJson(why.to_string()))?;
    let entries = value.get("denied").and_then(Value::as_array).ok_or(DenyListError::Entry(0))?;
    let mut denials = Denials::default();
    for (index, entry) in entries.iter().enumerate() {
        let whom = ["sub", "jti", "topic"].into_iter().find_map(|kind| Denied::of(kind, entry.get(kind)?.as_str()?));
        let until_ms = entry.get("until_ms").and_then(Value::as_u64);
        let (Some(whom), Some(until_ms)) = (whom, until_ms) else {
            return Err(DenyListError::Entry(index));
        };
        if until_ms > now_ms {
            denials.deny(&whom, until_ms)?;
        }
    }
    Ok(denials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let mut denials = Denials::default();
        denials.deny(&Denied::Subject("eve \"\u{1}\" Müller".into()), 100).unwrap();
        denials.deny(&Denied::TokenId("t1".into()), 200).unwrap();
        denials.deny(&Denied::Topic("urn:a".into()), 300).unwrap();
        let text = denials_to_text(&denials);
        assert_eq!(denials_from_text(&text, 0), Ok(denials));
        assert_eq!(denials_from_text(&text, 200).unwrap().entries(), [(Denied::Topic("urn:a".into()), 300)]);
        assert!(denials_from_text(&denials_to_text(&Denials::default()), 0).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert!(matches!(denials_from_text("", 0), Err(DenyListError::NotJson(_))));
        assert_eq!(denials_from_text("[]", 0), Err(DenyListError::Entry(0)));
        let text = r#"{"denied": [{"sub": "a", "until_ms": 5}, {"sub": "b"}]}"#;
        assert_eq!(denials_from_text(text, 0), Err(DenyListError::Entry(1)));
        let text = r#"{"denied": [{"iss": "a", "until_ms": 5}]}"#;
        assert_eq!(denials_from_text(text, 0), Err(DenyListError::Entry(0)));
    }
}
