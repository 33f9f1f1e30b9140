//! Field blocks (RFC 7541): written without any compression, read with all of it.

use std::collections::VecDeque;

/// What the dynamic table of whoever reads may hold unless settings say otherwise.
const TABLE_BYTES_MAX: usize = 4096;

/// Fields in their order.
pub(super) type Fields = Vec<(String, String)>;

/// A block of literals without indexing and without Huffman codes, names and values as they are, be they legal or not.
pub(super) fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            write_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn write_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The reading side of a connection.
#[derive(Debug)]
pub(super) struct Decoder {
    newest_first: VecDeque<(String, String)>,
    bytes_max: usize,
}

impl Decoder {
    pub(super) fn new() -> Decoder {
        Decoder { newest_first: VecDeque::new(), bytes_max: TABLE_BYTES_MAX }
    }

    pub(super) fn decode(&mut self, block: &[u8]) -> Fields {
        let mut bytes = block;
        let mut fields = Vec::new();
        while let Some(&first) = bytes.first() {
            if first & 0x80 != 0 {
                let index = read_integer(&mut bytes, 7);
                fields.push(self.at(index));
            } else if first & 0x40 != 0 {
                let field = self.literal(&mut bytes, 6);
                self.newest_first.push_front(field.clone());
                self.evict();
                fields.push(field);
            } else if first & 0x20 != 0 {
                self.bytes_max = read_integer(&mut bytes, 5);
                assert!(self.bytes_max <= TABLE_BYTES_MAX, "a table larger than was allowed");
                self.evict();
            } else {
                let field = self.literal(&mut bytes, 4);
                fields.push(field);
            }
        }
        fields
    }

    fn literal(&self, bytes: &mut &[u8], prefix_bits: u32) -> (String, String) {
        let name = match read_integer(bytes, prefix_bits) {
            0 => read_text(bytes),
            index => self.at(index).0,
        };
        (name, read_text(bytes))
    }

    fn at(&self, index: usize) -> (String, String) {
        assert_ne!(index, 0, "an index of nothing");
        if let Some((name, value)) = STATIC_TABLE.get(index - 1) {
            return ((*name).to_owned(), (*value).to_owned());
        }
        self.newest_first.get(index - 1 - STATIC_TABLE.len()).expect("an index of the table").clone()
    }

    fn evict(&mut self) {
        let bytes = |table: &VecDeque<(String, String)>| -> usize {
            table.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
        };
        while bytes(&self.newest_first) > self.bytes_max {
            self.newest_first.pop_back();
        }
    }
}

fn take(bytes: &mut &[u8]) -> u8 {
    let (first, rest) = bytes.split_first().expect("a whole block");
    *bytes = rest;
    *first
}

fn read_integer(bytes: &mut &[u8], prefix_bits: u32) -> usize {
    let most = (1 << prefix_bits) - 1;
    let mut value = usize::from(take(bytes)) & most;
    let mut shift = 0;
    while value >= most {
        let byte = take(bytes);
        value += usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            break;
        }
    }
    value
}

fn read_text(bytes: &mut &[u8]) -> String {
    let is_coded = bytes.first().expect("a text") & 0x80 != 0;
    let length = read_integer(bytes, 7);
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    let text = if is_coded { unpack(text) } else { text.to_vec() };
    String::from_utf8(text).expect("fields in UTF-8")
}

/// The characters with codes of so many bits, in the order of their codes, each one more than the code before (RFC 7541, appendix
/// B). Others don't stand in what a hub answers.
const CODES: &[(u32, &[u8])] = &[
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
];

/// Reads Huffman codes.
fn unpack(coded: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u32, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place) & 1)) {
        (code, length) = (code << 1 | bit, length + 1);
        assert!(length <= 15, "a character that isn't expected here");
        if let Some(character) = character(code, length) {
            text.push(character);
            (code, length) = (0, 0);
        }
    }
    assert!(length < 8 && code == (1 << length) - 1, "the rest is filled with ones");
    text
}

fn character(code: u32, length: u32) -> Option<u8> {
    let (mut first, mut bits) = (0, 5);
    for (of_length, characters) in CODES {
        first <<= of_length - bits;
        bits = *of_length;
        if *of_length == length {
            return code.checked_sub(first).and_then(|place| characters.get(place as usize)).copied();
        }
        first += characters.len() as u32;
    }
    None
}

/// RFC 7541, appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// RFC 7541, appendix C.4: requests with Huffman codes, which fill the table.
#[test]
fn blocks_of_the_standard_are_read() {
    let mut decoder = Decoder::new();
    let first = [0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    let expected = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    let owned = |fields: &[(&str, &str)]| -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(decoder.decode(&first), owned(&expected));
    let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
    assert_eq!(decoder.decode(&second), owned(&[&expected[..], &[("cache-control", "no-cache")]].concat()));
    let long = "x".repeat(70_000);
    assert_eq!(decoder.decode(&encode(&[("a", &long), ("b", "")])), owned(&[("a", &long), ("b", "")]));
}
