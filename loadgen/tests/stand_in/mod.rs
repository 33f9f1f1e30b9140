//! A hub of threads, as small as it can be, that can be made to lose, repeat, swap, misdirect or tear events.

pub(crate) mod story;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Who asks for this topic suffers.
const VICTIM: &str = "urn:victim";
/// Which of its events is spoiled: one that others follow at once.
const SPOILED: usize = 8;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// One subscriber doesn't get one event.
    Loss,
    /// Who returns doesn't get the first event it missed.
    LossAtReturn,
    /// One subscriber gets one event twice.
    Repeat,
    /// One subscriber gets one event after the next.
    Disorder,
    /// One subscriber gets one event though it is another topic's.
    Foreign,
    /// One subscriber gets one event without its middle.
    Torn,
    /// One subscriber's connection is closed after one event.
    Close,
    /// One subscriber's connection is closed with its response head.
    CloseWithHead,
}

struct Subscriber {
    topics: Vec<String>,
    stream: TcpStream,
    is_victim: bool,
    got: usize,
    kept: Option<Vec<u8>>,
}

#[derive(Default)]
struct Hub {
    log: Vec<(String, String)>,
    subscribers: Vec<Subscriber>,
}

/// A running stand-in, until the test ends.
pub(crate) struct StandIn(u16);

impl StandIn {
    pub(crate) fn start(defect: Defect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let hub = Arc::new(Mutex::new(Hub::default()));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let hub = Arc::clone(&hub);
                std::thread::spawn(move || serve(stream, &hub, defect));
            }
        });
        Self(port)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hub", self.0)
    }
}

fn serve(stream: TcpStream, hub: &Mutex<Hub>, defect: Defect) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        if first.starts_with("GET") {
            let query = first.split(' ').nth(1)?.split_once('?')?.1.to_owned();
            let topics = query.split('&').map(|pair| decoded(pair.split_once('=').map_or("", |(_, value)| value)));
            subscribe(reader.into_inner(), topics.collect(), headers.get("last-event-id"), hub, defect);
            return None;
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        let (topic, data) = body.strip_prefix("topic=")?.split_once("&data=")?;
        let id = publish(decoded(topic), decoded(data), &mut hub.lock().expect("no panics"), defect);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len());
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

fn subscribe(mut stream: TcpStream, topics: Vec<String>, last: Option<&String>, hub: &Mutex<Hub>, defect: Defect) {
    let hub = &mut *hub.lock().expect("no panics");
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:\n\n".to_vec();
    if let Some(last) = last.and_then(|id| id.parse::<usize>().ok()) {
        let skip = usize::from(defect == Defect::LossAtReturn);
        let missed = hub.log.iter().enumerate().skip(last).filter(|(_, (topic, _))| topics.contains(topic));
        for (at, (_, data)) in missed.skip(skip) {
            bytes.extend_from_slice(&frame(at + 1, data));
        }
    }
    let _ = stream.write_all(&bytes);
    let is_victim = topics.iter().any(|topic| topic == VICTIM);
    if is_victim && defect == Defect::CloseWithHead {
        let _ = stream.shutdown(Shutdown::Both);
        return;
    }
    hub.subscribers.push(Subscriber { topics, stream, is_victim, got: 0, kept: None });
}

fn publish(topic: String, data: String, hub: &mut Hub, defect: Defect) -> String {
    let number = hub.log.len() + 1;
    let bytes = frame(number, &data);
    for subscriber in &mut hub.subscribers {
        let asked = subscriber.topics.contains(&topic);
        subscriber.got += usize::from(asked);
        let spoiled = subscriber.is_victim && asked && subscriber.got == SPOILED;
        let mut out = Vec::new();
        match defect {
            Defect::Loss if spoiled => {}
            Defect::Repeat if spoiled => out.extend([bytes.clone(), bytes.clone()].concat()),
            Defect::Disorder if spoiled => subscriber.kept = Some(bytes.clone()),
            Defect::Torn if spoiled => out.extend([&bytes[..50], &bytes[60..]].concat()),
            Defect::Foreign if subscriber.is_victim && !asked => out.extend(&bytes),
            _ if asked => out.extend(&bytes),
            _ => continue,
        }
        if !spoiled && let Some(kept) = subscriber.kept.take() {
            out.extend(kept);
        }
        let _ = subscriber.stream.write_all(&out);
        if spoiled && defect == Defect::Close {
            let _ = subscriber.stream.shutdown(Shutdown::Both);
        }
    }
    hub.log.push((topic, data));
    number.to_string()
}

fn frame(number: usize, data: &str) -> Vec<u8> {
    format!("id: {number}\ndata: {data}\n\n").into_bytes()
}

fn decoded(text: &str) -> String {
    let bytes = text.replace('+', " ").into_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let code = std::str::from_utf8(&bytes[at + 1..at + 3]).expect("two digits");
            out.push(u8::from_str_radix(code, 16).expect("hexadecimal"));
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).expect("text")
}
