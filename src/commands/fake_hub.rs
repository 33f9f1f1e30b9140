//! A hub for tests of the client commands: answers a script and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use url::Url;

/// What a client sent, and over which connection.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) connection: usize,
    /// Request line and header fields.
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    /// The value of a header field.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Answers each request with the next of these; one that says `Connection: close` ends its connection.
pub(super) struct FakeHub {
    pub(super) url: Url,
    asked: Receiver<Asked>,
    thread: JoinHandle<()>,
}

impl FakeHub {
    pub(super) fn new(script: Vec<String>) -> FakeHub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/.well-known/mercure", listener.local_addr().unwrap());
        let (asking, asked) = channel();
        let thread = std::thread::spawn(move || {
            let mut script = script.into_iter().peekable();
            let mut connection = 0;
            while script.peek().is_some() {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                while let Some(request) = script.peek().and_then(|_| read(&mut reader, connection)) {
                    asking.send(request).unwrap();
                    let answer = script.next().expect("it was just looked at");
                    write(reader.get_mut(), &answer);
                    if answer.contains("Connection: close") {
                        break;
                    }
                }
                connection += 1;
            }
        });
        FakeHub { url: Url::parse(&url).unwrap(), asked, thread }
    }

    /// Everything it was asked, once the script is over.
    pub(super) fn asked(self) -> Vec<Asked> {
        self.thread.join().unwrap();
        self.asked.into_iter().collect()
    }
}

/// An answer with a length, after which the connection goes on.
pub(super) fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A stream that ends after these events.
pub(super) fn stream(more: &str, events: &str) -> String {
    let length = events.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n{more}Transfer-Encoding: chunked\r\n\r\n\
         {length:x}\r\n{events}\r\n0\r\n\r\n"
    )
}

fn read(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut asked = Asked { connection, head, body: String::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    asked.body = String::from_utf8(body).unwrap();
    Some(asked)
}

fn write(stream: &mut TcpStream, answer: &str) {
    stream.write_all(answer.as_bytes()).unwrap();
    stream.flush().unwrap();
}
