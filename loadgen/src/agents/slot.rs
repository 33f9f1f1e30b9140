//! Which run an agent works for: one at a time, with a connection for each server it measures.

use std::sync::{Arc, Mutex};

use crate::accounts::Opening;
use crate::swarm::lock;

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
    pub(super) fn enter(&self, run: &str, coordinator: &str) -> Result<Place, String> {
        let mut current = lock(&self.0);
        if let Some(other) = current.as_ref().filter(|current| current.run != run) {
            return Err(other.coordinator.clone());
        }
        let current = current.get_or_insert_with(|| Current {
            run: run.to_owned(),
            coordinator: coordinator.to_owned(),
            connections: 0,
            opening: Opening::now(None),
        });
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
        assert_eq!(slot.enter("b", "192.0.2.9").err().as_deref(), Some("192.0.2.1"));
        drop(first);
        assert!(slot.enter("b", "192.0.2.9").is_err());
        drop(second);
        assert!(slot.enter("b", "192.0.2.9").is_ok());
    }
}
