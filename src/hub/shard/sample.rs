//! A shard and its streams as tests need them.

use super::{Input, Now, Registration, Shard, ShardLimits, Start};
use crate::hub::subscriber::{Sink, SlotId, SocketId};
use crate::protocol::matcher::Matcher;
use crate::protocol::topic::HubUrl;

impl Registration {
    /// An anonymous live stream of `urn:a`: tests change what they are about.
    pub(crate) fn sample() -> Registration {
        Registration {
            sink: Sink::Socket(SocketId(0)),
            head: (*b"head").into(),
            chunked: true,
            coding: None,
            start: Start::Live,
            matchers: vec![Matcher::Exact("urn:a".into())],
            access: None,
            address: 0,
            spread: 0,
        }
    }
}

impl Shard {
    /// A shard of a hub for tests.
    pub(crate) fn sample(limits: ShardLimits) -> Shard {
        Shard::new(limits, HubUrl::parse("https://hub.example/.well-known/mercure").expect("a URL"), 0)
    }

    /// Takes in a stream.
    pub(crate) fn join(&mut self, registration: Registration, now: Now) -> SlotId {
        let id = self.reserve();
        self.handle(Input::Register(id, Box::new(registration)), now);
        id
    }
}
