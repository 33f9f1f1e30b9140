//! The fields that stand on all of the hub's own answers, streams and refusals alike.

use crate::http::cors::{cors_fields, preflight_fields};
use crate::http::head::{Head, Method};
use crate::http::problem::point_to_metadata;
use crate::http::response::ResponseHead;
use crate::server::settings::Settings;

/// Methods of the hub's own resource.
pub(super) const HUB_METHODS: &str = "GET, HEAD, POST, QUERY, OPTIONS";
/// Methods of what can only be read.
pub(super) const READ_METHODS: &str = "GET, HEAD, OPTIONS";
/// What a QUERY may have as its body.
pub(super) const ACCEPT_QUERY: &str = "application/x-www-form-urlencoded";

/// Adds the fields of an answer of the hub's own resource: the way to the hub, what the answer depends on, who may read it.
pub(super) fn hub_fields(settings: &Settings, head: &Head<'_>, out: &mut ResponseHead) {
    out.add_field("Link", &settings.discovery.link);
    let vary = match settings.codings.is_empty() {
        true => "Accept, Authorization, Cookie",
        false => "Accept, Accept-Encoding, Authorization, Cookie",
    };
    match head.method {
        // Kept by no cache as they are; this is for those that keep what they shouldn't.
        Method::Get | Method::Query => out.add_field("Vary", vary),
        Method::Head => {
            out.add_field("Vary", vary);
            out.add_field("Accept-Query", ACCEPT_QUERY);
        }
        Method::Options => out.add_field("Accept-Query", ACCEPT_QUERY),
        Method::Post | Method::Other => {}
    }
    if head.method != Method::Options {
        cors_fields(&settings.cors, head.get_str("origin"), out);
    }
}

/// Adds all that belongs on an answer of the hub's own resource that isn't a stream: [`hub_fields`] and the way to the metadata.
pub(super) fn complete(settings: &Settings, head: &Head<'_>, out: &mut ResponseHead) {
    hub_fields(settings, head, out);
    if let Some(metadata) = &settings.discovery.metadata {
        point_to_metadata(out, &metadata.url);
    }
}

/// The answer to OPTIONS of a resource with these methods, preflight or not.
pub(super) fn options(settings: &Settings, head: &Head<'_>, methods: &'static str) -> ResponseHead {
    let mut response = ResponseHead::new(204).field("Allow", methods);
    preflight_fields(&settings.cors, head.get_str("origin"), &mut response);
    response
}
