//! Regular expressions of patterns: compiled once per process, shared, under a ceiling of bytes.
//!
//! Only a component with a group of its own (`(\d+)`) or a modifier (`{/x}?`) comes here. The `regex` family's
//! automata are linear in the text; look-around and back-references, which can't be, are refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use regex_automata::meta::{self, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;

use super::{Asker, PatternError};

/// What one compiled expression may take, in bytes.
pub(super) const REGEX_BYTES_MAX: usize = 64 << 10;
/// What one expression's lazily built automaton may take in each thread that uses it, in bytes.
const REGEX_SCRATCH_BYTES_MAX: usize = 64 << 10;
/// What all compiled expressions of the process may take, one scratch each included, in bytes.
const REGEX_TOTAL_BYTES_MAX: usize = 64 << 20;
/// Of [`REGEX_TOTAL_BYTES_MAX`], what is left to tokens: subscriptions anybody may open don't use it up.
const REGEX_GRANTS_BYTES: usize = 16 << 20;
/// Bytes of an expression × bytes of a URL component it is tried on; beyond, it doesn't match. The worst expressions
/// take a nanosecond for six to eight of them.
const REGEX_MATCH_COST_MAX: usize = 6 << 20;
/// Such bytes per nanosecond.
const REGEX_COST_PER_NS: usize = 8;
/// Scratches an expression keeps for later searches.
const REGEX_SCRATCHES_KEPT_MAX: usize = 4;

/// A compiled expression and its share of the ceiling, given back on drop.
#[derive(Debug)]
pub(in crate::protocol) struct Compiled {
    regex: Regex,
    automaton_bytes: usize,
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Compiled {
    /// The expression's automaton from the cache of the process, compiled if nobody else has it.
    pub(in crate::protocol) fn get(source: &str, asker: Asker) -> Result<Arc<Compiled>, PatternError> {
        static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::new(REGEX_TOTAL_BYTES_MAX, REGEX_GRANTS_BYTES));
        CACHE.get(source, asker)
    }

    /// Whether the expression matches. It carries its own anchors.
    pub(in crate::protocol) fn matches(&self, text: &[u8]) -> bool {
        self.automaton_bytes * text.len() <= REGEX_MATCH_COST_MAX && self.regex.is_match(text)
    }

    /// What matching a text of so many bytes may cost, nanoseconds.
    pub(in crate::protocol) fn cost_ns(&self, text_bytes: usize) -> u64 {
        ((self.automaton_bytes * text_bytes).min(REGEX_MATCH_COST_MAX) / REGEX_COST_PER_NS) as u64
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Cache {
    bytes_max: usize,
    grants_bytes: usize,
    total: Arc<AtomicUsize>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_source: HashMap<Box<str>, Weak<Compiled>>,
    /// At this many entries those that nobody uses any more are removed.
    sweep_at: usize,
}

impl Cache {
    fn new(bytes_max: usize, grants_bytes: usize) -> Cache {
        Cache { bytes_max, grants_bytes, total: Arc::default(), entries: Mutex::default() }
    }

    fn get(&self, source: &str, asker: Asker) -> Result<Arc<Compiled>, PatternError> {
        if let Some(compiled) = self.lookup(source) {
            return Ok(compiled);
        }
        // Compiled outside of the lock: two threads may do the same work once.
        let compiled = Arc::new(self.compile(source, asker)?);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_source.len() >= entries.sweep_at {
            entries.by_source.retain(|_, entry| entry.strong_count() > 0);
            entries.sweep_at = 64 + 2 * entries.by_source.len();
        }
        entries.by_source.insert(source.into(), Arc::downgrade(&compiled));
        Ok(compiled)
    }

    fn lookup(&self, source: &str) -> Option<Arc<Compiled>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_source.get(source)?.upgrade()
    }

    fn compile(&self, source: &str, asker: Asker) -> Result<Compiled, PatternError> {
        let regex = compile(source)?;
        let automaton_bytes = regex.memory_usage();
        let bytes = automaton_bytes + REGEX_SCRATCH_BYTES_MAX + source.len();
        let bytes_max = match asker {
            Asker::Subscription => self.bytes_max - self.grants_bytes,
            Asker::Token => self.bytes_max,
        };
        let reserve = |total: usize| total.checked_add(bytes).filter(|&sum| sum <= bytes_max);
        match self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve) {
            Ok(_) => Ok(Compiled { regex, automaton_bytes, bytes, total: Arc::clone(&self.total) }),
            Err(_) => Err(PatternError::TooManyRegexes),
        }
    }
}

/// Compiles outside of the cache and its ceiling, for something that is dropped at once.
pub(super) fn compile(source: &str) -> Result<Regex, PatternError> {
    // What is matched is ASCII, where ECMAScript's \d and \w are ASCII too: byte mode says the same in a tenth of the
    // memory. Only \p{…} needs the Unicode tables.
    build(source, false).or_else(|error| match error {
        PatternError::Regex(_) => build(source, true),
        other => Err(other),
    })
}

fn build(source: &str, unicode: bool) -> Result<Regex, PatternError> {
    let config = meta::Config::new()
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(REGEX_BYTES_MAX))
        .hybrid_cache_capacity(REGEX_SCRATCH_BYTES_MAX)
        .dfa(false)
        .onepass(false)
        .utf8_empty(false)
        .pool_capacity(REGEX_SCRATCHES_KEPT_MAX);
    meta::Builder::new()
        .configure(config)
        .syntax(syntax::Config::new().unicode(unicode).utf8(false))
        .build(source)
        .map_err(|error| describe(&error))
}

fn describe(error: &meta::BuildError) -> PatternError {
    if error.size_limit().is_some() {
        return PatternError::RegexTooBig;
    }
    // The parser's kinds are known by their sentences only; the tests below hold them.
    let message = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
    let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if reason.contains("look-around") {
        PatternError::LookAround
    } else if reason.contains("backreferences") {
        PatternError::BackReference
    } else {
        PatternError::Regex(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        Cache::new(1 << 20, 1 << 18)
    }

    #[test]
    fn an_expression_is_compiled_once_and_shared() {
        let cache = cache();
        let first = cache.get(r"^(\d+)$", Asker::Subscription).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get(r"^(\d+)$", Asker::Subscription).unwrap()));
        assert!(first.matches(b"123") && !first.matches(b"12a"));
    }

    #[test]
    fn bytes_return_when_the_last_user_is_gone() {
        let cache = cache();
        let compiled = cache.get("^(a|b)$", Asker::Subscription).unwrap();
        assert!(cache.total.load(Ordering::Relaxed) >= REGEX_SCRATCH_BYTES_MAX);
        drop(compiled);
        assert_eq!(cache.total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn above_the_ceiling_new_expressions_are_refused_and_old_ones_stay() {
        let cache = cache();
        let mut kept = Vec::new();
        let refused = loop {
            match cache.get(&format!("^({}|b)$", kept.len()), Asker::Subscription) {
                Ok(compiled) => kept.push(compiled),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, PatternError::TooManyRegexes);
        assert!((8..20).contains(&kept.len()), "{}", kept.len());
        assert!(cache.get("^(0|b)$", Asker::Subscription).is_ok());
        kept.push(cache.get("^(granted|b)$", Asker::Token).unwrap());
        kept.truncate(kept.len() - 3);
        assert!(cache.get("^(new|b)$", Asker::Subscription).is_ok());
    }

    #[test]
    fn unused_entries_are_swept() {
        let cache = cache();
        for n in 0..1_000 {
            cache.get(&format!("^({n}|b)$"), Asker::Subscription).unwrap();
        }
        assert!(cache.entries.lock().unwrap().by_source.len() <= 65);
    }

    #[test]
    fn what_is_not_linear_or_too_big_is_refused_by_name() {
        assert_eq!(compile("^(?=a)$").unwrap_err(), PatternError::LookAround);
        assert_eq!(compile("^(?<!a)b$").unwrap_err(), PatternError::LookAround);
        assert_eq!(compile(r"^(a)\1$").unwrap_err(), PatternError::BackReference);
        assert_eq!(compile(r"^((a{1000}){1000})$").unwrap_err(), PatternError::RegexTooBig);
        assert_eq!(compile("^(a$").unwrap_err(), PatternError::Regex("unclosed group".into()));
    }

    #[test]
    fn unicode_classes_are_understood() {
        assert!(compile(r"^(\p{Nd}+)$").unwrap().is_match("1"));
    }

    #[test]
    fn a_text_over_the_limit_does_not_match() {
        let any = cache().get("^(a|b)+$", Asker::Subscription).unwrap();
        let longest = REGEX_MATCH_COST_MAX / any.automaton_bytes;
        assert!(any.matches(&b"a".repeat(longest)));
        assert!(!any.matches(&b"a".repeat(longest + 1)));
    }
}
