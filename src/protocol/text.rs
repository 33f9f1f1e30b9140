//! Valid strings: what a topic, a matcher, an id or a type may consist of.
//!
//! The protocol draft forbids control characters (C0, DEL, C1) and everything of the general category *Cf* (format),
//! so that no two strings look alike and none can break a line of an event stream. The table is Unicode 17's.

use thiserror::Error;

/// A character that may not stand in a topic, matcher, id or type.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the character U+{:04X} at byte {at} is a control or invisible formatting character, please remove it",
    u32::from(*.forbidden)
)]
pub struct TextError {
    /// The first forbidden character.
    pub forbidden: char,
    /// Where it starts, in bytes of UTF-8.
    pub at: usize,
}

/// General category Cf as of Unicode 17 beyond ASCII and C1, as inclusive ranges in ascending order.
const FORMAT_CHARACTERS: [(u32, u32); 21] = [
    (0x00AD, 0x00AD),
    (0x0600, 0x0605),
    (0x061C, 0x061C),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
];

/// Tests the "valid string" rule of the protocol draft; the error names the first offender.
pub fn check(s: &str) -> Result<(), TextError> {
    match s.char_indices().find(|&(_, c)| is_forbidden(c)) {
        Some((at, forbidden)) => Err(TextError { forbidden, at }),
        None => Ok(()),
    }
}

fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    if code < 0x7F {
        return code < 0x20;
    }
    code <= 0x9F || is_format(code)
}

fn is_format(code: u32) -> bool {
    let after = FORMAT_CHARACTERS.partition_point(|&(first, _)| first <= code);
    after > 0 && code <= FORMAT_CHARACTERS[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_disjoint() {
        assert!(FORMAT_CHARACTERS.iter().all(|(first, last)| first <= last));
        assert!(FORMAT_CHARACTERS.windows(2).all(|w| w[0].1 < w[1].0));
    }

    #[test]
    fn every_end_of_every_range_is_forbidden_and_its_neighbours_are_not() {
        for (first, last) in FORMAT_CHARACTERS {
            assert!(is_format(first) && is_format(last));
            assert!(!is_format(first - 1) && !is_format(last + 1), "{first:X}");
        }
    }

    #[test]
    fn controls_are_forbidden() {
        for c in ('\0'..'\u{20}').chain('\u{7F}'..'\u{A0}') {
            assert_eq!(check(&format!("ab{c}")), Err(TextError { forbidden: c, at: 2 }));
        }
    }

    #[test]
    fn everything_else_is_legal() {
        let legal = " ~\"'<>\u{A0}\u{2028}\u{2029}\u{E000}\u{10FFFF}é漢🦊e\u{301}\u{FFFD}\u{180F}";
        assert_eq!(check(legal), Ok(()));
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn the_first_offender_is_named_with_its_place() {
        let error = check("é\u{200B}\u{FEFF}").unwrap_err();
        assert_eq!(error, TextError { forbidden: '\u{200B}', at: 2 });
        assert_eq!(
            error.to_string(),
            "the character U+200B at byte 2 is a control or invisible formatting character, please remove it"
        );
    }
}
