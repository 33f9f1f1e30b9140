//! What administrators want of a shard, and what it says to them.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot::Sender;

use crate::admin::Seen;
use crate::hub::{Findings, Input, Now, Revocation, Survey};
use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;
use crate::server::admin::Order;
use crate::server::limits::Client;
use crate::server::shard::Context;

/// Those who wait for answers. As many as administrators are heard at once.
#[derive(Debug, Default)]
pub(super) struct Orders {
    revocations: Vec<(Arc<Revocation>, Sender<u64>)>,
    surveys: Vec<(Arc<Survey>, Sender<Seen>)>,
}

impl Orders {
    /// A revocation is done with. Whoever asked may have gone.
    pub(super) fn revoked(&mut self, revocation: &Arc<Revocation>, closed: u64) {
        if let Some(at) = self.revocations.iter().position(|(other, _)| Arc::ptr_eq(other, revocation)) {
            let _ = self.revocations.swap_remove(at).1.send(closed);
        }
    }
}

/// Who came by a Unix socket has none.
fn has_address(address: &IpAddr) -> bool {
    *address != Client::UNIX.address
}

impl Context {
    pub(super) fn take_order(&self, order: Order, now: Now) {
        let input = match order {
            Order::Reply(ticket, reply) => return self.admin.answer(ticket, *reply),
            Order::Deny(denials) => Input::Deny(denials),
            Order::Revoke(revocation, done) => {
                self.orders.borrow_mut().revocations.push((revocation.clone(), done));
                Input::Revoke(revocation)
            }
            Order::Survey(survey, done) => {
                self.orders.borrow_mut().surveys.push((survey.clone(), done));
                Input::Survey(survey)
            }
        };
        self.shard.borrow_mut().handle(input, now);
    }

    /// Hands over what a survey found, with the clients' addresses.
    pub(super) fn surveyed(&self, survey: &Arc<Survey>, findings: Findings) {
        let mut orders = self.orders.borrow_mut();
        if let Some(at) = orders.surveys.iter().position(|(other, _)| Arc::ptr_eq(other, survey)) {
            let peers = self.peers.borrow();
            let addresses =
                findings.streams.iter().map(|view| peers.address(view.address).filter(has_address)).collect();
            let _ = orders.surveys.swap_remove(at).1.send(Seen { shard: self.index, findings, addresses });
        }
    }

    /// Whether the bearer of a token is on the deny list; counts it, as a request that is refused for that.
    pub(crate) fn denies(&self, access: &Access) -> bool {
        self.count_denied(self.is_denied(access))
    }

    /// The same, and counts nothing.
    pub(crate) fn is_denied(&self, access: &Access) -> bool {
        self.shard.borrow().denials().cover_token(access, self.clock.wall_ms())
    }

    /// Whether a topic is on the deny list, so that nothing may be published to it.
    pub(crate) fn denies_topic(&self, topic: &str) -> bool {
        self.count_denied(self.shard.borrow().denials().cover_topic(topic, self.clock.wall_ms()))
    }

    /// Whether one of these matchers follows a topic on the deny list.
    pub(crate) fn denies_matchers(&self, matchers: &[Matcher]) -> bool {
        let settings = self.settings();
        self.count_denied(self.shard.borrow().denials().cover_matchers(matchers, &settings.hub, self.clock.wall_ms()))
    }

    fn count_denied(&self, denied: bool) -> bool {
        if denied {
            self.tally.borrow_mut().denied += 1;
        }
        denied
    }
}
