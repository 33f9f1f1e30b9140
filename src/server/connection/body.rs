//! The body of a request: read as it comes, and counted towards what bodies may take as long as it is in memory.

use std::cell::Cell;
use std::rc::Rc;

use super::wire::Wire;
use crate::http::body::{BodyDecoder, BodyError};
use crate::http::response::CONTINUE;
use crate::server::guests::Phase;
use crate::server::http2::FramedBody;
use crate::server::shard::Context;

/// Bytes of a buffer that is kept for the next body.
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the form of a QUERY: room for as many matchers as a subscription may have, each as long as it may be.
pub(crate) const QUERY_BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of such forms in memory on one shard at most.
const QUERY_BODIES_BYTES_MAX: usize = 16 << 20;

/// The body of the request at hand.
pub(crate) enum Body<'w, 'c> {
    /// Of HTTP/1.
    Text(TextBody<'w, 'c>),
    /// Of HTTP/2.
    Frames(FramedBody),
}

/// A body that follows its head in the input of a connection.
pub(crate) struct TextBody<'w, 'c> {
    context: Rc<Context>,
    decoder: BodyDecoder,
    expect_continue: bool,
    wire: &'w mut Wire<'c>,
}

/// Bytes of a request body, or of what was made of it, that count as memory of the shard while this lives.
pub(crate) struct Counted {
    total: Rc<Cell<usize>>,
    bytes: usize,
}

impl Counted {
    pub(crate) fn new(total: Rc<Cell<usize>>) -> Counted {
        Counted { total, bytes: 0 }
    }

    /// From now on it is this many.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.total.set(self.total.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The buffer of a shard for bodies of publishes that are there at once: empty, and of a usual size.
#[derive(Default)]
pub(crate) struct SpareBody(Cell<Vec<u8>>);

impl SpareBody {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }

    /// Keeps the buffer, not what is in it.
    fn keep(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.0.set(bytes);
        }
    }
}

/// What a body counts towards while it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The bodies of publishes.
    Publishes,
    /// The forms of QUERY.
    Queries,
}

impl Account {
    pub(crate) fn total(self, context: &Context) -> &Rc<Cell<usize>> {
        match self {
            Account::Publishes => &context.body_bytes,
            Account::Queries => &context.query_bytes,
        }
    }

    pub(crate) fn is_overdrawn(self, context: &Context) -> bool {
        let bytes_max = match self {
            Account::Publishes => context.settings().bodies_bytes_max,
            Account::Queries => QUERY_BODIES_BYTES_MAX,
        };
        self.total(context).get() > bytes_max
    }
}

/// A body in memory.
pub(crate) struct BodyBytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) counted: Counted,
    /// It wasn't there yet when the head was judged.
    pub(crate) waited: bool,
}

/// Why there is no body.
pub(crate) enum BodyFailure {
    /// The body is wrong; the answer's status and sentence.
    Refused(BodyError),
    /// It took too long.
    TooSlow,
    /// Too many bodies are in memory.
    Busy,
    /// The client is gone.
    Gone,
}

impl BodyBytes {
    /// Done with the bytes.
    pub(crate) fn finish(self, context: &Context) -> Counted {
        context.spare_body.keep(self.bytes);
        self.counted
    }
}

impl<'w, 'c> Body<'w, 'c> {
    pub(super) fn of_text(
        context: &Rc<Context>,
        decoder: BodyDecoder,
        expect_continue: bool,
        wire: &'w mut Wire<'c>,
    ) -> Body<'w, 'c> {
        Body::Text(TextBody { context: context.clone(), decoder, expect_continue, wire })
    }

    /// Reads the whole body.
    pub(crate) async fn read(&mut self, account: Account) -> Result<BodyBytes, BodyFailure> {
        match self {
            Body::Text(body) => body.read(account).await,
            // Boxed: it is no part of what waits for the others.
            Body::Frames(body) => Box::pin(body.read(account)).await,
        }
    }

    /// When the last of it was read, microseconds of the hub's clock.
    pub(crate) fn read_us(&self) -> u64 {
        match self {
            Body::Text(body) => body.wire.read_us,
            Body::Frames(body) => body.read_us(),
        }
    }

    /// Writes what is owed for earlier requests, before this one has to wait. False: the client is gone.
    pub(crate) async fn answer_earlier(&mut self) -> bool {
        match self {
            Body::Text(body) => body.wire.flush().await.is_ok(),
            // Nobody waits for another one's answer.
            Body::Frames(_) => true,
        }
    }

    /// Throws away what has arrived of a body nobody read. Whether that was all of it, so that the next request can be
    /// told from the rest.
    pub(super) fn skip(&mut self) -> bool {
        match self {
            Body::Text(body) => body.skip(),
            Body::Frames(_) => true,
        }
    }
}

impl TextBody<'_, '_> {
    async fn read(&mut self, account: Account) -> Result<BodyBytes, BodyFailure> {
        let counted = Counted::new(account.total(&self.context).clone());
        let mut body = BodyBytes { bytes: Vec::new(), counted, waited: false };
        let is_publish = account == Account::Publishes;
        if is_publish {
            body.bytes = self.context.spare_body.take();
        }
        let decoded = self.decode(&mut body, account);
        if is_publish && (!self.decoder.is_done() || decoded.is_err()) {
            // Whoever waits has memory of its own, as much as counts.
            let spare = std::mem::take(&mut body.bytes);
            body.bytes = spare.as_slice().to_vec();
            self.context.spare_body.keep(spare);
        }
        decoded?;
        if !self.decoder.is_done() {
            body.waited = true;
            if std::mem::take(&mut self.expect_continue) {
                self.wire.settle().await;
                self.wire.output.extend_from_slice(CONTINUE);
            }
            self.wire.flush().await.map_err(|_| BodyFailure::Gone)?;
            self.wire.registered.enter(Phase::Body);
        }
        while !self.decoder.is_done() {
            self.wire.shrink();
            match self.wire.read().await {
                Ok(0) if self.wire.registered.timed_out() => return Err(BodyFailure::TooSlow),
                Ok(0) | Err(_) => return Err(BodyFailure::Gone),
                Ok(_) => self.decode(&mut body, account)?,
            }
            if self.decoder.is_done() {
                self.wire.registered.enter(Phase::Answer);
            }
        }
        Ok(body)
    }

    fn decode(&mut self, body: &mut BodyBytes, account: Account) -> Result<(), BodyFailure> {
        let decoded = self.decoder.decode(self.wire.input.unused(), &mut body.bytes);
        body.counted.set(body.bytes.len());
        let (used, _) = decoded.map_err(BodyFailure::Refused)?;
        self.wire.input.take(used);
        self.context.count_pipelined(used);
        if account.is_overdrawn(&self.context) { Err(BodyFailure::Busy) } else { Ok(()) }
    }

    fn skip(&mut self) -> bool {
        let mut unwanted = Vec::new();
        match self.decoder.decode(self.wire.input.unused(), &mut unwanted) {
            Ok((used, done)) => {
                self.wire.input.take(used);
                done
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_buffer_is_empty_and_not_a_large_one() {
        let spare = SpareBody::default();
        spare.keep(b"topic=urn:a&data=secret".to_vec());
        let kept = spare.take();
        assert!(kept.is_empty() && kept.capacity() > 0);
        spare.keep(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        assert_eq!(spare.take().capacity(), 0);
    }

    #[test]
    fn bytes_count_until_nobody_holds_them() {
        let total = Rc::new(Cell::new(5));
        let mut counted = Counted::new(total.clone());
        counted.set(100);
        assert_eq!(total.get(), 105);
        counted.set(70);
        let other = Counted::new(total.clone());
        assert_eq!(total.get(), 75);
        drop((counted, other));
        assert_eq!(total.get(), 5);
    }
}
