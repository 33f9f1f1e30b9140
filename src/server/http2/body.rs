//! The body of a request that comes in frames: read as it comes, and its window opened again for what was read.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use super::session::Session;
use crate::http::body::BodyError;
use crate::http::head::{BodyFraming, Head};
use crate::server::connection::{Account, BodyBytes, BodyFailure, Counted};
use crate::server::shard::Context;

/// How long the rest of a body is waited for that nobody wants, and bytes of it that are taken.
const DISCARD_MS: u64 = 1_000;
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// See the module.
pub(crate) struct FramedBody {
    context: Rc<Context>,
    session: Rc<Session>,
    incoming: RecvStream,
    respond: SendResponse<Bytes>,
    framing: BodyFraming,
    expect_continue: bool,
    bytes_max: usize,
    read_us: u64,
    /// Nothing more of it is waited for.
    over: bool,
}

impl FramedBody {
    pub(super) fn new(
        context: &Rc<Context>,
        session: &Rc<Session>,
        head: &Head<'_>,
        bytes_max: usize,
        incoming: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> FramedBody {
        FramedBody {
            context: context.clone(),
            session: session.clone(),
            incoming,
            respond,
            framing: head.body,
            expect_continue: head.expect_continue,
            bytes_max,
            read_us: context.clock.mono_us(),
            over: false,
        }
    }

    /// What is left of it: the way to answer.
    pub(super) fn into_respond(self) -> SendResponse<Bytes> {
        self.respond
    }

    pub(crate) fn read_us(&self) -> u64 {
        self.read_us
    }

    /// Throws away what nobody read, as far as it is short and on its way: so a message that isn't well-formed to its end is none, and
    /// a client isn't told to stop in the middle of it. False: it isn't, or the client is gone.
    pub(super) async fn discard(&mut self) -> bool {
        let deadline_ms = self.context.clock.mono_ms() + DISCARD_MS;
        let id = self.incoming.stream_id().as_u32();
        let mut discarded = 0;
        while !std::mem::replace(&mut self.over, discarded >= DISCARDED_BYTES_MAX) {
            let incoming = &mut self.incoming;
            let piece = poll_fn(|cx| incoming.poll_data(cx));
            match self.session.within(&self.context, id, deadline_ms, piece).await {
                None => return true,
                Some(Some(Err(_))) => return false,
                Some(Some(Ok(piece))) => {
                    discarded += piece.len();
                    let _ = self.incoming.flow_control().release_capacity(piece.len());
                }
                Some(None) => {
                    self.over = true;
                    let incoming = &mut self.incoming;
                    let trailers = poll_fn(|cx| incoming.poll_trailers(cx));
                    let trailers = self.session.within(&self.context, id, deadline_ms, trailers).await;
                    return !matches!(trailers, Some(Err(_)));
                }
            }
        }
        true
    }

    /// Reads the whole body.
    pub(crate) async fn read(&mut self, account: Account) -> Result<BodyBytes, BodyFailure> {
        self.over = true;
        let too_large = BodyFailure::Refused(BodyError::TooLarge { bytes_max: self.bytes_max as u64 });
        let counted = Counted::new(account.total(&self.context).clone());
        let mut body = BodyBytes { bytes: Vec::new(), counted, waited: false };
        match self.framing {
            BodyFraming::None => return Ok(body),
            BodyFraming::Length(length) if length > self.bytes_max as u64 => return Err(too_large),
            _ => {}
        }
        if std::mem::take(&mut self.expect_continue) {
            let proceed = http::Response::builder().status(100).body(()).expect("100 is a status");
            // Whoever is gone is noticed by what follows.
            let _ = self.respond.send_informational(proceed);
        }
        let deadline_ms = self.context.clock.mono_ms() + self.context.settings().body_timeout_ms;
        let id = self.incoming.stream_id().as_u32();
        loop {
            let (incoming, waited) = (&mut self.incoming, &mut body.waited);
            let piece = poll_fn(|cx| {
                let polled = incoming.poll_data(cx);
                *waited |= polled.is_pending();
                polled
            });
            let piece = self.session.within(&self.context, id, deadline_ms, piece).await;
            match piece.ok_or(BodyFailure::TooSlow)? {
                None => break,
                Some(Err(_)) => return Err(BodyFailure::Gone),
                Some(Ok(piece)) => {
                    let _ = self.incoming.flow_control().release_capacity(piece.len());
                    if body.bytes.len() + piece.len() > self.bytes_max {
                        return Err(too_large);
                    }
                    body.bytes.extend_from_slice(&piece);
                    body.counted.set(body.bytes.len());
                    self.context.count_pipelined(piece.len());
                    if account.is_overdrawn(&self.context) {
                        return Err(BodyFailure::Busy);
                    }
                }
            }
        }
        self.read_us = self.context.clock.mono_us();
        Ok(body)
    }
}
