//! Numbers as people read them.

/// Three figures or more, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), ""), |(whole, _)| (whole, &text[whole.len()..]));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    format!("{sign}{}{fraction}", grouped(whole))
}

/// A count, thousands apart.
pub(crate) fn count(count: u64) -> String {
    grouped(&count.to_string())
}

fn grouped(whole: &str) -> String {
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A value of a unit, as a number and the unit it is best read in.
pub(crate) fn quantity(value: f64, unit: &str) -> (String, String) {
    const KIB: f64 = 1024.0;
    let (scaled, name) = match (unit, value.abs()) {
        ("B", size) if size >= 10.0 * KIB * KIB * KIB => (value / (KIB * KIB * KIB), "GiB"),
        ("B", size) if size >= 10.0 * KIB * KIB => (value / (KIB * KIB), "MiB"),
        ("B", size) if size >= 10.0 * KIB => (value / KIB, "KiB"),
        ("us", size) if size >= 10e6 => (value / 1e6, "s"),
        ("us", size) if size >= 10e3 => (value / 1e3, "ms"),
        ("us", _) => (value, "µs"),
        ("ms", size) if size >= 10e3 => (value / 1e3, "s"),
        (unit, _) => (value, unit),
    };
    // What was counted has no decimals.
    let whole = name.is_empty() && (0.0..1e15).contains(&scaled) && scaled.fract() == 0.0;
    (if whole { count(scaled as u64) } else { number(scaled) }, name.to_owned())
}

/// The same as one text.
pub(crate) fn spoken(value: f64, unit: &str) -> String {
    let (number, unit) = quantity(value, unit);
    match unit.as_str() {
        "" => number,
        "x" => format!("{number} ×"),
        "/s" => format!("{number}/s"),
        unit => format!("{number} {unit}"),
    }
}

/// Seconds since 1970 as a date and time of day in UTC.
pub(crate) fn utc(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Years of March to February, so that the leap day comes last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400 + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

/// Text that changes nothing in a terminal: control characters are replaced, and lines stay lines.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let texts = [0.0, 0.1234, 3.456, 42.42, 123.4, 1_234_567.8, -9_876.0].map(number);
        assert_eq!(texts, ["0", "0.123", "3.46", "42.4", "123", "1,234,568", "-9,876"]);
    }

    #[test]
    fn values_are_read_in_a_unit_that_fits() {
        let texts = [
            (177.0, "B"),
            (7_550_976.0, "B"),
            (2e8, "B"),
            (8.31, "us"),
            (25_000.0, "us"),
            (142e3, "/s"),
            (0.97, "x"),
            (3.0, ""),
        ];
        let texts = texts.map(|(value, unit)| spoken(value, unit));
        assert_eq!(texts, ["177 B", "7,374 KiB", "191 MiB", "8.31 µs", "25.0 ms", "142,000/s", "0.970 ×", "3"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let texts = [0, 951_782_399, 951_782_400, 1_709_164_800, 4_107_542_400].map(utc);
        assert_eq!(
            texts,
            [
                "1970-01-01 00:00:00 UTC",
                "2000-02-28 23:59:59 UTC",
                "2000-02-29 00:00:00 UTC",
                "2024-02-29 00:00:00 UTC",
                "2100-03-01 00:00:00 UTC",
            ]
        );
    }

    #[test]
    fn a_record_moves_no_cursor() {
        assert_eq!(plain("a\x1b[2Jb\r\nc\u{9b}31m"), "a\u{fffd}[2Jb\u{fffd}\nc\u{fffd}31m");
    }
}
