//! What the shards have counted, where others can look at it: each copies its numbers here now and then.

use std::sync::Mutex;

use crate::admin::ShardSnapshot;

/// One place for each shard. Nobody holds a lock for longer than a copy takes.
#[derive(Debug)]
pub(crate) struct Observed(Box<[Mutex<ShardSnapshot>]>);

impl Observed {
    pub(crate) fn new(shards: usize) -> Observed {
        Observed((0..shards).map(|_| Mutex::default()).collect())
    }

    /// Puts a shard's numbers there. A shard doesn't wait: if somebody is just looking, the next time will do.
    pub(crate) fn put(&self, shard: usize, snapshot: ShardSnapshot) {
        if let Ok(mut place) = self.0[shard].try_lock() {
            *place = snapshot;
        }
    }

    /// The numbers of all shards.
    pub(crate) fn all(&self) -> Vec<ShardSnapshot> {
        self.0.iter().map(|place| place.lock().expect("nobody panics with this lock").clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_does_not_wait_for_who_looks() {
        let observed = Observed::new(2);
        let at = |at_ms| ShardSnapshot { at_ms, ..ShardSnapshot::default() };
        observed.put(1, at(5));
        let looking = observed.0[1].lock().unwrap();
        observed.put(1, at(6));
        drop(looking);
        let times: Vec<u64> = observed.all().iter().map(|shard| shard.at_ms).collect();
        assert_eq!(times, [0, 5]);
    }
}
