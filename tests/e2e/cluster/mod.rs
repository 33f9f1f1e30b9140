//! Hubs of a cluster, joined by real servers: the same events under the same ids everywhere, and what happens when the server goes.

mod balanced;
mod engines;
mod guarded;
mod outbox;
mod stories;

use engines::{Backend, NatsServer, RedisServer};

use crate::harness::*;
use crate::postgres::PostgresServer;
use crate::servers::Server;

/// Tells each story with one kind of server.
macro_rules! told_with {
    ($name:ident, $server:ty) => {
        mod $name {
            use super::*;

            told_with!($server:
                what_is_published_on_one_hub_is_received_on_every_one,
                an_id_of_one_hub_is_known_to_the_others,
                the_past_is_read_from_the_engine,
                who_stalls_in_an_event_of_the_past_gets_the_rest_of_it,
                what_is_private_stays_private,
                a_hub_that_was_killed_comes_back_and_misses_nothing,
                without_the_engine_publishers_wait_and_subscribers_stay,
                a_server_that_stands_still_is_noticed,
                a_log_that_is_another_one_ends_all_streams,
                a_log_that_lost_its_newest_events_ends_all_streams,
                subscribers_of_a_hub_that_died_are_ended_once_by_another,
                ends_that_were_announced_before_a_claimer_died_are_not_announced_again,
                who_is_subscribed_is_listed_by_every_hub,
                a_hub_that_was_taken_for_dead_announces_its_subscribers_again,
                an_engine_that_was_away_for_longer_than_a_lease_changes_nothing,
                thousands_of_subscribers_of_a_hub_that_died_are_ended_once_each,
                nobody_whose_end_was_announced_is_listed,
            );
        }
    };
    ($server:ty: $($story:ident,)*) => {
        $(
            #[test]
            fn $story() {
                stories::$story(<$server as crate::servers::Server>::start());
            }
        )*
    };
}

told_with!(redis, RedisServer);
told_with!(nats, NatsServer);
told_with!(postgres, PostgresServer);

/// A hub that is to be of a server's cluster.
fn member(server: &impl Backend) -> Launch {
    Launch::keyed().args(&["--anonymous", "--cluster", &server.url()])
}

/// Whether a hub says that it is ready, and alive.
fn health(hub: &Hub) -> [u16; 2] {
    ["/health/ready", "/health/live"].map(|path| crate::admin::ask(hub, "GET", path).status)
}

#[test]
fn a_wrong_password_is_refused_at_start_and_not_shown() {
    let server = RedisServer::with(&["--requirepass", "s3cret-of-the-server"]);
    let url = server.url();
    let with_wrong = url.replace("redis://", "redis://hub:s3cret-but-wrong@");
    let said = Launch::keyed().args(&["--anonymous", "--cluster", &with_wrong]).refused();
    assert!(said.contains("can't join the cluster at redis://hub@127.0.0.1"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    let hub = Launch::keyed()
        .args(&["--anonymous", "--cluster", &url])
        .env("CINNABAR_CLUSTER_PASSWORD", "s3cret-of-the-server")
        .start();
    hub.say("urn:a", "x");
    assert!(!hub.log().contains("s3cret") && hub.log().contains("joined the cluster"), "{}", hub.log());
}

#[test]
fn a_server_that_is_not_there_is_said_at_start() {
    let said =
        Launch::keyed().args(&["--anonymous", "--cluster", &format!("redis://127.0.0.1:{}", free_port())]).refused();
    assert!(said.contains("can't join the cluster at redis://127.0.0.1"), "{said}");
}
