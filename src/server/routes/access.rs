//! Who asks: the token a request presents, judged.

use std::sync::Arc;

use serde_json::Value;

use super::refusal::{refusal, try_later};
use crate::http::credentials::{Credentials, CredentialsError, origin_for_cookie_publish};
use crate::http::head::Head;
use crate::http::problem::{challenge, problem};
use crate::http::response::ResponseHead;
use crate::protocol::token::{Access, Role, TokenError};
use crate::server::clock;
use crate::server::shard::Context;

const DENIED: &str = "an administrator of this hub has denied this access token";

/// Judges the token a request presents, if any, and says whether it came in the cookie.
pub(super) async fn access(
    context: &Context,
    head: &Head<'_>,
    role: Role,
) -> Result<(Option<Arc<Access>>, bool), ResponseHead> {
    let settings = context.settings();
    let credentials = match settings.compat {
        None => Credentials::from_head(head, &settings.cookie_name),
        Some(_) => Credentials::from_head_compat(head, &settings.cookie_name),
    };
    let credentials = credentials.map_err(|error| {
        let challenge = challenge(Some(CredentialsError::CODE), None, None);
        refusal(error.status(), &error.to_string()).field("WWW-Authenticate", challenge)
    })?;
    let (token, by_cookie) = match &credentials {
        Credentials::None => return Ok((None, false)),
        Credentials::Header(token) => (*token, false),
        Credentials::Query(token) => (&**token, false),
        Credentials::Cookie(token) => (*token, true),
    };
    let known = || {
        let generation = context.keys.borrow().generation();
        context.verdicts.borrow_mut().get(token, role, generation, clock::wall_ms())
    };
    if let Some(access) = known() {
        context.tally.borrow_mut().verdict_hits += 1;
        return not_denied(context, head, role, access).map(|access| (Some(access), by_cookie));
    }
    context.signature_checks.pass(|| context.rouse()).await;
    // Others with the same token may have been first.
    if let Some(access) = known() {
        context.tally.borrow_mut().verdict_hits += 1;
        return not_denied(context, head, role, access).map(|access| (Some(access), by_cookie));
    }
    context.tally.borrow_mut().tokens_checked += 1;
    let keys = context.keys.borrow();
    let verdict = keys.verify(token, role, clock::wall_ms());
    match verdict {
        Ok(access) => {
            let access = context.verdicts.borrow_mut().insert(token, role, keys.generation(), access);
            not_denied(context, head, role, access).map(|access| (Some(access), by_cookie))
        }
        Err(TokenError::KeySetEmpty { .. }) => {
            Err(try_later(context, "the hub has no keys of the token's issuer at hand", 5))
        }
        Err(error) if error.may_pass() => {
            Err(try_later(context, "the hub holds as many regular expressions as it may", 5))
        }
        Err(error) => Err(invalid_token(context, role, &error.to_string())),
    }
}

/// Whoever is on the deny list goes no further: a stream is answered 204, after which `EventSource` doesn't come back.
fn not_denied(
    context: &Context,
    head: &Head<'_>,
    role: Role,
    access: Arc<Access>,
) -> Result<Arc<Access>, ResponseHead> {
    if !context.denies(&access) {
        return Ok(access);
    }
    Err(match role {
        Role::Subscriber if head.path == context.settings().hub.path() => ResponseHead::new(204),
        Role::Subscriber | Role::Publisher => refusal(403, DENIED),
    })
}

/// Judges once more by what may have changed while the rest of the request came: time, keys, the deny list.
pub(super) fn still_good(context: &Context, access: &Access) -> Result<(), ResponseHead> {
    if context.denies(access) {
        return Err(refusal(403, DENIED));
    }
    if !access.valid_at(clock::wall_ms()) {
        return Err(invalid_token(context, Role::Publisher, "it expired while the body of the request was on its way"));
    }
    if !context.keys.borrow().has(access.key) {
        return Err(invalid_token(
            context,
            Role::Publisher,
            "its key was withdrawn while the body of the request came",
        ));
    }
    Ok(())
}

/// The answer to an invalid token says nothing but a reference; the rule is in the log under it (design §9).
fn invalid_token(context: &Context, role: Role, rule: &str) -> ResponseHead {
    context.tally.borrow_mut().tokens_refused += 1;
    let reference = format!("{:016x}", context.random());
    if let Some(left_out) = context.refused_tokens.take(context.now().mono_ms) {
        tracing::info!(%reference, ?role, rule, left_out, "an access token was refused");
    }
    let mut extra = vec![("reference", Value::from(reference))];
    if context.settings().dev {
        extra.push(("rule", Value::from(rule)));
    }
    let detail = "the access token is not valid; the hub's log says why, under this reference";
    problem(401, "Unauthorized", detail, &extra).field("WWW-Authenticate", challenge(Some("invalid_token"), None, None))
}

/// A publish by cookie must come from a listed origin: any page can make a browser send the cookie along (protocol §6).
pub(super) fn check_origin(context: &Context, head: &Head<'_>) -> Result<(), ResponseHead> {
    let detail = match origin_for_cookie_publish(head) {
        Some(origin) if context.settings().publish_origins.allows(&origin) => return Ok(()),
        // It can't be listed: every sandboxed page and local file has it, whoever wrote it.
        Some(origin) if origin == "null" => {
            "a page without an origin of its own (`Origin: null`), such as a sandboxed \
            frame or a local file, can't publish with a cookie; send the token in an Authorization field"
                .to_owned()
        }
        Some(origin) => format!("the origin {origin:?} may not publish with a cookie; list it with --publish-origin"),
        None => "a publish with a cookie needs an Origin or Referer field".to_owned(),
    };
    Err(refusal(400, &detail).field("WWW-Authenticate", challenge(Some(CredentialsError::CODE), None, None)))
}
