//! What a proxy says before its client's first byte: the PROXY protocol header.
//!
//! Where `--proxy-protocol` is on, every connection of a trusted proxy has to begin with one, as the protocol demands of who
//! receives it: were it optional, a client could send one of its own through a proxy that sends none. Connections of others
//! are read as requests, in which a header is a mistake.

use std::rc::Rc;

use super::End;
use super::wire::{Introduction, Wire};
use crate::admin::Limit;
use crate::http::head::Version;
use crate::http::problem::problem;
use crate::http::proxy_header::{self, HeaderStatus, ProxyHeaderError};
use crate::server::limits::Client;
use crate::server::shard::Context;

/// Reads the header, within the time that the first request's head has, and counts the connection towards the address it
/// names. Where it names nobody the proxy stays the peer, whose fields about its clients aren't believed on this connection.
pub(super) async fn read(context: &Rc<Context>, wire: &mut Wire<'_>) -> Result<(), End> {
    let client = loop {
        match proxy_header::parse(wire.input.unused()) {
            Ok(HeaderStatus::Complete { len, client }) => {
                wire.input.take(len);
                break client;
            }
            Ok(HeaderStatus::Partial) => {
                if wire.read().await? == 0 {
                    return Err(End::Gone);
                }
            }
            Err(error) => return Err(refuse(context, wire, error)),
        }
    };
    let Some(address) = client else {
        // Somebody the proxy has no address of: what the request says about that is the client's own word.
        wire.introduction = Introduction::Nameless;
        wire.peer.trusted = false;
        wire.client = wire.peer;
        return Ok(());
    };
    wire.introduction = Introduction::Named;
    let settings = context.settings();
    wire.peer = Client::new(address, &settings.limits);
    wire.client = wire.peer;
    match context.hold_address(wire.peer, &settings.limits) {
        Ok(held) => wire.held = held,
        Err(answer) => {
            answer.encode(Version::Http11, false, false, &context.date(), &mut wire.output);
            return Err(End::Close);
        }
    }
    Ok(())
}

fn refuse(context: &Context, wire: &mut Wire, error: ProxyHeaderError) -> End {
    if let Some(left_out) = context.count_limited(Limit::ProxyHeader) {
        tracing::warn!(
            proxy = %wire.peer.address,
            %error,
            left_out,
            "a trusted proxy's connection is refused: have it send the PROXY protocol, or leave --proxy-protocol out"
        );
    }
    let detail = format!("{error}; this hub expects one from its trusted proxies");
    let answer = problem(400, "Bad Request", &detail, &[]);
    answer.encode(Version::Http11, false, false, &context.date(), &mut wire.output);
    End::Close
}
