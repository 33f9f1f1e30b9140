//! What a request is refused with: problem details, and the challenge of RFC 6750 where a token would help.

use crate::http::problem::{challenge, problem};
use crate::http::response::{ResponseHead, reason};
use crate::server::shard::Context;

/// By how many times the shortest wait the longest one differs from it.
const RETRY_SPREAD: u32 = 4;

pub(super) fn token_needed(detail: &str) -> ResponseHead {
    refusal(401, detail).field("WWW-Authenticate", challenge(None, None, None))
}

pub(super) fn insufficient(detail: &str) -> ResponseHead {
    refusal(403, detail).field("WWW-Authenticate", challenge(Some("insufficient_scope"), None, None))
}

pub(super) fn not_allowed(methods: &'static str) -> ResponseHead {
    refusal(405, &format!("this resource has the methods {methods}")).field("Allow", methods)
}

/// 503, to be tried again after so many seconds at least: different ones for clients that are refused together.
pub(super) fn try_later(context: &Context, detail: &str, least_s: u32) -> ResponseHead {
    let seconds = context.retry_after((least_s, least_s * RETRY_SPREAD));
    refusal(503, detail).field("Retry-After", seconds.to_string())
}

pub(super) fn refusal(status: u16, detail: &str) -> ResponseHead {
    problem(status, reason(status), detail, &[])
}
