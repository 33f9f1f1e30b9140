//! The body of a request, taken from the bytes that follow its head. Sans-IO: bytes in, body out.

use thiserror::Error;

use super::head::{BodyFraming, is_token_byte};

/// Digits of a chunk size; sixteen fill a `u64`.
const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of trailer lines after the last chunk. They are checked and thrown away.
const TRAILER_BYTES_MAX: usize = 4 * 1024;

/// Takes a body out of the bytes after a head, however they were split into reads.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of body that may still come.
    allowance: u64,
    bytes_max: u64,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length { left: u64 },
    ChunkSize { digits: u8, size: u64 },
    ChunkSizeLf { size: u64 },
    ChunkData { left: u64 },
    ChunkDataCr,
    ChunkDataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Failed(BodyError),
}

/// Why a body was refused. The connection can't be read on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum BodyError {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("a chunk size isn't one to sixteen hexadecimal digits and a line end")]
    ChunkSize,
    #[error("chunk extensions aren't accepted")]
    ChunkExtension,
    #[error("a chunk isn't followed by a line end, or is longer than its size says")]
    ChunkEnd,
    #[error("a trailer field after the last chunk is malformed")]
    Trailer,
    #[error("the trailer fields take more than {bytes_max} bytes")]
    TrailerTooLarge { bytes_max: usize },
}

impl BodyError {
    /// The status to answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::TrailerTooLarge { .. } => 431,
            _ => 400,
        }
    }
}

impl BodyDecoder {
    /// A decoder for a body delimited like this, of at most `body_bytes_max` bytes.
    ///
    /// A declared length above the limit is an error of the first [`decode`](Self::decode), even of no bytes: call
    /// that before sending `100 Continue`.
    #[must_use]
    pub fn new(framing: BodyFraming, body_bytes_max: usize) -> Self {
        let bytes_max = body_bytes_max as u64;
        let state = match framing {
            // Frames are taken apart before they get here.
            BodyFraming::None | BodyFraming::Length(0) | BodyFraming::Frames => State::Done,
            BodyFraming::Length(left) if left > bytes_max => State::Failed(BodyError::TooLarge { bytes_max }),
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::ChunkSize { digits: 0, size: 0 },
        };
        Self { state, allowance: bytes_max, bytes_max, trailer_bytes: 0 }
    }

    /// Whether the whole body was decoded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Appends the body bytes found in `input` to `out`. Answers how many bytes of `input` belong to this request
    /// and whether the body is complete; while it isn't, all of `input` was used up. `out` never grows past the
    /// limit.
    ///
    /// # Errors
    /// [`BodyError`], again on every later call.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), BodyError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            let step = match self.state {
                State::Length { left } | State::ChunkData { left } => Ok(self.take(left, &input[at..], out)),
                _ => self.next(input[at]).map(|state| {
                    self.state = state;
                    1
                }),
            };
            at += step.inspect_err(|&error| self.state = State::Failed(error))?;
        }
        match self.state {
            State::Failed(error) => Err(error),
            state => Ok((at, state == State::Done)),
        }
    }

    /// Moves what `input` has of the `left` bytes to `out`.
    fn take(&mut self, left: u64, input: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        out.extend_from_slice(&input[..taken]);
        let left = left - taken as u64;
        self.state = match self.state {
            State::Length { .. } if left == 0 => State::Done,
            State::Length { .. } => State::Length { left },
            _ if left == 0 => State::ChunkDataCr,
            _ => State::ChunkData { left },
        };
        taken
    }

    /// The state after one byte that isn't body.
    fn next(&mut self, byte: u8) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::ChunkSize { digits, size }, _) => self.chunk_size(digits, size, byte),
            (State::ChunkSizeLf { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::ChunkSizeLf { size }, b'\n') => Ok(State::ChunkData { left: size }),
            (State::ChunkSizeLf { .. }, _) => Err(BodyError::ChunkSize),
            (State::ChunkDataCr, b'\r') => Ok(State::ChunkDataLf),
            (State::ChunkDataLf, b'\n') => Ok(State::ChunkSize { digits: 0, size: 0 }),
            (State::ChunkDataCr | State::ChunkDataLf, _) => Err(BodyError::ChunkEnd),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf, _) => {
                self.trailer(byte)
            }
            (State::EndLf, _) => Err(BodyError::Trailer),
            (State::Failed(error), _) => Err(error),
            (state @ (State::Length { .. } | State::ChunkData { .. } | State::Done), _) => Ok(state),
        }
    }

    /// RFC 9112 §7.1, without extensions: nobody sends them, and parsers differ about where they end.
    fn chunk_size(&mut self, digits: u8, size: u64, byte: u8) -> Result<State, BodyError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == CHUNK_SIZE_DIGITS_MAX {
                return Err(BodyError::ChunkSize);
            }
            return Ok(State::ChunkSize { digits: digits + 1, size: size << 4 | u64::from(digit) });
        }
        match byte {
            b'\r' if digits > 0 => {
                let too_large = BodyError::TooLarge { bytes_max: self.bytes_max };
                self.allowance = self.allowance.checked_sub(size).ok_or(too_large)?;
                Ok(State::ChunkSizeLf { size })
            }
            b';' if digits > 0 => Err(BodyError::ChunkExtension),
            _ => Err(BodyError::ChunkSize),
        }
    }

    /// Trailer lines must look like fields, so that no parser can take one for a request line.
    fn trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailerTooLarge { bytes_max: TRAILER_BYTES_MAX });
        }
        match (self.state, byte) {
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(BodyError::Trailer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(framing: BodyFraming, max: usize, input: &[u8]) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let mut out = Vec::new();
        let (consumed, done) = BodyDecoder::new(framing, max).decode(input, &mut out)?;
        Ok((out, consumed, done))
    }

    #[test]
    fn no_body_takes_nothing() {
        assert_eq!(decode(BodyFraming::None, 10, b"GET"), Ok((vec![], 0, true)));
        assert_eq!(decode(BodyFraming::Length(0), 10, b"GET"), Ok((vec![], 0, true)));
    }

    #[test]
    fn length_takes_its_bytes_and_leaves_the_next_request() {
        assert_eq!(decode(BodyFraming::Length(3), 3, b"abcGET"), Ok((b"abc".to_vec(), 3, true)));
        assert_eq!(decode(BodyFraming::Length(9), 10, b"abc"), Ok((b"abc".to_vec(), 3, false)));
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_any_byte() {
        assert_eq!(decode(BodyFraming::Length(11), 10, b""), Err(BodyError::TooLarge { bytes_max: 10 }));
        assert_eq!(decode(BodyFraming::Length(u64::MAX), 10, b"a"), Err(BodyError::TooLarge { bytes_max: 10 }));
    }

    #[test]
    fn chunks_are_joined() {
        let input = b"3\r\nabc\r\nA\r\n0123456789\r\n0000\r\nX-Sum: 1\r\nY:\r\n\r\nGET";
        assert_eq!(decode(BodyFraming::Chunked, 13, input), Ok((b"abc0123456789".to_vec(), input.len() - 3, true)));
        assert_eq!(decode(BodyFraming::Chunked, 0, b"0\r\n\r\n"), Ok((vec![], 5, true)));
    }

    #[test]
    fn chunked_bodies_that_have_two_readings_are_refused() {
        let cases: &[(&str, &[u8], BodyError)] = &[
            ("empty size", b"\r\n", BodyError::ChunkSize),
            ("sign", b"+3\r\nabc\r\n", BodyError::ChunkSize),
            ("minus", b"-3\r\nabc\r\n", BodyError::ChunkSize),
            ("0x", b"0x3\r\nabc\r\n", BodyError::ChunkSize),
            ("leading space", b" 3\r\nabc\r\n", BodyError::ChunkSize),
            ("space after the size", b"3 \r\nabc\r\n", BodyError::ChunkSize),
            ("tab after the size", b"3\t\r\nabc\r\n", BodyError::ChunkSize),
            ("underscore", b"1_0\r\n", BodyError::ChunkSize),
            ("not hexadecimal", b"g\r\n", BodyError::ChunkSize),
            ("bare LF after the size", b"3\nabc\r\n", BodyError::ChunkSize),
            ("CR and another byte", b"3\rabc\r\n", BodyError::ChunkSize),
            ("seventeen digits wrap", b"10000000000000003\r\nabc\r\n", BodyError::ChunkSize),
            ("zeros without end", b"00000000000000000\r\n\r\n", BodyError::ChunkSize),
            ("NUL", b"3\0\r\nabc\r\n", BodyError::ChunkSize),
            ("extension", b"3;a=b\r\nabc\r\n", BodyError::ChunkExtension),
            ("extension with a line feed", b"3;a\nabc\r\n", BodyError::ChunkExtension),
            ("longer than its size", b"3\r\nabcd\r\n", BodyError::ChunkEnd),
            ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n", BodyError::ChunkEnd),
            ("no line end after the data", b"3\r\nabc0\r\n\r\n", BodyError::ChunkEnd),
            ("request after the last chunk", b"0\r\nGET / HTTP/1.1\r\n\r\n", BodyError::Trailer),
            ("folded trailer", b"0\r\na: b\r\n c\r\n\r\n", BodyError::Trailer),
            ("space before the colon", b"0\r\na : b\r\n\r\n", BodyError::Trailer),
            ("bare LF in the trailer", b"0\r\na: b\n\r\n", BodyError::Trailer),
            ("bare LF as the end", b"0\r\n\n", BodyError::Trailer),
            ("NUL in the trailer", b"0\r\na: \0\r\n\r\n", BodyError::Trailer),
            ("bare CR in the trailer", b"0\r\na: b\rc\r\n\r\n", BodyError::Trailer),
        ];
        for (name, input, error) in cases {
            assert_eq!(decode(BodyFraming::Chunked, 1000, input), Err(*error), "{name}");
        }
    }

    #[test]
    fn chunks_over_the_limit_are_refused_at_their_size_line() {
        let too_large = Err(BodyError::TooLarge { bytes_max: 5 });
        assert_eq!(decode(BodyFraming::Chunked, 5, b"6\r"), too_large);
        assert_eq!(decode(BodyFraming::Chunked, 5, b"3\r\nabc\r\n3\r"), too_large);
        assert_eq!(decode(BodyFraming::Chunked, 5, b"FFFFFFFFFFFFFFFF\r"), too_large);
        assert_eq!(BodyError::TooLarge { bytes_max: 5 }.status(), 413);
    }

    #[test]
    fn trailers_are_bounded() {
        let input = [b"0\r\na: ".to_vec(), vec![b'x'; TRAILER_BYTES_MAX]].concat();
        let error = BodyError::TrailerTooLarge { bytes_max: TRAILER_BYTES_MAX };
        assert_eq!(decode(BodyFraming::Chunked, 5, &input), Err(error));
    }

    #[test]
    fn an_error_stays() {
        let mut decoder = BodyDecoder::new(BodyFraming::Chunked, 5);
        let mut out = Vec::new();
        assert_eq!(decoder.decode(b"x", &mut out), Err(BodyError::ChunkSize));
        assert_eq!(decoder.decode(b"0\r\n\r\n", &mut out), Err(BodyError::ChunkSize));
        assert_eq!(decoder.decode(b"", &mut out), Err(BodyError::ChunkSize));
    }

    fn chunked(chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for chunk in chunks {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        wire
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_body(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8)) {
            let wire = chunked(&chunks);
            prop_assert_eq!(decode(BodyFraming::Chunked, 1000, &wire), Ok((chunks.concat(), wire.len(), true)));
        }

        #[test]
        fn any_split_gives_the_same(
            input in "([0-3]\r\n[ab]{0,3}\r\n){0,4}(0\r\n(a: b\r\n)?\r\n)?[ab\r\n0-9]{0,6}",
            split in any::<prop::sample::Index>(),
            max in 0usize..12,
        ) {
            let input = input.into_bytes();
            let split = split.index(input.len() + 1);
            let whole = decode(BodyFraming::Chunked, max, &input);
            let mut decoder = BodyDecoder::new(BodyFraming::Chunked, max);
            let mut out = Vec::new();
            let halves = decoder.decode(&input[..split], &mut out).and_then(|(first, done)| {
                let (second, done) = if done { (0, true) } else { decoder.decode(&input[split..], &mut out)? };
                Ok((first + second, done))
            });
            prop_assert!(out.len() <= max);
            prop_assert_eq!(whole, halves.map(|(consumed, done)| (out, consumed, done)));
        }

        #[test]
        fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..200), max in 0usize..100) {
            let mut out = Vec::new();
            let _ = BodyDecoder::new(BodyFraming::Chunked, max).decode(&input, &mut out);
            prop_assert!(out.len() <= max);
        }
    }
}
