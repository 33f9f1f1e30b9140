//! Ids made by the hub: a place in the log, enciphered.
//!
//! An id is `urn:uuid:` and a version-8 UUID (RFC 9562 section 5.8). Its 122 free bits are the ciphertext of
//!
//! | bits | what |
//! |---|---|
//! | 22 | epoch of the log |
//! | 64 | offset in it |
//! | 36 | zero: the check bits |
//!
//! under a balanced Feistel network of 61 + 61 bits with eight rounds of SipHash-2-4. So an id leaks neither counts nor
//! order, is found without an index, and one made up without the key is taken for one of the hub's once in 2^36 times.

/// The length of an id, in bytes.
pub const EVENT_ID_BYTES: usize = PREFIX.len() + 36;
/// The highest epoch an id can carry.
pub const EPOCH_MAX: u32 = (1 << EPOCH_BITS) - 1;

const PREFIX: &str = "urn:uuid:";
const EPOCH_BITS: u32 = 22;
const CHECK_BITS: u32 = 36;
const HALF_BITS: u32 = 61;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const _: () = assert!(EPOCH_BITS + u64::BITS + CHECK_BITS == 2 * HALF_BITS);
/// A round's number shares a word with the 61 bits of a half, so there is room for eight.
const ROUNDS: u64 = 8;

/// Enciphers and deciphers ids under one key.
#[derive(Clone)]
pub struct IdCipher {
    /// Two keys of SipHash, for even and odd rounds.
    keys: [[u64; 2]; 2],
}

impl IdCipher {
    /// The cipher of a key: 32 random bytes, kept as long as ids made under it shall be understood.
    pub fn new(key: [u8; 32]) -> IdCipher {
        let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes"));
        IdCipher { keys: [[word(0), word(8)], [word(16), word(24)]] }
    }

    /// The id of a place in the log, in ASCII. `epoch` is at most [`EPOCH_MAX`]; of a higher one the low 22 bits count.
    pub fn encode(&self, epoch: u32, offset: u64) -> [u8; EVENT_ID_BYTES] {
        debug_assert!(epoch <= EPOCH_MAX, "an epoch has {EPOCH_BITS} bits");
        let plain = (u128::from(epoch & EPOCH_MAX) << (u64::BITS + CHECK_BITS)) | (u128::from(offset) << CHECK_BITS);
        write_uuid(spread(self.encipher(plain)))
    }

    /// The epoch and offset of an id this key made; `None` for any other text, other spellings included.
    pub fn decode(&self, id: &str) -> Option<(u32, u64)> {
        let plain = self.decipher(gather(read_uuid(id)?)?);
        if plain & ((1 << CHECK_BITS) - 1) != 0 {
            return None;
        }
        let place = plain >> CHECK_BITS;
        let epoch = u32::try_from(place >> u64::BITS).ok()?;
        let offset = u64::try_from(place & u128::from(u64::MAX)).ok()?;
        Some((epoch, offset))
    }

    fn encipher(&self, plain: u128) -> u128 {
        let (mut left, mut right) = halves(plain);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        join(left, right)
    }

    fn decipher(&self, cipher: u128) -> u128 {
        let (mut left, mut right) = halves(cipher);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        join(left, right)
    }

    fn round(&self, round: u64, half: u64) -> u64 {
        let key = self.keys[usize::from(round % 2 == 1)];
        siphash_word(key, (round << HALF_BITS) | half) & HALF_MASK
    }
}

impl std::fmt::Debug for IdCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.write_str("IdCipher")
    }
}

fn halves(value: u128) -> (u64, u64) {
    let half = |value: u128| u64::try_from(value & u128::from(HALF_MASK)).expect("61 bits");
    (half(value >> HALF_BITS), half(value))
}

fn join(left: u64, right: u64) -> u128 {
    (u128::from(left) << HALF_BITS) | u128::from(right)
}

/// SipHash-2-4 of one 64-bit word, little-endian.
fn siphash_word([k0, k1]: [u64; 2], word: u64) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last block of a message holds nothing but its length in the top byte here.
    for block in [word, 8 << 56] {
        v[3] ^= block;
        sip_rounds(&mut v, 2);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    sip_rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_rounds([a, b, c, d]: &mut [u64; 4], rounds: usize) {
    for _ in 0..rounds {
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

/// Version 8 in the four bits from 76 on, variant binary 10 in the two from 62 on (RFC 9562 section 4).
const VERSION_AND_VARIANT: u128 = (0x8 << 76) | (0b10 << 62);
const LOW_BITS: u32 = 62;
const MIDDLE_BITS: u32 = 12;

/// Lays 122 bits around the version and the variant.
fn spread(bits: u128) -> u128 {
    let low = bits & ((1 << LOW_BITS) - 1);
    let middle = (bits >> LOW_BITS) & ((1 << MIDDLE_BITS) - 1);
    let high = bits >> (LOW_BITS + MIDDLE_BITS);
    (high << 80) | (middle << 64) | low | VERSION_AND_VARIANT
}

/// Takes the 122 bits out again, if version and variant are ours.
fn gather(uuid: u128) -> Option<u128> {
    if uuid & ((0xF << 76) | (0b11 << 62)) != VERSION_AND_VARIANT {
        return None;
    }
    let low = uuid & ((1 << LOW_BITS) - 1);
    let middle = (uuid >> 64) & ((1 << MIDDLE_BITS) - 1);
    let high = uuid >> 80;
    Some((high << (LOW_BITS + MIDDLE_BITS)) | (middle << LOW_BITS) | low)
}

const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// Where the two digits of each byte stand between the hyphens.
const DIGIT_PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn write_uuid(uuid: u128) -> [u8; EVENT_ID_BYTES] {
    let mut id = [b'-'; EVENT_ID_BYTES];
    id[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
    for (byte, at) in uuid.to_be_bytes().into_iter().zip(DIGIT_PAIRS) {
        id[PREFIX.len() + at] = HEX_DIGITS[usize::from(byte >> 4)];
        id[PREFIX.len() + at + 1] = HEX_DIGITS[usize::from(byte & 0xF)];
    }
    id
}

fn read_uuid(id: &str) -> Option<u128> {
    let digits = id.strip_prefix(PREFIX)?.as_bytes();
    if digits.len() != EVENT_ID_BYTES - PREFIX.len() {
        return None;
    }
    let mut uuid = 0;
    for (at, &byte) in digits.iter().enumerate() {
        let nibble = match byte {
            b'-' if HYPHENS.contains(&at) => continue,
            _ if HYPHENS.contains(&at) => return None,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        uuid = (uuid << 4) | u128::from(nibble);
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn cipher() -> IdCipher {
        IdCipher::new(std::array::from_fn(|n| u8::try_from(n).unwrap()))
    }

    fn text(id: [u8; EVENT_ID_BYTES]) -> String {
        String::from_utf8(id.to_vec()).unwrap()
    }

    fn bits(id: [u8; EVENT_ID_BYTES]) -> u128 {
        gather(read_uuid(&text(id)).unwrap()).unwrap()
    }

    #[test]
    fn siphash_gives_the_published_vector_of_eight_bytes() {
        // From the appendix of the SipHash paper's reference code: key 00…0f, message 00…07.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash_word(key, 0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn ids_stay_the_same_from_version_to_version() {
        assert_eq!(text(cipher().encode(1, 42)), PINNED);
        assert_eq!(cipher().decode(PINNED), Some((1, 42)));
    }

    const PINNED: &str = "urn:uuid:7e549139-a921-8882-9f5e-e8ca0c9ea93e";

    #[test]
    fn the_ends_of_the_ranges_fit() {
        for place in [(0, 0), (EPOCH_MAX, u64::MAX), (0, u64::MAX), (EPOCH_MAX, 0)] {
            assert_eq!(cipher().decode(&text(cipher().encode(place.0, place.1))), Some(place));
        }
    }

    #[test]
    fn only_the_canonical_form_is_understood() {
        let id = text(cipher().encode(3, 4));
        assert!(cipher().decode(&id).is_some());
        for other in [
            id.to_uppercase(),
            id.replace("urn:uuid:", "URN:UUID:"),
            id.replace("urn:uuid:", ""),
            id.replace('-', ""),
            format!("{id} "),
            format!(" {id}"),
            id[..EVENT_ID_BYTES - 1].to_owned(),
            String::new(),
            "earliest".to_owned(),
        ] {
            assert_eq!(cipher().decode(&other), None, "{other}");
        }
    }

    #[test]
    fn consecutive_offsets_share_no_visible_structure() {
        // Of 122 bits each pair of neighbours should differ in about 61; 25 is out of reach by chance.
        let ids: Vec<u128> = (0..2_000).map(|offset| bits(cipher().encode(1, offset))).collect();
        let mut flips = [0_u32; 122];
        for pair in ids.windows(2) {
            let difference = pair[0] ^ pair[1];
            assert!((25..=97).contains(&difference.count_ones()));
            for (bit, count) in flips.iter_mut().enumerate() {
                *count += u32::from((difference >> bit) & 1 == 1);
            }
        }
        assert!(flips.iter().all(|count| (850..=1_150).contains(count)), "{flips:?}");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", cipher()), "IdCipher");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(key in any::<[u8; 32]>(), epoch in 0..=EPOCH_MAX, offset in any::<u64>()) {
            let cipher = IdCipher::new(key);
            let id = text(cipher.encode(epoch, offset));
            prop_assert_eq!(id.as_bytes()[PREFIX.len() + 14], b'8');
            prop_assert!(matches!(id.as_bytes()[PREFIX.len() + 19], b'8' | b'9' | b'a' | b'b'));
            prop_assert_eq!(cipher.decode(&id), Some((epoch, offset)));
        }

        #[test]
        fn another_key_understands_nothing(key in any::<[u8; 32]>(), epoch in 0..=EPOCH_MAX, offset in any::<u64>()) {
            prop_assume!(key != [1; 32]);
            prop_assert_eq!(IdCipher::new([1; 32]).decode(&text(IdCipher::new(key).encode(epoch, offset))), None);
        }

        #[test]
        fn a_changed_digit_is_noticed(offset in any::<u64>(), at in PREFIX.len()..EVENT_ID_BYTES, digit in "[0-9a-f-]") {
            let id = text(cipher().encode(0, offset));
            let mut changed = id.clone();
            changed.replace_range(at..=at, &digit);
            prop_assume!(changed != id);
            prop_assert_eq!(cipher().decode(&changed), None);
        }

        #[test]
        fn random_uuids_and_other_texts_are_not_understood(uuid in any::<u128>(), other in "\\PC{0,50}") {
            prop_assert_eq!(cipher().decode(&text(write_uuid(spread(uuid >> 6)))), None);
            prop_assert_eq!(cipher().decode(&other), None);
        }
    }
}
