//! One cookie out of the `Cookie` fields (RFC 6265 §4.2, §5.4).

/// What the fields hold under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CookieLookup<'a> {
    /// No such cookie.
    None,
    /// One value, or the same value several times.
    One(&'a str),
    /// Different values under the one name.
    ///
    /// Browsers send that when a cookie was also set for a parent domain or another path. A server on a sibling
    /// host can do so, and put its own cookie first by giving it a longer path, so there is no safe choice between
    /// them.
    Several,
    /// A value that isn't ASCII.
    Malformed,
}

/// Shows no value: it may be a token.
impl std::fmt::Debug for CookieLookup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(…)",
            Self::Several => "Several",
            Self::Malformed => "Malformed",
        })
    }
}

/// Looks a cookie up by its exact name in the values of the `Cookie` fields. A pair of quotes around the value
/// isn't part of it. Pieces that aren't `name=value` are passed over.
pub fn find<'a>(cookie_fields: impl Iterator<Item = &'a [u8]>, name: &str) -> CookieLookup<'a> {
    let values = cookie_fields
        .flat_map(|field| field.split(|&byte| byte == b';'))
        .filter_map(pair)
        .filter(|&(found, _)| found == name.as_bytes())
        .map(|(_, value)| value);
    let mut only = None;
    for value in values {
        if only.is_some_and(|first| first != value) {
            return CookieLookup::Several;
        }
        only = Some(value);
    }
    match only.map(|value| std::str::from_utf8(value).ok().filter(|text| text.is_ascii())) {
        None => CookieLookup::None,
        Some(Some(value)) => CookieLookup::One(value),
        Some(None) => CookieLookup::Malformed,
    }
}

fn pair(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', piece)?;
    let (name, value) = (piece[..equals].trim_ascii(), piece[equals + 1..].trim_ascii());
    let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some((name, unquoted.unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup<'a>(fields: &[&'a str]) -> CookieLookup<'a> {
        find(fields.iter().map(|field| field.as_bytes()), "t")
    }

    #[test]
    fn values_are_found() {
        assert_eq!(lookup(&[]), CookieLookup::None);
        assert_eq!(lookup(&["a=b; tt=c; T=d; t"]), CookieLookup::None);
        assert_eq!(lookup(&["t=x"]), CookieLookup::One("x"));
        assert_eq!(lookup(&["a=b;t=x;c=d"]), CookieLookup::One("x"));
        assert_eq!(lookup(&["a=b;  t = x ; c"]), CookieLookup::One("x"));
        assert_eq!(lookup(&["a=b", "t=x"]), CookieLookup::One("x"));
        assert_eq!(lookup(&["t=x=="]), CookieLookup::One("x=="));
        assert_eq!(lookup(&["t="]), CookieLookup::One(""));
        assert_eq!(lookup(&["t=\"x\""]), CookieLookup::One("x"));
        assert_eq!(lookup(&["t=\"x"]), CookieLookup::One("\"x"));
        assert_eq!(lookup(&["t=\""]), CookieLookup::One("\""));
        assert_eq!(lookup(&["t=é"]), CookieLookup::Malformed);
    }

    #[test]
    fn a_planted_second_cookie_is_never_chosen() {
        assert_eq!(lookup(&["t=x; t=y"]), CookieLookup::Several);
        assert_eq!(lookup(&["t=y", "t=x"]), CookieLookup::Several);
        assert_eq!(lookup(&["t=x; t="]), CookieLookup::Several);
        assert_eq!(lookup(&["t=x; a=b; t=x"]), CookieLookup::One("x"));
    }

    #[test]
    fn values_stay_out_of_logs() {
        assert_eq!(format!("{:?}", lookup(&["t=secret"])), "One(…)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(field in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = find(std::iter::once(field.as_slice()), "t");
        }
    }
}
