//! Reading a form into memory: of a publish, or of a subscription by QUERY.

use super::fields::ACCEPT_QUERY;
use super::refusal::{refusal, try_later};
use crate::http::form;
use crate::http::head::Head;
use crate::http::response::ResponseHead;
use crate::server::connection::{Account, Body, BodyBytes, BodyFailure};
use crate::server::shard::Context;

/// The body, on an account. `None`: the client is gone.
pub(super) async fn read(
    context: &Context,
    body: &mut Body<'_, '_>,
    account: Account,
) -> Option<Result<BodyBytes, ResponseHead>> {
    Some(match body.read(account).await {
        Ok(body) => Ok(body),
        Err(BodyFailure::Gone) => return None,
        Err(BodyFailure::Refused(error)) => Err(refusal(error.status(), &error.to_string())),
        Err(BodyFailure::TooSlow) => Err(refusal(408, "the body of the request took too long to arrive")),
        Err(BodyFailure::Busy) => Err(try_later(context, "too many request bodies are being received", 1)),
    })
}

/// The form of a QUERY, which comes before everything else is judged (protocol §4). `None`: the client is gone.
pub(super) async fn of_query(
    context: &Context,
    head: &Head<'_>,
    body: &mut Body<'_, '_>,
) -> Option<Result<BodyBytes, ResponseHead>> {
    if head.get("content-type").is_none() {
        let detail = format!("a QUERY must say what its body is: add `Content-Type: {ACCEPT_QUERY}`");
        return Some(Err(refusal(400, &detail)));
    }
    if let Err(error) = form::check(head) {
        return Some(Err(refusal(error.status(), &error.to_string()).field("Accept-Query", ACCEPT_QUERY)));
    }
    read(context, body, Account::Queries).await
}
