//! Takes a chunked transfer coding apart, in pieces of any size, without copying.

/// The coding was violated: the stream can't be trusted from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

/// What came next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Bytes of the content.
    Content(&'a [u8]),
    /// The last chunk and the trailers have been read: the answer is complete.
    End,
    /// Nothing left in this piece.
    More,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Content,
    ContentCr,
    ContentLf,
    /// At the start of a trailer line; the empty one is the end.
    Trailer,
    TrailerText,
    EndLf,
    End,
}

/// Where a stream is in its chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chunked {
    remaining: u32,
    state: State,
    digits: u8,
}

impl Chunked {
    /// The next part of a piece; advances the piece past it.
    pub(crate) fn next<'a>(&mut self, piece: &mut &'a [u8]) -> Result<Part<'a>, BadChunk> {
        while let Some((&byte, rest)) = piece.split_first() {
            match self.state {
                State::Content => {
                    let (content, rest) = piece.split_at(piece.len().min(self.remaining as usize));
                    *piece = rest;
                    self.remaining -= content.len() as u32;
                    if self.remaining == 0 {
                        self.state = State::ContentCr;
                    }
                    return Ok(Part::Content(content));
                }
                State::End => return Ok(Part::End),
                _ => self.framing(byte)?,
            }
            *piece = rest;
        }
        Ok(if self.state == State::End { Part::End } else { Part::More })
    }

    fn framing(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, _) => {
                let digit = (byte as char).to_digit(16).ok_or(BadChunk)?;
                self.digits += 1;
                if self.digits > 7 {
                    return Err(BadChunk);
                }
                self.remaining = self.remaining * 16 + digit;
                State::Size
            }
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) => State::Extension,
            (State::SizeLf, b'\n') if self.remaining == 0 => State::Trailer,
            (State::SizeLf, b'\n') => State::Content,
            (State::ContentCr, b'\r') => State::ContentLf,
            (State::ContentLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::Trailer, b'\r') => State::EndLf,
            (State::Trailer | State::TrailerText, b'\n') => State::Trailer,
            (State::Trailer | State::TrailerText, _) => State::TrailerText,
            (State::EndLf, b'\n') => State::End,
            _ => return Err(BadChunk),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], size: usize) -> Result<(Vec<u8>, bool), BadChunk> {
        let mut chunked = Chunked::default();
        let mut content = Vec::new();
        for mut piece in bytes.chunks(size) {
            loop {
                match chunked.next(&mut piece)? {
                    Part::Content(bytes) => content.extend_from_slice(bytes),
                    Part::End => return Ok((content, true)),
                    Part::More => break,
                }
            }
        }
        Ok((content, false))
    }

    #[test]
    fn content_comes_out_however_the_stream_is_cut() {
        let stream = b"5\r\nhello\r\nC;x=y\r\n, wide world\r\n0\r\nA: b\r\n\r\n";
        for size in 1..=stream.len() {
            assert_eq!(decode(stream, size), Ok((b"hello, wide world".to_vec(), true)));
            assert_eq!(decode(&stream[..8], size), Ok((b"hello".to_vec(), false)));
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for stream in [&b"\r\n"[..], b"g\r\n", b"5\r\nhelloX", b"5\nhello", b"11111111\r\n", b"1\r\nab"] {
            assert_eq!(decode(stream, 1), Err(BadChunk), "{stream:?}");
        }
    }
}
