//! A head that a publisher sends again and again: whatever it says but the length of the body is the same as before, and so
//! is what it comes to. It is recognised by comparing bytes, neither parsed nor judged anew.

use std::ops::Range;
use std::rc::Rc;

use crate::http::body::BodyDecoder;
use crate::http::head::{BodyFraming, Head, Version};
use crate::server::routes::Judged;

/// Bytes of a head that is kept: a token of a few grants and what a client adds.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// What one takes besides its head: the answer, encoded and not, and the settings it was judged by, which others share.
const FAMILIAR_OVERHEAD_BYTES: usize = 1024;
/// Digits of a body's length.
const LENGTH_DIGITS_MAX: usize = 9;

/// The head of a publish that was taken, and what it came to.
pub(super) struct Familiar {
    raw: Box<[u8]>,
    /// Where the length of the body is: digits.
    length: Range<usize>,
    pub(super) version: Version,
    pub(super) judged: Rc<Judged>,
}

/// What is known of a head before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) head_bytes: usize,
    body_bytes: u64,
}

impl Again {
    pub(super) fn body(self, body_bytes_max: usize) -> BodyDecoder {
        BodyDecoder::new(BodyFraming::Length(self.body_bytes), body_bytes_max)
    }
}

impl Familiar {
    /// Keeps a head on a connection that goes on, if it is an ordinary one.
    pub(super) fn new(head: &Head<'_>, raw: &[u8], judged: Rc<Judged>) -> Option<Familiar> {
        let length = place_of_length(head, raw)?;
        Some(Familiar { raw: raw.into(), length, version: head.version, judged })
    }

    /// What it takes in memory, the answer to it included; what its token grants is shared by all who present it.
    pub(super) fn bytes(&self) -> usize {
        2 * self.raw.len() + FAMILIAR_OVERHEAD_BYTES
    }

    /// The head itself.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Whether this begins with such a head.
    pub(super) fn again(&self, input: &[u8]) -> Option<Again> {
        again(&self.raw, &self.length, input)
    }
}

/// Where an ordinary head says how long the body is.
fn place_of_length(head: &Head<'_>, raw: &[u8]) -> Option<Range<usize>> {
    let digits = head.get("content-length")?;
    let ordinary = head.keep_alive && !head.expect_continue && matches!(head.body, BodyFraming::Length(_));
    if !ordinary || raw.len() > HEAD_BYTES_MAX || length_at(digits, 0)?.0 != digits.len() {
        return None;
    }
    let start = (digits.as_ptr() as usize).checked_sub(raw.as_ptr() as usize)?;
    Some(start..start + digits.len())
}

fn again(raw: &[u8], length: &Range<usize>, input: &[u8]) -> Option<Again> {
    if !input.starts_with(&raw[..length.start]) {
        return None;
    }
    let (digits, body_bytes) = length_at(input, length.start)?;
    let rest = &raw[length.end..];
    input[length.start + digits..]
        .starts_with(rest)
        .then(|| Again { head_bytes: length.start + digits + rest.len(), body_bytes })
}

/// The number at this place, and how many digits it has: written as everybody writes it.
fn length_at(bytes: &[u8], at: usize) -> Option<(usize, u64)> {
    let digits = bytes[at..].iter().take(LENGTH_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > LENGTH_DIGITS_MAX || bytes[at] == b'0' && digits > 1 {
        return None;
    }
    let number = bytes[at..at + digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some((digits, number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::head::{HeadLimits, HeadStatus, parse};

    const HEAD: &str = "POST /hub HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\nX: y\r\n\r\n";

    fn recognised(input: &str) -> Option<Again> {
        let start = HEAD.find("25").expect("is there");
        again(HEAD.as_bytes(), &(start..start + 2), input.as_bytes())
    }

    #[test]
    fn a_head_is_the_same_whatever_the_length_of_its_body() {
        for length in ["25", "7", "0", "123456789"] {
            let head = HEAD.replace("25", length);
            let again = recognised(&format!("{head}data=x"));
            assert_eq!(again, Some(Again { head_bytes: head.len(), body_bytes: length.parse().expect("a number") }));
        }
    }

    #[test]
    fn whatever_else_differs_makes_it_another_head() {
        for (from, to) in [
            ("POST", "post"),
            ("/hub", "/hub?"),
            ("Host: a", "Host: b"),
            ("25", ""),
            ("25", "025"),
            ("25", "+25"),
            ("25", "1234567890"),
            ("25\r\n", "25 \r\n"),
            ("25\r\n", "25\n"),
            ("X: y", "X: z"),
            ("X: y\r\n", ""),
            ("\r\n\r\n", "\r\nZ: z\r\n\r\n"),
            ("\r\n\r\n", "\r\n\r"),
        ] {
            assert_eq!(recognised(&HEAD.replacen(from, to, 1)), None, "{from:?} {to:?}");
        }
        assert_eq!(recognised(""), None);
    }

    /// A head as clients and attackers write it, with this length.
    fn heads() -> impl Strategy<Value = (String, String)> {
        let field = prop_oneof![
            Just("X-Length: 25".to_owned()),
            Just("X: Content-Length: 25".to_owned()),
            Just("Expect: 100-continue".to_owned()),
            Just("Connection: keep-alive".to_owned()),
            Just("Connection: close".to_owned()),
            Just("Transfer-Encoding: chunked".to_owned()),
            "[A-Za-z-]{1,8}: [ -~]{0,20}",
        ];
        let length = prop_oneof![
            Just("Content-Length: {}".to_owned()),
            Just("content-length:{}".to_owned()),
            Just("Content-Length: \t{} ".to_owned()),
        ];
        let fields = prop::collection::vec(field, 0..3);
        let target = prop_oneof![Just("/hub"), Just("/hub?Content-Length:25"), Just("/25")];
        (any::<bool>(), target, any::<bool>(), fields.clone(), length, fields).prop_map(
            |(empty_line, target, old, before, length, after)| {
                let start = if empty_line { "\r\n" } else { "" };
                let version = if old { "1.0" } else { "1.1" };
                let before: String = before.into_iter().map(|field| field + "\r\n").collect();
                let after: String = after.into_iter().map(|field| format!("\r\n{field}")).collect();
                let (name, space) = length.split_once("{}").expect("a place for it");
                let front = format!("{start}POST {target} HTTP/{version}\r\nHost: a\r\n{before}{name}");
                (front, format!("{space}{after}\r\n\r\n"))
            },
        )
    }

    fn parsed(input: &[u8]) -> Option<Head<'_>> {
        match parse(input, &HeadLimits::default()) {
            Ok(HeadStatus::Complete(head)) => Some(head),
            _ => None,
        }
    }

    /// All that a head says but the length of the body.
    fn said(head: &Head<'_>) -> impl PartialEq + std::fmt::Debug {
        let named = |(name, value): (&str, &[u8])| {
            let is_length = name.eq_ignore_ascii_case("content-length");
            (name.to_owned(), if is_length { Vec::new() } else { value.to_vec() })
        };
        let fields: Vec<_> = head.fields().map(named).collect();
        let line = (head.method, head.path.to_owned(), head.query.map(str::to_owned), head.version);
        (line, head.host.map(str::to_owned), head.keep_alive, head.expect_continue, fields)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_recognised_is_what_the_parser_reads(
            (front, back) in heads(),
            first in 0..2_000_u32,
            next in prop_oneof!["0|[1-9][0-9]{0,8}", "[0-9+ x\r\n]{0,11}"],
            spoilt in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            body in "[ -~]{0,10}",
        ) {
            let known = format!("{front}{first}{back}");
            let Some(head) = parsed(known.as_bytes()) else { return Ok(()) };
            let Some(length) = place_of_length(&head, known.as_bytes()) else { return Ok(()) };
            prop_assert_eq!(&known[length.clone()], first.to_string());
            let mut input = format!("{front}{next}{back}{body}").into_bytes();
            if let Some((at, byte)) = spoilt {
                let at = at.index(input.len());
                input[at] = byte;
            }
            let plain = !next.is_empty() && next.len() <= LENGTH_DIGITS_MAX && next.bytes().all(|byte| byte.is_ascii_digit())
                && (next == "0" || !next.starts_with('0'));
            let again = again(known.as_bytes(), &length, &input);
            prop_assert!(again.is_some() || !plain || spoilt.is_some(), "an ordinary head isn't recognised");
            if let Some(again) = again {
                let read = parsed(&input);
                let read = read.as_ref().ok_or_else(|| TestCaseError::fail("the parser refuses it"))?;
                prop_assert_eq!(said(read), said(&head));
                prop_assert_eq!((read.len, read.body), (again.head_bytes, BodyFraming::Length(again.body_bytes)));
            }
        }
    }
}
