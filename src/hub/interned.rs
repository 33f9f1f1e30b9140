//! Selectors by what they are: a table of their numbers, so that a selector's text is nowhere but in the selector.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::selector::Selector;
use crate::protocol::matcher::{MatchType, Matcher};

/// All selectors but the wildcards. Topics are chosen by strangers: the hash is keyed.
#[derive(Debug, Default)]
pub(crate) struct Interned {
    table: HashTable<u32>,
    keys: RandomState,
}

impl Interned {
    /// The selector of this type and text.
    pub(crate) fn find(&self, kind: MatchType, text: &str, slots: &[Selector]) -> Option<u32> {
        let is_it = |matcher: &Matcher| matcher.kind() == kind && matcher.text() == text;
        let found = self
            .table
            .find(hash(&self.keys, kind, text), |&selector| slots[selector as usize].matcher().is_some_and(is_it));
        found.copied()
    }

    /// Adds a selector, which has its matcher and isn't there yet.
    pub(crate) fn insert(&mut self, selector: u32, slots: &[Selector]) {
        let Interned { table, keys } = self;
        let hash = |&selector: &u32| hash_of(keys, slots[selector as usize].matcher());
        table.insert_unique(hash(&selector), selector, hash);
    }

    /// Removes a selector, which still has its matcher. Gives memory back once the table is mostly empty.
    pub(crate) fn remove(&mut self, selector: u32, slots: &[Selector]) {
        let Interned { table, keys } = self;
        let hash = |&selector: &u32| hash_of(keys, slots[selector as usize].matcher());
        if let Ok(entry) = table.find_entry(hash(&selector), |&other| other == selector) {
            entry.remove();
        }
        if table.capacity() > 1024 && table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, hash);
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

fn hash_of(keys: &RandomState, matcher: Option<&Matcher>) -> u64 {
    let matcher = matcher.expect("a selector in the table has its matcher");
    hash(keys, matcher.kind(), matcher.text())
}

fn hash(keys: &RandomState, kind: MatchType, text: &str) -> u64 {
    keys.hash_one((kind, text))
}
