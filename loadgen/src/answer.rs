//! Reads the answers to publishes from a connection: status, body and what matters of the head.

use crate::chunked::{Chunked, Part};

/// One complete answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Seconds of a `Retry-After` header.
    pub(crate) retry_after: Option<u64>,
    /// The server closes the connection after this answer.
    pub(crate) closes: bool,
}

/// Takes all complete answers out of the bytes read so far.
pub(crate) fn take_all(inbox: &mut Vec<u8>) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    let mut used = 0;
    while let Some((answer, length)) = first(&inbox[used..])? {
        answers.push(answer);
        used += length;
    }
    inbox.drain(..used);
    Ok(answers)
}

/// The first complete answer and its length; nothing when more must come.
pub(crate) fn first(inbox: &[u8]) -> Result<Option<(Answer, usize)>, String> {
    let Some(end) = memchr::memmem::find(inbox, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&inbox[..end]).to_ascii_lowercase();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("not an HTTP answer: {status_line}"))?;
    let mut answer = Answer { status, body: Vec::new(), retry_after: None, closes: false };
    let mut length = 0;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name {
            "content-length" => length = value.parse().map_err(|_| format!("Content-Length: {value}"))?,
            "transfer-encoding" => chunked = value.ends_with("chunked"),
            "retry-after" => answer.retry_after = value.parse().ok(),
            "connection" => answer.closes = value == "close",
            _ => {}
        }
    }
    let start = end + 4;
    let Some(after) = (if chunked {
        read_chunks(inbox, start, &mut answer.body)?
    } else {
        (inbox.len() >= start + length).then(|| {
            answer.body.extend_from_slice(&inbox[start..start + length]);
            start + length
        })
    }) else {
        return Ok(None);
    };
    Ok(Some((answer, after)))
}

/// Answers where the chunked body ends, once all of it is there.
fn read_chunks(inbox: &[u8], start: usize, body: &mut Vec<u8>) -> Result<Option<usize>, String> {
    let mut piece = &inbox[start..];
    let mut chunks = Chunked::default();
    loop {
        match chunks.next(&mut piece).map_err(|_| "a badly chunked answer".to_owned())? {
            Part::Content(content) => body.extend_from_slice(content),
            Part::End => return Ok(Some(inbox.len() - piece.len())),
            Part::More => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_answers_come_out_one_by_one_once_complete() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nidHTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\
            Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbusy\r\n0\r\n\r\n";
        for cut in 1..stream.len() {
            let mut inbox = Vec::new();
            let mut answers = Vec::new();
            for part in stream.chunks(cut) {
                inbox.extend_from_slice(part);
                answers.extend(take_all(&mut inbox).expect("valid"));
            }
            let first = Answer { status: 200, body: b"id".to_vec(), retry_after: None, closes: false };
            let second = Answer { status: 503, body: b"busy".to_vec(), retry_after: Some(3), closes: true };
            assert_eq!(answers, [first, second], "cut every {cut}");
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn what_isnt_http_is_an_error() {
        assert!(take_all(&mut b"SSH-2.0\r\n\r\n".to_vec()).is_err());
    }
}
