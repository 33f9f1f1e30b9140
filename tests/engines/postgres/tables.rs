//! The tables as administrators meet them: rights, settings, versions, what is done to them by hand.

use std::time::Duration;

use cinnabar::cluster::{Bounds, Engine, EngineError, LogError, NodeId, OutboxRules, Postgres, Retention};
use cinnabar::protocol::topic::HubUrl;
use cinnabar::protocol::update::UpdateLimits;

use super::server::PostgresServer;
use crate::certificates::Certificates;
use crate::servers::{Server, shell};
use crate::suite::{BYTES, PLENTY, SECRET, append, data, event, eventually, named, refused, tell, unavailable};

#[test]
fn what_an_acknowledged_event_survives_is_said() {
    tell(|| async {
        let server = PostgresServer::start();
        let opened = server.engine(PLENTY).open().await.expect("opened");
        assert!(opened.server.starts_with("PostgreSQL 1"), "{}", opened.server);
        assert!(opened.durability.0.contains("survives") && !opened.durability.1, "{:?}", opened.durability);
        server.psql("ALTER ROLE postgres SET synchronous_commit = off");
        let opened = server.engine(PLENTY).open().await.expect("opened");
        assert!(opened.durability.0.contains("synchronous_commit is off") && opened.durability.1, "{opened:?}");
        let server = PostgresServer::with(&["fsync=off".to_owned()]);
        let opened = server.engine(PLENTY).open().await.expect("opened");
        assert!(opened.durability.0.contains("fsync is off") && opened.durability.1, "{opened:?}");
    });
}

#[test]
fn users_and_passwords() {
    tell(|| async {
        let server = PostgresServer::start();
        server.psql(&format!("CREATE ROLE hub LOGIN PASSWORD '{SECRET}'; GRANT CREATE ON DATABASE postgres TO hub"));
        server.let_in("host all all 127.0.0.1/32 scram-sha-256");
        let user = |name: &'static str, password: &'static str| {
            server.at(|address| {
                address.url.set_username("").expect("a URL with a host");
                address.user = Some(name.to_owned());
                address.password = Some(password.to_owned()).filter(|password| !password.is_empty());
            })
        };
        user("hub", SECRET).open().await.expect("user and password are right");
        assert!(refused(&user("hub", "wrong")).await.contains("password"));
        assert!(refused(&user("nobody", SECRET)).await.contains("password"));
        assert!(refused(&user("hub", "")).await.contains("none is configured"));
        let elsewhere = server.at(|address| {
            address.url.set_username("hub").expect("a URL with a host");
            address.url.set_path("/nowhere");
            address.password = Some(SECRET.to_owned());
        });
        assert!(refused(&elsewhere).await.contains("create it"));
        server.let_in("host all all 127.0.0.1/32 reject");
        assert!(refused(&user("hub", SECRET)).await.contains("pg_hba.conf"));
        let nobody = server.at(|address| address.url.set_port(Some(1)).expect("a URL with a host"));
        assert!(unavailable(&nobody.open().await));
    });
}

#[test]
fn private_certificates() {
    tell(|| async {
        let made = Certificates::make();
        // The server wants its key for itself.
        shell(&format!(
            "cd {0} && chmod 600 server.key && chmod a+rx . && (chown postgres server.key || true)",
            made.text("")
        ));
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| made.text(name));
        let server = PostgresServer::with(&[
            "ssl=on".to_owned(),
            format!("ssl_ca_file={ca}"),
            format!("ssl_cert_file={certificate}"),
            format!("ssl_key_file={key}"),
        ]);
        server.psql(&format!("CREATE ROLE hub LOGIN SUPERUSER PASSWORD '{SECRET}'"));
        server.let_in("hostssl all all 127.0.0.1/32 scram-sha-256");
        let at = |change: &dyn Fn(&mut cinnabar::cluster::Address)| {
            server.at(|address| {
                address.url.set_username("hub").expect("a URL with a host");
                address.password = Some(SECRET.to_owned());
                change(address);
            })
        };
        let engine = at(&|address| address.ca = Some(made.path("ca.pem")));
        let log = engine.open().await.expect("opened").identity;
        assert_eq!(append(&engine, &log, vec![event("1")]).await, [1]);
        assert_eq!(
            server.psql("SELECT count(*) > 0 FROM pg_stat_ssl WHERE ssl AND version = 'TLSv1.3' AND client_dn IS NULL"),
            "t"
        );
        // The password's proof is bound to the certificate, or nobody is let in.
        let bound = at(&|address| {
            address.ca = Some(made.path("ca.pem"));
            address.url.set_query(Some("sslmode=verify-full&channel_binding=require"));
        });
        assert_eq!(bound.open().await.expect("opened").identity, log);
        at(&|address| address.url.set_query(Some("sslmode=require")))
            .open()
            .await
            .expect("nobody looks at the certificate");
        assert!(refused(&at(&|address| address.ca = Some(made.path("other.pem")))).await.contains("certificate"));
        assert!(refused(&at(&|address| address.ca = Some(made.path("missing.pem")))).await.contains("missing.pem"));
        let other_name = at(&|address| {
            address.ca = Some(made.path("ca.pem"));
            address.url.set_host(Some("127.0.0.2")).expect("a host");
        });
        // The server isn't there, or its certificate is for another address.
        assert!(other_name.open().await.is_err());
        assert!(refused(&at(&|_| ())).await.contains("pg_hba.conf"), "without TLS nobody is let in");

        server.let_in("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca");
        assert!(at(&|address| address.ca = Some(made.path("ca.pem"))).open().await.is_err());
        let client = at(&|address| {
            address.ca = Some(made.path("ca.pem"));
            address.certificate = Some((made.path("client.pem"), made.path("client.key")));
        });
        assert_eq!(client.open().await.expect("opened").identity, log);
        let plain = PostgresServer::start();
        let sealed = plain.at(|address| address.url.set_query(Some("sslmode=verify-full")));
        let why = match sealed.open().await {
            Err(EngineError::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why.contains("no TLS") || why.contains("ca-certificates"), "{why}");
    });
}

#[test]
fn a_role_that_may_create_nothing_works_with_tables_that_are_there() {
    tell(|| async {
        let server = PostgresServer::start();
        server.psql("CREATE ROLE hub LOGIN; CREATE ROLE shop LOGIN;");
        let hub = server.at(|address| address.url.set_username("hub").expect("a URL with a host"));
        let why = refused(&hub).await;
        assert!(why.contains("permission denied") && why.contains("docs/postgres.md"), "{why}");
        let log = server.engine(PLENTY).open().await.expect("opened").identity;
        // As the manual has it.
        let manual = std::fs::read_to_string("docs/postgres.md").expect("the manual");
        let grants: Vec<_> = manual.lines().filter(|line| line.starts_with("GRANT")).collect();
        assert!(grants.len() > 5, "{grants:?}");
        server.psql(&grants.join("\n"));
        let hub = server.at(|address| address.url.set_username("hub").expect("a URL with a host"));
        assert_eq!(hub.open().await.expect("opened").identity, log);
        let small = Retention { events_max: 2, ..PLENTY };
        let keeper = Postgres::new(
            {
                let mut address = server.address.clone();
                address.url.set_username("hub").expect("a URL with a host");
                address
            },
            small,
        );
        append(&keeper, &log, vec![named("a"), event("b"), event("c")]).await;
        assert_eq!(hub.bounds(&log).await.expect("bounds").last, 3);
        eventually("it trims", || async { (hub.bounds(&log).await.expect("bounds").first > 1).then_some(()) }).await;
        hub.arrive(NodeId([1; 16]), Duration::from_secs(9)).await.expect("known");
        assert_eq!(hub.renew(NodeId([1; 16]), Duration::from_secs(9)).await, Ok(true));
        hub.enter(NodeId([1; 16]), Vec::new()).await.expect("entered");
        assert_eq!(hub.claim(NodeId([2; 16]), Duration::from_secs(9)).await, Ok(None));
        hub.bury(NodeId([1; 16])).await.expect("asked");
        server.psql(
            "SET ROLE shop; INSERT INTO cinnabar.outbox (topics, data) VALUES (ARRAY['a'], 'x'), (ARRAY['*'], 'y');",
        );
        let rules = OutboxRules {
            hub: HubUrl::parse("https://hub.example/.well-known/mercure").expect("a URL"),
            limits: UpdateLimits::default(),
            data_bytes_max: 10,
        };
        let relayed = hub.relay(&log, &rules, Duration::ZERO).await.expect("relayed");
        assert_eq!((relayed.published, relayed.refused), (1, 1));
    });
}

#[test]
fn tables_of_a_newer_program_are_left_alone() {
    tell(|| async {
        let server = PostgresServer::start();
        server.engine(PLENTY).open().await.expect("opened");
        server.psql("UPDATE cinnabar.meta SET version = 7");
        assert!(refused(&server.engine(PLENTY)).await.contains("version 7"));
    });
}

#[test]
fn names_keep_logs_apart() {
    tell(|| async {
        let server = PostgresServer::start();
        let other = server.at(|address| address.name = "Other_1".to_owned());
        let (engine, log) = (server.engine(PLENTY), other.open().await.expect("opened").identity);
        append(&other, &log, vec![event("1")]).await;
        let opened = engine.open().await.expect("opened");
        assert!(opened.identity != log && opened.bounds.last == 0);
        assert_eq!(server.psql("SELECT count(*) FROM \"Other_1\".events"), "1");
    });
}

#[test]
fn a_database_that_can_not_hold_every_text_is_refused() {
    tell(|| async {
        let server = PostgresServer::start();
        server.psql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
        let latin = server.at(|address| address.url.set_path("/latin"));
        assert!(refused(&latin).await.contains("UTF8"));
        server.psql("ALTER ROLE postgres SET default_transaction_read_only = on");
        let why = refused(&server.engine(PLENTY)).await;
        assert!(why.contains("read-only") && why.contains("standby"), "{why}");
    });
}

#[test]
fn the_manual_has_every_column() {
    tell(|| async {
        let server = PostgresServer::start();
        server.engine(PLENTY).open().await.expect("opened");
        let manual = std::fs::read_to_string("docs/postgres.md").expect("the manual");
        let columns = server.psql(
            "SELECT a.attname || ' ' || replace(format_type(a.atttypid, NULL), 'timestamp with time zone', 'timestamptz')
            FROM pg_attribute a WHERE a.attrelid = ANY (ARRAY['cinnabar.events', 'cinnabar.outbox', 'cinnabar.outbox_refused']::regclass[])
                AND a.attnum > 0",
        );
        assert!(columns.lines().count() > 20, "{columns}");
        for column in columns.lines() {
            let (name, of_type) = column.split_once(' ').expect("two words");
            assert!(
                manual.contains(&format!("| `{name}` | `{of_type}` | ")),
                "docs/postgres.md has no row for {column}"
            );
        }
        let example = manual.split("```sql").find(|block| block.contains("BEGIN;")).expect("a worked example");
        let example = example.split("```").next().expect("its end");
        server.psql(&format!("CREATE TABLE books (id int, stock int); INSERT INTO books VALUES (1, 3); {example}"));
        assert_eq!(server.psql("SELECT data FROM cinnabar.outbox"), r#"{"id": 1, "stock": 2}"#);
    });
}

#[test]
fn a_unix_socket_will_do() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.at(|address| {
            address.url =
                format!("postgres:///postgres?host={}&port={}", server.folder(), server.port()).parse().expect("a URL");
            address.user = Some("postgres".to_owned());
        });
        let log = engine.open().await.expect("opened").identity;
        assert_eq!(append(&engine, &log, vec![event("1")]).await, [1]);
    });
}

#[test]
fn everybody_can_read_the_events() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let mut odd = event("with \0 in it");
        odd.update.private = true;
        append(&engine, &log, vec![named("a"), odd]).await;
        let rows = server.psql(
            "SELECT log_offset, topics[1], data, encode(data_bytes, 'escape'), private, announcement, id, type, retry, bytes, bytes_upto,
                published_at > now() - interval '1 hour', tag FROM cinnabar.events ORDER BY log_offset",
        );
        assert_eq!(
            rows.lines().collect::<Vec<_>>(),
            [
                "1|https://example.com/1|named||f|f|a|||27|27|t|7",
                "2|https://example.com/1||with \\000 in it|t|f||||33|60|t|7"
            ]
        );
    });
}

#[test]
fn events_deleted_by_somebody_are_missed_not_skipped() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, (1..=5).map(|number| event(&number.to_string())).collect()).await;
        server.psql("DELETE FROM cinnabar.events WHERE log_offset = 3");
        assert_eq!(data(&engine.follow(&log, 0, 10, BYTES, Duration::ZERO).await.expect("followed")), ["1", "2"]);
        let gap = engine.follow(&log, 2, 10, BYTES, Duration::ZERO).await;
        assert_eq!(gap, Err(EngineError::Log(LogError::Trimmed { first: 4 })));
        // The newest one: its offset isn't given again.
        server.psql("DELETE FROM cinnabar.events WHERE log_offset = 5");
        let gap = engine.follow(&log, 4, 10, BYTES, Duration::ZERO).await;
        assert_eq!(gap, Err(EngineError::Log(LogError::Trimmed { first: 6 })));
        assert_eq!(engine.follow(&log, 5, 10, BYTES, Duration::ZERO).await, Ok(Vec::new()));
        assert_eq!(append(&engine, &log, vec![event("6")]).await, [6]);
        server.psql("TRUNCATE cinnabar.events");
        assert_eq!(engine.bounds(&log).await, Ok(Bounds { first: 7, last: 6 }));
        assert_eq!(append(&engine, &log, vec![event("7")]).await, [7]);
        assert_eq!(data(&engine.follow(&log, 6, 10, BYTES, Duration::ZERO).await.expect("followed")), ["7"]);
    });
}

#[test]
fn what_gets_too_old_goes_although_nobody_publishes() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(Retention { age_max_ms: Some(500), ..PLENTY });
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, vec![event("1"), event("2")]).await;
        eventually("nothing is left", || async {
            let followed = engine.follow(&log, 2, 10, BYTES, Duration::from_millis(100)).await;
            assert_eq!(followed, Ok(Vec::new()));
            (engine.bounds(&log).await == Ok(Bounds { first: 3, last: 2 })).then_some(())
        })
        .await;
        assert_eq!(append(&engine, &log, vec![event("3")]).await, [3]);
    });
}

#[test]
fn a_server_without_memory_for_more_connections_says_so() {
    tell(|| async {
        let server = PostgresServer::start();
        server.psql("CREATE ROLE hub LOGIN CONNECTION LIMIT 0; GRANT CREATE ON DATABASE postgres TO hub");
        let hub = server.at(|address| address.url.set_username("hub").expect("a URL with a host"));
        assert!(refused(&hub).await.contains("limit"));
    });
}

#[test]
fn a_log_of_many_events_is_read_by_its_indexes() {
    tell(|| async {
        let server = PostgresServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        server.psql(
            "INSERT INTO cinnabar.events SELECT n, 1, now(), ARRAY['a'], 'x', NULL, false, false, 'same', NULL, NULL, 2, n * 2
                FROM generate_series(1, 200000) n",
        );
        append(&engine, &log, vec![named("last")]).await;
        server.psql("SELECT pg_stat_reset()");
        assert_eq!(engine.find(&log, "same").await, Ok(Some(1)));
        assert_eq!(engine.find(&log, "last").await, Ok(Some(200_001)));
        assert_eq!(engine.find(&log, "none").await, Ok(None));
        for after in [0, 100_000, 199_999] {
            let some = engine.range(&log, after, 10, BYTES).await.expect("read");
            assert_eq!(some[0].offset, after + 1);
        }
        assert_eq!(engine.bounds(&log).await, Ok(Bounds { first: 1, last: 200_001 }));
        append(&engine, &log, vec![event("x")]).await;
        // What was done shows when the connections end.
        drop(engine);
        let read = eventually("the server has counted", || async {
            let counted = server.psql(
                "SELECT seq_tup_read || ' ' || idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'events' AND idx_scan > 5",
            );
            (!counted.is_empty()).then_some(counted)
        })
        .await;
        let (scanned, fetched) = read.split_once(' ').expect("two numbers");
        assert_eq!(scanned, "0", "no table scan");
        assert!(fetched.parse::<u64>().expect("a number") < 200, "{fetched} rows were looked at");
    });
}
