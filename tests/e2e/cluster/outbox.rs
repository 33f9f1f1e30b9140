//! The outbox of PostgreSQL: what an application's transaction puts there is published by the hubs of the cluster.

use super::{Server, member};
use crate::harness::*;
use crate::postgres::PostgresServer;

const PUT: &str = "INSERT INTO cinnabar.outbox (topics, data) VALUES";

#[test]
fn what_a_transaction_puts_there_reaches_the_subscribers_of_every_hub_once() {
    let server = PostgresServer::start();
    let mut hubs: Vec<Hub> = (0..2).map(|_| member(&server).start()).collect();
    let mut streams: Vec<Stream> = hubs.iter().map(|hub| hub.subscribe(&[("match", "urn:a")])).collect();
    server.psql(&format!(
        "BEGIN; {PUT} ('{{urn:a}}', 'one'), ('{{urn:b}}', 'for others'), ('{{urn:a,urn:b}}', 'two'); COMMIT"
    ));
    server.psql(&format!("BEGIN; {PUT} ('{{urn:a}}', 'taken back'); ROLLBACK"));
    server.psql("INSERT INTO cinnabar.outbox (topics, data, private) VALUES ('{urn:a}', 'secret', true)");
    hubs[0].say("urn:a", "between");
    for n in 0..20 {
        server.psql(&format!("{PUT} ('{{urn:a}}', '{n}')"));
    }
    for stream in &mut streams {
        let mut datas = stream.datas(23);
        // What is published by a hub is in order with what the relay takes, but nobody says in which.
        datas.retain(|data| data != "between");
        let expected = ["one", "two"].into_iter().map(str::to_owned).chain((0..20).map(|n| n.to_string()));
        assert_eq!(datas, expected.collect::<Vec<_>>());
    }
    // Whichever of them relays: the other goes on when it dies.
    let mut survivor = hubs.pop().expect("the second one");
    for mut hub in hubs {
        hub.kill();
    }
    server.psql(&format!("{PUT} ('{{urn:a}}', 'after')"));
    assert_eq!(streams[1].data(), "after");
    assert_eq!(crate::admin::metric(&survivor, "cinnabar_cluster_position"), 26.0);
    assert!(survivor.stop().success());
    assert_eq!(server.psql("SELECT count(*) FROM cinnabar.outbox"), "0");
}

#[test]
fn a_row_that_breaks_a_rule_is_put_aside_with_the_reason_and_holds_up_nothing() {
    let server = PostgresServer::start();
    let hub = member(&server).start();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    server.psql(&format!(
        "{PUT} ('{{}}', 'nowhere'), ('{{/.well-known/mercure/subscriptions/x}}', 'reserved'), ('{{urn:a}}', 'fine')"
    ));
    assert_eq!(stream.data(), "fine");
    let reasons = server.psql("SELECT data || ': ' || reason FROM cinnabar.outbox_refused ORDER BY id");
    let reasons: Vec<&str> = reasons.lines().collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("nowhere: ") && reasons[1].starts_with("reserved: "), "{reasons:?}");
    eventually("the log says so", || hub.log().contains("outbox_refused"));
}
