//! A long way between two ends: whatever goes through arrives a fixed time later, in both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Where to connect to reach `to` by the long way, until the test ends.
pub(crate) fn before(to: &str, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let (address, to) = (listener.local_addr().expect("bound").to_string(), to.to_owned());
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&to).expect("connects");
            carry(near.try_clone().expect("a copy"), far.try_clone().expect("a copy"), delay);
            carry(far, near, delay);
        }
    });
    address
}

#[expect(clippy::disallowed_methods, reason = "the way takes real time")]
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    to.set_nodelay(true).expect("no delay but ours");
    let (sender, under_way) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in under_way {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
