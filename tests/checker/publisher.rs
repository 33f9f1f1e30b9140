//! A publisher: writes to one hub and another, and notes what it was told.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::chance::Chance;
use crate::event_stream::exchange;
use crate::harness::{HUB, form, publisher};
use crate::plan::{PublisherPlan, some_topics};
use crate::record::{Fate, Published, essence};

/// Publishes until it shall stop.
pub(crate) fn publish(mut plan: PublisherPlan, hubs: &[SocketAddr], stop: &AtomicBool) -> Vec<Published> {
    let mut pen = Pen::new(plan.chance.another(), hubs);
    let mut published = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let draft = some_draft(plan.number, published.len(), &mut plan.chance);
        let fate = pen.send(&draft);
        let unsure = fate == Fate::Unknown;
        published.push(draft.noted(plan.number, fate));
        if let Some(defect) = plan.defect
            && published.len() % 5 == 0
        {
            defect.write(&mut pen, &mut published);
        }
        std::thread::sleep(match unsure {
            true => plan.chance.ms(50..300),
            false => plan.chance.ms(1..plan.rests_ms),
        });
    }
    published
}

/// An update before it is published.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) topics: Vec<String>,
    pub(crate) private: bool,
    pub(crate) id: Option<String>,
    pub(crate) text: String,
}

impl Draft {
    pub(crate) fn noted(self, publisher: usize, fate: Fate) -> Published {
        let Draft { topics, private, text, .. } = self;
        Published { essence: essence(&text), topics, private, publisher, fate }
    }
}

fn some_draft(publisher: usize, number: usize, chance: &mut Chance) -> Draft {
    let bytes = match chance.below(20) {
        0 => chance.within(10_000..100_000),
        1..=4 => chance.within(500..5_000),
        _ => chance.within(0..100),
    };
    let name = format!("{publisher}-{number}");
    // Lines of different lengths, no two alike.
    let mut text = format!("update {name}");
    while (text.len() as u64) < bytes {
        let piece = format!(" {:x}", chance.next());
        text.push_str(if chance.one_in(10) { "\n" } else { "" });
        text.push_str(&piece);
    }
    Draft {
        topics: some_topics(chance),
        private: chance.one_in(3),
        id: chance.one_in(5).then(|| format!("given/{name}")),
        text,
    }
}

/// What a publisher writes with: a connection to some hub, another one now and then.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    hubs: &'a [SocketAddr],
    chance: Chance,
    token: String,
    socket: Option<TcpStream>,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(chance: Chance, hubs: &'a [SocketAddr]) -> Pen<'a> {
        Pen { hubs, chance, token: publisher(), socket: None }
    }

    /// Publishes once, whatever comes of it; only a hub that isn't there is not asked.
    pub(crate) fn send(&mut self, draft: &Draft) -> Fate {
        let mut fields: Vec<(&str, &str)> = draft.topics.iter().map(|topic| ("topic", topic.as_str())).collect();
        fields.push(("data", &draft.text));
        fields.extend(draft.private.then_some(("private", "on")));
        fields.extend(draft.id.as_ref().map(|id| ("id", id.as_str())));
        let body = form(&fields);
        let request = format!(
            "POST {HUB} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let mut socket = self.connection();
        let Some(answer) = exchange(&mut socket, request.as_bytes()) else {
            return Fate::Unknown;
        };
        let fate = match answer.status {
            200 => Fate::Acknowledged(answer.text()),
            503 => Fate::Unknown,
            status => Fate::Refused(status),
        };
        let stays = matches!(fate, Fate::Acknowledged(_)) && !self.chance.one_in(20);
        self.socket = stays.then_some(socket);
        fate
    }

    fn connection(&mut self) -> TcpStream {
        loop {
            if let Some(socket) = self.socket.take() {
                return socket;
            }
            self.socket = TcpStream::connect(self.chance.one_of(self.hubs)).ok();
            if self.socket.is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
