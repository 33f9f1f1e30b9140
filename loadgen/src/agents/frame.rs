//! Frames: four bytes of length, the most significant first, then so many bytes of JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A longer frame is refused before it is read, and never sent.
pub(super) const FRAME_BYTES_MAX: usize = 8 << 20;
/// The same until both ends know whom they talk to.
pub(super) const GREETING_BYTES_MAX: usize = 4096;
const LENGTH_BYTES: usize = 4;
/// Bytes read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Why no frame came or went.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// The other end closed the connection between two frames.
    #[error("the connection ended")]
    Ended,
    /// The same inside a frame.
    #[error("the connection ended inside a frame")]
    Truncated,
    /// More than may be.
    #[error("a frame of {bytes} bytes, and {max} is the most")]
    TooLong { bytes: usize, max: usize },
    /// Not JSON, or not what may come.
    #[error("a frame that makes no sense ({0})")]
    Garbage(String),
    /// The other end is silent, or takes nothing.
    #[error("nothing was heard for {0} s")]
    Silent(u64),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Frames that come in. Never more memory is taken than has come.
pub(super) struct Frames<S> {
    stream: S,
    came: Vec<u8>,
    /// What was handed over already.
    used: usize,
    bytes_max: usize,
}

impl<S: Read> Frames<S> {
    /// From a stream, of so many bytes each at most.
    pub(super) fn new(stream: S, bytes_max: usize) -> Self {
        Self { stream, came: Vec::new(), used: 0, bytes_max }
    }

    /// From now on frames may be so long.
    pub(super) fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// The next frame, if it is there after one more read; a read that times out is no error.
    pub(super) fn poll<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        if let Some(frame) = self.take()? {
            return Ok(Some(frame));
        }
        self.came.drain(..std::mem::take(&mut self.used));
        let mut piece = [0; PIECE_BYTES];
        match self.stream.read(&mut piece) {
            Ok(0) if self.came.is_empty() => Err(FrameError::Ended),
            Ok(0) => Err(FrameError::Truncated),
            Ok(read) => {
                self.came.extend_from_slice(&piece[..read]);
                self.take()
            }
            Err(error) if is_not_yet(&error) => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    }

    fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((length, rest)) = self.came[self.used..].split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*length) as usize;
        if bytes > self.bytes_max {
            return Err(FrameError::TooLong { bytes, max: self.bytes_max });
        }
        let Some(text) = rest.get(..bytes) else {
            return Ok(None);
        };
        let frame = serde_json::from_slice(text).map_err(|error| FrameError::Garbage(error.to_string()))?;
        self.used += LENGTH_BYTES + bytes;
        Ok(Some(frame))
    }
}

/// Sends one frame.
pub(super) fn send(to: &mut impl Write, frame: &impl Serialize) -> Result<(), FrameError> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, frame).map_err(|error| FrameError::Garbage(error.to_string()))?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: length, max: FRAME_BYTES_MAX });
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    to.write_all(&bytes).map_err(|error| broken(&error))
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn broken(error: &io::Error) -> FrameError {
    match error.kind() {
        // A write that timed out: the other end takes nothing.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            FrameError::Broken("the other end takes nothing".to_owned())
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => FrameError::Ended,
        _ => FrameError::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Hands its bytes over a few at a time, and then says that no more have come yet.
    struct Drip<'a> {
        bytes: &'a [u8],
        piece: usize,
        ends: bool,
    }

    impl Read for Drip<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            if self.bytes.is_empty() && !self.ends {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let read = self.piece.min(self.bytes.len()).min(room.len());
            room[..read].copy_from_slice(&self.bytes[..read]);
            self.bytes = &self.bytes[read..];
            Ok(read)
        }
    }

    fn frames(bytes: &[u8], piece: usize, ends: bool) -> Frames<Drip<'_>> {
        Frames::new(Drip { bytes, piece, ends }, GREETING_BYTES_MAX)
    }

    fn sent(all: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::new();
        all.iter().for_each(|frame| send(&mut bytes, frame).expect("sent"));
        bytes
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let all = [json!({"a": 1}), json!([]), json!("x".repeat(300))];
        let bytes = sent(&all);
        for piece in 1..=bytes.len() {
            let mut frames = frames(&bytes, piece, true);
            let mut got: Vec<Value> = Vec::new();
            let end = loop {
                match frames.poll() {
                    Ok(frame) => got.extend(frame),
                    Err(error) => break error,
                }
            };
            assert_eq!((got.as_slice(), end), (&all[..], FrameError::Ended), "pieces of {piece}");
        }
    }

    #[test]
    fn too_long_a_frame_is_refused_before_it_has_come() {
        for length in [GREETING_BYTES_MAX as u32 + 1, u32::MAX] {
            let head = length.to_be_bytes();
            let mut frames = frames(&head, 1, false);
            let error = (0..4).find_map(|_| frames.poll::<Value>().err());
            assert_eq!(error, Some(FrameError::TooLong { bytes: length as usize, max: GREETING_BYTES_MAX }));
        }
        let long = "x".repeat(FRAME_BYTES_MAX);
        let mut bytes = Vec::new();
        assert!(matches!(send(&mut bytes, &long), Err(FrameError::TooLong { .. })));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_frame_cut_off_and_garbage_are_told_apart() {
        let whole = sent(&[json!({"a": 1})]);
        for cut in 1..whole.len() {
            let mut frames = frames(&whole[..cut], usize::MAX, true);
            assert_eq!(frames.poll::<Value>(), Ok(None));
            assert_eq!(frames.poll::<Value>(), Err(FrameError::Truncated), "after {cut}");
        }
        let not_json = [&[0, 0, 0, 2][..], b"{x"].concat();
        assert!(matches!(frames(&not_json, 99, false).poll::<Value>(), Err(FrameError::Garbage(_))));
        // As another kind of server would greet.
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let too_long = FrameError::TooLong { bytes: 0x4854_5450, max: GREETING_BYTES_MAX };
        assert_eq!(frames(http, 99, true).poll::<Value>(), Err(too_long));
        // Deeper than anybody writes by hand.
        let deep = sent_raw(&[b'['; 4000]);
        assert!(matches!(frames(&deep, 9999, false).poll::<Value>(), Err(FrameError::Garbage(_))));
    }

    fn sent_raw(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes()[..], text].concat()
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let mut frames = frames(&bytes, piece, true);
            for _ in 0..bytes.len() + 2 {
                if frames.poll::<Value>().is_err() {
                    return Ok(());
                }
            }
            prop_assert!(false, "it ends");
        }
    }
}
