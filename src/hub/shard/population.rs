//! How many streams are in which state.

use super::Shard;
use crate::hub::subscriber::State;

/// Streams by state. Those about to be registered aren't counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Up to date.
    pub current: u32,
    /// Reading from their own cursors: replaying, or slow.
    pub behind: u32,
    /// Ending.
    pub closing: u32,
}

impl Population {
    fn of(&mut self, state: State) -> Option<&mut u32> {
        match state {
            State::Current => Some(&mut self.current),
            State::Behind => Some(&mut self.behind),
            State::Closing => Some(&mut self.closing),
            State::Vacant | State::Reserved => None,
        }
    }

    /// A stream goes over from one state to another.
    pub(super) fn moves(&mut self, from: State, to: State) {
        if let Some(count) = self.of(from) {
            *count -= 1;
        }
        if let Some(count) = self.of(to) {
            *count += 1;
        }
    }
}

impl Shard {
    /// Puts a stream into a state. The only place that does, so that the numbers hold.
    pub(super) fn enter(&mut self, slot: u32, state: State) {
        let subscriber = self.slab.at_mut(slot);
        let before = std::mem::replace(&mut subscriber.state, state);
        self.population.moves(before, state);
    }
}
