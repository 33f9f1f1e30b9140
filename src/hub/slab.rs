//! Where subscribers live: fixed chunks that never move, so that growth copies nothing and a slot keeps its number.

use super::subscriber::{SlotId, State, Subscriber};

/// Subscribers per chunk (96 KiB at most).
const CHUNK_SLOTS: usize = 1024;

/// A generational slab. A slot's generation goes up when it is freed, so a stale [`SlotId`] finds nothing.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    chunks: Vec<Box<[Subscriber]>>,
    free: Vec<u32>,
    live: u32,
    first_generation: u32,
}

impl Slab {
    /// Slots that exist, free ones included.
    pub(crate) fn capacity(&self) -> usize {
        self.chunks.len() * CHUNK_SLOTS
    }

    /// Subscribers that exist.
    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    /// Takes a free slot; its subscriber is in state [`State::Reserved`].
    pub(crate) fn reserve(&mut self) -> SlotId {
        if self.free.is_empty() {
            let base = self.capacity() as u32;
            let generation = self.first_generation;
            self.chunks.push((0..CHUNK_SLOTS).map(|_| Subscriber::vacant(generation)).collect());
            self.free.extend((base..base + CHUNK_SLOTS as u32).rev());
        }
        let slot = self.free.pop().expect("a chunk was just added");
        self.live += 1;
        let subscriber = self.at_mut(slot);
        subscriber.state = State::Reserved;
        SlotId { slot, generation: subscriber.generation }
    }

    /// Frees a slot; everything the subscriber held is dropped.
    pub(crate) fn release(&mut self, slot: u32) {
        let subscriber = self.at_mut(slot);
        debug_assert!(subscriber.state != State::Vacant, "a slot is freed once");
        let generation = subscriber.generation.wrapping_add(1);
        *subscriber = Subscriber::vacant(generation);
        self.free.push(slot);
        self.live -= 1;
        if self.live == 0 {
            self.give_back();
        }
    }

    /// An empty slab returns its memory: a burst of connections leaves none behind. Generations go on above all those
    /// ever given, so that an answer still on its way from history finds nothing.
    fn give_back(&mut self) {
        let newest = self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|s| s.generation).max().unwrap_or(0);
        *self = Slab { first_generation: newest.wrapping_add(1), ..Slab::default() };
    }

    pub(crate) fn at(&self, slot: u32) -> &Subscriber {
        &self.chunks[slot as usize / CHUNK_SLOTS][slot as usize % CHUNK_SLOTS]
    }

    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut Subscriber {
        &mut self.chunks[slot as usize / CHUNK_SLOTS][slot as usize % CHUNK_SLOTS]
    }

    /// The subscriber in a slot, if the slab reaches that far.
    pub(crate) fn get(&self, slot: u32) -> Option<&Subscriber> {
        self.chunks.get(slot as usize / CHUNK_SLOTS)?.get(slot as usize % CHUNK_SLOTS)
    }

    /// The slot's number, if the subscriber it named is still there.
    pub(crate) fn find(&self, id: SlotId) -> Option<u32> {
        let index = id.slot as usize;
        let subscriber = self.chunks.get(index / CHUNK_SLOTS)?.get(index % CHUNK_SLOTS)?;
        (subscriber.generation == id.generation && subscriber.state != State::Vacant).then_some(id.slot)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_slab_holds_no_memory_and_forgets_no_generation() {
        let mut slab = Slab::default();
        let first = slab.reserve();
        let second = slab.reserve();
        slab.release(first.slot);
        let reused = slab.reserve();
        assert_eq!((reused.slot, reused.generation), (first.slot, first.generation + 1));
        slab.release(reused.slot);
        slab.release(second.slot);
        assert_eq!((slab.live(), slab.capacity()), (0, 0));
        assert_eq!(slab.find(reused), None);
        let later = slab.reserve();
        assert!(later.generation > reused.generation);
        assert_eq!([first, second, reused].map(|stale| slab.find(stale)), [None; 3]);
    }

    #[test]
    fn chunks_are_added_and_stay_where_they_are() {
        let mut slab = Slab::default();
        let first = slab.reserve();
        let address: *const Subscriber = slab.at(first.slot);
        let others: Vec<SlotId> = (0..2 * CHUNK_SLOTS).map(|_| slab.reserve()).collect();
        assert_eq!((slab.live() as usize, slab.capacity()), (2 * CHUNK_SLOTS + 1, 3 * CHUNK_SLOTS));
        assert!(std::ptr::eq(address, slab.at(first.slot)));
        assert_eq!(slab.find(others[CHUNK_SLOTS]), Some(others[CHUNK_SLOTS].slot));
        assert!(slab.get(3 * CHUNK_SLOTS as u32).is_none());
    }

    proptest! {
        #[test]
        fn an_id_finds_its_own_subscriber_or_nothing(
            steps in proptest::collection::vec((any::<bool>(), 0_usize..20), 1..200),
        ) {
            let mut slab = Slab::default();
            let (mut live, mut gone) = (Vec::<SlotId>::new(), Vec::<SlotId>::new());
            for (reserve, which) in steps {
                if reserve || live.is_empty() {
                    live.push(slab.reserve());
                } else {
                    let id = live.swap_remove(which % live.len());
                    slab.release(id.slot);
                    gone.push(id);
                }
                prop_assert_eq!(slab.live() as usize, live.len());
                prop_assert!(live.iter().all(|&id| slab.find(id) == Some(id.slot)));
                prop_assert!(gone.iter().all(|&id| slab.find(id).is_none()));
            }
        }
    }
}
