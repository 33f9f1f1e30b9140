//! Who is subscribed where, and which hub lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cinnabar::cluster::{Engine, Member, NodeId, Subscriber};

use super::{BYTES, PLENTY, eventually};
use crate::servers::Server;

const A: NodeId = NodeId([0xa; 16]);
const B: NodeId = NodeId([0xb; 16]);
const C: NodeId = NodeId([0xff; 16]);

/// Longer than any story takes.
const LONG: Duration = Duration::from_secs(60);

/// A lease that runs out while the story is told.
const SHORT: Duration = Duration::from_secs(2);

fn subscriber(id: &str) -> Subscriber {
    Subscriber { id: format!("urn:uuid:{id}"), document: format!(r#"[{{"id": "{id}", "Größe": "'\"\\"}}]"#) }
}

fn ids(members: &[Member]) -> Vec<&str> {
    let mut ids: Vec<_> = members.iter().map(|member| &member.subscriber.id["urn:uuid:".len()..]).collect();
    ids.sort_unstable();
    ids
}

async fn all(engine: &impl Engine, page: usize) -> Vec<Member> {
    let (mut members, mut cursor) = (Vec::new(), String::new());
    loop {
        let (some, next) = engine.members(&cursor, page, BYTES).await.expect("listed");
        assert!(some.len() <= page);
        members.extend(some);
        if next.is_empty() {
            return members;
        }
        cursor = next;
    }
}

pub(crate) async fn who_enters_is_listed_until_it_leaves<S: Server>(server: S) {
    let (engine, other) = (server.engine(PLENTY), server.engine(PLENTY));
    engine.open().await.expect("opened");
    assert_eq!(all(&engine, 10).await, []);
    assert_eq!(engine.renew(A, LONG).await, Ok(false), "nobody knows it yet");
    for node in [A, B, B] {
        engine.arrive(node, LONG).await.expect("known");
    }
    engine.enter(A, vec![subscriber("1"), subscriber("2")]).await.expect("entered");
    engine.enter(B, vec![subscriber("3")]).await.expect("entered");
    engine.enter(B, Vec::new()).await.expect("entered");
    assert_eq!(engine.renew(A, LONG).await, Ok(true));
    let members = all(&other, 10).await;
    assert_eq!(ids(&members), ["1", "2", "3"]);
    for member in &members {
        let node = if member.subscriber.id == "urn:uuid:3" { B } else { A };
        assert_eq!(member.node, node);
        assert_eq!(other.member(&member.subscriber.id).await, Ok(Some(member.clone())));
        assert_eq!(member.subscriber, subscriber(&member.subscriber.id["urn:uuid:".len()..]));
    }
    assert_eq!(other.member("urn:uuid:4").await, Ok(None));
    assert_eq!(other.member("").await, Ok(None));
    let gone = |id: &str| format!("urn:uuid:{id}");
    engine.leave(A, vec![gone("1"), gone("never was"), gone("3")]).await.expect("left");
    assert_eq!(ids(&all(&other, 10).await), ["2", "3"]);
    assert_eq!(other.member("urn:uuid:1").await, Ok(None));
    engine.leave(A, vec![gone("1"), gone("2")]).await.expect("left");
    engine.leave(B, vec![gone("3")]).await.expect("left");
    engine.leave(B, Vec::new()).await.expect("left");
    assert_eq!(all(&other, 10).await, []);
}

pub(crate) async fn thousands_are_listed_page_by_page<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    let mut noted = BTreeMap::new();
    for (node, from) in [(A, 0), (B, 1_500), (C, 3_000)] {
        engine.arrive(node, LONG).await.expect("known");
        let subscribers: Vec<_> = (from..from + 1_500).map(|number| subscriber(&number.to_string())).collect();
        noted.extend(subscribers.iter().map(|subscriber| (subscriber.id.clone(), node)));
        engine.enter(node, subscribers).await.expect("entered");
    }
    for page in [100, 4_500, 10_000] {
        let members = all(&engine, page).await;
        assert_eq!(members.len(), noted.len(), "pages of {page}");
        let listed: BTreeMap<_, _> = members.into_iter().map(|member| (member.subscriber.id, member.node)).collect();
        assert!(listed == noted, "everybody is listed once, in pages of {page}");
    }
}

/// Seen: a list that was asked for just when somebody left wasn't answered.
pub(crate) async fn lists_are_answered_while_others_come_and_go<S: Server>(server: S) {
    let (engine, other) = (server.engine(PLENTY), server.engine(PLENTY));
    engine.open().await.expect("opened");
    engine.arrive(A, LONG).await.expect("known");
    engine.enter(A, vec![subscriber("stays")]).await.expect("entered");
    let churn = async {
        for number in 0..300 {
            let one = subscriber(&number.to_string());
            engine.enter(A, vec![one.clone()]).await.expect("entered");
            engine.leave(A, vec![one.id]).await.expect("left");
        }
    };
    tokio::pin!(churn);
    let mut lists = 0;
    loop {
        tokio::select! {
            () = &mut churn => break,
            members = all(&other, 10) => {
                assert!(ids(&members).contains(&"stays"));
                lists += 1;
            }
        }
    }
    assert!(lists > 0);
    assert_eq!(ids(&all(&other, 10).await), ["stays"]);
}

pub(crate) async fn who_enters_again_replaces_itself<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.arrive(A, LONG).await.expect("known");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    let other = Subscriber { document: "other".to_owned(), ..subscriber("1") };
    engine.enter(A, vec![other.clone()]).await.expect("entered");
    assert_eq!(all(&engine, 10).await, [Member { node: A, subscriber: other }]);
}

pub(crate) async fn a_hub_that_stops_renewing_is_dead<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.arrive(A, SHORT).await.expect("known");
    engine.arrive(B, SHORT).await.expect("known");
    engine.enter(A, vec![subscriber("1"), subscriber("2"), subscriber("3")]).await.expect("entered");
    assert_eq!(claimed(&engine, B, SHORT).await, A);
    let mut seen = Vec::new();
    loop {
        let some = engine.left(A, 2, BYTES).await.expect("asked");
        if some.is_empty() {
            break;
        }
        assert!(some.len() <= 2);
        // As long as somebody is left it isn't forgotten.
        engine.bury(A).await.expect("not buried");
        engine.leave(A, some.iter().map(|subscriber| subscriber.id.clone()).collect()).await.expect("left");
        seen.extend(some);
    }
    seen.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(seen, [subscriber("1"), subscriber("2"), subscriber("3")]);
    engine.bury(A).await.expect("buried");
    assert_eq!(all(&engine, 10).await, []);
    // Nothing is left to be claimed, also when the claim has run out.
    tokio::time::sleep(SHORT + SHORT / 4).await;
    assert_eq!(claim(&engine, B, SHORT).await, None);
    assert_eq!(engine.renew(A, SHORT).await, Ok(false));
}

pub(crate) async fn of_many_hubs_one_claims_a_dead_one<S: Server>(server: S) {
    let engines: Vec<_> = (0..6).map(|_| Arc::new(server.engine(PLENTY))).collect();
    engines[0].open().await.expect("opened");
    engines[0].arrive(A, SHORT).await.expect("known");
    for number in 1..=6 {
        engines[0].arrive(NodeId([number; 16]), SHORT).await.expect("known");
    }
    tokio::time::sleep(SHORT + SHORT / 4).await;
    let mut claimed = Vec::new();
    for _ in 0..3 {
        for number in 1..=6 {
            assert_eq!(engines[0].renew(NodeId([number; 16]), SHORT).await, Ok(true));
        }
        let claims: Vec<_> = engines
            .iter()
            .zip(1..)
            .map(|(engine, number)| {
                let engine = engine.clone();
                tokio::spawn(async move { engine.claim(NodeId([number; 16]), SHORT * 10).await })
            })
            .collect();
        for claim in claims {
            claimed.extend(claim.await.expect("no panic").expect("asked"));
        }
        if !claimed.is_empty() {
            break;
        }
        tokio::time::sleep(SHORT).await;
    }
    assert_eq!(claimed, [A]);
}

/// What a hub that lives is given if it claims.
async fn claim(engine: &impl Engine, by: NodeId, lease: Duration) -> Option<NodeId> {
    assert_eq!(engine.renew(by, SHORT).await, Ok(true));
    engine.claim(by, lease).await.expect("asked")
}

/// A hub that can be claimed.
async fn claimed(engine: &impl Engine, by: NodeId, lease: Duration) -> NodeId {
    eventually("a hub is dead", || claim(engine, by, lease)).await
}

pub(crate) async fn a_claim_that_isnt_used_can_be_made_again<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    for node in [A, B] {
        engine.arrive(node, SHORT).await.expect("known");
    }
    assert_eq!(claimed(&engine, B, SHORT).await, A);
    engine.arrive(C, SHORT).await.expect("known");
    // Its time is over for B as soon as C has it, and as long as C has it.
    let in_time = eventually("C has claimed it, and B asks before that is over", || async {
        assert_eq!(engine.renew(B, SHORT).await, Ok(true), "it isn't silent meanwhile");
        let begun = Instant::now();
        assert_eq!(claim(&engine, C, SHORT).await?, A);
        let by_other = claim(&engine, B, SHORT).await;
        (begun.elapsed() < SHORT).then_some(by_other)
    });
    assert_eq!(in_time.await, None);
}

pub(crate) async fn who_has_claimed_a_hub_can_extend_that<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    for node in [A, B, C] {
        engine.arrive(node, SHORT).await.expect("known");
    }
    assert_eq!(claimed(&engine, B, SHORT * 2).await, A);
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 2).await;
        assert_eq!(claim(&engine, B, SHORT * 2).await, Some(A));
        assert_eq!(claim(&engine, C, SHORT * 2).await, None);
    }
    engine.bury(A).await.expect("buried");
    assert_eq!(claim(&engine, B, SHORT * 2).await, None);
}

/// Seen: after the engine had stood still every hub could claim every other one, before anybody could renew.
pub(crate) async fn who_was_silent_itself_claims_nobody<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    for node in [A, B] {
        engine.arrive(node, SHORT).await.expect("known");
    }
    tokio::time::sleep(SHORT + SHORT / 4).await;
    assert_eq!(engine.claim(B, SHORT).await, Ok(None));
    assert_eq!(engine.claim(C, SHORT).await, Ok(None), "nobody knows it");
    assert_eq!(engine.renew(B, SHORT).await, Ok(true));
    assert_eq!(claimed(&engine, B, SHORT).await, A);
}

/// Seen: after the engine had been away for longer than a lease, every hub announced all its subscribers again.
pub(crate) async fn a_server_that_was_away_for_long_has_forgotten_nobody<S: Server>(mut server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.arrive(A, SHORT).await.expect("known");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    server.daemon().kill();
    tokio::time::sleep(SHORT + SHORT / 4).await;
    server.daemon().run();
    let known = eventually("the server is back", || async { engine.renew(A, SHORT).await.ok() }).await;
    assert!(known, "nobody has claimed it");
    assert_eq!(ids(&all(&engine, 10).await), ["1"]);
    engine.enter(A, vec![subscriber("2")]).await.expect("entered");
    assert_eq!(ids(&all(&engine, 10).await), ["1", "2"]);
}

pub(crate) async fn a_hub_that_was_claimed_stays_dead<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.arrive(A, SHORT).await.expect("known");
    engine.arrive(B, SHORT).await.expect("known");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    assert_eq!(claimed(&engine, B, SHORT).await, A);
    for _ in 0..2 {
        assert_eq!(engine.renew(A, SHORT).await, Ok(false));
        engine.arrive(A, SHORT).await.expect("nothing is done");
        engine.enter(A, vec![subscriber("2")]).await.expect("nothing is noted");
        assert_eq!(engine.left(A, 10, BYTES).await, Ok(vec![subscriber("1")]));
        // Also when the time of the claim is over.
        tokio::time::sleep(SHORT + SHORT / 4).await;
    }
    assert_eq!(claim(&engine, B, SHORT).await, Some(A));
    engine.leave(A, vec![subscriber("1").id]).await.expect("left");
    engine.bury(A).await.expect("buried");
    assert_eq!(engine.renew(A, SHORT).await, Ok(false), "nobody knows it any more");
    // A hub that lives isn't buried.
    engine.bury(B).await.expect("nothing is done");
    assert_eq!(engine.renew(B, SHORT).await, Ok(true));
}

/// Seen: who had followed the announcement of an end and asked for the list then found the subscriber in it.
pub(crate) async fn nobody_of_a_hub_that_was_claimed_is_listed<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.arrive(A, SHORT).await.expect("known");
    for node in [B, C] {
        engine.arrive(node, SHORT).await.expect("known");
    }
    let some = |from: usize| (from..from + 20).map(|number| subscriber(&format!("{number:03}"))).collect();
    engine.enter(B, some(0)).await.expect("entered");
    engine.enter(A, some(100)).await.expect("entered");
    engine.enter(C, some(200)).await.expect("entered");
    assert_eq!(all(&engine, 7).await.len(), 60);
    assert_eq!(claimed(&engine, B, LONG).await, A);
    for page in [7, 20, 100] {
        let members = all(&engine, page).await;
        assert_eq!(members.len(), 40);
        assert!(members.iter().all(|member| member.node != A));
    }
    assert_eq!(engine.member("urn:uuid:105").await, Ok(None));
    assert!(engine.member("urn:uuid:205").await.expect("asked").is_some());
    // The hub has come back under another name.
    let again = NodeId([0x77; 16]);
    engine.arrive(again, SHORT).await.expect("known");
    engine.enter(again, some(100)).await.expect("entered");
    assert_eq!(all(&engine, 7).await.len(), 60);
    assert_eq!(engine.member("urn:uuid:105").await.expect("asked").map(|member| member.node), Some(again));
}

pub(crate) async fn what_is_large_is_listed_and_left_in_pieces<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.arrive(A, SHORT).await.expect("known");
    engine.arrive(B, SHORT).await.expect("known");
    let large = |number: usize| Subscriber { document: "x".repeat(10_000), ..subscriber(&format!("{number:03}")) };
    let larger = Subscriber { document: "x".repeat(200_000), ..subscriber("huge") };
    engine.enter(A, (0..30).map(large).chain([larger]).collect()).await.expect("entered");
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (some, next) = engine.members(&cursor, 1_000, 45_000).await.expect("listed");
        assert!(some.len() <= 5, "{}", some.len());
        seen.extend(some.into_iter().map(|member| member.subscriber.id));
        if next.is_empty() {
            break;
        }
        cursor = next;
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 31);
    assert_eq!(claimed(&engine, B, LONG).await, A);
    let mut left = 0;
    loop {
        let some = engine.left(A, 1_000, 45_000).await.expect("asked");
        if some.is_empty() {
            break;
        }
        assert!(some.len() <= 5, "{}", some.len());
        left += some.len();
        engine.leave(A, some.into_iter().map(|one| one.id).collect()).await.expect("left");
    }
    assert_eq!(left, 31);
}

pub(crate) async fn a_dead_hub_enters_nobody<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.enter(A, vec![subscriber("too early")]).await.expect("not entered");
    engine.arrive(A, SHORT).await.expect("known");
    engine.arrive(B, SHORT).await.expect("known");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    assert_eq!(claimed(&engine, B, SHORT * 10).await, A);
    engine.leave(A, vec![subscriber("1").id]).await.expect("left");
    engine.bury(A).await.expect("buried");
    engine.enter(A, vec![subscriber("too late")]).await.expect("not entered");
    assert_eq!(all(&engine, 10).await, []);
}
