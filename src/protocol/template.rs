//! URI templates (RFC 6570): how subscribers and tokens selected topics before version 1.0 of the protocol.
//!
//! A topic fits a template when some values of its variables expand it to the topic, byte for byte. What an expression
//! may expand to is a regular language, so that a template is a literal, a shared regular expression (`pattern::compiled`
//! bounds those) and another literal. Templates of plain `{name}`s, with slashes and the like between them, need no regular
//! expression.

mod expression;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use expression::Expression;

use super::pattern::{Asker, Compiled, PATTERN_BYTES_MAX, PatternError, TYPICAL_TOPIC_BYTES};

/// Comparing the literals.
const LITERALS_NS: u64 = 40;
/// The longest regular expression made of a template: compiled, it would be larger than what is allowed.
const SOURCE_BYTES_MAX: usize = 64 << 10;

/// A compiled template. Two are equal when their texts are.
pub struct Template {
    text: Box<str>,
    /// What all its expansions start and end with: bytes of the text at its ends.
    prefix_bytes: u16,
    suffix_bytes: u16,
    middle: Middle,
}
const _: () = assert!(PATTERN_BYTES_MAX <= u16::MAX as usize);

/// What stands between the literals.
enum Middle {
    /// Plain `{name}`s only, where one can't be taken for a part of another: there is one way to split a topic.
    Values,
    /// Everything else.
    Regex(Arc<Compiled>),
}

impl Template {
    /// Parses a template; `None` for a text that isn't one, or has no expression.
    pub fn parse(text: &str, asker: Asker) -> Result<Option<Arc<Template>>, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { length: text.len() });
        }
        let Some(plan) = Plan::of(text) else {
            return Ok(None);
        };
        let middle = match plan.is_plain() {
            true => Middle::Values,
            false => Middle::Regex(Compiled::get(&plan.regex()?, asker)?),
        };
        let bytes = |bytes: usize| u16::try_from(bytes).expect("at most PATTERN_BYTES_MAX");
        Ok(Some(Arc::new(Template {
            text: text.into(),
            prefix_bytes: bytes(plan.prefix.len()),
            suffix_bytes: bytes(plan.suffix.len()),
            middle,
        })))
    }

    /// Whether a text becomes a regular expression, which takes long to compile.
    pub fn needs_regex(text: &str) -> bool {
        text.len() <= PATTERN_BYTES_MAX && Plan::of(text).is_some_and(|plan| !plan.is_plain())
    }

    /// Whether the template can be expanded to the topic, in time linear in its length.
    pub fn matches(&self, topic: &str) -> bool {
        let suffix = &self.text[self.text.len() - usize::from(self.suffix_bytes)..];
        let middle = topic.strip_prefix(self.prefix()).and_then(|rest| rest.strip_suffix(suffix));
        middle.is_some_and(|middle| match &self.middle {
            Middle::Values => self.fits_values(middle),
            Middle::Regex(regex) => regex.matches(middle.as_bytes()),
        })
    }

    /// Walks the text between the outer literals, a value and a literal at a time.
    fn fits_values(&self, topic: &str) -> bool {
        let mut template = &self.text[usize::from(self.prefix_bytes)..self.text.len() - usize::from(self.suffix_bytes)];
        let mut topic = topic.as_bytes();
        while let Some((_, after)) = template.split_once('}') {
            topic = after_values(topic);
            let literal = &after[..after.find('{').unwrap_or(after.len())];
            let Some(rest) = topic.strip_prefix(literal.as_bytes()) else {
                return false;
            };
            (topic, template) = (rest, &after[literal.len()..]);
        }
        topic.is_empty()
    }

    /// What [`Template::matches`] may cost, nanoseconds: an upper bound by which work is cut into slices.
    pub fn cost_ns(&self, topic_bytes: usize) -> u64 {
        let middle = match &self.middle {
            Middle::Values => (topic_bytes + self.text.len()) as u64,
            Middle::Regex(regex) => regex.cost_ns(topic_bytes),
        };
        LITERALS_NS + middle
    }

    /// The same for a topic as long as most.
    pub fn typical_cost_ns(&self) -> u64 {
        self.cost_ns(TYPICAL_TOPIC_BYTES)
    }

    /// What every topic that fits starts with. ASCII.
    pub fn prefix(&self) -> &str {
        &self.text[..usize::from(self.prefix_bytes)]
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The memory the template owns, in bytes, without the shared regular expression.
    pub fn owned_bytes(&self) -> usize {
        size_of::<Template>() + self.text.len()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.text).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

impl Hash for Template {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// What is left of a text after as much as `{name}` expands to: the language of
/// `(?:[A-Za-z0-9._~,-]|%[0-9A-Fa-f]{2})*`.
fn after_values(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        rest = match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            [byte, after @ ..] if is_in_values(*byte) => after,
            _ => return rest,
        };
    }
}

/// Whether a byte stands in a value as it is.
fn is_in_values(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b',')
}

/// A template taken apart.
struct Plan<'a> {
    /// The literal before the first expression and the one after the last, as far as they expand to themselves.
    prefix: &'a str,
    suffix: &'a str,
    pieces: Vec<Piece<'a>>,
}

enum Piece<'a> {
    Literal(&'a str),
    Expression(Expression<'a>),
}

impl<'a> Plan<'a> {
    /// `None` for what the grammar doesn't know (RFC 6570 §2), and where there is no expression.
    fn of(text: &'a str) -> Option<Plan<'a>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (literal, inner) = (&rest[..open], &rest[open + 1..]);
            let close = inner.find('}')?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal));
            }
            pieces.push(Piece::Expression(Expression::parse(&inner[..close])?));
            rest = &inner[close + 1..];
        }
        if pieces.is_empty() {
            return None;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest));
        }
        let literals = pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(*text),
            Piece::Expression(_) => None,
        });
        if !literals.into_iter().all(is_literal) {
            return None;
        }
        // A character beyond ASCII may be written in two ways: such a literal is left to the regular expression.
        let (mut prefix, mut suffix) = ("", "");
        if let Some(&Piece::Literal(text)) = pieces.first()
            && text.is_ascii()
        {
            prefix = text;
            pieces.remove(0);
        }
        if let Some(&Piece::Literal(text)) = pieces.last()
            && text.is_ascii()
        {
            suffix = text;
            pieces.pop();
        }
        Some(Plan { prefix, suffix, pieces })
    }

    /// Whether all expressions are plain names and every literal between two begins where a value must end.
    fn is_plain(&self) -> bool {
        let ends = matches!(self.pieces.first(), Some(Piece::Expression(_)))
            && matches!(self.pieces.last(), Some(Piece::Expression(_)));
        let between = self.pieces.windows(2).all(|pair| match pair {
            [Piece::Expression(_), Piece::Literal(text)] => !is_in_values(text.as_bytes()[0]) && !text.starts_with('%'),
            [Piece::Expression(_), Piece::Expression(_)] => false,
            _ => true,
        });
        let plain = |piece: &Piece<'_>| match piece {
            Piece::Literal(text) => text.is_ascii(),
            Piece::Expression(expression) => expression.is_plain(),
        };
        ends && between && self.pieces.iter().all(plain)
    }

    /// The regular expression of the pieces. Of bytes, like those of URL patterns.
    fn regex(&self) -> Result<String, PatternError> {
        let mut source = String::from("^");
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => text.chars().for_each(|c| expression::push_character(&mut source, c)),
                Piece::Expression(expression) => expression.push_regex(&mut source),
            }
            if source.len() > SOURCE_BYTES_MAX {
                return Err(PatternError::RegexTooBig);
            }
        }
        source.push('$');
        Ok(source)
    }
}

/// Whether a text may stand outside of expressions (RFC 6570 §2.1, with the apostrophe that erratum 6937 adds). Control
/// and formatting characters were refused before; the rest beyond ASCII is allowed.
fn is_literal(text: &str) -> bool {
    !text.contains([' ', '"', '<', '>', '\\', '^', '`', '|', '}']) && expression::has_whole_escapes(text)
}

#[cfg(test)]
mod tests;
