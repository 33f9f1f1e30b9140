//! What is kept, and what becomes of those who want what isn't.

use std::time::Duration;

use cinnabar::cluster::{Bounds, Engine, EngineError, Identity, LogError, Retention};

use super::{BYTES, PLENTY, append, event, eventually, named};
use crate::servers::Server;

/// Appends until the bounds are as they shall be: some engines trim a little later, or with the next append.
async fn settled(engine: &impl Engine, log: &Identity, shall: impl Fn(Bounds) -> bool) -> Bounds {
    eventually("the log is trimmed", || async {
        append(engine, log, vec![event("one more")]).await;
        let bounds = engine.bounds(log).await.expect("bounds");
        shall(bounds).then_some(bounds)
    })
    .await
}

/// Reads until nothing was trimmed meanwhile: what was begun may go on a little. What was read, and the bounds it has to fit.
async fn unmoved<T>(engine: &impl Engine, log: &Identity, read: impl AsyncFn() -> T) -> (T, Bounds) {
    eventually("nothing is trimmed meanwhile", || async {
        let before = engine.bounds(log).await.expect("bounds");
        let found = read().await;
        (engine.bounds(log).await.expect("bounds") == before).then_some((found, before))
    })
    .await
}

pub(crate) async fn retention_by_count<S: Server>(server: S) {
    let engine = server.engine(Retention { events_max: 100, ..PLENTY });
    let log = engine.open().await.expect("opened").identity;
    for _ in 0..10 {
        append(&engine, &log, (0..50).map(|_| event("x")).collect()).await;
    }
    let bounds = settled(&engine, &log, |bounds| bounds.last - bounds.first < 100).await;
    assert!(bounds.last > 500 && bounds.last - bounds.first >= 50, "{bounds:?}");
    let ((kept, opened), bounds) =
        unmoved(&engine, &log, async || (engine.range(&log, 0, 1_000, BYTES).await, engine.open().await)).await;
    let kept = kept.expect("read");
    assert_eq!((kept[0].offset, kept[kept.len() - 1].offset), (bounds.first, bounds.last));
    assert_eq!(opened.expect("opened").bounds, bounds);
}

pub(crate) async fn retention_by_bytes<S: Server>(server: S) {
    let engine = server.engine(Retention { bytes_max: 100_000, ..PLENTY });
    let log = engine.open().await.expect("opened").identity;
    let long = "x".repeat(10_000);
    for _ in 0..10 {
        append(&engine, &log, (0..5).map(|_| event(&long)).collect()).await;
    }
    let bounds = settled(&engine, &log, |bounds| bounds.first > 40).await;
    assert!(bounds.first <= bounds.last, "{bounds:?}");
    let kept = engine.range(&log, 0, 1_000, BYTES).await.expect("read");
    assert!(kept.iter().map(|placed| placed.entry.update.data.len()).sum::<usize>() <= 100_000);
}

pub(crate) async fn retention_by_age<S: Server>(server: S) {
    let engine = server.engine(Retention { age_max_ms: Some(1_000), ..PLENTY });
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, (0..20).map(|_| event("x")).collect()).await;
    let bounds = settled(&engine, &log, |bounds| bounds.first > 20).await;
    assert!(bounds.first <= bounds.last, "{bounds:?}");
}

pub(crate) async fn who_is_trimmed_past_is_told<S: Server>(server: S) {
    let engine = server.engine(Retention { events_max: 10, ..PLENTY });
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, (0..100).map(|_| event("x")).collect()).await;
    settled(&engine, &log, |bounds| bounds.first > 50).await;
    let range = async |after| engine.range(&log, after, 100, BYTES).await;
    let follow = async |after| engine.follow(&log, after, 100, BYTES, Duration::ZERO).await;
    let ((past, within), Bounds { first, last }) = unmoved(&engine, &log, async || {
        let Bounds { first, .. } = engine.bounds(&log).await.expect("bounds");
        let mut past = vec![follow(0).await];
        for after in [1, 40, first - 2] {
            past.extend([range(after).await, follow(after).await]);
        }
        (past, [range(first - 1).await, follow(first - 1).await, range(0).await])
    })
    .await;
    for read in past {
        assert_eq!(read, Err(EngineError::Log(LogError::Trimmed { first })));
    }
    for read in within {
        let offsets: Vec<_> = read.expect("read").iter().map(|placed| placed.offset).collect();
        assert_eq!(offsets, (first..=last).collect::<Vec<_>>());
    }
    assert_eq!(engine.range(&log, last, 10, BYTES).await, Ok(Vec::new()));
}

pub(crate) async fn of_an_id_the_earliest_use_kept_is_found<S: Server>(server: S) {
    let engine = server.engine(Retention { events_max: 10, ..PLENTY });
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, vec![named("a"), named("b"), event("x"), named("a"), named("a")]).await;
    assert_eq!(engine.find(&log, "a").await, Ok(Some(1)));
    assert_eq!(engine.find(&log, "b").await, Ok(Some(2)));
    // Others come one by one, so that each of them is found while it is the earliest.
    let mut seen = Vec::new();
    eventually("all uses are trimmed", || {
        seen.push(0);
        async {
            append(&engine, &log, vec![event("x")]).await;
            // Some engines trim at any time.
            let before = engine.bounds(&log).await.expect("bounds").first;
            let found = engine.find(&log, "a").await.expect("looked for");
            let after = engine.bounds(&log).await.expect("bounds").first;
            match found {
                Some(offset) => {
                    assert!([1, 4, 5].contains(&offset) && (offset >= before || offset == 1), "{offset} {before}")
                }
                None => assert!(after > 5),
            }
            found.is_none().then_some(())
        }
    })
    .await;
    assert!(seen.len() > 5);
    assert_eq!(engine.find(&log, "b").await, Ok(None));
    let again = append(&engine, &log, vec![named("a")]).await;
    assert_eq!(engine.find(&log, "a").await, Ok(Some(again[0])));
}
