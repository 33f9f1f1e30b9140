//! Subscribers that read slowly or never, and what the kernel holds for them on the hub's side.

use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use socket2::{Domain, Socket, Type};

use crate::sys;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, asks, reads the response head and nothing more. `receive_buffer` is in bytes; 0 leaves the system's.
pub(crate) fn subscribe(address: SocketAddr, request: &[u8], receive_buffer: usize) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if receive_buffer > 0 {
        // Before connecting: the window scale is agreed on then.
        socket.set_recv_buffer_size(receive_buffer)?;
    }
    socket.connect(&address.into()).context("connect a slow subscriber")?;
    let mut stream = TcpStream::from(socket);
    std::io::Write::write_all(&mut stream, request)?;
    stream.set_read_timeout(Some(HEAD_TIMEOUT))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).context("read the response head")?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    if head.split(' ').nth(1) != Some("200") {
        bail!("a slow subscriber was refused: {}", head.lines().next().unwrap_or_default());
    }
    stream.set_read_timeout(None)?;
    Ok(stream)
}

/// A subscriber that reads so many bytes a second until it is dropped.
pub(crate) struct Sipper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sipper {
    /// Starts to read from a stream.
    pub(crate) fn start(mut stream: TcpStream, bytes_per_second: usize) -> anyhow::Result<Self> {
        stream.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // Ten sips a second.
            let mut sip = vec![0; (bytes_per_second / 10).max(1)];
            while !stopped.load(Ordering::Acquire) {
                let _ = stream.read(&mut sip);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Sipper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes of kernel memory behind each of the server's sockets whose peer is one of these.
pub(crate) fn kernel_bytes(server: SocketAddr, peers: &HashSet<SocketAddr>) -> anyhow::Result<Vec<u64>> {
    let port = format!(":{}", server.port());
    let output = Command::new("ss")
        .args(["-tmnHO", "state", "connected", "sport", "=", &port])
        .output()
        .context("run ss (Debian package iproute2)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(parse_line).filter(|(peer, _)| peers.contains(peer)).map(|(_, bytes)| bytes).collect())
}

/// The peer and the memory of one socket: what waits to be read and to be sent with its bookkeeping, what is reserved
/// ahead, options and backlog. `t`, the part of `w` that is on its way, is in `w` already.
fn parse_line(line: &str) -> Option<(SocketAddr, u64)> {
    let (addresses, memory) = line.split_once("skmem:(")?;
    let peer = addresses.split_whitespace().filter_map(|word| word.parse().ok()).nth(1)?;
    let mut bytes = 0;
    for field in memory.split(')').next()?.split(',') {
        let letters = field.trim_end_matches(|c: char| c.is_ascii_digit());
        if ["r", "f", "w", "o", "bl"].contains(&letters) {
            bytes += field[letters.len()..].parse::<u64>().ok()?;
        }
    }
    Some((peer, bytes))
}

/// The largest memory seen per look, over time.
#[derive(Default)]
pub(crate) struct KernelWatch {
    next_ns: u64,
    /// The most any socket held at any look, in bytes.
    pub(crate) max: u64,
    /// The highest mean over the sockets at any look, in bytes.
    pub(crate) mean: f64,
    /// Sockets at the last look.
    pub(crate) sockets: usize,
}

impl KernelWatch {
    /// Looks, if the last look was a second ago.
    pub(crate) fn look(&mut self, server: SocketAddr, peers: &HashSet<SocketAddr>) -> anyhow::Result<()> {
        if sys::now_ns() < self.next_ns {
            return Ok(());
        }
        let all = kernel_bytes(server, peers)?;
        self.sockets = all.len();
        self.max = self.max.max(all.iter().copied().max().unwrap_or(0));
        self.mean = self.mean.max(all.iter().sum::<u64>() as f64 / all.len().max(1) as f64);
        self.next_ns = sys::now_ns() + 1_000_000_000;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ss_gives_the_peer_and_its_memory() {
        let line =
            "ESTAB 0 2097 127.0.0.1:3000 127.0.0.1:41822 skmem:(r10,rb131072,t4352,tb2626560,f3328,w9984,o1,bl2,d9)";
        let peer = "127.0.0.1:41822".parse().expect("an address");
        assert_eq!(parse_line(line), Some((peer, 10 + 3328 + 9984 + 1 + 2)));
        assert_eq!(parse_line("ESTAB 0 0 127.0.0.1:1 127.0.0.1:2"), None);
    }
}
