//! Where a shard asks whether a client may, and what one that may not is told.

use serde_json::Value;

use super::counts::Hold;
use super::rate::Taken;
use super::{Client, LimitSettings};
use crate::admin::Limit;
use crate::http::problem::problem;
use crate::http::response::{ResponseHead, reason};
use crate::protocol::token::Access;
use crate::server::shard::Context;

/// Seconds to wait when an address or a subject has too much, and by how many more the answers differ at most: clients that
/// are refused together must not come back together.
const OWN_RETRY_S: (u32, u32) = (5, 10);
/// The same when the hub has too much.
const HUB_RETRY_S: (u32, u32) = (5, 25);
/// Characters of an issuer or a subject in a line of the log.
const LOGGED_CHARS_MAX: usize = 100;

impl Context {
    /// Counts a connection, or a request that a proxy passes on, towards its client's address, until the hold is dropped.
    pub(crate) fn hold_address(&self, client: Client, settings: &LimitSettings) -> Result<Option<Hold>, ResponseHead> {
        let Some(max) = settings.per_address.filter(|_| !client.trusted) else {
            return Ok(None);
        };
        if let Some(hold) = Hold::take(&self.shared.limits.addresses, client.key(), max) {
            return Ok(Some(hold));
        }
        if let Some(left_out) = self.count_limited(Limit::Address) {
            tracing::info!(address = %client.address, max, left_out, "an address has too many connections");
        }
        let detail = format!(
            "your address has {max} connections to this hub, as many as it may: close some, or come back when others have \
             ended; the operator can raise --max-connections-per-address, or name a proxy with --trusted-proxy"
        );
        Err(self.too_many(Limit::Address, &detail, self.retry_after(OWN_RETRY_S)))
    }

    /// Counts a stream towards its token's subject, until the hold is dropped.
    pub(crate) fn hold_subject(&self, access: Option<&Access>) -> Result<Option<Hold>, ResponseHead> {
        let settings = self.settings();
        let (Some(max), Some(access)) = (settings.limits.per_subject, access.filter(|access| access.subject.is_some()))
        else {
            return Ok(None);
        };
        let limits = &self.shared.limits;
        if let Some(hold) = Hold::take(&limits.subjects, limits.bearers.key(access), max) {
            return Ok(Some(hold));
        }
        if let Some(left_out) = self.count_limited(Limit::Subject) {
            let (issuer, subject) = bearer(access);
            tracing::info!(issuer, subject, max, left_out, "a subject has too many streams");
        }
        let detail = format!(
            "the subject of this access token has {max} streams, as many as it may: end one, or come back when others have \
             ended; the operator can raise --max-streams-per-subject"
        );
        Err(self.too_many(Limit::Subject, &detail, self.retry_after(OWN_RETRY_S)))
    }

    /// Takes a publish from what its publisher may in this time.
    pub(crate) fn take_publish(&self, access: &Access) -> Result<(), ResponseHead> {
        let settings = self.settings();
        let Some((rate, text)) = &settings.limits.publishes else {
            return Ok(());
        };
        let limits = &self.shared.limits;
        let Err(wait_ns) = limits.publishers.take(limits.bearers.key(access), *rate, self.clock.mono_us() * 1000)
        else {
            return Ok(());
        };
        if let Some(left_out) = self.count_limited(Limit::PublishRate) {
            let (issuer, subject) = bearer(access);
            tracing::info!(issuer, subject, rate = text, left_out, "a publisher is too fast");
        }
        let wait_s = u32::try_from(wait_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1);
        let detail = format!(
            "this publisher is faster than the {text} that it may: send the update again after the time in Retry-After; the \
             operator can raise --publish-rate, or --publish-burst"
        );
        Err(self.too_many(Limit::PublishRate, &detail, self.retry_after((wait_s, wait_s))))
    }

    /// Whether there is memory for one more stream.
    pub(crate) fn memory_for_more(&self) -> Result<(), ResponseHead> {
        if !self.shared.limits.ceiling.is_near() {
            return Ok(());
        }
        // One line says when it begins, and one when it ends.
        self.tally.borrow_mut().limited[Limit::Memory as usize] += 1;
        let detail = "the hub has no memory for more subscribers; come back after the time in Retry-After";
        Err(refused(503, Limit::Memory, detail, self.retry_after(HUB_RETRY_S)))
    }

    /// The answer to a connection that is one too many for the hub.
    pub(crate) fn full(&self) -> ResponseHead {
        if let Some(left_out) = self.count_limited(Limit::Connections) {
            let connections_max = self.connections_max();
            tracing::warn!(connections_max, left_out, "connections are refused: there are as many as there may be");
        }
        let detail = "this hub has as many connections as it may; come back after the time in Retry-After";
        refused(503, Limit::Connections, detail, self.retry_after(HUB_RETRY_S))
    }

    /// Takes a connection from what may be accepted in this time. `None`: the connection waits in the kernel's queue, as an
    /// answer would cost as much as what it is there to save, and the client would try again.
    pub(crate) fn take_accept(&self, settings: &LimitSettings) -> Option<Taken> {
        let Some(rate) = settings.accepts else {
            return Some(Taken::default());
        };
        let now_ns = self.clock.mono_us() * 1000;
        self.shared.limits.accepts.take(&self.accepted, rate, self.shards() as u32, now_ns)
    }

    /// There was no connection after all.
    pub(crate) fn give_back_accept(&self, taken: Taken) {
        self.shared.limits.accepts.give_back(&self.accepted, taken);
    }

    /// Counts a client that is turned away. What is left out of the log if it may be said there.
    pub(crate) fn count_limited(&self, limit: Limit) -> Option<Option<u64>> {
        self.tally.borrow_mut().limited[limit as usize] += 1;
        self.limited.take(self.now().mono_ms)
    }

    fn too_many(&self, limit: Limit, detail: &str, retry_after_s: u32) -> ResponseHead {
        refused(429, limit, detail, retry_after_s)
    }

    /// Seconds after which a client that is refused may come back: so many at least, and by how many more they differ at most.
    pub(crate) fn retry_after(&self, (least_s, spread_s): (u32, u32)) -> u32 {
        least_s.saturating_add((self.random() % (u64::from(spread_s) + 1)) as u32)
    }
}

/// 429 (RFC 6585 §4) or 503, with the limit's word for programs and a sentence for people.
fn refused(status: u16, limit: Limit, detail: &str, retry_after_s: u32) -> ResponseHead {
    problem(status, reason(status), detail, &[("limit", Value::from(limit.name()))])
        .field("Retry-After", retry_after_s.to_string())
}

/// Issuer and subject, as far as a line of the log has room.
fn bearer(access: &Access) -> (String, String) {
    let shown = |text: &str| text.chars().take(LOGGED_CHARS_MAX).collect();
    (shown(&access.issuer), shown(access.subject.as_deref().unwrap_or_default()))
}
