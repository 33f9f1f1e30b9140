//! The beginning of a connection with TLS: a handshake, within the time that the first request's head has.
//!
//! What costs – the flight in which the hub signs – waits at a turnstile of the shard, so that a flood of handshakes leaves turns
//! to the streams. What a client sends bit by bit isn't looked at before a message, later a record, is whole.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

use rustls::{Error, ServerConfig};

use super::End;
use super::input::Input;
use super::wire::Wire;
use crate::admin::HandshakeFailure;
use crate::http::head::Version;
use crate::http::problem::problem;
use crate::server::acme::ACME_TLS;
use crate::server::shard::Context;
use crate::server::sys;
use crate::server::tls::{FirstMessage, HTTP2, Look, Session, next_record, whole_records};

/// The first byte of a connection with TLS: a message of a handshake.
const HANDSHAKE: u8 = 22;

/// What the library says when nothing is shown to a client; it has no error of its own for that.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";

/// Makes the connection private. What was read of it already, behind a PROXY protocol header, is the beginning of that.
pub(super) async fn shake(context: &Rc<Context>, wire: &mut Wire<'_>, config: Arc<ServerConfig>) -> Result<(), End> {
    // Until its turn comes a client has cost no more than the bytes it sent.
    let mut first = FirstMessage::default();
    loop {
        match first.look(wire.input.unused()) {
            Look::Whole => break,
            Look::Broken => return Err(failed(context, HandshakeFailure::Protocol, End::Gone)),
            Look::Partial => {}
        }
        let bytes = more(context, wire).await?;
        wire.input.add(&bytes);
        wire.spare = bytes;
    }
    wire.spare = Vec::new();
    if wire.input.unused().first().is_some_and(u8::is_ascii_uppercase) {
        let detail = "this port speaks TLS: use a URL that begins with https://";
        let answer = problem(400, "Bad Request", detail, &[]);
        answer.encode(Version::Http11, false, false, &context.date(), &mut wire.output);
        return Err(failed(context, HandshakeFailure::Plain, End::Close));
    }
    context.handshakes.pass(|| context.rouse()).await;
    // Boxed from the beginning: every connection's task has room for what lies in it, with TLS or without.
    let Ok(mut session) = Session::new(config).map(Box::new) else {
        return Err(failed(context, HandshakeFailure::Protocol, End::Gone));
    };
    session.add(wire.input.unused());
    wire.input = Input::default();
    let is_answered = loop {
        let mut out = Vec::new();
        let processed = session.process(wire.input.buffer(), &mut out);
        if processed.is_ok() {
            out = session.keep_tickets(out);
        }
        let is_answered = !out.is_empty();
        if is_answered {
            wire.send(out).await.map_err(|_| failed(context, HandshakeFailure::Gone, End::Gone))?;
        }
        if let Err(error) = processed {
            let reason = reason(&error);
            if reason == HandshakeFailure::NoCertificate
                && let Some(left_out) = context.uncertified.take(context.now().mono_ms)
            {
                tracing::warn!(
                    left_out,
                    "a handshake failed: there is no certificate yet for the name that was asked for"
                );
            }
            return Err(failed(context, reason, End::Close));
        }
        if !session.is_handshaking() {
            break is_answered;
        }
        // All there was has been made something of, so more has to come, whatever is left of it.
        let left = whole_records(session.incoming());
        loop {
            let bytes = more(context, wire).await?;
            session.add(&bytes);
            wire.spare = bytes;
            match next_record(&session.incoming()[left..]) {
                Look::Whole => break,
                Look::Broken => return Err(failed(context, HandshakeFailure::Protocol, End::Gone)),
                Look::Partial => {}
            }
        }
        if session.incoming().get(left) == Some(&HANDSHAKE) {
            context.handshakes.pass(|| context.rouse()).await;
        }
    };
    if session.protocol() == Some(ACME_TLS) {
        // An authority has seen what it wanted to see (RFC 8737 §3).
        return Err(End::Close);
    }
    if !is_answered && wire.input.unused().is_empty() && session.protocol() != Some(HTTP2) {
        // Nothing was sent that would acknowledge the client's last message, and a client that collects what it writes (Nagle) has
        // its request wait for that. Over HTTP/2 the hub speaks first.
        sys::acknowledge(wire.stream.as_raw_fd());
    }
    let resumed = session.was_resumed().unwrap_or_default();
    context.tally.borrow_mut().tls.handshakes[usize::from(resumed)] += 1;
    wire.tls = Some(session);
    Ok(())
}

/// Some more of what the client says.
async fn more(context: &Context, wire: &mut Wire<'_>) -> Result<Vec<u8>, End> {
    match wire.fill().await {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ if wire.registered.timed_out() => Err(failed(context, HandshakeFailure::Slow, End::Gone)),
        _ => Err(failed(context, HandshakeFailure::Gone, End::Gone)),
    }
}

fn failed(context: &Context, reason: HandshakeFailure, end: End) -> End {
    context.tally.borrow_mut().tls.failures[reason as usize] += 1;
    end
}

fn reason(error: &Error) -> HandshakeFailure {
    match error {
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => HandshakeFailure::Incompatible,
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        Error::General(why) if why == NO_CERTIFICATE => HandshakeFailure::NoCertificate,
        _ => HandshakeFailure::Protocol,
    }
}
