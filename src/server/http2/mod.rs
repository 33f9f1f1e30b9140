//! HTTP/2 (RFC 9113): one connection that carries many requests and event streams.
//!
//! Frames, header compression and windows are the `h2` library's, which works on buffers here ([`pipe`]) and has neither sockets
//! nor timers. A connection is one task ([`connection`]): bytes in, frames through the library, bytes out. What a client could do
//! too often is counted before the library sees it ([`scanner`], [`gates`]). Each request is a task while it lasts ([`exchange`]);
//! one that becomes an event stream leaves no more behind than an entry ([`streams`]): it is a subscriber like any other, whose sink is
//! the session ([`session`]).

mod body;
mod connection;
mod exchange;
mod gates;
mod pipe;
mod scanner;
mod session;
mod streams;

pub(crate) use body::FramedBody;
pub(crate) use connection::{Parts, serve};
pub(crate) use session::{Session, SessionTimes, Sessions};
pub(crate) use streams::{Link, Streams};

/// What a connection begins with (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Its first part, which reads like the head of a request.
pub(crate) const PREFACE_HEAD_BYTES: usize = 18;

/// Bytes on their way to the socket, over all streams of a connection, after which nobody adds any.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of its input that the library is given per turn of the shard: some thousand of the smallest frames.
const INPUT_BYTES_PER_TURN: usize = 16 * 1024;
