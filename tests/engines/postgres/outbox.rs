//! The outbox: what applications insert in their own transactions.

use std::sync::Arc;
use std::time::Duration;

use cinnabar::cluster::{Bounds, Engine, EngineError, Identity, LogError, OutboxRules, Postgres, Relayed};
use cinnabar::protocol::topic::HubUrl;
use cinnabar::protocol::update::UpdateLimits;
use tokio_postgres::{Client, NoTls};

use super::server::PostgresServer;
use crate::servers::{PATIENCE, Server};
use crate::suite::{BYTES, PLENTY, append, data, event, eventually, read, tell};

const SOON: Duration = Duration::from_millis(10);

fn rules() -> OutboxRules {
    let hub = HubUrl::parse("https://hub.example/.well-known/mercure").expect("a URL");
    OutboxRules { hub, limits: UpdateLimits::default(), data_bytes_max: 1 << 20 }
}

/// An application's connection.
async fn application(server: &PostgresServer) -> Client {
    let (client, connection) = tokio_postgres::connect(server.address.url.as_str(), NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

async fn say(client: &Client, statements: &str) {
    client.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

fn insert(data: &str) -> String {
    format!("INSERT INTO cinnabar.outbox (topics, data) VALUES (ARRAY['a'], '{data}');")
}

/// Relays until nothing is left that can be seen.
async fn relay_all(engine: &Postgres, log: &Identity) -> Relayed {
    let mut all = Relayed::default();
    loop {
        let relayed = engine.relay(log, &rules(), SOON).await.expect("relayed");
        assert!(!relayed.elsewhere);
        if relayed == Relayed::default() {
            return all;
        }
        all.published += relayed.published;
        all.refused += relayed.refused;
    }
}

async fn all(engine: &Postgres, log: &Identity) -> Vec<String> {
    let all = engine.range(log, 0, 100_000, BYTES).await.expect("read");
    data(&all).into_iter().map(str::to_owned).collect()
}

#[test]
fn rows_are_published_with_all_they_have() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let application = application(&server).await;
        say(
            &application,
            "INSERT INTO cinnabar.outbox (topics, data, private, event_id, event_type, retry) VALUES
                (ARRAY['https://example.com/é', 'b,\"{}\\'], E'x\\ny', true, 'id 1', 't', 1500);
            INSERT INTO cinnabar.outbox (topics, event_id, event_type) VALUES (ARRAY['a'], '', '');
            INSERT INTO cinnabar.outbox (topics) VALUES ('[5:6][1:1]={{c},{d}}'::text[]);",
        )
        .await;
        let opened = relay_all(&engine, &log).await;
        assert_eq!(opened, Relayed { published: 3, refused: 0, elsewhere: false });
        let came = read(&engine, &log, 0, 3).await;
        let update = &came[0].entry.update;
        let topics: Vec<_> = update.topics.iter().map(|topic| topic.as_str()).collect();
        assert_eq!(topics, ["https://example.com/é", "b,\"{}\\"]);
        assert_eq!((update.data.as_str(), update.private), ("x\ny", true));
        assert_eq!((update.id.as_deref(), update.event_type.as_deref()), (Some("id 1"), Some("t")));
        assert_eq!(update.retry.as_deref(), Some("1500"));
        let plain = &came[1].entry.update;
        assert_eq!((plain.data.as_str(), plain.private), ("", false));
        assert_eq!((&plain.id, &plain.event_type, &plain.retry), (&None, &None, &None));
        let topics: Vec<_> = came[2].entry.update.topics.iter().map(|topic| topic.as_str()).collect();
        assert_eq!(topics, ["c", "d"]);
        assert!(came.iter().all(|placed| !placed.entry.announcement && placed.entry.tag < 1 << 22));
        assert!(came[0].entry.published_ms > 1_700_000_000_000);
        assert_eq!(engine.find(&log, "id 1").await, Ok(Some(1)));
        assert_eq!(server.psql("SELECT count(*) FROM cinnabar.outbox"), "0");
    });
}

#[test]
fn a_commit_wakes_the_relay_and_the_relay_those_who_follow() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = Arc::new(server.engine(PLENTY));
        let log = engine.open().await.expect("opened").identity;
        let follower = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.follow(&log, 0, 10, BYTES, PATIENCE).await })
        };
        let relay = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.relay(&log, &rules(), PATIENCE).await })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        say(&application(&server).await, &insert("x")).await;
        assert_eq!(relay.await.expect("no panic").expect("relayed").published, 1);
        assert_eq!(data(&follower.await.expect("no panic").expect("followed")), ["x"]);
        // Without a word it looks by itself.
        server.psql("ALTER TABLE cinnabar.outbox DISABLE TRIGGER wake_relay");
        let relay = tokio::spawn(async move { engine.relay(&log, &rules(), PATIENCE).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        say(&application(&server).await, &insert("y")).await;
        assert_eq!(relay.await.expect("no panic").expect("relayed").published, 1);
    });
}

#[test]
fn what_is_rolled_back_is_never_published() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let application = application(&server).await;
        for round in 0..5 {
            say(&application, &format!("BEGIN; {} {}", insert("never"), insert("never"))).await;
            relay_all(&engine, &log).await;
            say(&application, "ROLLBACK").await;
            say(&application, &insert(&format!("{round}"))).await;
            relay_all(&engine, &log).await;
        }
        assert_eq!(all(&engine, &log).await, ["0", "1", "2", "3", "4"]);
    });
}

#[test]
fn a_long_transaction_holds_back_only_its_own() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let (slow, quick) = (application(&server).await, application(&server).await);
        say(&quick, &(0..600).map(|_| insert("locked")).collect::<String>()).await;
        // Rows it has inserted, and others that it has locked.
        say(
            &slow,
            &format!("BEGIN; {} SELECT * FROM cinnabar.outbox FOR UPDATE; {}", insert("late 1"), insert("late 2")),
        )
        .await;
        for round in 0..3 {
            say(&quick, &insert(&format!("quick {round}"))).await;
            assert_eq!(relay_all(&engine, &log).await.published, 1);
        }
        // Other publishes aren't held up either.
        assert_eq!(append(&engine, &log, vec![event("published")]).await, [4]);
        say(&slow, "COMMIT").await;
        assert_eq!(relay_all(&engine, &log).await.published, 602);
        let all = all(&engine, &log).await;
        assert_eq!(all[..4], ["quick 0", "quick 1", "quick 2", "published"]);
        assert_eq!(all[all.len() - 2..], ["late 1", "late 2"]);
        assert!(all[4..604].iter().all(|data| data == "locked"));
    });
}

#[test]
fn rows_of_one_transaction_keep_their_order() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let address = server.address.url.to_string();
                tokio::spawn(async move {
                    let (client, connection) = tokio_postgres::connect(&address, NoTls).await.expect("connected");
                    tokio::spawn(connection);
                    for transaction in 0..3 {
                        say(&client, "BEGIN").await;
                        // More than the relay takes at once.
                        for row in 0..7 {
                            let rows = (0..100).map(|each| insert(&format!("{writer} {transaction} {row}{each:02}")));
                            say(&client, &rows.collect::<String>()).await;
                        }
                        say(&client, "COMMIT").await;
                    }
                })
            })
            .collect();
        let mut seen: Vec<Vec<String>> = vec![Vec::new(); 4];
        eventually("all rows are published", || async {
            engine.relay(&log, &rules(), SOON).await.expect("relayed");
            (engine.bounds(&log).await.expect("bounds").last == 4 * 3 * 700).then_some(())
        })
        .await;
        for writer in writers {
            writer.await.expect("written");
        }
        for text in all(&engine, &log).await {
            let writer: usize = text[..1].parse().expect("a number");
            seen[writer].push(text);
        }
        for texts in seen {
            assert!(texts.len() == 2100 && texts.is_sorted(), "a transaction's rows stay in order");
        }
    });
}

#[test]
fn each_row_is_published_once_whenever_a_relay_ends() {
    tell(|| async {
        const ROWS: usize = 3_000;
        let server = PostgresServer::start();
        let log = server.engine(PLENTY).open().await.expect("opened").identity;
        let application = application(&server).await;
        let writer = tokio::spawn(async move {
            for some in 0..ROWS / 50 {
                say(&application, &(0..50).map(|each| insert(&format!("{}", some * 50 + each))).collect::<String>())
                    .await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        // Three hubs relay; each is given up and made anew after a different time.
        let relays: Vec<_> = (0..3_u64)
            .map(|hub| {
                let (address, mut pause) = (server.address.clone(), hub * 7 + 1);
                tokio::spawn(async move {
                    loop {
                        let engine = Postgres::new(address.clone(), PLENTY);
                        for _ in 0..10 {
                            pause = (pause * 13 + 5) % 60;
                            let limit = Duration::from_millis(pause);
                            let _ = tokio::time::timeout(limit, engine.relay(&log, &rules(), SOON)).await;
                        }
                    }
                })
            })
            .collect();
        let engine = server.engine(PLENTY);
        eventually("all rows are published", || async {
            (engine.bounds(&log).await.expect("bounds").last >= ROWS as u64).then_some(())
        })
        .await;
        writer.await.expect("written");
        tokio::time::sleep(Duration::from_millis(300)).await;
        for relay in relays {
            relay.abort();
        }
        let all = all(&engine, &log).await;
        assert!(all.iter().map(|text| text.parse::<usize>().expect("a number")).eq(0..ROWS), "each once, in order");
    });
}

#[test]
fn one_hub_relays_until_it_is_gone() {
    tell(|| async {
        let server = PostgresServer::start();
        let (first, second) = (server.engine(PLENTY), server.engine(PLENTY));
        let log = first.open().await.expect("opened").identity;
        let application = application(&server).await;
        assert_eq!(first.relay(&log, &rules(), SOON).await, Ok(Relayed::default()));
        say(&application, &insert("1")).await;
        assert_eq!(second.relay(&log, &rules(), SOON).await, Ok(Relayed { elsewhere: true, ..Relayed::default() }));
        assert_eq!(first.relay(&log, &rules(), SOON).await.map(|relayed| relayed.published), Ok(1));
        say(&application, &insert("2")).await;
        drop(first);
        eventually("the other one relays", || async {
            (second.relay(&log, &rules(), SOON).await.expect("relayed").published == 1).then_some(())
        })
        .await;
        assert_eq!(all(&second, &log).await, ["1", "2"]);
    });
}

#[test]
fn rows_that_break_a_rule_go_aside_and_block_nobody() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let long = "x".repeat(4 << 10);
        let application = application(&server).await;
        for (topics, rest, values) in [
            ("ARRAY[]::text[]", "", ""),
            ("ARRAY['*']", "", ""),
            ("ARRAY['a', NULL]", "", ""),
            ("ARRAY['a', '/.well-known/mercure/subscriptions/x']", "", ""),
            ("ARRAY[E'a\\u200Bb']", "", ""),
            (&format!("ARRAY['{long}é']"), "", ""),
            ("array_fill('a'::text, ARRAY[1001])", "", ""),
            ("ARRAY['a']", ", data", ", repeat('x', 1048577)"),
            ("ARRAY['a']", ", event_id", ", '#1'"),
            ("ARRAY['a']", ", event_id", ", 'earliest'"),
            ("ARRAY['a']", ", event_type", ", 'mercure'"),
            ("ARRAY['a']", ", retry", ", -1"),
        ] {
            say(&application, &format!("INSERT INTO cinnabar.outbox (topics{rest}) VALUES ({topics}{values})")).await;
            say(&application, &insert("good")).await;
        }
        assert_eq!(relay_all(&engine, &log).await, Relayed { published: 12, refused: 12, elsewhere: false });
        assert_eq!(all(&engine, &log).await, vec!["good"; 12]);
        assert_eq!(server.psql("SELECT count(*) FROM cinnabar.outbox"), "0");
        let reasons = server.psql("SELECT reason FROM cinnabar.outbox_refused ORDER BY id");
        for (reason, word) in reasons.lines().zip([
            "no topic",
            "\"*\"",
            "NULL",
            "kept for the hub",
            "U+200B",
            "4096",
            "1000",
            "1048577",
            "\"#\"",
            "earliest",
            "mercure",
            "digits",
        ]) {
            assert!(reason.contains(word), "{reason}: {word}");
        }
        assert_eq!(
            server.psql("SELECT octet_length(data) FROM cinnabar.outbox_refused WHERE data IS NOT NULL"),
            "1048577"
        );
    });
}

#[test]
fn a_relay_publishes_nothing_in_another_log() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        server.psql("DROP SCHEMA cinnabar CASCADE");
        let replaced = Err(EngineError::Log(LogError::Replaced));
        assert_eq!(engine.relay(&log, &rules(), SOON).await, replaced);
        let other = server.engine(PLENTY).open().await.expect("opened").identity;
        say(&application(&server).await, &insert("x")).await;
        assert_eq!(engine.relay(&log, &rules(), SOON).await, replaced);
        assert_eq!(engine.bounds(&other).await, Ok(Bounds { first: 1, last: 0 }));
        assert_eq!(relay_all(&engine, &other).await.published, 1);
    });
}
