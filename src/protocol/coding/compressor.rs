//! Compressing bytes into fragments: once per event and coding, for all connections.

use flate2::{Compress, Compression, FlushCompress};
use zstd_safe::CCtx;

use super::Coding;

/// How hard gzip tries. An event is compressed once and sent often, so bytes count more than time: of 1 KiB of JSON level 1 leaves
/// 30 % more than this, in a quarter of the time (12 and 46 µs); higher ones gain 1 to 2 %.
const GZIP_LEVEL: u32 = 6;
/// How hard zstd tries: its default. Higher levels cost twice the time and gain 1 to 2 %.
const ZSTD_LEVEL: i32 = 3;

/// What compresses, with its tables: kept from one fragment to the next, but not what it has seen.
pub struct Compressor {
    deflate: Compress,
    zstd: CCtx<'static>,
    out: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Compressor {
        let deflate = Compress::new(Compression::new(GZIP_LEVEL), false);
        Compressor { deflate, zstd: CCtx::create(), out: Vec::new() }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// The bytes as a fragment of this coding; `None` if it isn't smaller than `limit` bytes.
    pub fn compress(&mut self, coding: Coding, bytes: &[u8], limit: usize) -> Option<&[u8]> {
        self.out.resize(limit, 0);
        let length = match coding {
            Coding::Gzip => {
                self.deflate.reset();
                // A full flush ends at a byte, and no block is marked as the last one.
                self.deflate.compress(bytes, &mut self.out, FlushCompress::Full).ok()?;
                let taken = usize::try_from(self.deflate.total_in()).ok()?;
                // With room left, all is written, the flush included.
                usize::try_from(self.deflate.total_out()).ok().filter(|_| taken == bytes.len())?
            }
            Coding::Zstd => self.zstd.compress(&mut self.out[..], bytes, ZSTD_LEVEL).ok()?,
        };
        (length < limit).then(|| &self.out[..length])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decoder::Decoder;
    use super::*;

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        let mut compressor = Compressor::default();
        let noise = std::iter::successors(Some(1_u32), |&word| {
            let word = word ^ word << 13;
            let word = word ^ word >> 17;
            Some(word ^ word << 5)
        });
        let noise: Vec<u8> = noise.take(4_000).map(|word| word as u8).collect();
        for coding in Coding::ALL {
            assert_eq!(compressor.compress(coding, &noise, noise.len()), None, "{coding:?}");
            assert_eq!(compressor.compress(coding, &[7; 1000], 5), None, "{coding:?}");
            assert!(compressor.compress(coding, &[7; 1000], 1000).is_some_and(|out| out.len() < 40), "{coding:?}");
        }
    }

    #[test]
    fn a_fragment_is_the_same_whatever_was_compressed_before() {
        let (one, other) = ("a row of words, a row of words ".repeat(20), "something else ".repeat(50));
        for coding in Coding::ALL {
            let mut compressor = Compressor::default();
            let fresh = compressor.compress(coding, one.as_bytes(), 10_000).unwrap().to_vec();
            compressor.compress(coding, other.as_bytes(), 10_000).unwrap();
            assert_eq!(compressor.compress(coding, other.as_bytes(), 3), None);
            assert_eq!(compressor.compress(coding, one.as_bytes(), 10_000), Some(&fresh[..]), "{coding:?}");
        }
    }

    proptest! {
        #[test]
        fn any_fragments_in_any_order_decode_to_their_texts(
            texts in proptest::collection::vec("[a-e ]{1,400}", 1..6),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 1..12),
        ) {
            let mut compressor = Compressor::default();
            for coding in Coding::ALL {
                let fragments: Vec<Vec<u8>> = texts
                    .iter()
                    .map(|text| compressor.compress(coding, text.as_bytes(), 1_000).expect("room").to_vec())
                    .collect();
                let mut decoder = Decoder::new(coding);
                prop_assert_eq!(decoder.push(coding.header()).unwrap(), b"");
                for index in &order {
                    let at = index.index(texts.len());
                    // Whole as soon as it is there, not with the next one.
                    prop_assert_eq!(decoder.push(&fragments[at]).unwrap(), texts[at].as_bytes());
                }
            }
        }
    }
}
