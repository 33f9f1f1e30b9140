//! What every stream begins with: the header of its content coding, padding for proxies that hold back the first bytes, and
//! the default `retry:`.

use super::coding::stored::{blocks, flush};
use super::coding::{Coding, Form};
use super::event_stream;

/// The shortest comment: a colon and a line end.
pub const PADDING_BYTES_MIN: usize = 2;
/// Small enough for the send buffer of a socket that has sent nothing yet: as a rule the hub keeps none of it even for a client
/// that never reads.
pub const PADDING_BYTES_MAX: usize = 16 * 1024;

/// The first bytes of a stream's body, made once and copied behind each response head: an idle stream keeps nothing of
/// them. Without a coding it is empty unless asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prelude([Box<[u8]>; Form::ALL.len()]);

impl Default for Prelude {
    fn default() -> Prelude {
        Prelude::new(0, None)
    }
}

impl Prelude {
    /// A comment of `padding_bytes` (0: none), its line end included, then the default of the reconnection time.
    ///
    /// No empty line ends it: some clients would take it for an event without data. The field counts as soon as its
    /// line is read.
    pub fn new(padding_bytes: usize, retry_ms: Option<u64>) -> Prelude {
        debug_assert!(padding_bytes == 0 || (PADDING_BYTES_MIN..=PADDING_BYTES_MAX).contains(&padding_bytes));
        let mut plain = Vec::new();
        if padding_bytes >= PADDING_BYTES_MIN {
            plain.push(b':');
            plain.resize(padding_bytes - 1, b' ');
            plain.push(b'\n');
        }
        if let Some(retry_ms) = retry_ms {
            event_stream::field(&mut plain, b"retry", retry_ms.to_string().as_bytes());
        }
        Prelude(Form::ALL.map(|form| formed(&plain, form, form.coding.map_or(b"", Coding::header))))
    }

    /// As the connection wants it.
    pub fn bytes(&self, form: Form) -> &[u8] {
        &self.0[form.index()]
    }
}

/// Text of the hub's own in a stream's form, after `header`, which begins the coding where it hasn't begun yet.
pub(super) fn formed(plain: &[u8], form: Form, header: &[u8]) -> Box<[u8]> {
    let mut bytes = header.to_vec();
    match form.coding {
        None => bytes.extend_from_slice(plain),
        Some(coding) if !plain.is_empty() => {
            blocks(coding, plain, &mut bytes);
            bytes.extend_from_slice(flush(coding));
        }
        Some(_) => {}
    }
    // A chunk of no bytes would end the body.
    if form.chunked && !bytes.is_empty() {
        bytes = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::coding::decoder;
    use crate::protocol::event_stream::Decoder;

    const PLAIN: Form = Form { chunked: false, coding: None };

    fn text(prelude: &Prelude, chunked: bool) -> &str {
        std::str::from_utf8(prelude.bytes(Form { chunked, coding: None })).unwrap()
    }

    #[test]
    fn nothing_is_nothing_and_not_the_chunk_that_ends_a_body() {
        assert_eq!(Prelude::new(0, None), Prelude::default());
        assert_eq!((text(&Prelude::default(), false), text(&Prelude::default(), true)), ("", ""));
    }

    #[test]
    fn padding_is_one_comment_of_so_many_bytes() {
        assert_eq!(text(&Prelude::new(2, None), false), ":\n");
        assert_eq!(text(&Prelude::new(5, None), true), "5\r\n:   \n\r\n");
        for bytes in [2, 3, 2048, PADDING_BYTES_MAX] {
            assert_eq!(Prelude::new(bytes, None).bytes(PLAIN).len(), bytes);
        }
    }

    #[test]
    fn a_client_takes_the_retry_and_no_event() {
        let prelude = Prelude::new(20, Some(1500));
        assert!(text(&prelude, false).ends_with(" \nretry: 1500\n"));
        let (mut decoder, mut events) = (Decoder::new(1000), 0);
        decoder.push(prelude.bytes(PLAIN), &mut |_| events += 1).unwrap();
        assert_eq!((decoder.retry_ms(), decoder.comments(), events), (Some(1500), 1, 0));
        assert_eq!(text(&Prelude::new(0, Some(0)), true), "9\r\nretry: 0\n\r\n");
    }

    #[test]
    fn a_coded_stream_begins_with_its_codings_header() {
        for coding in Coding::ALL {
            for prelude in [Prelude::default(), Prelude::new(2048, Some(7))] {
                let form = Form { chunked: false, coding: Some(coding) };
                let bytes = prelude.bytes(form);
                let says_something = !prelude.bytes(PLAIN).is_empty();
                assert!(coding != Coding::Gzip || !says_something || bytes.ends_with(&[0, 0, 0xff, 0xff]), "{bytes:?}");
                let decoded = decoder::Decoder::new(coding).push(bytes).unwrap();
                assert_eq!(decoded, prelude.bytes(PLAIN), "{coding:?}");
            }
        }
        let gzip = Form { chunked: true, coding: Some(Coding::Gzip) };
        assert_eq!(Prelude::default().bytes(gzip), b"a\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff\r\n");
        let zstd = Form { chunked: true, coding: Some(Coding::Zstd) };
        assert_eq!(Prelude::default().bytes(zstd), b"", "no chunk that ends the body");
    }
}
