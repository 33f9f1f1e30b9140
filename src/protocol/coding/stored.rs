//! Bytes as they are, under a content coding: the few bytes that stand before them.

use super::Coding;

/// Bytes that one block holds: what a stored block of deflate counts to. A block of zstd holds more.
pub(crate) const BLOCK_BYTES_MAX: usize = 65_535;
/// What stands before a block of gzip: one byte, its length, and the length's complement.
pub(crate) const GZIP_HEADER_BYTES: usize = 5;
/// An empty block: some decoders of gzip, Go's among them, give out what they have only where one follows, and an event that nothing follows
/// would wait in them for the next.
pub(crate) const GZIP_FLUSH: [u8; GZIP_HEADER_BYTES] = [0, 0, 0, 0xff, 0xff];
/// What stands before a block of zstd: the frame's magic number, descriptor, content size and the block's header.
const ZSTD_HEADER_BYTES: usize = 10;
/// Bytes from which on the content size takes two bytes; below, it takes one.
const ZSTD_WIDE_SIZE_BYTES: usize = 256;

/// How many bytes stand before a block of so many.
pub(crate) fn header_bytes(coding: Coding, length: usize) -> usize {
    match coding {
        Coding::Gzip => GZIP_HEADER_BYTES,
        Coding::Zstd => ZSTD_HEADER_BYTES - usize::from(length < ZSTD_WIDE_SIZE_BYTES),
    }
}

/// Appends what stands before a block of so many bytes, of which there is at least one.
pub(crate) fn header(coding: Coding, length: usize, out: &mut Vec<u8>) {
    debug_assert!((1..=BLOCK_BYTES_MAX).contains(&length), "a block holds 1 to 65,535 bytes");
    match coding {
        Coding::Gzip => {
            // Not the last block, stored (RFC 1951 §3.2.4).
            out.push(0);
            out.extend_from_slice(&(length as u16).to_le_bytes());
            out.extend_from_slice(&(!(length as u16)).to_le_bytes());
        }
        Coding::Zstd => {
            out.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
            // One segment, so no window to describe; the content size has one byte, or two that count from 256 on
            // (RFC 8878 §3.1.1.1).
            match length.checked_sub(ZSTD_WIDE_SIZE_BYTES) {
                None => out.extend_from_slice(&[0x20, length as u8]),
                Some(beyond) => {
                    out.push(0x60);
                    out.extend_from_slice(&(beyond as u16).to_le_bytes());
                }
            }
            // The frame's last block, raw (RFC 8878 §3.1.1.2).
            out.extend_from_slice(&((length as u32) << 3 | 1).to_le_bytes()[..3]);
        }
    }
}

/// What stands behind blocks that are all there is for now, so that every decoder gives out what is in them.
pub(crate) fn flush(coding: Coding) -> &'static [u8] {
    match coding {
        Coding::Gzip => &GZIP_FLUSH,
        Coding::Zstd => &[],
    }
}

/// Appends bytes in as many blocks as it takes.
pub(crate) fn blocks(coding: Coding, bytes: &[u8], out: &mut Vec<u8>) {
    for block in bytes.chunks(BLOCK_BYTES_MAX) {
        header(coding, block.len(), out);
        out.extend_from_slice(block);
    }
}

/// How many bytes [`blocks`] appends.
pub(crate) fn blocks_length(coding: Coding, bytes: usize) -> usize {
    let (full, last) = (bytes / BLOCK_BYTES_MAX, bytes % BLOCK_BYTES_MAX);
    let of_last = if last > 0 { header_bytes(coding, last) } else { 0 };
    bytes + full * header_bytes(coding, BLOCK_BYTES_MAX) + of_last
}

#[cfg(test)]
mod tests {
    use super::super::decoder::Decoder;
    use super::*;

    #[test]
    fn blocks_of_every_length_decode_to_what_is_in_them() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        for coding in Coding::ALL {
            for length in [1, 2, 255, 256, 257, 511, 512, 65_534, 65_535, 65_536, 65_791, 131_070, 131_071, 300_000] {
                let mut out = coding.header().to_vec();
                blocks(coding, &bytes[..length], &mut out);
                assert_eq!(out.len(), coding.header().len() + blocks_length(coding, length), "{coding:?} {length}");
                assert_eq!(Decoder::new(coding).push(&out).unwrap(), &bytes[..length], "{coding:?} {length}");
            }
        }
    }
}
