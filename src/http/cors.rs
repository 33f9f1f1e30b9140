//! Which pages of other origins may read an answer (Fetch standard, CORS protocol).

use super::origin::OriginList;
use super::response::ResponseHead;

/// What a page may read beyond the body and the fields every page may read.
const EXPOSED: &str = "Link, Mercure-Last-Event-ID";
const METHODS: &str = "GET, HEAD, POST, QUERY, OPTIONS";
/// `content-type` isn't among them: that of a form needs no permission.
const HEADERS: &str = "authorization, cache-control, last-event-id";
/// What Chromium caps it to.
const PREFLIGHT_AGE_SECONDS_MAX: &str = "7200";

/// Adds the fields for an answer, errors included, to a request with this `Origin`.
///
/// A listed origin is named and may send credentials; with `*` configured every page may read, none with
/// credentials.
pub fn cors_fields(list: &OriginList, origin: Option<&str>, out: &mut ResponseHead) {
    if permit(list, origin, out) {
        out.add_field("Access-Control-Expose-Headers", EXPOSED);
    }
}

/// Adds the fields for the answer to a preflight request (`OPTIONS` with `Access-Control-Request-Method`).
pub fn preflight_fields(list: &OriginList, origin: Option<&str>, out: &mut ResponseHead) {
    if permit(list, origin, out) {
        out.add_field("Access-Control-Allow-Methods", METHODS);
        out.add_field("Access-Control-Allow-Headers", HEADERS);
        out.add_field("Access-Control-Max-Age", PREFLIGHT_AGE_SECONDS_MAX);
    }
}

fn permit(list: &OriginList, origin: Option<&str>, out: &mut ResponseHead) -> bool {
    if list.allows_any() {
        out.add_field("Access-Control-Allow-Origin", "*");
        return true;
    }
    if list.is_empty() {
        return false;
    }
    // Also where the origin is missing or not allowed: a cache must not serve that answer to one that is.
    out.add_field("Vary", "Origin");
    match origin.filter(|origin| list.allows(origin)) {
        Some(origin) => {
            out.add_field("Access-Control-Allow-Origin", origin);
            out.add_field("Access-Control-Allow-Credentials", "true");
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(
        entries: &[&str],
        origin: Option<&str>,
        add: fn(&OriginList, Option<&str>, &mut ResponseHead),
    ) -> Vec<String> {
        let list = OriginList::parse(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>()).unwrap();
        let mut out = ResponseHead::new(204);
        add(&list, origin, &mut out);
        out.fields().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
    }

    const APP: &str = "https://app.example";

    #[test]
    fn a_listed_origin_is_named_and_may_send_credentials() {
        assert_eq!(
            fields(&[APP], Some(APP), cors_fields),
            [
                "Vary: Origin",
                "Access-Control-Allow-Origin: https://app.example",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Expose-Headers: Link, Mercure-Last-Event-ID",
            ]
        );
    }

    #[test]
    fn others_get_nothing_but_vary() {
        assert_eq!(fields(&[APP], Some("https://evil.example"), cors_fields), ["Vary: Origin"]);
        assert_eq!(fields(&[APP], Some("https://evil.example"), preflight_fields), ["Vary: Origin"]);
        assert_eq!(fields(&[APP], Some("null"), cors_fields), ["Vary: Origin"]);
        assert_eq!(fields(&[APP], None, cors_fields), ["Vary: Origin"]);
        assert_eq!(fields(&[], Some(APP), cors_fields), [""; 0]);
    }

    #[test]
    fn a_star_never_comes_with_credentials() {
        assert_eq!(
            fields(&["*"], Some(APP), cors_fields),
            ["Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: Link, Mercure-Last-Event-ID",]
        );
    }

    #[test]
    fn preflight() {
        assert_eq!(
            fields(&[APP], Some(APP), preflight_fields),
            [
                "Vary: Origin",
                "Access-Control-Allow-Origin: https://app.example",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Allow-Methods: GET, HEAD, POST, QUERY, OPTIONS",
                "Access-Control-Allow-Headers: authorization, cache-control, last-event-id",
                "Access-Control-Max-Age: 7200",
            ]
        );
    }
}
