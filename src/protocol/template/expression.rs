//! One expression of a template, and the regular language of what it may expand to (RFC 6570 §§2.2, 3.2).
//!
//! Any of its variables may be undefined, a string, a list or pairs, so that `{list}` takes `red,green` as well.

use std::fmt::Write;

/// Bytes a value holds unescaped: those unreserved (RFC 3986 §2.3) as the inside of a class.
const UNRESERVED: &str = r"A-Za-z0-9._~\-";
/// The reserved ones (RFC 3986 §2.2), which `+` and `#` leave as they are.
const RESERVED: &str = r":/?#\[\]@!$&'()*+,;=";
/// An escaped byte.
const ESCAPE: &str = "%[0-9A-Fa-f]{2}";
/// An escaped character of UTF-8: what `:n` counts.
const ESCAPED_CHARACTER: &str = "%[0-7][0-9A-Fa-f]|%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}";

/// Characters a value may be cut to; RFC 6570 §2.4.1: below 10000.
const PREFIX_DIGITS_MAX: usize = 4;

/// What stands between braces.
pub(super) struct Expression<'a> {
    operator: Operator,
    variables: Vec<Variable<'a>>,
}

/// A row of the table in RFC 6570, appendix A.
#[derive(Clone, Copy)]
struct Operator {
    /// What comes before the first value, if there is one.
    first: &'static str,
    /// What comes between values.
    separator: &'static str,
    /// Whether names stand before values.
    named: bool,
    /// Whether a name without a value has an equals sign.
    equals_always: bool,
    /// Whether reserved characters stay.
    reserved: bool,
}

impl Operator {
    /// The operator an expression starts with, and the rest of it.
    fn strip(text: &str) -> (Operator, &str) {
        const PLAIN: Operator =
            Operator { first: "", separator: ",", named: false, equals_always: false, reserved: false };
        let operator = match text.as_bytes().first() {
            Some(b'+') => Operator { reserved: true, ..PLAIN },
            Some(b'#') => Operator { first: "#", reserved: true, ..PLAIN },
            Some(b'.') => Operator { first: ".", separator: ".", ..PLAIN },
            Some(b'/') => Operator { first: "/", separator: "/", ..PLAIN },
            Some(b';') => Operator { first: ";", separator: ";", named: true, ..PLAIN },
            Some(b'?') => Operator { first: "?", separator: "&", named: true, equals_always: true, ..PLAIN },
            Some(b'&') => Operator { first: "&", separator: "&", named: true, equals_always: true, ..PLAIN },
            _ => return (PLAIN, text),
        };
        (operator, &text[1..])
    }

    fn is_plain(self) -> bool {
        self.first.is_empty() && !self.reserved
    }
}

struct Variable<'a> {
    name: &'a str,
    modifier: Modifier,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Modifier {
    None,
    /// `:n`: the first characters of a string.
    Prefix(u16),
    /// `*`: each member of a list, or pair, for itself.
    Explode,
}

impl<'a> Expression<'a> {
    /// Parses what stands between braces; `None` for what isn't in the grammar, which has no use yet for the operators
    /// `=`, `,`, `!`, `@` and `|`.
    pub(super) fn parse(text: &'a str) -> Option<Expression<'a>> {
        let (operator, variables) = Operator::strip(text);
        let variables: Option<Vec<_>> = variables.split(',').map(Variable::parse).collect();
        Some(Expression { operator, variables: variables? })
    }

    /// Whether it is `{name}` and no more.
    pub(super) fn is_plain(&self) -> bool {
        self.operator.is_plain() && matches!(&*self.variables, [only] if only.modifier == Modifier::None)
    }

    /// Appends the regular expression of what it may expand to.
    pub(super) fn push_regex(&self, source: &mut String) {
        let Operator { first, separator, .. } = self.operator;
        if first == separator {
            // Every value has the same before it, so each may be missing for itself.
            for variable in &self.variables {
                source.push_str("(?:");
                push_literal(source, separator);
                variable.push_regex(source, self.operator);
                source.push_str(")?");
            }
            return;
        }
        // Which value is the first one decides what is before it.
        source.push_str("(?:");
        push_literal(source, first);
        source.push_str("(?:");
        for start in 0..self.variables.len() {
            if start > 0 {
                source.push('|');
            }
            for (place, variable) in self.variables[start..].iter().enumerate() {
                if place == 0 {
                    variable.push_regex(source, self.operator);
                    continue;
                }
                source.push_str("(?:");
                push_literal(source, separator);
                variable.push_regex(source, self.operator);
                source.push_str(")?");
            }
            if source.len() > super::SOURCE_BYTES_MAX {
                // Refused by whoever asked, before it has grown by the square of the variables.
                return;
            }
        }
        source.push_str("))?");
    }
}

impl<'a> Variable<'a> {
    fn parse(text: &'a str) -> Option<Variable<'a>> {
        let (name, modifier) = if let Some(name) = text.strip_suffix('*') {
            (name, Modifier::Explode)
        } else if let Some((name, digits)) = text.split_once(':') {
            let is_number = digits.len() <= PREFIX_DIGITS_MAX
                && digits.bytes().all(|b| b.is_ascii_digit())
                && !digits.starts_with('0');
            (name, Modifier::Prefix(digits.parse().ok().filter(|_| is_number)?))
        } else {
            (text, Modifier::None)
        };
        let characters = |part: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'%');
            !part.is_empty() && part.bytes().all(allowed)
        };
        let is_name = name.split('.').all(characters) && has_whole_escapes(name);
        is_name.then_some(Variable { name, modifier })
    }

    fn push_regex(&self, source: &mut String, operator: Operator) {
        if self.modifier == Modifier::Explode {
            return self.push_exploded(source, operator);
        }
        if operator.named {
            push_literal(source, self.name);
            source.push_str(if operator.equals_always { "=" } else { "(?:=" });
        }
        match self.modifier {
            Modifier::Prefix(characters) => {
                push_class(source, operator.reserved, "", ESCAPED_CHARACTER);
                let _ = write!(source, "{{0,{characters}}}");
            }
            _ => {
                // A list, or pairs, in one value.
                push_class(source, operator.reserved, ",", ESCAPE);
                source.push('*');
            }
        }
        if operator.named && !operator.equals_always {
            source.push_str(")?");
        }
    }

    /// Members or pairs, at least one. A member stands under the variable's name, a pair under its own.
    fn push_exploded(&self, source: &mut String, operator: Operator) {
        let push_member = |source: &mut String| {
            push_class(source, operator.reserved, "", ESCAPE);
            source.push_str(if operator.equals_always { "*=" } else { "*(?:=" });
            push_class(source, operator.reserved, "", ESCAPE);
            source.push_str(if operator.equals_always { "*" } else { "*)?" });
        };
        push_member(source);
        source.push_str("(?:");
        push_literal(source, operator.separator);
        push_member(source);
        source.push_str(")*");
    }
}

/// `(?:[class]|escape)`.
fn push_class(source: &mut String, reserved: bool, more: &str, escape: &str) {
    let (reserved, more) = if reserved { (RESERVED, "") } else { ("", more) };
    let _ = write!(source, "(?:[{UNRESERVED}{reserved}{more}]|{escape})");
}

/// Appends a character of a literal: itself, or what it is escaped to, which beyond ASCII may be either.
pub(super) fn push_character(source: &mut String, c: char) {
    if c.is_ascii() {
        return push_literal(source, c.encode_utf8(&mut [0; 4]));
    }
    let mut bytes = [0; 4];
    let bytes = c.encode_utf8(&mut bytes).as_bytes();
    source.push_str("(?:");
    for byte in bytes {
        let _ = write!(source, "\\x{byte:02X}");
    }
    source.push('|');
    for byte in bytes {
        let _ = write!(source, "%{byte:02X}");
    }
    source.push(')');
}

/// Appends ASCII that stands for itself.
fn push_literal(source: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            source.push('\\');
        }
        source.push(c);
    }
}

/// Whether every `%` has two hexadecimal digits after it.
pub(super) fn has_whole_escapes(text: &str) -> bool {
    let mut after = text.split('%').skip(1);
    after.all(|rest| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}
