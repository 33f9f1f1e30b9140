//! Amounts as people write them: durations (`25s`, `1h30m`, `0`), sizes (`64MiB`, `256MB`), counts (`1_000_000`).

use std::fmt::Write as _;
use std::time::Duration;

/// The longest duration that can be said; beyond it deadlines could overflow.
const DURATION_DAYS_MAX: u64 = 100 * 366;

const DURATION_UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Why a text is no amount; the message says how to write one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a duration at all.
    #[error("isn't a duration: write a number and a unit, such as 500ms, 25s, 10m, 1h30m")]
    Duration,
    /// A bare number where the unit matters.
    #[error("has no unit: write {0}s for seconds, or another of ms, m, h, d")]
    DurationWithoutUnit(u64),
    /// More than anybody means.
    #[error("is longer than {DURATION_DAYS_MAX} days")]
    DurationTooLong,
    /// Not a size at all.
    #[error("isn't a size: write bytes as a number, or with a unit such as 64KiB, 256MiB, 1GB")]
    Size,
    /// More than can be counted.
    #[error("is more than this machine can address")]
    TooLarge,
    /// Not a count.
    #[error("isn't a count: write a whole number, such as 1000000")]
    Count,
}

/// `1h30m` → 90 minutes; `0` needs no unit.
///
/// # Errors
/// When the text isn't a duration, or one longer than a century.
pub fn parse_duration(text: &str) -> Result<Duration, AmountError> {
    if let Some(number) = digits(text) {
        return match number {
            0 => Ok(Duration::ZERO),
            number => Err(AmountError::DurationWithoutUnit(number)),
        };
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        let (unit, tail) = tail.split_at_checked(unit_len).ok_or(AmountError::Duration)?;
        let number = digits(number).ok_or(AmountError::Duration)?;
        let unit = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or(AmountError::Duration)?.1;
        // From large to small, each once: `30m1h` is more likely a slip than an intention.
        if unit >= last_unit {
            return Err(AmountError::Duration);
        }
        last_unit = unit;
        millis = number
            .checked_mul(unit)
            .and_then(|part| part.checked_add(millis))
            .filter(|millis| *millis <= DURATION_DAYS_MAX * 86_400_000)
            .ok_or(AmountError::DurationTooLong)?;
        rest = tail;
    }
    if last_unit == u64::MAX { Err(AmountError::Duration) } else { Ok(Duration::from_millis(millis)) }
}

/// The shortest text `parse_duration` reads back, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in DURATION_UNITS {
        if millis >= *size {
            write!(text, "{}{unit}", millis / size).expect("writing to a String can't fail");
            millis %= size;
        }
    }
    text
}

/// `64MiB` → 67108864. Binary and decimal units are told apart; the letter case isn't.
///
/// # Errors
/// When the text isn't a size, or more than `usize` holds.
pub fn parse_size(text: &str) -> Result<usize, AmountError> {
    let number_len = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
    let (number, unit) = text.split_at(number_len);
    let number = digits(number).ok_or(AmountError::Size)?;
    let unit = unit.trim_start();
    let factor = if unit.is_empty() {
        1
    } else {
        SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(AmountError::Size)?.1
    };
    number.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(AmountError::TooLarge)
}

/// A whole number; `_` may stand between digits.
///
/// # Errors
/// When the text isn't one, or more than `usize` holds.
pub fn parse_count(text: &str) -> Result<usize, AmountError> {
    let number = digits(text).ok_or(AmountError::Count)?;
    usize::try_from(number).map_err(|_| AmountError::TooLarge)
}

fn digits(text: &str) -> Option<u64> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) || text.ends_with('_') {
        return None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
        return None;
    }
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("25s", 25_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_how_to_be_one() {
        assert_eq!(parse_duration("25"), Err(AmountError::DurationWithoutUnit(25)));
        for text in ["", "s", "25x", "1h 30m", "-1s", "1.5h", "30m1h", "1s1s", "25S", "²s", "1é"] {
            assert_eq!(parse_duration(text), Err(AmountError::Duration), "{text}");
        }
        assert_eq!(parse_duration("99999999999d"), Err(AmountError::DurationTooLong));
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("256MB", 256_000_000),
            ("1GiB", 1 << 30),
            ("10B", 10),
            ("1_000KB", 1_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "64M", "64 megabytes", "-1", "1.5MiB", "_1"] {
            assert_eq!(parse_size(text), Err(AmountError::Size), "{text}");
        }
        assert_eq!(parse_size("99999999999GiB"), Err(AmountError::TooLarge));
    }

    #[test]
    fn counts_are_whole_numbers() {
        assert_eq!(parse_count("1_000_000"), Ok(1_000_000));
        for text in ["", "many", "1.0", "-1", "1_", "+1"] {
            assert_eq!(parse_count(text), Err(AmountError::Count), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(millis in 0..DURATION_DAYS_MAX * 86_400_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,12}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
            let _ = parse_count(&text);
        }
    }
}
