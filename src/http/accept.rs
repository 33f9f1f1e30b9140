//! What media types a client says it takes (RFC 9110 §12.5.1).

use super::head::{Head, is_token_byte};

/// Whether a client with these `Accept` fields takes `kind/subtype`. The range that names it most closely decides; one
/// with `q=0` excludes it. Without the field, or with nothing in it that can be read, everything is taken.
#[must_use]
pub fn accepts(head: &Head<'_>, kind: &str, subtype: &str) -> bool {
    let elements = head.get_all("accept").flat_map(|value| value.split(|&byte| byte == b','));
    let ranges: Vec<Range<'_>> = elements.filter_map(Range::parse).collect();
    // Of two equally close ranges the one that takes it wins.
    let closest = ranges.iter().filter_map(|range| Some((range.closeness(kind, subtype)?, range.wanted))).max();
    closest.map_or(ranges.is_empty(), |(_, wanted)| wanted)
}

/// A media range, such as `text/*`; parameters other than the weight are passed over.
struct Range<'b> {
    kind: &'b str,
    subtype: &'b str,
    wanted: bool,
}

impl<'b> Range<'b> {
    fn parse(element: &'b [u8]) -> Option<Range<'b>> {
        let mut parts = std::str::from_utf8(element).ok()?.split(';').map(str::trim);
        let range = parts.next()?;
        // Java's own client sends a lone star.
        let (kind, subtype) = if range == "*" { ("*", "*") } else { range.split_once('/')? };
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_byte);
        if !is_token(kind) || !is_token(subtype) || (kind == "*" && subtype != "*") {
            return None;
        }
        let weight = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        Some(Range { kind, subtype, wanted: !weight.is_some_and(|(_, value)| is_zero(value)) })
    }

    /// How closely it names the type; none if it doesn't.
    fn closeness(&self, kind: &str, subtype: &str) -> Option<u8> {
        match (self.kind, self.subtype) {
            ("*", _) => Some(0),
            (own, "*") if own.eq_ignore_ascii_case(kind) => Some(1),
            (own, own_subtype) if own.eq_ignore_ascii_case(kind) && own_subtype.eq_ignore_ascii_case(subtype) => {
                Some(2)
            }
            _ => None,
        }
    }
}

/// `0`, `0.` to `0.000`.
fn is_zero(weight: &str) -> bool {
    let fraction = weight.strip_prefix("0.").or(weight.strip_prefix('0'));
    fraction.is_some_and(|digits| digits.bytes().all(|byte| byte == b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::head::tests::with_fields;
    use super::*;

    fn takes_streams(fields: &str) -> bool {
        with_fields(fields, |head| accepts(head, "text", "event-stream"))
    }

    #[test]
    fn whoever_says_nothing_takes_everything() {
        for fields in ["", "Accept: \r\n", "Accept: ,\r\n", "Accept: nonsense\r\n", "Accept: */x, /, a/\r\n"] {
            assert!(takes_streams(fields), "{fields:?}");
        }
    }

    #[test]
    fn a_range_that_holds_the_type_takes_it() {
        for accept in [
            "text/event-stream",
            "Text/Event-Stream",
            "text/*",
            "*/*",
            "*",
            "text/html, text/event-stream",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "text/html, image/gif, *; q=.2, */*; q=.2",
            "text/event-stream;charset=utf-8",
            "text/event-stream;q=0.001",
            "text/event-stream;q=nonsense",
            "*/*;q=0, text/event-stream",
            "text/*;q=0, text/event-stream;q=1",
            "text/event-stream;q=0, text/event-stream",
        ] {
            assert!(takes_streams(&format!("Accept: {accept}\r\n")), "{accept}");
        }
        assert!(takes_streams("Accept: text/html\r\nAccept: text/event-stream\r\n"));
    }

    #[test]
    fn others_and_a_weight_of_zero_exclude_it() {
        for accept in [
            "application/json",
            "text/html, text/plain",
            "text/event-stream;q=0",
            "text/event-stream; Q=0.000",
            "text/event-stream;q=0, */*",
            "text/*;q=0, */*",
            "*/*;q=0.",
            "application/*",
        ] {
            assert!(!takes_streams(&format!("Accept: {accept}\r\n")), "{accept}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_survived(value in "[ -~]{0,60}") {
            let _ = takes_streams(&format!("Accept: {value}\r\n"));
        }
    }
}
