//! The `Date` field.

use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999, the last one the format can write.
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;

/// Seconds since 1970 as an IMF-fixdate (RFC 9110 §5.6.7), always 29 bytes. The caller keeps it for a second.
#[must_use]
pub fn http_date(unix_seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(UNIX_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
        assert_eq!(http_date(UNIX_SECONDS_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
