//! What other threads tell a shard: events, answers, keys, settings, the end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::phases;
use crate::hub::{Drain, Input, Now};
use crate::server::inbox::Message;
use crate::server::key_sets::LiveKeys;
use crate::server::settings::Settings;
use crate::server::shard::Context;

impl Context {
    pub(super) fn take_in_messages(&self, messages_max: usize, now: Now) {
        for message in self.messages.try_iter().take(messages_max) {
            self.take_in(message, now);
        }
    }

    fn take_in(&self, message: Message, now: Now) {
        match message {
            Message::Events(events) => self.shard.borrow_mut().handle(Input::Events(events), now),
            Message::Published(answers) => {
                for (ticket, committed) in answers {
                    self.published.answer(ticket, committed);
                }
            }
            Message::Found(ticket, found) => self.found.answer(ticket, found),
            Message::Compiled(ticket, compiled) => self.compiled.answer(ticket, compiled),
            Message::Asked { shard, ticket, question } => {
                let answer = question.answer(&self.shard.borrow());
                self.letters.send(shard, Message::Answered(ticket, answer));
            }
            Message::Answered(ticket, answer) => self.answered.answer(ticket, answer),
            Message::Elsewhere(ticket, answer) => self.answered_elsewhere.answer(ticket, answer),
            Message::History(id, answer) => self.shard.borrow_mut().handle(Input::History(id, answer), now),
            Message::LogLost(head, newest) => {
                self.logs_lost.set(self.logs_lost.get() + 1);
                self.shard.borrow_mut().handle(Input::LogLost(head, newest), now);
            }
            Message::Keys(keys) => self.take_keys(keys, now),
            Message::Certificates(config) => _ = self.tls.replace(Some(config)),
            Message::Settings { settings, connections_max } => self.take_settings(&settings, connections_max, now),
            Message::Admin(order) => self.take_order(order, now),
            Message::Drain(drain) => {
                self.begin_to_close(now);
                self.sessions.borrow().wake();
                // Each shard has an order of its own.
                let random = drain.random ^ self.random();
                self.shard.borrow_mut().handle(Input::Drain(Drain { random, ..drain }), now);
            }
            Message::Stop => {
                self.close_listeners();
                self.guests.borrow_mut().dismiss_idle(now.mono_ms);
                self.sessions.borrow().wake();
                self.streams_end_ms.set(Some(self.shared.streams_end_ms()));
            }
        }
    }

    /// Judges by other keys from now on, and ends the streams of those that are gone.
    fn take_keys(&self, keys: Arc<LiveKeys>, now: Now) {
        if keys.generation() > self.keys.borrow().generation() {
            self.shard.borrow_mut().handle(Input::Revoke(keys.revocation()), now);
            self.keys.replace(keys);
        }
    }

    /// What a reload has changed, for all that begins from now on and for streams that are open.
    fn take_settings(&self, settings: &Settings, connections_max: usize, now: Now) {
        self.shard.borrow_mut().handle(Input::Limits(settings.shard), now);
        self.guests.borrow_mut().set_phases(phases(settings));
        self.connections_max.set(connections_max);
        for listener in &*self.listeners.borrow() {
            let write_timeout = Duration::from_millis(settings.shard.write_timeout_ms);
            if let Err(error) = listener.set_write_timeout(write_timeout) {
                tracing::warn!(shard = self.index, %error, "the kernel's share in --write-timeout can't be changed");
            }
        }
        self.settings.replace(Rc::new(settings.clone()));
    }
}
