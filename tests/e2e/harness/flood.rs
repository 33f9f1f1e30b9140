//! Many publishes at once, pipelined on one connection.

use super::{Client, HUB, form, publisher};
use std::ops::Range;

/// How many publishes are under way at a time.
const PIPELINED: u32 = 50;

/// Publishes `"{n} {filler}"` to `urn:flood` for every n of the range and sees each answered 200.
pub(crate) fn flood(client: &mut Client, range: Range<u32>, filler: &str) {
    let token = publisher();
    let mut next = range.start;
    while next < range.end {
        let until = range.end.min(next + PIPELINED);
        let mut bytes = Vec::new();
        for n in next..until {
            let body = form(&[("topic", "urn:flood"), ("data", &format!("{n} {filler}"))]);
            bytes.extend_from_slice(
                format!(
                    "POST {HUB} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
        }
        client.send(&bytes);
        for n in next..until {
            let response = client.response("POST");
            assert_eq!(response.status, 200, "publish {n}: {response:?}");
        }
        next = until;
    }
}
