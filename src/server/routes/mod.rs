//! What each request gets: which resource, which rules, which answer.

mod access;
mod console;
mod publish;
mod refusal;
mod subscribe;

use std::rc::Rc;

use crate::http::authority;
use crate::http::cors::{cors_fields, preflight_fields};
use crate::http::head::{Head, Method};
use crate::http::response::ResponseHead;
use crate::server::connection::Body;
use crate::server::shard::Context;
use crate::server::tracer::Trace;
use publish::publish;
use refusal::{not_allowed, refusal};
pub(crate) use subscribe::Stream;
use subscribe::subscribe;

/// Methods of the hub's own resource.
const HUB_METHODS: &str = "GET, HEAD, POST, OPTIONS";
/// The page at `/`.
const PAGE: &str = include_str!("../page.html");
/// What it says in development mode.
const CONSOLE_LINK: &str = "<p>See it at work in its <a href=\"/console/\">console</a>.</p>\n";

/// What a request is answered with.
pub(crate) enum Answer {
    /// A whole response.
    Response(ResponseHead),
    /// The connection becomes an event stream.
    Stream(Box<Stream>),
    /// Ready bytes, after which the connection closes.
    Raw(Vec<u8>),
}

/// Answers one request; `None`: the client is gone.
pub(crate) async fn answer(context: &Rc<Context>, head: &Head<'_>, body: &mut Body<'_>) -> Option<Answer> {
    let settings = context.settings();
    if settings.dev && head.host.is_some_and(|host| !authority::is_loopback(host)) {
        let detail = "in development mode the hub answers on localhost only; run `cinnabar serve` with --resource to serve other names";
        return Some(Answer::Response(refusal(421, detail)));
    }
    if head.path != settings.hub.path() {
        return Some(Answer::Response(elsewhere(context, head).await));
    }
    let answered = match head.method {
        Method::Get | Method::Head => {
            let mut trace = Trace::begin(context, "mercure.subscribe", head);
            let answered = subscribe(context, head, &mut trace).await;
            trace.end(context, status(&answered));
            answered
        }
        Method::Post => {
            let mut trace = Trace::begin(context, "mercure.publish", head);
            let answered = publish(context, head, body, &mut trace).await?.map(Answer::Response);
            trace.end(context, status(&answered));
            answered
        }
        Method::Options => Ok(Answer::Response(options(context, head))),
        Method::Query | Method::Other => Err(not_allowed(HUB_METHODS)),
    };
    count(context, head.method, &answered);
    let origin = head.get_str("origin");
    Some(match answered {
        Ok(Answer::Response(mut response)) | Err(mut response) => {
            if head.method != Method::Options {
                cors_fields(&settings.cors, origin, &mut response);
            }
            Answer::Response(response)
        }
        Ok(other) => other,
    })
}

fn status(answered: &Result<Answer, ResponseHead>) -> u16 {
    match answered {
        Ok(Answer::Response(response)) | Err(response) => response.status(),
        Ok(Answer::Stream(_) | Answer::Raw(_)) => 200,
    }
}

/// Counts what became of a publish, and subscriptions that are refused; those that aren't are counted as streams.
fn count(context: &Context, method: Method, answered: &Result<Answer, ResponseHead>) {
    match (method, answered) {
        (Method::Post, Ok(Answer::Response(response)) | Err(response)) => {
            context.tally.borrow_mut().publish(response.status());
        }
        (Method::Get | Method::Query, Err(response)) => {
            context.tally.borrow_mut().subscription_refused(response.status());
        }
        _ => {}
    }
}

/// Everything that isn't the hub's own resource.
async fn elsewhere(context: &Context, head: &Head<'_>) -> ResponseHead {
    if let Some(response) = console::console(context, head).await {
        return response;
    }
    match (head.path, head.method) {
        ("/", Method::Get | Method::Head) => {
            let settings = context.settings();
            let console = if settings.dev && settings.console { CONSOLE_LINK } else { "" };
            let page = PAGE.replace("{{hub}}", settings.hub.path()).replace("{{console}}", console);
            ResponseHead::new(200)
                .field("Content-Type", "text/html; charset=utf-8")
                .field("Cache-Control", "no-store")
                .body(page)
        }
        ("/", _) => not_allowed("GET, HEAD"),
        ("*", Method::Options) => ResponseHead::new(204).field("Allow", HUB_METHODS),
        _ => refusal(404, &format!("there is nothing here; the hub is at {}", context.settings().hub.path())),
    }
}

fn options(context: &Context, head: &Head<'_>) -> ResponseHead {
    let mut response = ResponseHead::new(204).field("Allow", HUB_METHODS);
    preflight_fields(&context.settings().cors, head.get_str("origin"), &mut response);
    response
}
