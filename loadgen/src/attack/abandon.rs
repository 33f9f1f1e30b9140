//! Handshakes that are begun and left.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use anyhow::Context;

use super::{AttackPlan, Pace, Shared, connect};
use crate::dialect::Dialect;

/// How far a handshake goes before it is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connected,
    HalfHello,
    Flight,
}

/// A connection that is left when as many others have been begun as are held at once.
struct Left {
    socket: TcpStream,
    stage: Stage,
    /// What is to be said yet.
    rest: Vec<u8>,
}

impl Left {
    /// Says as much as it means to. False: the server has ended it.
    fn speak(&mut self) -> bool {
        if self.rest.is_empty() {
            return true;
        }
        match self.socket.write(&self.rest) {
            Ok(written) => {
                self.rest.drain(..written);
                true
            }
            Err(error) => {
                matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
                )
            }
        }
    }

    /// Is left behind, with all that the server said unread but its first bytes.
    fn leave(mut self, shared: &Shared) {
        match self.socket.read(&mut [0; 64]) {
            Ok(0) => Shared::add(&shared.ended),
            Ok(_) if self.stage == Stage::Flight => Shared::add(&shared.answered),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => Shared::add(&shared.ended),
        }
    }
}

pub(super) fn run(plan: &AttackPlan, dialect: &Dialect, mut pace: Pace<'_>) -> anyhow::Result<()> {
    let trust = dialect.trust.as_ref().context("handshakes are TLS's")?;
    // Nobody else can tell that all say the same.
    let mut hello = Vec::new();
    trust.session()?.write_tls(&mut hello)?;
    let mut held: VecDeque<Left> = VecDeque::with_capacity(plan.connections);
    let mut n = 0;
    while pace.next() {
        if held.len() == plan.connections
            && let Some(oldest) = held.pop_front()
        {
            oldest.leave(pace.shared);
        }
        let (stage, rest) = match n % 3 {
            0 => (Stage::Connected, &[][..]),
            1 => (Stage::HalfHello, &hello[..hello.len() / 2]),
            _ => (Stage::Flight, &hello[..]),
        };
        let left = Left { socket: connect(dialect, n, pace.shared)?, stage, rest: rest.to_vec() };
        n += 1;
        held.push_back(left);
        // The newest can't be written to before the connection is there, so the one before has another try.
        for left in held.iter_mut().rev().take(2) {
            if !left.speak() {
                Shared::add(&pace.shared.ended);
                left.rest.clear();
            }
        }
    }
    held.into_iter().for_each(|left| left.leave(pace.shared));
    Ok(())
}
