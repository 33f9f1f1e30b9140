//! As much of DER (X.690 §8 to §10) as keys and certificates take: elements one after another, short tags, lengths under 64 KiB.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`: the version of a certificate, the curve of a SEC 1 key.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// What is left to read of a constructed element's contents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Der<'a> {
        Der(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn peek(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The contents of the next element, which must have this tag. `None`: another tag, a length that isn't the shortest
    /// way to write it, or not enough bytes.
    pub(crate) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, first], rest) = self.0.split_first_chunk()?;
        if found != tag {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&[length], rest) = rest.split_first_chunk()?;
                (usize::from(length), rest)
            }
            0x82 => {
                let (&length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(length)), rest)
            }
            _ => return None,
        };
        let shortest = match first {
            0x81 => length >= 0x80,
            0x82 => length >= 0x100,
            _ => true,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        shortest.then_some(contents)
    }

    /// The next element, whatever it is: its tag and its contents.
    pub(crate) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = *self.0.first()?;
        Some((tag, self.read(tag)?))
    }

    /// The next element with its tag and length.
    pub(crate) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.read(tag)?;
        Some(&before[..before.len() - self.0.len()])
    }

    /// The elements inside the next element, a SEQUENCE.
    pub(crate) fn sequence(&mut self) -> Option<Der<'a>> {
        self.read(SEQUENCE).map(Der)
    }

    /// The bytes of a BIT STRING that has no unused bits, as every key has.
    pub(crate) fn bit_string(&mut self) -> Option<&'a [u8]> {
        match self.read(BIT_STRING)?.split_first()? {
            (0, bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// One element.
pub(crate) fn write(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    match u16::try_from(length).expect("keys are far shorter than 64 KiB").to_be_bytes() {
        [0, low @ 0..=0x7f] => element.push(low),
        [0, low] => element.extend([0x81, low]),
        [high, low] => element.extend([0x82, high, low]),
    }
    contents.iter().for_each(|part| element.extend_from_slice(part));
    element
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in proptest::collection::vec(any::<u8>(), 0..700), after in any::<u8>()) {
            let mut bytes = write(OCTET_STRING, &[&contents]);
            bytes.push(after);
            let mut der = Der::new(&bytes);
            prop_assert_eq!(der.read(OCTET_STRING), Some(&contents[..]));
            prop_assert_eq!(der.0, &[after]);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), tag in any::<u8>()) {
            Der::new(&bytes).read(tag);
            Der::new(&bytes).bit_string();
        }
    }

    #[test]
    fn a_length_has_one_spelling() {
        assert_eq!(Der::new(&[4, 0x81, 1, 7]).read(OCTET_STRING), None);
        assert_eq!(Der::new(&[4, 0x82, 0, 1, 7]).read(OCTET_STRING), None);
        assert_eq!(Der::new(&[4, 0x80, 7, 0, 0]).read(OCTET_STRING), None);
        assert_eq!(Der::new(&[4, 2, 7]).read(OCTET_STRING), None);
    }
}
