//! The reading side of a coded stream, as clients have it: for tests.

use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::Coding;

/// Takes a stream apart as it comes, in pieces of any size.
pub(crate) enum Decoder {
    /// Bytes of the header still to come, and what follows it.
    Gzip(&'static [u8], Decompress),
    /// Frame after frame.
    Zstd(DCtx<'static>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    pub(crate) fn new(coding: Coding) -> Decoder {
        match coding {
            Coding::Gzip => Decoder::Gzip(coding.header(), Decompress::new(false)),
            Coding::Zstd => Decoder::Zstd(DCtx::create()),
        }
    }

    /// All that these bytes and those before them give.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        match self {
            Decoder::Gzip(header, inflate) => {
                while let (Some((expected, rest)), Some((first, more))) = (header.split_first(), bytes.split_first()) {
                    if first != expected {
                        return Err(format!("{first:#x} in the header, where {expected:#x} belongs"));
                    }
                    (*header, bytes) = (rest, more);
                }
                loop {
                    let (taken, given) = (inflate.total_in(), inflate.total_out());
                    let status = inflate.decompress(bytes, &mut piece, FlushDecompress::Sync);
                    if status.map_err(|error| error.to_string())? == Status::StreamEnd {
                        return Err("a block says that it is the last one".to_owned());
                    }
                    bytes = &bytes[(inflate.total_in() - taken) as usize..];
                    let given = (inflate.total_out() - given) as usize;
                    got.extend_from_slice(&piece[..given]);
                    if bytes.is_empty() && given < piece.len() {
                        return Ok(got);
                    }
                }
            }
            Decoder::Zstd(context) => {
                let mut input = InBuffer::around(bytes);
                loop {
                    let mut output = OutBuffer::around(&mut piece[..]);
                    let result = context.decompress_stream(&mut output, &mut input);
                    result.map_err(|code| zstd_safe::get_error_name(code).to_owned())?;
                    let given = output.as_slice().len();
                    got.extend_from_slice(output.as_slice());
                    if input.pos == bytes.len() && given < piece.len() {
                        return Ok(got);
                    }
                }
            }
        }
    }
}
