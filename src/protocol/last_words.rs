//! What a stream is told before its hub ends it: when to come back.

use super::coding::Form;
use super::event_stream;
use super::prelude::formed;

/// A `retry:` of its own for a stream that is about to end, in the stream's form. It counts as soon as its line is read, and no event
/// comes of it.
pub fn last_words(form: Form, retry_ms: u64) -> Box<[u8]> {
    let mut plain = Vec::new();
    event_stream::field(&mut plain, b"retry", retry_ms.to_string().as_bytes());
    formed(&plain, form, b"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::coding::{Coding, decoder};
    use crate::protocol::prelude::Prelude;

    #[test]
    fn a_client_is_told_when_to_come_back_in_every_form() {
        assert_eq!(&*last_words(Form { chunked: false, coding: None }, 1234), b"retry: 1234\n");
        assert_eq!(&*last_words(Form { chunked: true, coding: None }, 7), b"9\r\nretry: 7\n\r\n");
        for coding in Coding::ALL {
            let form = Form { chunked: false, coding: Some(coding) };
            // Behind what the stream began with.
            let stream = [Prelude::default().bytes(form), &last_words(form, 1234)].concat();
            assert_eq!(decoder::Decoder::new(coding).push(&stream).unwrap(), b"retry: 1234\n", "{coding:?}");
        }
    }
}
