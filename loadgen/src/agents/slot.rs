//! Which run an agent works for: one at a time, with a connection for each server it measures.

use std::sync::{Arc, Mutex};

use crate::accounts::Opening;
use crate::swarm::lock;

/// Connections of a run: one for each server it measures.
const CONNECTIONS_MAX: usize = 32;

/// Why there is no place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("the agent is busy with a run of {0}")]
    Busy(String),
    #[error("the run has {CONNECTIONS_MAX} connections already, and measures no more servers than that")]
    Connections,
}

#[derive(Debug)]
struct Current {
    run: String,
    coordinator: String,
    connections: usize,
    opening: Opening,
}

/// The place for a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Current>>>);

/// A connection's place in it, given back at its end.
#[derive(Debug)]
pub(super) struct Place {
    slot: Slot,
    pub(super) opening: Opening,
}

impl Slot {
    /// Takes a place in the run of this name; when another is under way it is said whose.
    pub(super) fn enter(&self, run: &str, coordinator: &str) -> Result<Place, Full> {
        let mut current = lock(&self.0);
        if let Some(other) = current.as_ref().filter(|current| current.run != run) {
            return Err(Full::Busy(other.coordinator.clone()));
        }
        let current = current.get_or_insert_with(|| Current {
            run: run.to_owned(),
            coordinator: coordinator.to_owned(),
            connections: 0,
            opening: Opening::now(None),
        });
        if current.connections >= CONNECTIONS_MAX {
            return Err(Full::Connections);
        }
        current.connections += 1;
        Ok(Place { slot: self.clone(), opening: current.opening })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut current = lock(&self.slot.0);
        if let Some(run) = current.as_mut() {
            run.connections -= 1;
            if run.connections == 0 {
                *current = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_with_as_many_connections_as_it_wants() {
        let slot = Slot::default();
        let first = slot.enter("a", "192.0.2.1").expect("free");
        let second = slot.enter("a", "192.0.2.1").expect("the same run");
        assert_eq!(slot.enter("b", "192.0.2.9").err(), Some(Full::Busy("192.0.2.1".to_owned())));
        drop(first);
        assert!(slot.enter("b", "192.0.2.9").is_err());
        drop(second);
        assert!(slot.enter("b", "192.0.2.9").is_ok());
        let all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| slot.enter("c", "192.0.2.1").expect("one more")).collect();
        assert_eq!(slot.enter("c", "192.0.2.1").err(), Some(Full::Connections));
        drop(all);
    }
}
