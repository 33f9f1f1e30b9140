//! Content codings a subscriber asked for, taken off as the stream comes in.

use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// The codings a group may ask for.
pub(crate) const CODINGS: [&str; 2] = ["gzip", "zstd"];
/// Bytes decoded at a time.
const PLAIN_BYTES: usize = 16 * 1024;

/// A coded stream without end.
pub(crate) enum Decoder {
    /// One gzip member.
    Gzip(Decompress),
    /// Zstandard frames, one after another.
    Zstd(DCtx<'static>),
}

impl Decoder {
    /// The decoder for a `Content-Encoding`; none for a stream as it is.
    pub(crate) fn for_coding(coding: &str) -> Result<Option<Self>, String> {
        match coding {
            "" | "identity" => Ok(None),
            // 15 bits of window, behind a gzip header.
            "gzip" => Ok(Some(Self::Gzip(Decompress::new_gzip(15)))),
            "zstd" => DCtx::try_create().map(|context| Some(Self::Zstd(context))).ok_or_else(|| "no memory".to_owned()),
            other => Err(format!("a Content-Encoding that wasn't asked for: {other}")),
        }
    }

    /// Hands over what can be decoded. Answers false when the stream is broken or at its end.
    pub(crate) fn decode(&mut self, mut coded: &[u8], plain: &mut impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; PLAIN_BYTES];
        loop {
            let Some((read, written)) = self.step(coded, &mut buffer) else {
                return false;
            };
            plain(&buffer[..written]);
            coded = &coded[read..];
            // All is read, and what didn't fit comes out of the next turn.
            if (coded.is_empty() && written < PLAIN_BYTES) || (read == 0 && written == 0) {
                return true;
            }
        }
    }

    /// Bytes read and written; nothing when the stream is broken or at its end.
    fn step(&mut self, coded: &[u8], buffer: &mut [u8]) -> Option<(usize, usize)> {
        match self {
            Self::Gzip(inflate) => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(coded, buffer, FlushDecompress::Sync).ok()?;
                let step = ((inflate.total_in() - read) as usize, (inflate.total_out() - written) as usize);
                (status != Status::StreamEnd).then_some(step)
            }
            Self::Zstd(context) => {
                let (mut input, mut output) = (InBuffer::around(coded), OutBuffer::around(buffer));
                context.decompress_stream(&mut output, &mut input).ok()?;
                Some((input.pos(), output.pos()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::write::GzEncoder;
    use std::io::Write;

    use super::*;

    fn decoded(coding: &str, coded: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut decoder = Decoder::for_coding(coding).expect("known").expect("a decoder");
        let mut plain = Vec::new();
        coded
            .chunks(size)
            .all(|piece| decoder.decode(piece, &mut |part| plain.extend_from_slice(part)))
            .then_some(plain)
    }

    #[test]
    fn what_was_flushed_comes_out_however_it_is_cut() {
        let text = b"data: hello, wide world\n\n".repeat(2000);
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&text).expect("encodes");
        encoder.flush().expect("flushes");
        let gzip = encoder.get_ref().clone();
        let mut zstd = Vec::new();
        for part in text.chunks(7_000) {
            let mut frame = Vec::with_capacity(zstd_safe::compress_bound(part.len()));
            zstd_safe::compress(&mut frame, part, 3).expect("compresses");
            zstd.extend_from_slice(&frame);
        }
        for (coding, coded) in [("gzip", gzip), ("zstd", zstd)] {
            for size in [1, 7, coded.len()] {
                assert!(decoded(coding, &coded, size).as_ref() == Some(&text), "{coding}, pieces of {size}");
            }
        }
    }

    #[test]
    fn broken_and_unknown_codings_are_refused() {
        for coding in CODINGS {
            assert_eq!(decoded(coding, b"this is neither of the two", 100), None, "{coding}");
        }
        assert!(Decoder::for_coding("br").is_err());
        assert!(Decoder::for_coding("").expect("known").is_none());
    }
}
