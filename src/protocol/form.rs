//! `application/x-www-form-urlencoded`, as the URL standard parses it, down to bytes.
//!
//! Pieces are cut at `&` only, `+` is a space, an invalid `%` stays as it is, `;` is an ordinary character. Values are
//! handed out as bytes: the standard would replace what isn't UTF-8, the protocol refuses it.

use std::borrow::Cow;

/// The decoded (name, value) pairs in their order; a name without `=` has an empty value.
pub(super) fn pairs(form: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    pieces(form).filter(|piece| !piece.is_empty()).map(|piece| {
        let equals = memchr::memchr(b'=', piece);
        let (name, value) = match equals {
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => (piece, &[][..]),
        };
        (decode(name), decode(value))
    })
}

fn pieces(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut ends = memchr::memchr_iter(b'&', form).chain(std::iter::once(form.len()));
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = ends.next()?;
        Some(&form[std::mem::replace(&mut start, end + 1)..end])
    })
}

fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr2(b'+', b'%', encoded) else {
        return Cow::Borrowed(encoded);
    };
    let mut decoded = Vec::with_capacity(encoded.len());
    let (plain, mut rest) = encoded.split_at(first);
    decoded.extend_from_slice(plain);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => decoded.push(b' '),
            (b'%', &[high, low, ref after @ ..]) if let Some(byte) = escaped(high, low) => {
                decoded.push(byte);
                rest = after;
            }
            (b'%', _) => decoded.push(b'%'),
            _ => {
                let length = memchr::memchr2(b'+', b'%', after).unwrap_or(after.len());
                decoded.push(byte);
                decoded.extend_from_slice(&after[..length]);
                rest = &after[length..];
            }
        }
    }
    Cow::Owned(decoded)
}

/// The byte that two hexadecimal digits stand for.
fn escaped(high: u8, low: u8) -> Option<u8> {
    match (HEX[usize::from(high)], HEX[usize::from(low)]) {
        (NO_DIGIT, _) | (_, NO_DIGIT) => None,
        (high, low) => Some(high << 4 | low),
    }
}

const NO_DIGIT: u8 = 0xFF;
/// What each byte is worth as a hexadecimal digit.
const HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(form: &str) -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        pairs(form.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    }

    fn expect(form: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse(form), expected, "{form}");
    }

    #[test]
    fn pieces_are_cut_at_ampersands_only_and_empty_ones_are_skipped() {
        expect("&a=1&&b=2;c=3&", &[("a", "1"), ("b", "2;c=3")]);
        expect("", &[]);
    }

    #[test]
    fn the_first_equals_sign_ends_the_name() {
        expect("a=b=c&d&=e&f=", &[("a", "b=c"), ("d", ""), ("", "e"), ("f", "")]);
    }

    #[test]
    fn plus_is_a_space_and_percent_two_digits_a_byte() {
        expect("a+b=c%2Bd%20e", &[("a b", "c+d e")]);
        expect("%61%3D=%c3%A9", &[("a=", "é")]);
    }

    #[test]
    fn an_invalid_percent_sequence_stays() {
        expect("a=%&b=%4&c=%zz&d=%%41&e=%+1", &[("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "%A"), ("e", "% 1")]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_handed_out() {
        let (_, value) = pairs(b"a=%FF").next().unwrap();
        assert_eq!(*value, [0xFF]);
    }

    proptest! {
        #[test]
        fn what_the_standards_serializer_writes_is_read_back(
            expected in proptest::collection::vec((any::<String>(), any::<String>()), 0..6),
        ) {
            let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&expected).finish();
            prop_assert_eq!(parse(&form), expected);
        }

        #[test]
        fn any_bytes_are_read_as_the_form_urlencoded_crate_reads_them(form in proptest::collection::vec(
            prop_oneof![Just(b'&'), Just(b'='), Just(b'%'), Just(b'4'), Just(b'+'), any::<u8>()], 0..40)) {
            let lossy = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
            let ours: Vec<_> = pairs(&form).map(|(name, value)| (lossy(name), lossy(value))).collect();
            prop_assert_eq!(ours, form_urlencoded::parse(&form).into_owned().collect::<Vec<_>>());
        }
    }
}
