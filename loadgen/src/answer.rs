//! Reads the answers to publishes from a connection: status, body and what matters of the head.

use crate::chunked::{Chunked, Part};

/// Bytes of an answer's body that make sense: an id, or a problem's explanation.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Whoever asks for a longer pause is come back to after this one.
pub(crate) const RETRY_AFTER_S_MAX: u64 = 60;

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
        return too_long(inbox);
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
            "content-length" => {
                let declared: u64 = value.parse().map_err(|_| format!("Content-Length: {value}"))?;
                length = usize::try_from(declared).unwrap_or(usize::MAX);
            }
            "transfer-encoding" => chunked = value.ends_with("chunked"),
            "retry-after" => answer.retry_after = value.parse().ok().map(|seconds: u64| seconds.min(RETRY_AFTER_S_MAX)),
            "connection" => answer.closes = value == "close",
            _ => {}
        }
    }
    if length > ANSWER_BYTES_MAX {
        return Err(format!("an answer of {length} bytes; at most {ANSWER_BYTES_MAX} make sense"));
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
        return too_long(inbox);
    };
    Ok(Some((answer, after)))
}

/// Nothing yet, unless this is more than any answer should have.
fn too_long(inbox: &[u8]) -> Result<Option<(Answer, usize)>, String> {
    match inbox.len() > 2 * ANSWER_BYTES_MAX {
        true => Err(format!("an answer that doesn't end after {} bytes", inbox.len())),
        false => Ok(None),
    }
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
    fn what_no_server_in_its_senses_answers_is_an_error_or_cut_to_size() {
        for length in ["18446744073709551615", "99999999", "-1"] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            assert!(first(answer.as_bytes()).is_err(), "{length}");
        }
        assert!(first(&b"x".repeat(3 * ANSWER_BYTES_MAX)).is_err());
        let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n";
        let (answer, _) = first(busy).expect("an answer").expect("a whole one");
        assert_eq!(answer.retry_after, Some(RETRY_AFTER_S_MAX));
    }

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
