//! Which content coding a client wants of those there are (RFC 9110 §12.5.3).

use super::head::{Head, is_token_byte};

/// The unencoded form, which everybody takes who doesn't say otherwise.
const IDENTITY: &str = "identity";

/// No form there is, is one the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAcceptable;

/// The coding for an answer to a client with these `Accept-Encoding` fields, out of those `offered` with their names, the best
/// first; `Ok(None)`: as it is. The highest weight wins, and among equal ones the place in `offered`; a coding that is asked for
/// is better than none. Who doesn't send the field gets no coding: few of those would know what to do with one.
///
/// # Errors
/// [`NotAcceptable`] when the client excludes all that is offered, and the unencoded form too.
pub fn choose<T: Copy>(
    head: &Head<'_>,
    offered: impl Iterator<Item = (T, &'static str)>,
) -> Result<Option<T>, NotAcceptable> {
    let elements = head.get_all("accept-encoding").flat_map(|value| value.split(|&byte| byte == b','));
    let wanted: Vec<Element<'_>> = elements.filter_map(Element::parse).collect();
    let named = |name: &str| wanted.iter().filter(|element| element.is(name)).map(|element| element.weight).max();
    let others = named("*");
    let identity = named(IDENTITY).or(others.filter(|&weight| weight == 0));
    // Not named, it is taken, but only by who gets nothing better.
    let least = identity.unwrap_or(1);
    let mut best: Option<(T, u16)> = None;
    for (coding, name) in offered {
        let weight = named(name).or(others).unwrap_or(0);
        if weight > 0 && weight >= least && best.is_none_or(|(_, before)| weight > before) {
            best = Some((coding, weight));
        }
    }
    match best {
        Some((coding, _)) => Ok(Some(coding)),
        None if identity == Some(0) => Err(NotAcceptable),
        None => Ok(None),
    }
}

/// A coding, or `*`, and how much it is wanted, in thousandths.
struct Element<'b> {
    name: &'b str,
    weight: u16,
}

impl<'b> Element<'b> {
    /// One that can't be read says nothing: what isn't asked for clearly isn't sent.
    fn parse(element: &'b [u8]) -> Option<Element<'b>> {
        let mut parts = std::str::from_utf8(element).ok()?.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty() && name.bytes().all(is_token_byte))?;
        let weight = match parts.next() {
            None => 1000,
            Some(parameter) => {
                let (_, value) = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("q"))?;
                weight(value)?
            }
        };
        parts.next().is_none().then_some(Element { name, weight })
    }

    /// Old clients say `x-gzip` and mean the same (RFC 9110 §8.4.1.3).
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || name == "gzip" && self.name.eq_ignore_ascii_case("x-gzip")
    }
}

/// `0` to `1` with up to three digits behind the point (RFC 9110 §12.4.2).
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::head::tests::with_fields;
    use super::*;

    fn chosen(fields: &str, offered: &[&'static str]) -> Result<Option<&'static str>, NotAcceptable> {
        with_fields(fields, |head| choose(head, offered.iter().map(|&name| (name, name))))
    }

    fn of(value: &str) -> Result<Option<&'static str>, NotAcceptable> {
        chosen(&format!("Accept-Encoding: {value}\r\n"), &["zstd", "gzip"])
    }

    #[test]
    fn who_asks_for_nothing_gets_no_coding() {
        assert_eq!(chosen("", &["gzip"]), Ok(None));
        for value in
            ["", ",", "identity", "br", "deflate, br;q=0.5", "gzip;q=0", "gzip;q=0.000, zstd;q=0", "*;q=0, identity"]
        {
            assert_eq!(of(value), Ok(None), "{value}");
        }
    }

    #[test]
    fn who_asks_for_one_gets_it() {
        for value in
            ["gzip", "GZip", "x-gzip", "deflate, gzip", "gzip;q=0.001", "gzip ; q=0.5 , br", "zstd;q=0, *", "\tgzip\t"]
        {
            assert_eq!(of(value), Ok(Some("gzip")), "{value}");
        }
        assert_eq!(chosen("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", &["gzip"]), Ok(Some("gzip")));
    }

    #[test]
    fn the_highest_weight_wins_and_then_the_hubs_preference() {
        for (value, coding) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("*", Some("zstd")),
            ("gzip;q=0.9, *;q=0.5", Some("gzip")),
            ("gzip;q=1.0, zstd;q=0.9", Some("gzip")),
            ("gzip;q=0.5, zstd;q=0.5", Some("zstd")),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.501", None),
            ("gzip;q=0.1, x-gzip;q=0.9, identity;q=0.5", Some("gzip")),
            ("gzip;q=0, zstd;q=0, *", None),
        ] {
            assert_eq!(of(value), Ok(coding), "{value}");
        }
        assert_eq!(chosen("Accept-Encoding: zstd, gzip\r\n", &["gzip", "zstd"]), Ok(Some("gzip")));
        assert_eq!(chosen("Accept-Encoding: zstd, *\r\n", &["gzip"]), Ok(Some("gzip")));
    }

    #[test]
    fn who_excludes_what_there_is_is_told_so() {
        for value in
            ["identity;q=0", "*;q=0", "br, *;q=0", "identity;q=0, gzip;q=0, zstd;q=0", "br;q=1, identity;q=0.0"]
        {
            assert_eq!(of(value), Err(NotAcceptable), "{value}");
        }
        assert_eq!(of("identity;q=0, gzip"), Ok(Some("gzip")));
        assert_eq!(of("identity;q=0, *;q=0.1"), Ok(Some("zstd")));
        assert_eq!(of("gzip, *;q=0"), Ok(Some("gzip")));
        assert_eq!(chosen("Accept-Encoding: identity;q=0, gzip\r\n", &[]), Err(NotAcceptable));
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for value in [
            "gzip;q=",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=-1",
            "gzip;q=0.1234",
            "gzip;q=.5",
            "gzip;level=9",
            "gzip;q=1;x",
            "g zip",
        ] {
            assert_eq!(of(value), Ok(None), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_survived(value in "[ -~]{0,60}") {
            let _ = of(&value);
        }
    }
}
