//! The console on the public listener: a page, its files, and what it may ask for, which is less than administrators may.

use super::not_allowed;
use super::refusal::refusal;
use crate::admin::{CONSOLE_DATA, Console, Reply};
use crate::http::head::{Head, Method};
use crate::http::response::ResponseHead;
use crate::server::admin::{Caller, Request};
use crate::server::shard::Context;

/// Where the page is; everything else is below it.
pub(super) const CONSOLE: &str = "/console/";

/// Answers a request for the console, if it is served and the request is for it.
pub(super) async fn console(context: &Context, head: &Head<'_>) -> Option<ResponseHead> {
    if !context.settings().console {
        return None;
    }
    let response = match head.path.strip_prefix(CONSOLE) {
        _ if !matches!(head.method, Method::Get | Method::Head) => {
            // Whatever is below is for looking at.
            let ours = head.path == "/console" || head.path.starts_with(CONSOLE);
            return ours.then(|| not_allowed("GET, HEAD"));
        }
        None if head.path == "/console" => ResponseHead::new(308).field("Location", CONSOLE),
        None => return None,
        Some(name) => match name.strip_prefix("api").filter(|path| path.starts_with('/')) {
            Some(path) => data(context, head, path).await,
            None => {
                let settings = context.settings();
                let console = Console { hub: settings.hub.path(), hub_origin: None, data: "api/" };
                answer(console.file(name)?)
            }
        },
    };
    Some(response.field("Cache-Control", "no-store"))
}

/// Asks the backbone. Nobody learns more here than from the admin listener, and nothing is changed.
async fn data(context: &Context, head: &Head<'_>, path: &str) -> ResponseHead {
    if !CONSOLE_DATA.contains(&path) {
        return refusal(404, "the console asks for nothing of this name");
    }
    // In development mode no token is asked for: that another site's page makes a browser send a request must not do.
    let site = head.get_str("sec-fetch-site").unwrap_or("none");
    if head.get("origin").is_some() || !matches!(site, "none" | "same-origin") {
        return refusal(403, "pages other than the console can't use this");
    }
    let text = |name: &str| head.get_str(name).map(str::to_owned);
    let request = Request {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: head.query.unwrap_or_default().to_owned(),
        authorization: text("authorization"),
        token: text("x-token"),
    };
    let caller = if context.settings().dev { Caller::Developer } else { Caller::Bearer };
    answer(context.admin.ask(caller, request).await).field("Cross-Origin-Resource-Policy", "same-origin")
}

fn answer(reply: Reply) -> ResponseHead {
    let mut response = ResponseHead::new(reply.status).field("Content-Type", reply.content_type);
    for (name, value) in reply.fields {
        response.add_field(name, value);
    }
    response.body(reply.body)
}
