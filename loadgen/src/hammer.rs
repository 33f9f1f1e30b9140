//! Keep-alive connections that publish as fast as the answers come, to measure the server and not this program: one
//! thread, sleeping in epoll until an answer is there, requests made by overwriting digits, answers looked at for their
//! status and length alone.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use crate::payload::{Number, Template};
use crate::publisher::{Post, connect, template};
use crate::sys::{self, Epoll, Ready};

const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Latencies are kept in microseconds up to a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// No answer for so long: the server doesn't answer.
const PATIENCE_NS: u64 = 10_000_000_000;

struct Nail {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// When the requests that aren't answered were made.
    asked_ns: std::collections::VecDeque<u64>,
}

/// The connections.
pub(crate) struct Hammer {
    epoll: Epoll,
    nails: Vec<Nail>,
    template: Template,
    sequence: u64,
}

/// What some time of hammering came to.
#[derive(Debug)]
pub(crate) struct Blows {
    /// Publishes answered 200.
    pub(crate) answered: u64,
    /// Publishes answered 503.
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
    /// From request to answer, in microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Blows {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

impl Hammer {
    /// Connects.
    pub(crate) fn connect(post: &Post, connections: usize) -> anyhow::Result<Self> {
        let epoll = Epoll::new()?;
        let mut nails = Vec::new();
        for index in 0..connections {
            let stream = connect(&post.target)?;
            epoll.add(&stream, index)?;
            nails.push(Nail { stream, inbox: Vec::new(), outbox: Vec::new(), asked_ns: Default::default() });
        }
        Ok(Self { epoll, nails, template: template(post, post.sizes[0]), sequence: 0 })
    }

    /// Publishes for so long with so many unanswered requests per connection, then waits for the last answers.
    pub(crate) fn run(&mut self, time: Duration, pipeline: usize) -> anyhow::Result<Blows> {
        let latency = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds are in order");
        let mut blows = Blows { answered: 0, refused: 0, seconds: 0.0, latency };
        let start_ns = sys::now_ns();
        let end_ns = start_ns + time.as_nanos() as u64;
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut room = [Ready::EMPTY; 64];
        for index in 0..self.nails.len() {
            self.ask(index, pipeline, start_ns);
            self.nails[index].write()?;
        }
        let mut heard_ns = start_ns;
        while self.nails.iter().any(|nail| !nail.asked_ns.is_empty()) {
            let ready: Vec<usize> = self.epoll.wait(&mut room, 100)?.iter().map(|ready| ready.token()).collect();
            let now_ns = sys::now_ns();
            if now_ns - heard_ns > PATIENCE_NS {
                bail!("no answer to a publish for {} s", PATIENCE_NS / 1_000_000_000);
            }
            for index in ready {
                let answered = self.nails[index].read(&mut buffer, now_ns, &mut blows)?;
                if answered > 0 {
                    heard_ns = now_ns;
                }
                if now_ns < end_ns {
                    self.ask(index, pipeline, now_ns);
                }
                self.nails[index].write()?;
            }
        }
        blows.seconds = (sys::now_ns() - start_ns) as f64 / 1e9;
        Ok(blows)
    }

    fn ask(&mut self, index: usize, pipeline: usize, now_ns: u64) {
        let nail = &mut self.nails[index];
        while nail.asked_ns.len() < pipeline {
            self.sequence += 1;
            nail.outbox.extend_from_slice(self.template.fill(Number::new(0, self.sequence), now_ns));
            nail.asked_ns.push_back(now_ns);
        }
    }
}

impl Nail {
    fn write(&mut self) -> anyhow::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(written) => {
                    self.outbox.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("publish"),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], now_ns: u64, blows: &mut Blows) -> anyhow::Result<u64> {
        let mut count = 0;
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a publishing connection"),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error).context("read the answer to a publish"),
            };
            self.inbox.extend_from_slice(&buffer[..read]);
            let mut used = 0;
            while let Some((status, length)) = answer(&self.inbox[used..])? {
                used += length;
                count += 1;
                match status {
                    200 => blows.answered += 1,
                    503 => blows.refused += 1,
                    status => bail!("a publish was answered {status}"),
                }
                let asked_ns = self.asked_ns.pop_front().context("an answer to nothing")?;
                blows.latency.saturating_record((now_ns - asked_ns) / 1000);
            }
            self.inbox.drain(..used);
            if read < buffer.len() {
                return Ok(count);
            }
        }
    }
}

/// Status and length of the first answer, once it is complete.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, name) = (&bytes[..head + 4], b"ontent-Length: ");
    let number = |digits: &[u8]| {
        let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |value, digit| value * 10 + usize::from(digit - b'0'))
    };
    let length = memchr::memmem::find(head, name).context("an answer without Content-Length")?;
    let length = head.len() + number(&head[length + name.len()..]);
    let status = number(head.get(9..).unwrap_or_default()) as u16;
    Ok((bytes.len() >= length).then_some((status, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nidHTTP/1.1 503";
        assert_eq!(answer(bytes).expect("an answer"), Some((200, 40)));
        assert_eq!(answer(&bytes[..39]).expect("a beginning"), None);
        assert_eq!(answer(&bytes[40..]).expect("a beginning"), None);
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
