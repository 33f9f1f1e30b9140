//! What a request is refused with: problem details, and the challenge of RFC 6750 where a token would help.

use crate::http::problem::{challenge, problem};
use crate::http::response::{ResponseHead, reason};

pub(super) fn token_needed(detail: &str) -> ResponseHead {
    refusal(401, detail).field("WWW-Authenticate", challenge(None, None, None))
}

pub(super) fn insufficient(detail: &str) -> ResponseHead {
    refusal(403, detail).field("WWW-Authenticate", challenge(Some("insufficient_scope"), None, None))
}

pub(super) fn not_allowed(methods: &'static str) -> ResponseHead {
    refusal(405, &format!("this resource has the methods {methods}")).field("Allow", methods)
}

pub(super) fn try_later(status: u16, detail: &str, seconds: u32) -> ResponseHead {
    refusal(status, detail).field("Retry-After", seconds.to_string())
}

pub(super) fn refusal(status: u16, detail: &str) -> ResponseHead {
    problem(status, reason(status), detail, &[])
}
