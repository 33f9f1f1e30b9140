//! The segment matcher: literals and wildcards of one URL component, without a regular expression.
//!
//! The components of a URL are ASCII, so a program is a literal's bytes as they are, with operations as bytes from
//! 0x80 on: `/b/:id` is four bytes. Time is linear in the text unless wildcards that stop at a delimiter leave several
//! ways to split it; then it is pieces × text, and bounded.

use memchr::memmem;

/// Any text, also none: `*`.
pub(super) const ANY: u8 = 0x80;
/// Any text but none: `:name` in a component without a delimiter.
pub(super) const SOME: u8 = 0x81;
/// At least one character, none of them `/`: `:name` in a path.
pub(super) const SOME_WITHOUT_SLASH: u8 = 0x82;
/// At least one character, none of them `.`: `:name` in a host name.
pub(super) const SOME_WITHOUT_DOT: u8 = 0x83;

/// The most pieces of program × bytes of text the search for a split may cost, some 60 microseconds' worth.
/// Beyond it nothing matches, as the protocol draft has it for costly patterns.
const SPLIT_COST_MAX: usize = 1 << 15;
/// What the search costs per piece and byte of text.
const SPLIT_NS: u64 = 2;
/// What a wildcard costs where there is one way only.
const WILDCARD_NS: u32 = 25;

/// Whether the whole text fits the program.
pub(super) fn matches(mut program: &[u8], mut text: &[u8]) -> bool {
    loop {
        let literal = literal_prefix(program);
        let Some(rest) = text.strip_prefix(literal) else {
            return false;
        };
        text = rest;
        let Some((&op, next)) = program[literal.len()..].split_first() else {
            return text.is_empty();
        };
        let literal = literal_prefix(next);
        let after = &next[literal.len()..];
        if after.is_empty() {
            // The last operation: what is left before the closing literal.
            return text.strip_suffix(literal).is_some_and(|middle| takes(op, middle));
        }
        if delimiter(op).is_none() && delimiter(after[0]).is_none() {
            // The literal's first place is the best one: it leaves most to a wildcard that takes anything.
            let taken = usize::from(op == SOME);
            let Some(start) = text.get(taken..).and_then(|rest| memmem::find(rest, literal)) else {
                return false;
            };
            text = &text[taken + start + literal.len()..];
            program = after;
            continue;
        }
        // A literal with the delimiter in it can only stand at the delimiter's first place.
        let (Some(delimiter), Some(in_literal)) = (delimiter(op), delimiter_place(op, literal)) else {
            return simulate(&program[program.len() - next.len() - 1..], text);
        };
        let start = match text.iter().position(|&b| b == delimiter).and_then(|at| at.checked_sub(in_literal)) {
            Some(start) if start > 0 && text[start..].starts_with(literal) => start,
            _ => return false,
        };
        text = &text[start + literal.len()..];
        program = after;
    }
}

/// The literal bytes a program starts with.
pub(super) fn literal_prefix(program: &[u8]) -> &[u8] {
    let length = program.iter().position(|&b| b >= ANY).unwrap_or(program.len());
    &program[..length]
}

fn delimiter(op: u8) -> Option<u8> {
    match op {
        SOME_WITHOUT_SLASH => Some(b'/'),
        SOME_WITHOUT_DOT => Some(b'.'),
        _ => None,
    }
}

fn delimiter_place(op: u8, literal: &[u8]) -> Option<usize> {
    let delimiter = delimiter(op)?;
    literal.iter().position(|&b| b == delimiter)
}

fn takes(op: u8, text: &[u8]) -> bool {
    match delimiter(op) {
        Some(delimiter) => !text.is_empty() && !text.contains(&delimiter),
        None => op == ANY || !text.is_empty(),
    }
}

/// What matching a program may cost, as an upper bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Price {
    wildcards_ns: u32,
    /// Pieces to be split among; 0: there is one way only.
    split_pieces: u32,
}

impl Price {
    pub(super) fn of(program: &[u8]) -> Price {
        let pieces = pieces(program) as u32;
        Price { wildcards_ns: pieces * WILDCARD_NS, split_pieces: if splits(program) { pieces } else { 0 } }
    }

    /// Of programs for several components of one text.
    pub(super) fn and(self, other: Price) -> Price {
        Price {
            wildcards_ns: self.wildcards_ns + other.wildcards_ns,
            split_pieces: self.split_pieces + other.split_pieces,
        }
    }

    /// For a text of so many bytes.
    pub(super) fn ns(self, text_bytes: usize) -> u64 {
        let split = (self.split_pieces as usize * text_bytes).min(SPLIT_COST_MAX) as u64 * SPLIT_NS;
        u64::from(self.wildcards_ns) + text_bytes as u64 + split
    }
}

/// Whether a text may have to be split in several ways: the case [`matches`] leaves to [`simulate`].
fn splits(program: &[u8]) -> bool {
    let mut rest = &program[literal_prefix(program).len()..];
    while let Some((&op, next)) = rest.split_first() {
        let literal = literal_prefix(next);
        let after = &next[literal.len()..];
        let Some(&following) = after.first() else {
            return false;
        };
        let greedy = delimiter(op).is_none() && delimiter(following).is_none();
        if !greedy && delimiter_place(op, literal).is_none() {
            return true;
        }
        rest = after;
    }
    false
}

/// Wildcards, and the literals between them.
fn pieces(program: &[u8]) -> usize {
    2 * program.iter().filter(|&&b| b >= ANY).count() + 1
}

/// Follows every way to split the text at once: the set of places the program so far may have reached.
fn simulate(mut program: &[u8], text: &[u8]) -> bool {
    if pieces(program) * text.len() > SPLIT_COST_MAX {
        return false;
    }
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    while let Some((&op, next)) = program.split_first() {
        if op < ANY {
            let literal = literal_prefix(program);
            advance_by_literal(&mut reached, text, literal);
            program = &program[literal.len()..];
        } else {
            advance_by_wildcard(&mut reached, text, op);
            program = next;
        }
        if !reached.contains(&true) {
            return false;
        }
    }
    reached[text.len()]
}

fn advance_by_literal(reached: &mut [bool], text: &[u8], literal: &[u8]) {
    // From the end, so that a place is read before it is overwritten.
    for end in (0..reached.len()).rev() {
        reached[end] = match end.checked_sub(literal.len()) {
            Some(start) => reached[start] && text[start..end] == *literal,
            None => false,
        };
    }
}

fn advance_by_wildcard(reached: &mut [bool], text: &[u8], op: u8) {
    let delimiter = delimiter(op);
    let mut running = false;
    for place in 0..reached.len() {
        if place > 0 && delimiter.is_some_and(|delimiter| text[place - 1] == delimiter) {
            running = false;
        }
        let starts = reached[place];
        reached[place] = running || (op == ANY && starts);
        running |= starts;
    }
}

/// Translates a regular expression, as the `urlpattern` crate writes one for a component, into a program.
///
/// `None` when it holds anything but literals and wildcards. What is read is the regular expression itself, so that
/// a program means what the expression means, whatever the pattern looked like.
pub(super) fn from_regex(source: &str) -> Option<Vec<u8>> {
    let body = source.strip_prefix('^')?.strip_suffix('$')?;
    let mut parser = Parser { rest: body.as_bytes(), program: Vec::with_capacity(body.len()) };
    while !parser.rest.is_empty() {
        if parser.skip(b"(?:") {
            // A wildcard with a literal before or after it.
            while parser.literal() {}
            parser.wildcard().then_some(())?;
            while parser.literal() {}
            parser.skip(b")").then_some(())?;
            parser.unrepeated().then_some(())?;
        } else if !parser.literal() {
            parser.wildcard().then_some(())?;
            parser.unrepeated().then_some(())?;
        }
    }
    Some(parser.program)
}

/// The regular expressions of the wildcards; each has a group of its own.
const WILDCARDS: [(&[u8], u8); 4] =
    [(b"(.*)", ANY), (b"(.+?)", SOME), (b"([^/]+?)", SOME_WITHOUT_SLASH), (b"([^\\.]+?)", SOME_WITHOUT_DOT)];

struct Parser<'a> {
    rest: &'a [u8],
    program: Vec<u8>,
}

impl Parser<'_> {
    fn skip(&mut self, expected: &[u8]) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn literal(&mut self) -> bool {
        let (byte, length) = match *self.rest {
            [b'\\', escaped, ..] if escaped.is_ascii_punctuation() => (escaped, 2),
            [plain, ..] if plain.is_ascii() && !is_meta(plain) => (plain, 1),
            _ => return false,
        };
        self.program.push(byte);
        self.rest = &self.rest[length..];
        true
    }

    fn wildcard(&mut self) -> bool {
        for (expression, op) in WILDCARDS {
            if self.skip(expression) {
                self.program.push(op);
                return true;
            }
        }
        false
    }

    /// Whether what was just read stands once: no `?`, `*`, `+` or `{` follows.
    fn unrepeated(&self) -> bool {
        !matches!(self.rest.first(), Some(b'?' | b'*' | b'+' | b'{'))
    }
}

fn is_meta(byte: u8) -> bool {
    matches!(byte, b'\\' | b'.' | b'+' | b'*' | b'?' | b'(' | b')' | b'|' | b'[' | b']' | b'{' | b'}' | b'^' | b'$')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program(source: &str) -> Vec<u8> {
        from_regex(source).unwrap()
    }

    #[test]
    fn literals_and_wildcards_are_translated() {
        assert_eq!(program("^$"), b"");
        assert_eq!(program(r"^/a\.b\(c$"), b"/a.b(c");
        assert_eq!(program("^(.*)$"), [ANY]);
        assert_eq!(program("^/b(?:/([^/]+?))$"), b"/b/\x82");
        assert_eq!(program(r"^([^\.]+?)\.e\.com$"), b"\x83.e.com");
        assert_eq!(program("^(.+?)$"), [SOME]);
    }

    #[test]
    fn everything_else_is_left_to_regular_expressions() {
        for source in
            ["^(a)$", "^(?:/a)?$", "^(?:/([^/]+?))?$", "^((?:.*)*)$", "^(.*)+$", "^a|b$", "^[a]$", r"^\d$", "^a{2}$"]
        {
            assert_eq!(from_regex(source), None, "{source}");
        }
    }

    #[test]
    fn a_wildcard_takes_what_its_kind_allows() {
        let cases: [(&[u8], &str, bool); 16] = [
            (b"", "", true),
            (b"", "a", false),
            (b"/a/\x82", "/a/1", true),
            (b"/a/\x82", "/a/", false),
            (b"/a/\x82", "/a/1/2", false),
            (b"/a/\x80", "/a/", true),
            (b"/\x82/b/\x82", "/1/b/2", true),
            (b"/\x82/b/\x82", "//b/2", false),
            (b"/\x82.html", "/a.html.html", true),
            (b"/\x82.html", "/.html", false),
            (b"/\x80/x/\x82", "/a/x/x/x/1", true),
            (b"\x80a\x82b", "xa/acb", true),
            (b"\x82-\x82", "a-b-c", true),
            (b"\x82-\x82", "a/-c", false),
            (b"\x83.\x83.com", "a.b.com", true),
            (b"\x81x", "x", false),
        ];
        for (program, text, expected) in cases {
            assert_eq!(matches(program, text.as_bytes()), expected, "{program:?} {text}");
        }
    }

    #[test]
    fn a_split_that_costs_too_much_is_no_match() {
        let program: Vec<u8> = b"a\x82".repeat(16);
        let text = b"a".repeat(SPLIT_COST_MAX / pieces(&program));
        assert!(matches(&program, &text));
        assert!(simulate(&program, &text));
        assert!(!matches(&program, &b"a".repeat(text.len() + 2)));
        assert!(!simulate(&program, &b"a".repeat(text.len() + 1)));
        assert!(splits(b"a\x82b\x80") && splits(b"/\x80/\x82") && !splits(b"/\x82/b/\x82") && !splits(b"a\x80b\x80c"));
        // Where one way is the best, length doesn't matter.
        assert!(matches(&b"a\x80".repeat(128), &b"a".repeat(1 << 20)));
        assert!(matches(b"/\x82/\x80", &[b"/a/", &text[..], &text[..]].concat()));
    }

    fn regex_of(program: &[u8]) -> String {
        let mut source = String::from("^(?s-u:");
        for &byte in program {
            match WILDCARDS.iter().find(|(_, op)| *op == byte) {
                Some((expression, _)) => source.push_str(std::str::from_utf8(expression).unwrap()),
                None if is_meta(byte) => source.extend(['\\', char::from(byte)]),
                None => source.push(char::from(byte)),
            }
        }
        source + ")$"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_program_matches_what_its_regular_expression_matches(
            program in proptest::collection::vec(
                prop_oneof![Just(b'a'), Just(b'b'), Just(b'/'), Just(b'.'), Just(ANY), Just(SOME),
                    Just(SOME_WITHOUT_SLASH), Just(SOME_WITHOUT_DOT)], 0..8),
            text in "[ab/.]{0,10}",
        ) {
            let regex = regex_automata::meta::Builder::new()
                .syntax(regex_automata::util::syntax::Config::new().utf8(false))
                .build(&regex_of(&program))
                .unwrap();
            prop_assert_eq!(matches(&program, text.as_bytes()), regex.is_match(&text));
            prop_assert_eq!(simulate(&program, text.as_bytes()), regex.is_match(&text));
        }
    }
}
