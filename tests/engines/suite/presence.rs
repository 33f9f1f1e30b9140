//! Who is subscribed where, and which hub lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cinnabar::cluster::{Engine, Member, NodeId, Subscriber};

use super::{PLENTY, eventually};
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
        let (some, next) = engine.members(&cursor, page).await.expect("listed");
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
    assert_eq!(engine.renew(A, LONG).await, Ok(false));
    assert_eq!(engine.renew(B, LONG).await, Ok(false));
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
        engine.renew(node, LONG).await.expect("renewed");
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

pub(crate) async fn who_enters_again_replaces_itself<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.renew(A, LONG).await.expect("renewed");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    let other = Subscriber { document: "other".to_owned(), ..subscriber("1") };
    engine.enter(A, vec![other.clone()]).await.expect("entered");
    assert_eq!(all(&engine, 10).await, [Member { node: A, subscriber: other }]);
}

pub(crate) async fn a_hub_that_stops_renewing_is_dead<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.renew(A, SHORT).await.expect("renewed");
    engine.enter(A, vec![subscriber("1"), subscriber("2"), subscriber("3")]).await.expect("entered");
    let dead = eventually("a hub is dead", || async {
        engine.renew(B, SHORT).await.expect("renewed");
        engine.claim(B, SHORT).await.expect("asked")
    })
    .await;
    assert_eq!(dead, A);
    let mut seen = Vec::new();
    loop {
        let some = engine.left(A, 2).await.expect("asked");
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
    engine.renew(B, SHORT).await.expect("renewed");
    assert_eq!(engine.claim(C, SHORT).await.map(|hub| hub.filter(|hub| *hub == A)), Ok(None));
    assert_eq!(engine.renew(A, SHORT).await, Ok(false));
}

pub(crate) async fn of_many_hubs_one_claims_a_dead_one<S: Server>(server: S) {
    let engines: Vec<_> = (0..6).map(|_| Arc::new(server.engine(PLENTY))).collect();
    engines[0].open().await.expect("opened");
    engines[0].renew(A, SHORT).await.expect("renewed");
    tokio::time::sleep(SHORT + SHORT / 4).await;
    let mut claimed = Vec::new();
    for _ in 0..3 {
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

pub(crate) async fn a_claim_that_isnt_used_can_be_made_again<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.renew(A, SHORT).await.expect("renewed");
    for claimant in [B, C] {
        let dead =
            eventually("a hub can be claimed", || async { engine.claim(claimant, SHORT).await.expect("asked") }).await;
        assert_eq!(dead, A);
    }
}

pub(crate) async fn a_hub_that_came_back_isnt_buried<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.renew(A, SHORT).await.expect("renewed");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    let dead = eventually("a hub is dead", || async { engine.claim(B, SHORT).await.expect("asked") }).await;
    assert_eq!(dead, A);
    // It was taken for dead: it begins anew.
    assert_eq!(engine.renew(A, SHORT).await, Ok(false));
    assert_eq!(engine.left(A, 10).await, Ok(Vec::new()));
    assert_eq!(engine.member("urn:uuid:1").await, Ok(None));
    engine.bury(A).await.expect("not buried");
    assert_eq!(engine.renew(A, SHORT).await, Ok(true));
    engine.enter(A, vec![subscriber("2")]).await.expect("entered");
    engine.bury(A).await.expect("not buried");
    assert_eq!(ids(&all(&engine, 10).await), ["2"]);
    assert_eq!(engine.claim(B, SHORT).await, Ok(None));
}

pub(crate) async fn a_dead_hub_enters_nobody<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    engine.open().await.expect("opened");
    engine.enter(A, vec![subscriber("too early")]).await.expect("not entered");
    engine.renew(A, SHORT).await.expect("renewed");
    engine.enter(A, vec![subscriber("1")]).await.expect("entered");
    let dead = eventually("a hub is dead", || async { engine.claim(B, SHORT * 10).await.expect("asked") }).await;
    assert_eq!(dead, A);
    engine.leave(A, vec![subscriber("1").id]).await.expect("left");
    engine.bury(A).await.expect("buried");
    engine.enter(A, vec![subscriber("too late")]).await.expect("not entered");
    assert_eq!(all(&engine, 10).await, []);
}
