//! Keep-alive connections that publish as fast as the answers come where nobody is subscribed: to measure the server and not
//! this program. One thread that sleeps in epoll until an answer is there; requests are made by overwriting digits; answers
//! are looked at for status and body alone, and no account is kept of numbers that nobody will receive.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use crate::answer;
use crate::dialect::Dialect;
use crate::payload::{Number, Template};
use crate::press::{Limit, Published, Turn};
use crate::publisher::{connect, template};
use crate::swarm::new_histogram;
use crate::sys::{self, Epoll, Ready};
use crate::tls::Wire;

const READ_BUFFER_BYTES: usize = 64 * 1024;
const READY_MAX: usize = 64;
/// How long it hammers before somebody else may have a look.
const TURN_NS: u64 = 5_000_000;
/// How long it sleeps at most.
const SLEEP_MS: i32 = 5;
/// Who is answered 429 or 503 waits so long.
const PAUSE_NS: u64 = 1_000_000_000;
/// No answer for so long: the server doesn't answer.
const PATIENCE_NS: u64 = 10_000_000_000;

struct Nail {
    stream: Wire,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// When the requests that aren't answered were made.
    asked_ns: VecDeque<u64>,
}

struct Run {
    limit: Limit,
    start_ns: u64,
    asked: u64,
    heard_ns: u64,
    told_to_end: bool,
}

/// What was answered since the last look.
struct Blows {
    answered: u64,
    refused: u64,
    /// From request to answer, in microseconds.
    answers: Histogram<u64>,
}

impl Blows {
    fn none() -> Self {
        Self { answered: 0, refused: 0, answers: new_histogram() }
    }
}

/// The connections.
pub(crate) struct Hammer {
    dialect: Arc<Dialect>,
    pipeline: usize,
    epoll: Epoll,
    nails: Vec<Nail>,
    /// Of all topics and sizes, used in turn.
    templates: Vec<Template>,
    sequence: u64,
    run: Option<Run>,
    pause_until_ns: u64,
    blows: Blows,
    buffer: Vec<u8>,
    /// Publishes accepted before those.
    accepted: u64,
}

impl Hammer {
    /// Connects so many connections with so many unanswered requests on each.
    pub(crate) fn connect(
        dialect: &Arc<Dialect>,
        topics: &[String],
        sizes: &[usize],
        connections: usize,
        pipeline: usize,
    ) -> anyhow::Result<Self> {
        let epoll = Epoll::new()?;
        let nails = (0..connections).map(|index| Nail::connect(dialect, &epoll, index));
        let nails = nails.collect::<anyhow::Result<_>>()?;
        let pairs = topics.iter().flat_map(|topic| sizes.iter().map(move |size| (topic, *size)));
        let templates = pairs.map(|(topic, size)| template(dialect, topic, size)).collect();
        Ok(Self {
            dialect: Arc::clone(dialect),
            pipeline,
            epoll,
            nails,
            templates,
            sequence: 0,
            run: None,
            pause_until_ns: 0,
            blows: Blows::none(),
            buffer: vec![0; READ_BUFFER_BYTES],
            accepted: 0,
        })
    }

    /// Begins to publish. A connection the server has closed while nothing was asked is made anew.
    pub(crate) fn begin(&mut self, limit: Limit) -> anyhow::Result<()> {
        for (index, nail) in self.nails.iter_mut().enumerate() {
            if nail.stream.is_stale() {
                *nail = Nail::connect(&self.dialect, &self.epoll, index)?;
            }
        }
        let now_ns = sys::now_ns();
        self.run = Some(Run { limit, start_ns: now_ns, asked: 0, heard_ns: now_ns, told_to_end: false });
        Ok(())
    }

    /// Ends a run that has no limit of its own, or before it.
    pub(crate) fn end(&mut self) {
        if let Some(run) = &mut self.run {
            run.told_to_end = true;
        }
    }

    /// Publishes and reads answers for some milliseconds.
    pub(crate) fn turn(&mut self) -> anyhow::Result<Turn> {
        let Some(mut run) = self.run.take() else {
            return Ok(Turn::Done);
        };
        let mut room = [Ready::EMPTY; READY_MAX];
        let mut now_ns = sys::now_ns();
        let until_ns = now_ns + TURN_NS;
        for index in 0..self.nails.len() {
            self.strike(&mut run, index, now_ns)?;
        }
        while now_ns < until_ns {
            if self.nails.iter().all(|nail| nail.asked_ns.is_empty()) {
                if run.is_over(now_ns) {
                    return Ok(Turn::Done);
                }
                self.run = Some(run);
                return Ok(Turn::Waited);
            }
            let ready = self.epoll.wait(&mut room, SLEEP_MS)?;
            now_ns = sys::now_ns();
            for ready in ready {
                let nail = &mut self.nails[ready.token()];
                let refused = self.blows.refused;
                if nail.read(&mut self.buffer, now_ns, &self.dialect, &mut self.blows)? {
                    run.heard_ns = now_ns;
                }
                if self.blows.refused > refused {
                    self.pause_until_ns = now_ns + PAUSE_NS;
                }
                self.strike(&mut run, ready.token(), now_ns)?;
            }
            if now_ns - run.heard_ns > PATIENCE_NS {
                bail!("no answer to a publish for {} s", PATIENCE_NS / 1_000_000_000);
            }
        }
        self.run = Some(run);
        Ok(Turn::Moved)
    }

    /// Asks as often as may be and sends what the socket takes.
    fn strike(&mut self, run: &mut Run, index: usize, now_ns: u64) -> anyhow::Result<()> {
        let nail = &mut self.nails[index];
        while nail.asked_ns.len() < self.pipeline && now_ns >= self.pause_until_ns && !run.is_over(now_ns) {
            let turn = self.sequence as usize % self.templates.len();
            self.sequence += 1;
            nail.outbox.extend_from_slice(self.templates[turn].fill(Number::new(0, self.sequence), now_ns));
            if nail.asked_ns.is_empty() {
                run.heard_ns = run.heard_ns.max(now_ns);
            }
            nail.asked_ns.push_back(now_ns);
            run.asked += 1;
        }
        nail.write()
    }

    /// What was published since the last call.
    pub(crate) fn take_published(&mut self) -> Published {
        let Blows { answered, refused, answers } = std::mem::replace(&mut self.blows, Blows::none());
        self.accepted += answered;
        Published { accepted: answered, refusals: refused, answers, ..Published::none() }
    }

    /// Publishes accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted + self.blows.answered
    }
}

impl Run {
    fn is_over(&self, now_ns: u64) -> bool {
        self.told_to_end || self.limit.is_over(self.start_ns, now_ns, self.asked)
    }
}

impl Nail {
    fn connect(dialect: &Dialect, epoll: &Epoll, index: usize) -> anyhow::Result<Self> {
        let stream = connect(dialect, index)?;
        epoll.add(stream.socket(), index)?;
        Ok(Self { stream, inbox: Vec::new(), outbox: Vec::new(), asked_ns: VecDeque::new() })
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(written) => drop(self.outbox.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("publish"),
            }
        }
        Ok(())
    }

    /// Takes the answers that are there. Answers whether there were any.
    fn read(&mut self, buffer: &mut [u8], now_ns: u64, dialect: &Dialect, blows: &mut Blows) -> anyhow::Result<bool> {
        let mut any = false;
        loop {
            let read = match self.stream.read(buffer) {
                // It is made anew when the next run begins.
                Ok(0) if self.asked_ns.is_empty() => return Ok(any),
                Ok(0) => bail!("the server closed a publishing connection with {} unanswered", self.asked_ns.len()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
                Err(error) => return Err(error).context("read the answer to a publish"),
            };
            self.inbox.extend_from_slice(&buffer[..read]);
            let mut used = 0;
            while let Some(answer) = Answer::first(&self.inbox[used..])? {
                used += answer.length;
                any = true;
                match answer.status {
                    429 | 503 => blows.refused += 1,
                    status if dialect.accepts(status, &answer.body) => blows.answered += 1,
                    status => bail!("a publish was answered {status}: {}", String::from_utf8_lossy(&answer.body)),
                }
                let asked_ns = self.asked_ns.pop_front().context("an answer to nothing")?;
                blows.answers.saturating_record(now_ns.saturating_sub(asked_ns) / 1000);
            }
            self.inbox.drain(..used);
            if read < buffer.len() {
                return Ok(any);
            }
        }
    }
}

/// An answer that is there whole.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: u16,
    body: Cow<'a, [u8]>,
    /// Of head and body.
    length: usize,
}

impl<'a> Answer<'a> {
    /// The first answer, once it is complete.
    fn first(bytes: &'a [u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let (head, name) = (&bytes[..end + 4], b"ontent-Length: ");
        let number = |digits: &[u8]| {
            let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0_usize, |value, digit| value.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
        };
        let Some(at) = memchr::memmem::find(head, name) else {
            // Written in another way, or chunked.
            let answer = answer::first(bytes).map_err(anyhow::Error::msg)?;
            return Ok(answer.map(|(answer, length)| Self { status: answer.status, body: answer.body.into(), length }));
        };
        let length = head.len().saturating_add(number(&head[at + name.len()..]));
        let status = number(head.get(9..).unwrap_or_default()) as u16;
        Ok(bytes.get(head.len()..length).map(|body| Self { status, body: body.into(), length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nidHTTP/1.1 503";
        let wanted = Answer { status: 200, body: Cow::Borrowed(b"id"), length: 40 };
        assert_eq!(Answer::first(bytes).expect("an answer"), Some(wanted));
        assert_eq!(Answer::first(&bytes[..39]).expect("a beginning"), None);
        assert_eq!(Answer::first(&bytes[40..]).expect("a beginning"), None);
        let chunked = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let wanted = Answer { status: 201, body: Cow::Borrowed(b"ok"), length: chunked.len() };
        assert_eq!(Answer::first(chunked).expect("an answer"), Some(wanted));
        let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n";
        assert_eq!(Answer::first(endless).expect("a beginning"), None);
    }
}
