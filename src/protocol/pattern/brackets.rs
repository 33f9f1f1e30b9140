//! A guard in front of the `urlpattern` crate (0.6), whose parser counts brackets down below zero.
//!
//! In an optimised build that wraps around and does no harm; where overflow is checked it would end the process, and
//! the text comes from strangers. `tests.rs` holds the guard against the crate on random texts.

/// Whether a `]` in front of the path may lack its `[`.
///
/// The `urlpattern` crate (0.6) counts brackets of the host name without looking whether one is open and would
/// overflow. This refuses a little more than that: after a colon, up to the first slash that follows no colon.
pub(super) fn may_lack_opening(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut open_brackets = 0_usize;
    let mut open_braces = 0_usize;
    let mut after_colon = false;
    let mut slashes_allowed = 0;
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes[at] == b'\\' && at + 1 < bytes.len();
        let byte = bytes[at + usize::from(escaped)];
        let length = if escaped { 2 } else { group_length(&bytes[at..]).unwrap_or(1) };
        match byte {
            b'{' if !escaped => open_braces += 1,
            b'}' if !escaped => open_braces = open_braces.saturating_sub(1),
            _ if open_braces > 0 => {}
            b'[' => open_brackets += 1,
            b'@' => open_brackets = 0,
            b']' if after_colon => match open_brackets.checked_sub(1) {
                Some(fewer) => open_brackets = fewer,
                None => return true,
            },
            b'/' if after_colon && slashes_allowed == 0 => return false,
            _ => {}
        }
        let starts_name = bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'$'));
        if byte == b':' && (escaped || !starts_name) {
            if !after_colon {
                open_brackets = 0;
            }
            after_colon = true;
            slashes_allowed = 2;
        } else {
            slashes_allowed = if byte == b'/' { slashes_allowed.max(1) - 1 } else { 0 };
        }
        at += length;
    }
    // A brace that is never closed, an error anyway, hides the brackets after it at one reading and not at the next.
    open_braces > 0 && text.contains(']')
}

/// The length of a `(regular expression)` at the start, if there is a well-formed one.
fn group_length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"(") || matches!(bytes.get(1), Some(b'?' | b')')) {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'(' if depth > 0 && bytes.get(at + 1) != Some(&b'?') => return None,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            _ if !byte.is_ascii() => return None,
            _ => {}
        }
        at += 1;
    }
    None
}
