//! Servers that die, stand still, forget, or aren't what they were.

use std::sync::Arc;
use std::time::Duration;

use cinnabar::cluster::{Bounds, Engine, EngineError, Identity, LogError, NodeId};

use super::{BYTES, PLENTY, append, data, event, eventually, read, unavailable};
use crate::servers::{PATIENCE, Server};

const NODE: NodeId = NodeId([1; 16]);

/// Asks for everything there is to ask for, and sees that each answer says that the server can't be reached.
async fn nothing_works(engine: &impl Engine, log: &Identity) {
    let asked = async {
        let appended = engine.append(log, vec![event("lost"), event("lost")]).await;
        assert!(appended.len() == 2 && appended.iter().all(unavailable), "{appended:?}");
        assert!(unavailable(&engine.range(log, 0, 10, BYTES).await));
        assert!(unavailable(&engine.follow(log, 1, 10, BYTES, Duration::ZERO).await));
        assert!(unavailable(&engine.find(log, "x").await));
        assert!(unavailable(&engine.bounds(log).await));
        assert!(unavailable(&engine.open().await));
        assert!(unavailable(&engine.renew(NODE, PATIENCE).await));
        assert!(unavailable(&engine.members("", 10, BYTES).await));
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("every call ends within seconds");
}

/// Asks until the server answers again.
async fn back(engine: &impl Engine, log: &Identity) -> Bounds {
    eventually("the server answers again", || async {
        match engine.bounds(log).await {
            Ok(bounds) => Some(bounds),
            Err(EngineError::Unavailable(_)) => None,
            Err(other) => panic!("{other}"),
        }
    })
    .await
}

pub(crate) async fn a_killed_server_comes_back_with_everything<S: Server>(mut server: S) {
    let engine = Arc::new(server.engine(PLENTY));
    let log = engine.open().await.expect("opened").identity;
    append(&*engine, &log, vec![event("1"), event("2")]).await;
    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.follow(&log, 2, 10, BYTES, Duration::from_secs(5)).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.daemon().kill();
    assert!(unavailable(&waiting.await.expect("no panic")));
    nothing_works(&*engine, &log).await;
    server.daemon().run();
    assert_eq!(back(&*engine, &log).await, Bounds { first: 1, last: 2 });
    assert_eq!(append(&*engine, &log, vec![event("3")]).await, [3]);
    assert_eq!(data(&read(&*engine, &log, 0, 3).await), ["1", "2", "3"]);
    assert_eq!(engine.open().await.expect("opened").identity, log);
}

pub(crate) async fn a_paused_server_is_unavailable_and_then_not<S: Server>(mut server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, vec![event("1")]).await;
    server.pause();
    let asked = async {
        tokio::join!(
            engine.append(&log, vec![event("2")]),
            engine.bounds(&log),
            engine.find(&log, "x"),
            engine.follow(&log, 1, 1, BYTES, Duration::ZERO)
        )
    };
    let (appended, bounds, found, followed) =
        tokio::time::timeout(PATIENCE, asked).await.expect("every call ends within seconds");
    assert!(appended.iter().all(unavailable), "{appended:?}");
    assert!(unavailable(&bounds) && unavailable(&found) && unavailable(&followed));
    server.resume();
    // What was asked of it meanwhile stands in the log once or not at all.
    back(&engine, &log).await;
    append(&engine, &log, vec![event("3")]).await;
    let last = engine.bounds(&log).await.expect("bounds").last;
    let kept = read(&engine, &log, 0, usize::try_from(last).expect("small")).await;
    assert!([&["1", "3"][..], &["1", "2", "3"]].contains(&&*data(&kept)), "{:?}", data(&kept));
}

pub(crate) async fn an_emptied_server_holds_another_log<S: Server>(mut server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, vec![event("1"), event("2"), event("3")]).await;
    server.wipe();
    let replaced = EngineError::Log(LogError::Replaced);
    let seen = eventually("the loss is seen", || async {
        match engine.bounds(&log).await {
            Err(EngineError::Unavailable(_)) => None,
            other => Some(other),
        }
    })
    .await;
    assert_eq!(seen, Err(replaced.clone()));
    for round in 0..2 {
        assert_eq!(engine.append(&log, vec![event("4"), event("5")]).await, vec![Err(replaced.clone()); 2], "{round}");
        assert_eq!(
            engine.follow(&log, 3, 10, BYTES, Duration::from_millis(10)).await,
            Err(replaced.clone()),
            "{round}"
        );
        assert_eq!(
            engine.follow(&log, 0, 10, BYTES, Duration::from_millis(10)).await,
            Err(replaced.clone()),
            "{round}"
        );
        assert_eq!(engine.range(&log, 0, 10, BYTES).await, Err(replaced.clone()), "{round}");
        assert_eq!(engine.range(&log, 1, 10, BYTES).await, Err(replaced.clone()), "{round}");
        assert_eq!(engine.find(&log, "x").await, Err(replaced.clone()), "{round}");
        assert_eq!(engine.bounds(&log).await, Err(replaced.clone()), "{round}");
        // Now there is another one, with the same offsets.
        let opened = engine.open().await.expect("opened");
        assert_ne!(opened.identity, log);
        append(&engine, &opened.identity, (0..4).map(|_| event("another's")).collect()).await;
    }
    let kept = engine.open().await.expect("opened");
    assert_eq!(kept.bounds, Bounds { first: 1, last: 8 });
}

pub(crate) async fn a_server_emptied_while_it_is_followed_holds_another_log<S: Server>(mut server: S) {
    let (engine, other) = (Arc::new(server.engine(PLENTY)), server.engine(PLENTY));
    let log = engine.open().await.expect("opened").identity;
    append(&*engine, &log, vec![event("1")]).await;
    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move {
            loop {
                match engine.follow(&log, 1, 10, BYTES, Duration::from_secs(2)).await {
                    Ok(none) if none.is_empty() => {}
                    Err(EngineError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => return other,
                }
            }
        })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.wipe();
    let opened = eventually("there is a new log", || async { other.open().await.ok() }).await;
    append(&other, &opened.identity, (0..3).map(|_| event("another's")).collect()).await;
    let seen = tokio::time::timeout(PATIENCE, waiting).await.expect("it is seen").expect("no panic");
    assert_eq!(seen, Err(EngineError::Log(LogError::Replaced)));
}

pub(crate) async fn a_server_that_lost_its_newest_events_is_shorter<S: Server>(mut server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, vec![event("1"), event("2")]).await;
    server.keep_copy();
    back(&engine, &log).await;
    append(&engine, &log, vec![event("3"), event("4"), event("5")]).await;
    server.go_back();
    assert_eq!(back(&engine, &log).await, Bounds { first: 1, last: 2 });
    let shorter = Err(EngineError::Log(LogError::Shorter { last: 2 }));
    assert_eq!(engine.follow(&log, 5, 10, BYTES, Duration::ZERO).await, shorter);
    assert_eq!(engine.follow(&log, 3, 10, BYTES, Duration::from_millis(10)).await, shorter);
    assert_eq!(engine.open().await.expect("opened").identity, log);
    assert_eq!(append(&engine, &log, vec![event("again")]).await, [3]);
}
