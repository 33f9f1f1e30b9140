//! Publishers: keep-alive connections that post numbered events, pipelined if asked, and keep account of what was
//! accepted.
//!
//! A refused event (503) gives its number up and comes again under a new one after the `Retry-After`, with the time
//! it was first meant for: with requests pipelined behind it, the old number would arrive out of order.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, bail};

use crate::answer;
use crate::ledger::Ledger;
use crate::payload::{Number, Template};
use crate::sys;
use crate::target::{Target, percent_encoded};

/// What is posted, and where.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) target: Target,
    pub(crate) topic: String,
    pub(crate) token: Option<String>,
    /// Data sizes in bytes, used in turn.
    pub(crate) sizes: Vec<usize>,
}

struct InFlight {
    number: Number,
    intended_ns: u64,
}

/// One publishing connection.
pub(crate) struct Publisher {
    post: Post,
    index: usize,
    stream: TcpStream,
    templates: Vec<Template>,
    sequence: u64,
    in_flight: VecDeque<InFlight>,
    /// Intended times of refused events that wait for `pause_until_ns`.
    refused: VecDeque<u64>,
    pause_until_ns: u64,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    closing: bool,
    /// What the server accepted.
    pub(crate) accepted: Ledger,
    /// Answers that said 503.
    pub(crate) refusals: u64,
}

impl Publisher {
    /// Connects.
    pub(crate) fn connect(post: &Post, index: usize) -> anyhow::Result<Self> {
        let templates = post.sizes.iter().map(|&size| template(post, size)).collect();
        Ok(Self {
            post: post.clone(),
            index,
            stream: connect(&post.target)?,
            templates,
            sequence: 0,
            in_flight: VecDeque::new(),
            refused: VecDeque::new(),
            pause_until_ns: 0,
            outbox: Vec::new(),
            inbox: Vec::new(),
            closing: false,
            accepted: Ledger::default(),
            refusals: 0,
        })
    }

    /// Requests sent or about to be, and not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.in_flight.len() + self.refused.len()
    }

    /// May another event be sent now?
    pub(crate) fn is_ready(&self, pipeline: usize, now_ns: u64) -> bool {
        self.unanswered() < pipeline && now_ns >= self.pause_until_ns && !self.closing
    }

    /// Prepares one event; [`Self::drive`] sends it.
    pub(crate) fn publish(&mut self, intended_ns: u64) {
        self.sequence += 1;
        let number = Number::new(self.index, self.sequence);
        let template = self.sequence as usize % self.templates.len();
        self.outbox.extend_from_slice(self.templates[template].fill(number, intended_ns));
        self.in_flight.push_back(InFlight { number, intended_ns });
    }

    /// Sends and reads what the socket allows. Answers whether anything moved.
    pub(crate) fn drive(&mut self, now_ns: u64) -> anyhow::Result<bool> {
        if !self.closing && now_ns >= self.pause_until_ns {
            while let Some(intended_ns) = self.refused.pop_front() {
                self.publish(intended_ns);
            }
        }
        let mut moved = false;
        if !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(written) => {
                    self.outbox.drain(..written);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("publish"),
            }
        }
        if self.in_flight.is_empty() {
            return Ok(moved);
        }
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closing = true,
            Ok(read) => {
                self.inbox.extend_from_slice(&buffer[..read]);
                moved = true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("read the answer to a publish"),
        }
        while let Some(answer) = answer::take(&mut self.inbox).map_err(anyhow::Error::msg)? {
            self.settle(&answer, now_ns)?;
        }
        if self.closing {
            self.reconnect()?;
        }
        Ok(moved)
    }

    fn settle(&mut self, answer: &answer::Answer, now_ns: u64) -> anyhow::Result<()> {
        let asked = self.in_flight.pop_front().context("an answer to nothing")?;
        match answer.status {
            200 => self.accepted.enter(asked.number),
            503 => {
                self.refusals += 1;
                self.refused.push_back(asked.intended_ns);
                self.pause_until_ns = now_ns + answer.retry_after.unwrap_or(1) * 1_000_000_000;
            }
            status => bail!("a publish was answered {status}: {}", String::from_utf8_lossy(&answer.body)),
        }
        self.closing |= answer.closes;
        Ok(())
    }

    fn reconnect(&mut self) -> anyhow::Result<()> {
        if !self.in_flight.is_empty() {
            bail!("the server closed a publishing connection with {} publishes unanswered", self.in_flight.len());
        }
        self.inbox.clear();
        self.stream = connect(&self.post.target)?;
        self.closing = false;
        Ok(())
    }

    /// Publishes one event now and waits for the answer. Answers when it was sent.
    pub(crate) fn publish_one(&mut self) -> anyhow::Result<u64> {
        let sent_ns = sys::now_ns();
        self.publish(sent_ns);
        self.drive(sent_ns)?;
        Ok(sent_ns)
    }

    /// Waits for all answers.
    pub(crate) fn settle_all(&mut self) -> anyhow::Result<()> {
        while self.unanswered() > 0 {
            if !self.drive(sys::now_ns())? {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        Ok(())
    }
}

/// A connection that never waits.
pub(crate) fn connect(target: &Target) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(target.address).with_context(|| format!("connect to {}", target.authority))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// The publish of an event of so many bytes of data.
pub(crate) fn template(post: &Post, size: usize) -> Template {
    let before = format!("topic={}&data=", percent_encoded(&post.topic));
    // Each of the three equals signs takes two bytes more in a form.
    let length = before.len() + size + 3 * 2;
    let mut head = post.target.publish_head(post.token.as_deref(), length);
    head.extend_from_slice(before.as_bytes());
    Template::new(&head, size, b"", "+", "%3D")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// A hub that answers each publish in turn with these, and hands over the bodies.
    fn fake_hub(answers: &'static [&'static str]) -> (Post, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let hub = std::thread::spawn(move || {
            let mut bodies = Vec::new();
            let mut answers = answers.iter();
            while answers.len() > 0 {
                let mut reader = BufReader::new(listener.accept().expect("accepts").0);
                loop {
                    let mut length = 0;
                    let mut line = String::new();
                    while reader.read_line(&mut line).unwrap_or(0) > 2 {
                        if let Some(value) = line.trim().strip_prefix("Content-Length: ") {
                            length = value.parse().expect("a number");
                        }
                        line.clear();
                    }
                    if length == 0 {
                        break;
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).expect("a whole body");
                    bodies.push(String::from_utf8(body).expect("text"));
                    let answer = answers.next().expect("no more publishes than answers");
                    reader.get_mut().write_all(answer.as_bytes()).expect("writes");
                    if answer.contains("close") || answers.len() == 0 {
                        break;
                    }
                }
            }
            bodies
        });
        let target = Target::parse(&url).expect("parses");
        (Post { target, topic: "urn:x".to_owned(), token: None, sizes: vec![64] }, hub)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nid";

    #[test]
    fn a_refused_event_comes_again_under_a_new_number() {
        let (post, hub) = fake_hub(&[OK, "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", OK, OK]);
        let mut publisher = Publisher::connect(&post, 3).expect("connects");
        for time in 1..=3 {
            publisher.publish(time);
        }
        publisher.settle_all().expect("answered");
        let mut expected = Ledger::default();
        for sequence in [1, 3, 4] {
            expected.enter(Number::new(3, sequence));
        }
        assert_eq!((publisher.accepted, publisher.refusals), (expected, 1));
        let bodies = hub.join().expect("ran");
        let event = |sequence, time| {
            let number = Number::new(3, sequence).0;
            format!("topic=urn%3Ax&data=n%3D{number:016}+t%3D{time:020}+{}+e%3D00000064", "x".repeat(11))
        };
        assert_eq!(bodies, [event(1, 1), event(2, 2), event(3, 3), event(4, 2)]);
    }

    #[test]
    fn a_connection_the_server_ends_is_opened_again() {
        let (post, hub) = fake_hub(&["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK]);
        let mut publisher = Publisher::connect(&post, 0).expect("connects");
        for _ in 0..2 {
            publisher.publish_one().expect("sent");
            publisher.settle_all().expect("answered");
        }
        assert_eq!(publisher.accepted.count, 2);
        hub.join().expect("ran");
    }

    #[test]
    fn any_other_answer_is_an_error() {
        let (post, _hub) = fake_hub(&["HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nwhy"]);
        let mut publisher = Publisher::connect(&post, 0).expect("connects");
        publisher.publish_one().expect("sent");
        let error = publisher.settle_all().expect_err("refused").to_string();
        assert_eq!(error, "a publish was answered 401: why");
    }
}
