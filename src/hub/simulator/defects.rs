//! Proof of the simulator: a defect planted in the hub is found, under the name of the invariant it breaks.

use super::{attempt, isolation, play};
use crate::hub::defect::{Defect, plant};

/// Seeds within which a defect has to be found.
const SEEDS: u64 = 300;

fn is_found(defect: Defect, invariant: &str, play: impl Fn(u64)) {
    let planted = plant(defect);
    let found = (0..SEEDS).find_map(|seed| Some((seed, attempt(|| play(seed)).err()?)));
    drop(planted);
    let (seed, broken) = found.unwrap_or_else(|| panic!("{defect:?} was not found in {SEEDS} seeds"));
    println!("{defect:?} was found by seed {seed}: {broken}");
    assert!(broken.starts_with(invariant), "{defect:?} breaks the invariant {invariant}, seed {seed} says: {broken}");
}

fn any_world(seed: u64) {
    play(seed);
}

#[test]
fn order_is_watched_for_events_that_come_again() {
    is_found(Defect::Repeats, "order", any_world);
}

#[test]
fn complete_is_watched_for_a_member_passed_over() {
    is_found(Defect::SkipsMember, "complete", any_world);
}

#[test]
fn complete_is_watched_for_an_event_lost_at_a_full_socket() {
    is_found(Defect::DropsWhenBehind, "complete", any_world);
}

#[test]
fn complete_is_watched_for_a_lost_wake_up() {
    is_found(Defect::LosesWakeUp, "complete", any_world);
}

#[test]
fn complete_is_watched_for_a_subscription_that_never_ends() {
    is_found(Defect::LeavesGhosts, "complete", any_world);
}

#[test]
fn complete_is_watched_for_a_reader_told_twice_what_is_gone() {
    is_found(Defect::ForgetsTold, "complete", any_world);
}

#[test]
fn complete_is_watched_for_a_stream_that_goes_on_in_other_bytes() {
    is_found(Defect::MistakesFrame, "complete", any_world);
}

#[test]
fn private_is_watched_on_replay_from_the_tail() {
    is_found(Defect::ReplaysPrivate, "private", any_world);
}

#[test]
fn private_is_watched_on_replay_from_history() {
    is_found(Defect::ReadsPrivate, "private", any_world);
}

#[test]
fn acked_is_watched_for_answers_before_history_has_the_event() {
    is_found(Defect::AnswersEarly, "acked", any_world);
}

#[test]
fn visible_is_watched_for_events_shown_before_history_has_them() {
    is_found(Defect::ShowsEarly, "visible", any_world);
}

#[test]
fn bounded_is_watched_for_a_tail_that_grows() {
    is_found(Defect::NeverTrims, "bounded", any_world);
}

#[test]
fn bounded_is_watched_for_places_that_are_not_given_back() {
    is_found(Defect::KeepsTurn, "bounded", any_world);
}

#[test]
fn isolated_is_watched_for_a_small_audience_behind_a_broadcast() {
    is_found(Defect::OldestOnly, "isolated", isolation::ten_readers_behind_a_broadcast);
}

#[test]
fn isolated_is_watched_for_a_broadcast_starved_by_small_events() {
    is_found(Defect::SmallestOnly, "isolated", isolation::a_broadcast_in_a_flood);
}

#[test]
fn isolated_is_watched_for_stalled_clients_that_cost_slices() {
    is_found(Defect::SpinsOnBlocked, "isolated", isolation::stalled_clients_in_a_crowd);
}

#[test]
fn expiry_is_watched_for_tokens_that_ended() {
    is_found(Defect::IgnoresExpiry, "expiry", any_world);
}

#[test]
fn revoked_is_watched_for_streams_whose_key_was_withdrawn() {
    is_found(Defect::SparesRevoked, "revoked", any_world);
}

#[test]
fn revoked_is_watched_for_requests_let_in_before_and_registered_after() {
    is_found(Defect::AdmitsRevoked, "revoked", any_world);
}
