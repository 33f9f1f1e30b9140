//! URL patterns: the WHATWG standard's, matched in little time and memory.
//!
//! The `urlpattern` crate reads a pattern; what it makes of each of the eight components is kept as a program of a few
//! bytes for the segment matcher (`segments`), and as a shared regular expression (`compiled`) only where a component
//! needs one. An ordinary pattern costs some 300 bytes. `ignoreCase` is never on.

mod brackets;
mod compiled;
mod fixed;
mod prefix;
mod segments;

use std::cell::OnceCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::meta::Regex;
use thiserror::Error;
use url::Url;
use urlpattern::matcher::{InnerMatcher, Matcher};
use urlpattern::regexp::RegExp;
use urlpattern::{RegexSyntax, UrlPatternInit, UrlPatternOptions};

pub(super) use self::compiled::Compiled;
pub use self::fixed::{FIXED_SEGMENTS_MAX, Segments, segments_of};
use self::segments::Price;
use super::topic::HubUrl;

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// A topic as long as most.
pub(super) const TYPICAL_TOPIC_BYTES: usize = 100;
/// In a program: the component's regular expression, between a literal before and one after it.
const REGEX: u8 = 0x84;
/// In a program: the end of a component.
const SEPARATOR: u8 = 0xFF;
const _: () = assert!(REGEX > segments::ANY && SEPARATOR > REGEX);

/// A compiled URL pattern of one hub. Two are equal when their texts are.
pub struct UrlPattern {
    text: Box<str>,
    /// The components in the order of [`Components`], each with a [`SEPARATOR`] between it and the next.
    program: Box<[u8]>,
    /// One for each [`REGEX`] of the program.
    regexes: Box<[Arc<Compiled>]>,
    address_prefix: Box<str>,
    price: Price,
}

/// Who asks for a pattern, which decides what of the memory for regular expressions it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A subscription.
    Subscription,
    /// A token's grant.
    Token,
}

/// Why the hub doesn't take a pattern.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatternError {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the pattern has {length} bytes; at most {PATTERN_BYTES_MAX} are accepted")]
    TooLong {
        /// The pattern's bytes.
        length: usize,
    },
    /// Not a URL pattern, or one of its components can't be part of a URL.
    #[error("the pattern is not a well-formed URL pattern: {0}")]
    Syntax(String),
    /// A `]` without its `[` in front of the path.
    #[error("the pattern has a ] without a [ before the path; write \\[…\\] around an IPv6 address only")]
    Bracket,
    /// One of its regular expressions is malformed.
    #[error("a regular expression of the pattern is not understood: {0}")]
    Regex(String),
    /// A regular expression looks ahead or behind.
    #[error(
        "a regular expression of the pattern uses look-around, which can't be matched in linear time; leave it out"
    )]
    LookAround,
    /// A regular expression refers to one of its groups.
    #[error(
        "a regular expression of the pattern uses a back-reference, which can't be matched in linear time; leave it out"
    )]
    BackReference,
    /// A regular expression is too big once compiled.
    #[error(
        "a regular expression of the pattern takes more than {} bytes once compiled; use smaller repetition counts",
        compiled::REGEX_BYTES_MAX
    )]
    RegexTooBig,
    /// The patterns in use take all the memory there is for regular expressions. It may pass.
    #[error("the hub holds as many regular expressions as it may; use :name or * instead, or try again later")]
    TooManyRegexes,
}

impl UrlPattern {
    /// Parses a pattern, relative ones against the hub's URL.
    pub fn parse(text: &str, hub: &HubUrl, asker: Asker) -> Result<Arc<UrlPattern>, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { length: text.len() });
        }
        if brackets::may_lack_opening(text) {
            return Err(PatternError::Bracket);
        }
        let syntax = |error: urlpattern::Error| PatternError::Syntax(error.to_string());
        let base = hub.url().clone();
        let mut init = UrlPatternInit::parse_constructor_string::<Uncompiled>(text, Some(base)).map_err(syntax)?;
        if init.protocol.is_some() {
            // An absolute pattern has no use for a base; with one, `urn\:room\:*` would get the hub's folder as its path.
            init.base_url = None;
        }
        let options = UrlPatternOptions { regex_syntax: RegexSyntax::Rust, ignore_case: false };
        let parsed = urlpattern::UrlPattern::<Uncompiled>::parse(init, options).map_err(syntax)?;

        let mut program = Vec::new();
        let mut regexes = Vec::new();
        for (place, matcher) in Components::of_pattern(&parsed).into_iter().enumerate() {
            if place > 0 {
                program.push(SEPARATOR);
            }
            translate(matcher, asker, &mut program, &mut regexes)?;
        }
        let address_prefix = prefix::of(&program);
        let price = program.split(|&b| b == SEPARATOR).map(Price::of).fold(Price::default(), Price::and);
        Ok(Arc::new(UrlPattern {
            text: text.into(),
            program: program.into(),
            regexes: regexes.into(),
            address_prefix: address_prefix.into(),
            price,
        }))
    }

    /// Whether the URL fits, in time linear in its length.
    pub fn matches(&self, url: &Url) -> bool {
        let mut regexes = self.regexes.iter();
        let programs = self.program.split(|&b| b == SEPARATOR);
        programs.zip(Components::of_url(url)).all(|(program, text)| match program.iter().position(|&b| b == REGEX) {
            None => segments::matches(program, text.as_bytes()),
            Some(at) => {
                let regex = regexes.next().expect("a program names as many expressions as were compiled for it");
                let inner = text.as_bytes().strip_prefix(&program[..at]);
                let inner = inner.and_then(|text| text.strip_suffix(&program[at + 1..]));
                inner.is_some_and(|text| regex.matches(text))
            }
        })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What [`UrlPattern::matches`] may cost, nanoseconds: an upper bound by which work is cut into slices.
    pub fn cost_ns(&self, url_bytes: usize) -> u64 {
        const COMPONENTS_NS: u64 = 60;
        let regexes: u64 = self.regexes.iter().map(|regex| regex.cost_ns(url_bytes)).sum();
        COMPONENTS_NS + self.price.ns(url_bytes) + regexes
    }

    /// The same for a topic as long as most: by this, patterns are priced before any topic is there.
    pub fn typical_cost_ns(&self) -> u64 {
        self.cost_ns(TYPICAL_TOPIC_BYTES)
    }

    /// What every matching URL starts with once user and password are left out, as
    /// [`ParsedTopic::address`](super::topic::ParsedTopic::address) does; empty when unknown.
    pub fn address_prefix(&self) -> &str {
        &self.address_prefix
    }

    /// The path segments that every matching URL has beyond that prefix, as [`segments_of`] finds them.
    pub fn fixed_segments(&self) -> Segments<'_> {
        fixed::of(&self.program)
    }

    #[cfg(test)]
    pub(crate) fn has_regex(&self) -> bool {
        !self.regexes.is_empty()
    }

    /// The memory the pattern owns, in bytes, without shared regular expressions.
    pub fn owned_bytes(&self) -> usize {
        size_of::<UrlPattern>()
            + self.text.len()
            + self.program.len()
            + size_of_val(&*self.regexes)
            + self.address_prefix.len()
    }
}

impl fmt::Debug for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UrlPattern").field(&self.text).finish()
    }
}

impl PartialEq for UrlPattern {
    fn eq(&self, other: &UrlPattern) -> bool {
        self.text == other.text
    }
}

impl Eq for UrlPattern {}

impl Hash for UrlPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// The eight components in the order of a program: what differs most between URLs first.
struct Components;

impl Components {
    const HOST: usize = 0;
    const PATH: usize = 1;
    const PROTOCOL: usize = 2;
    const PORT: usize = 3;

    fn of_url(url: &Url) -> [&str; 8] {
        [
            url.host_str().unwrap_or_default(),
            url.path(),
            url.scheme(),
            url::quirks::port(url),
            url.username(),
            url.password().unwrap_or_default(),
            url.query().unwrap_or_default(),
            url.fragment().unwrap_or_default(),
        ]
    }

    fn of_pattern(pattern: &urlpattern::UrlPattern<Uncompiled>) -> [&Matcher<Uncompiled>; 8] {
        [
            &pattern.hostname.matcher,
            &pattern.pathname.matcher,
            &pattern.protocol.matcher,
            &pattern.port.matcher,
            &pattern.username.matcher,
            &pattern.password.matcher,
            &pattern.search.matcher,
            &pattern.hash.matcher,
        ]
    }
}

/// A regular expression the `urlpattern` crate asks for and seldom needs: compiled when it is first tried, which is
/// only to find out whether a protocol such as `http{s}?` may be a special one.
struct Uncompiled {
    source: String,
    regex: OnceCell<Option<Regex>>,
}

impl RegExp for Uncompiled {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        Ok(Uncompiled { source: pattern.to_owned(), regex: OnceCell::new() })
    }

    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        let regex = self.regex.get_or_init(|| compiled::compile(&self.source).ok());
        regex.as_ref()?.is_match(text).then(Vec::new)
    }

    fn pattern_string(&self) -> &str {
        &self.source
    }
}

/// Appends a component's program, and its regular expression if it needs one.
fn translate(
    matcher: &Matcher<Uncompiled>,
    asker: Asker,
    program: &mut Vec<u8>,
    regexes: &mut Vec<Arc<Compiled>>,
) -> Result<(), PatternError> {
    literal(&matcher.prefix, program)?;
    match &matcher.inner {
        InnerMatcher::Literal { literal: text } => literal(text, program)?,
        InnerMatcher::SingleCapture { allow_empty: true, .. } => program.push(segments::ANY),
        InnerMatcher::SingleCapture { filter, .. } => program.push(match filter {
            Some('/') => segments::SOME_WITHOUT_SLASH,
            Some('.') => segments::SOME_WITHOUT_DOT,
            _ => segments::SOME,
        }),
        InnerMatcher::RegExp { regexp } => {
            let source = regexp.as_ref().map_err(|error| PatternError::Syntax(error.to_string()))?.pattern_string();
            match segments::from_regex(source) {
                Some(translated) => program.extend(translated),
                None => {
                    regexes.push(Compiled::get(source, asker)?);
                    program.push(REGEX);
                }
            }
        }
    }
    literal(&matcher.suffix, program)
}

fn literal(text: &str, program: &mut Vec<u8>) -> Result<(), PatternError> {
    if !text.is_ascii() {
        // The crate percent-encodes; a byte that isn't ASCII would be taken for an operation.
        return Err(PatternError::Syntax("a component is not ASCII".to_owned()));
    }
    program.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
