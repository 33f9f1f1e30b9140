//! What the kernel holds at the server for each connection of a group: what waits to be read and sent, as `ss` shows it.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use anyhow::Context;

use crate::sources::Sources;
use crate::sys;

const INTERVAL_NS: u64 = 1_000_000_000;

/// Bytes of kernel memory behind each of the server's sockets whose peer is of a group.
fn kernel_bytes(server: SocketAddr, group: usize) -> anyhow::Result<Vec<u64>> {
    let port = format!(":{}", server.port());
    let output = Command::new("ss")
        .args(["-tmnHO", "state", "connected", "sport", "=", &port])
        .output()
        .context("run ss (Debian package iproute2)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let of_group = |peer: &SocketAddr| matches!(peer.ip(), IpAddr::V4(ip) if ip.octets()[1] == Sources::net(group));
    Ok(text.lines().filter_map(parse_line).filter(|(peer, _)| of_group(peer)).map(|(_, bytes)| bytes).collect())
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

/// The most seen, over time.
#[derive(Clone, Debug, Default)]
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
    pub(crate) fn look(&mut self, server: SocketAddr, group: usize) -> anyhow::Result<()> {
        if sys::now_ns() < self.next_ns {
            return Ok(());
        }
        let all = kernel_bytes(server, group)?;
        self.sockets = all.len();
        self.max = self.max.max(all.iter().copied().max().unwrap_or(0));
        self.mean = self.mean.max(all.iter().sum::<u64>() as f64 / all.len().max(1) as f64);
        self.next_ns = sys::now_ns() + INTERVAL_NS;
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
