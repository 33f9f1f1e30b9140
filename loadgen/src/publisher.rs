//! Publishers: keep-alive connections that post numbered events, pipelined if asked, and tell the lanes what was sent and
//! what was answered.
//!
//! A refused event (429, 503) gives its number up and comes again under a new one after the `Retry-After`, with the time
//! it was first meant for: with requests pipelined behind it, the old number would arrive out of order.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use crate::answer;
use crate::dialect::Dialect;
use crate::lanes::Lanes;
use crate::payload::{Number, Template};
use crate::swarm::new_histogram;
use crate::sys;
use crate::tls::Wire;

/// Publishes that may wait for their answer on one connection. A server that falls back further than that on an
/// open-loop schedule has failed.
const UNANSWERED_MAX: usize = 100_000;

/// What a connection publishes.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// Names and indices of the topics, used in turn.
    pub(crate) topics: Vec<(String, u32)>,
    /// Data sizes in bytes, used in turn.
    pub(crate) sizes: Vec<usize>,
}

/// A connection without an answer for so long may have been closed.
const IDLE_NS: u64 = 1_000_000_000;

/// How long a handshake may take, and how often it is looked at.
const HANDSHAKE_PATIENCE_NS: u64 = 30_000_000_000;
const HANDSHAKE_NAP: Duration = Duration::from_micros(200);

struct InFlight {
    number: Number,
    intended_ns: u64,
    sent_ns: u64,
    topic: usize,
}

/// One publishing connection.
pub(crate) struct Publisher {
    dialect: Arc<Dialect>,
    lanes: Arc<Lanes>,
    post: Post,
    index: usize,
    stream: Wire,
    /// For each topic and size, made when first used.
    templates: Vec<Option<Template>>,
    turn: usize,
    in_flight: VecDeque<InFlight>,
    /// Intended times and topics of refused events that wait for `pause_until_ns`.
    refused: VecDeque<(u64, usize)>,
    pause_until_ns: u64,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    closing: bool,
    /// When the newest answer came.
    answered_ns: u64,
    /// Deliveries its accepted events must lead to.
    pub(crate) expected: u64,
    /// Events accepted.
    pub(crate) accepted: u64,
    /// Answers that said 429 or 503.
    pub(crate) refusals: u64,
    /// From sending to the answer, in microseconds.
    pub(crate) answers: Histogram<u64>,
    /// From the intended time to sending: how late this program itself was, in microseconds.
    pub(crate) late: Histogram<u64>,
}

impl Publisher {
    /// Connects. `index` must be that of its bit in the lanes.
    pub(crate) fn connect(dialect: Arc<Dialect>, lanes: Arc<Lanes>, post: Post, index: usize) -> anyhow::Result<Self> {
        let stream = connect(&dialect, index)?;
        let templates = (0..post.topics.len() * post.sizes.len()).map(|_| None).collect();
        Ok(Self {
            dialect,
            lanes,
            post,
            index,
            stream,
            templates,
            turn: 0,
            in_flight: VecDeque::new(),
            refused: VecDeque::new(),
            pause_until_ns: 0,
            outbox: Vec::new(),
            inbox: Vec::new(),
            closing: false,
            answered_ns: sys::now_ns(),
            expected: 0,
            accepted: 0,
            refusals: 0,
            answers: new_histogram(),
            late: new_histogram(),
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

    /// Prepares one event; [`Self::drive`] sends it. Answers how many must get it.
    pub(crate) fn publish(&mut self, intended_ns: u64, now_ns: u64) -> u64 {
        let topic = self.turn % self.post.topics.len();
        self.post_one(topic, intended_ns, now_ns)
    }

    fn post_one(&mut self, topic: usize, intended_ns: u64, now_ns: u64) -> u64 {
        let size = self.turn % self.post.sizes.len();
        self.turn += 1;
        let (name, index) = &self.post.topics[topic];
        let template = self.templates[topic * self.post.sizes.len() + size]
            .get_or_insert_with(|| template(&self.dialect, name, self.post.sizes[size]));
        let audience = self.lanes.audience(*index);
        let number = self.lanes.next(*index, self.index);
        self.outbox.extend_from_slice(template.fill(number, intended_ns));
        self.in_flight.push_back(InFlight { number, intended_ns, sent_ns: now_ns, topic });
        self.late.saturating_record(now_ns.saturating_sub(intended_ns) / 1000);
        self.expected += audience;
        audience
    }

    /// Sends and reads what the socket allows. Answers whether anything moved.
    pub(crate) fn drive(&mut self, now_ns: u64) -> anyhow::Result<bool> {
        if !self.closing && now_ns >= self.pause_until_ns {
            while let Some((intended_ns, topic)) = self.refused.pop_front() {
                self.post_one(topic, intended_ns, now_ns);
            }
        }
        let mut moved = false;
        if !self.outbox.is_empty() {
            self.freshen(now_ns)?;
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
        if self.in_flight.len() > UNANSWERED_MAX {
            bail!("the server is {UNANSWERED_MAX} publishes behind on one connection: the rate is too high for it");
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
        for answer in answer::take_all(&mut self.inbox).map_err(anyhow::Error::msg)? {
            self.settle(&answer)?;
        }
        if self.closing {
            self.reconnect()?;
        }
        Ok(moved)
    }

    /// A server may have closed a connection that was idle for long: then nothing is lost by a new one.
    fn freshen(&mut self, now_ns: u64) -> anyhow::Result<()> {
        let unsent = self.in_flight.front().is_some_and(|first| first.sent_ns >= self.answered_ns + IDLE_NS);
        if unsent && now_ns >= self.answered_ns + IDLE_NS {
            self.answered_ns = now_ns;
            if self.stream.is_stale() {
                self.stream = connect(&self.dialect, self.index)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, answer: &answer::Answer) -> anyhow::Result<()> {
        let asked = self.in_flight.pop_front().context("an answer to nothing")?;
        let now_ns = sys::now_ns();
        self.answered_ns = now_ns;
        self.answers.saturating_record(now_ns.saturating_sub(asked.sent_ns) / 1000);
        let accepted = self.dialect.accepts(answer.status, &answer.body);
        self.lanes.settle(asked.number, accepted);
        if accepted {
            self.accepted += 1;
        } else if matches!(answer.status, 429 | 503) {
            self.refusals += 1;
            self.expected = self.expected.saturating_sub(self.lanes.audience(asked.number.topic() as u32));
            self.refused.push_back((asked.intended_ns, asked.topic));
            self.pause_until_ns = now_ns + answer.retry_after.unwrap_or(1) * 1_000_000_000;
        } else {
            bail!("a publish was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        self.closing |= answer.closes;
        Ok(())
    }

    fn reconnect(&mut self) -> anyhow::Result<()> {
        if !self.in_flight.is_empty() {
            bail!("the server closed a publishing connection with {} publishes unanswered", self.in_flight.len());
        }
        self.inbox.clear();
        self.stream = connect(&self.dialect, self.index)?;
        self.closing = false;
        Ok(())
    }
}

/// The `n`th connection to publish on.
pub(crate) fn connect(dialect: &Dialect, n: usize) -> anyhow::Result<Wire> {
    let socket = connect_socket(dialect, n)?;
    let mut wire = dialect.wire(socket, false)?;
    let end_ns = sys::now_ns() + HANDSHAKE_PATIENCE_NS;
    // The first write makes the handshake.
    while let Err(error) = wire.write(&[]) {
        if error.kind() != io::ErrorKind::WouldBlock || sys::now_ns() > end_ns {
            return Err(error).with_context(|| format!("make a TLS handshake with {}", dialect.target.authority));
        }
        std::thread::sleep(HANDSHAKE_NAP);
    }
    Ok(wire)
}

fn connect_socket(dialect: &Dialect, n: usize) -> anyhow::Result<TcpStream> {
    let target = &dialect.target;
    let stream =
        TcpStream::connect(target.address_of(n)).with_context(|| format!("connect to {}", target.authority))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A publish to a topic with data of a size.
pub(crate) fn template(dialect: &Dialect, topic: &str, size: usize) -> Template {
    let publish = dialect.publish(topic);
    let (before, after, space, equals) = publish.around(size);
    Template::new(&before, size, after, space, equals)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;
    use crate::dialect::{Plain, Preset};
    use crate::target::Target;

    /// What a fake hub was sent, with its last connection: nothing it closes can overtake its answer.
    type Heard = (Vec<String>, Option<TcpStream>);

    /// A hub that answers each publish in turn with these, and hands over the bodies; and a publisher to it.
    fn fake_hub(answers: &'static [&'static str]) -> (Publisher, Arc<Lanes>, std::thread::JoinHandle<Heard>) {
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
                    if answers.len() == 0 {
                        return (bodies, Some(reader.into_inner()));
                    }
                    if answer.contains("close") {
                        break;
                    }
                }
            }
            (bodies, None)
        });
        let target = Target::parse(&url).expect("parses");
        let dialect = Dialect {
            preset: Preset::Cinnabar,
            target,
            plain: Plain::default(),
            trust: None,
            issuer: None,
            publish_token: None,
        };
        let lanes = Arc::new(Lanes::new([("urn:x".to_owned(), 0b1000)]));
        let post = Post { topics: vec![("urn:x".to_owned(), 0)], sizes: vec![64] };
        (Publisher::connect(Arc::new(dialect), Arc::clone(&lanes), post, 3).expect("connects"), lanes, hub)
    }

    fn settle_all(publisher: &mut Publisher) -> anyhow::Result<()> {
        while publisher.unanswered() > 0 {
            publisher.drive(sys::now_ns())?;
        }
        Ok(())
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nid";

    #[test]
    fn a_refused_event_comes_again_under_a_new_number() {
        let (mut publisher, lanes, hub) =
            fake_hub(&[OK, "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", OK, OK]);
        for time in 1..=3 {
            publisher.publish(time, time);
        }
        settle_all(&mut publisher).expect("answered");
        assert_eq!((publisher.accepted, publisher.refusals), (3, 1));
        assert_eq!((lanes.newest(0), lanes.refused(0)), (4, vec![2]));
        let (bodies, _) = hub.join().expect("ran");
        let event = |sequence, time| {
            let number = Number::on(0, 3, sequence).0;
            format!("topic=urn%3Ax&data=n%3D{number:016}+t%3D{time:020}+{}+e%3D00000064", "x".repeat(11))
        };
        assert_eq!(bodies, [event(1, 1), event(2, 2), event(3, 3), event(4, 2)]);
    }

    #[test]
    fn a_connection_the_server_ends_is_opened_again() {
        let (mut publisher, _, hub) =
            fake_hub(&["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK]);
        for _ in 0..2 {
            publisher.publish(1, 1);
            settle_all(&mut publisher).expect("answered");
        }
        assert_eq!(publisher.accepted, 2);
        hub.join().expect("ran");
    }

    #[test]
    fn a_connection_closed_while_idle_is_opened_again_before_it_is_used() {
        let (mut publisher, _, hub) =
            fake_hub(&["HTTP/1.1 200 OK\r\nX: closes without saying so\r\nContent-Length: 0\r\n\r\n", OK]);
        publisher.publish(1, 1);
        settle_all(&mut publisher).expect("answered");
        // Long ago, as far as the publisher knows.
        publisher.answered_ns = 0;
        std::thread::sleep(std::time::Duration::from_millis(20));
        publisher.publish(2, sys::now_ns());
        settle_all(&mut publisher).expect("answered");
        hub.join().expect("ran");
    }

    #[test]
    fn any_other_answer_is_an_error() {
        let (mut publisher, _, _hub) = fake_hub(&["HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nwhy"]);
        publisher.publish(1, 1);
        let error = settle_all(&mut publisher).expect_err("refused").to_string();
        assert_eq!(error, "a publish was answered 401: why");
    }
}
