//! Content codings a subscriber asked for, taken off as the stream comes in.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes decoded at a time.
const PLAIN_BYTES: usize = 16 * 1024;

/// A gzip stream without end.
pub(crate) struct Decoder {
    inflate: Decompress,
}

impl Decoder {
    /// The decoder for a `Content-Encoding`; none for a stream as it is.
    pub(crate) fn for_coding(coding: &str) -> Result<Option<Self>, String> {
        match coding {
            "" | "identity" => Ok(None),
            // 15 bits of window, behind a gzip header.
            "gzip" => Ok(Some(Self { inflate: Decompress::new_gzip(15) })),
            other => Err(format!("a Content-Encoding that wasn't asked for: {other}")),
        }
    }

    /// Hands over what can be decoded. Answers false when the stream is broken or at its end.
    pub(crate) fn decode(&mut self, mut coded: &[u8], plain: &mut impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; PLAIN_BYTES];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(coded, &mut buffer, FlushDecompress::Sync);
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            plain(&buffer[..written]);
            coded = &coded[read..];
            match status {
                Err(_) | Ok(Status::StreamEnd) => return false,
                // All is read, and what fits nowhere comes out of the next turn.
                Ok(_) if coded.is_empty() && written < PLAIN_BYTES => return true,
                Ok(_) if read == 0 && written == 0 => return true,
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::write::GzEncoder;
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_flushed_comes_out_however_it_is_cut() {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        let text = b"data: hello, wide world\n\n".repeat(2000);
        encoder.write_all(&text).expect("encodes");
        encoder.flush().expect("flushes");
        let coded = encoder.get_ref().clone();
        for size in [1, 7, coded.len()] {
            let mut decoder = Decoder::for_coding("gzip").expect("known").expect("a decoder");
            let mut plain = Vec::new();
            for piece in coded.chunks(size) {
                assert!(decoder.decode(piece, &mut |part| plain.extend_from_slice(part)));
            }
            assert!(plain == text, "pieces of {size}");
        }
    }

    #[test]
    fn broken_and_unknown_codings_are_refused() {
        let mut decoder = Decoder::for_coding("gzip").expect("known").expect("a decoder");
        assert!(!decoder.decode(b"this is no gzip", &mut |_| ()));
        assert!(Decoder::for_coding("br").is_err());
        assert!(Decoder::for_coding("").expect("known").is_none());
    }
}
