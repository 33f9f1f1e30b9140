//! What a hub that has just started reads back of the log, newest pieces first, so that it needn't ask the engine for each client that comes
//! back to it.

use std::sync::{Arc, RwLock};

use super::event_of;
use super::recent::Recent;
use crate::cluster::{Engine, EngineError, LogError};
use crate::config::memory::CLUSTER_CACHE_BYTES_MAX;
use crate::protocol::coding::Codings;

/// Events of one piece.
const PIECE_ENTRIES: u64 = 64;
/// Bytes of entries asked for at once: one can be longer.
const READ_BYTES: usize = 256 << 10;

/// Reads back until there is no room, or nothing older, or a piece can't be had; what is missing then is read when somebody asks for it.
pub(super) async fn warm<E: Engine>(engine: Arc<E>, recent: Arc<RwLock<Recent>>, codings: Codings) {
    while warm_a_piece(&*engine, &recent, codings).await.is_some() {}
}

/// Reads back one piece.
pub(super) async fn warm_a_piece<E: Engine>(engine: &E, recent: &RwLock<Recent>, codings: Codings) -> Option<()> {
    let (identity, log, last, losses) = {
        let recent = recent.read().expect("no holder of what is at hand panics");
        (recent.identity, recent.log.clone(), recent.after(), recent.losses())
    };
    let mut after = last.saturating_sub(PIECE_ENTRIES);
    let (mut events, mut bytes) = (Vec::new(), 0);
    while after < last && bytes <= CLUSTER_CACHE_BYTES_MAX {
        let count = usize::try_from(last - after).expect("a piece is small");
        match engine.range(&identity, after, count, READ_BYTES).await {
            Ok(entries) if entries.is_empty() => return None,
            Ok(entries) => {
                for placed in entries {
                    after = placed.offset;
                    let event = Arc::new(event_of(&log, placed, codings));
                    bytes += event.cost_bytes();
                    events.push(event);
                }
            }
            // The rest of the piece is there, maybe.
            Err(EngineError::Log(LogError::Trimmed { first })) if events.is_empty() && first > after => {
                after = first - 1
            }
            Err(_) => return None,
        }
    }
    let mut recent = recent.write().expect("no holder of what is at hand panics");
    (recent.losses() == losses && recent.prepend(events)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, LOG, update};
    use super::*;
    use crate::cluster::Entry;
    use crate::history::Retention;
    use crate::hub::{Gone, Log, Range};
    use crate::protocol::event_id::IdCipher;

    fn entry(n: u64) -> Entry {
        Entry { update: update(&n.to_string()), announcement: false, published_ms: 1, tag: 1 }
    }

    #[test]
    fn the_newest_events_are_at_hand_as_far_as_there_is_room() {
        for (stored, events_max, expected) in [(0_u64, 500, 0), (10, 500, 10), (300, 500, 300), (1_000, 500, 448)] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let engine = Arc::new(Fake::default());
            let cipher = IdCipher::new(LOG.id_key);
            let retention = Retention { events_max, bytes_max: 1 << 20, age_max_ms: None };
            let recent = Arc::new(RwLock::new(Recent::new(LOG, Log::new(0, stored, cipher), retention)));
            runtime.block_on(async {
                engine.append(&LOG, (1..=stored).map(entry).collect()).await;
                warm(engine.clone(), recent.clone(), Codings::default()).await;
            });
            let recent = recent.read().unwrap();
            let after = stored - expected;
            let range = Range { after, forgiven: Gone::default(), announcements: false, count: 2_000 };
            let offsets: Vec<u64> = recent.range(&range).unwrap().iter().map(|event| event.offset).collect();
            assert_eq!((recent.after(), offsets), (after, (after + 1..=stored).collect()));
        }
    }
}
