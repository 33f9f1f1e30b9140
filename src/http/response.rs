//! Answers: status, fields and body, and how they become bytes.
//!
//! Whatever goes into a field, no answer can be split in two: bytes that could end a line are replaced on their
//! way in, and the fields that say where the answer ends are written here alone.

use std::ops::Range;

use super::head::{Version, is_token_byte};

/// The interim answer that lets a client send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Written by [`ResponseHead::encode`]; a caller's own would contradict it.
const OWN_FIELDS: [&str; 6] =
    ["Connection", "Content-Length", "Date", "Keep-Alive", "Transfer-Encoding", "X-Content-Type-Options"];

/// An answer in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    status: u16,
    /// Names, and where in `values` their values are.
    fields: Vec<(&'static str, Range<usize>)>,
    values: Vec<u8>,
    body: Vec<u8>,
}

impl ResponseHead {
    /// An answer with this status and nothing else.
    #[must_use]
    pub fn new(status: u16) -> Self {
        debug_assert!((200..=599).contains(&status), "a final status");
        Self { status, fields: Vec::new(), values: Vec::new(), body: Vec::new() }
    }

    /// The same answer with one more field, see [`add_field`](Self::add_field).
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.add_field(name, value);
        self
    }

    /// Adds a field. Control bytes in the value become spaces (RFC 9110 §5.5). Fields that
    /// [`encode`](Self::encode) writes itself and names that aren't tokens are left out.
    pub fn add_field(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        let own = OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name));
        let token = !name.is_empty() && name.bytes().all(is_token_byte);
        debug_assert!(token && !own, "{name:?} can't be set");
        if token && !own {
            let start = self.values.len();
            self.values.extend(without_controls(value.as_ref()));
            self.fields.push((name, start..self.values.len()));
        }
    }

    /// The same answer with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The fields so far, without those that encoding adds.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.fields.iter().map(|(name, range)| (*name, &self.values[range.clone()]))
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Adds to the value of the first field of this name, if there is one.
    pub(super) fn extend_field(&mut self, name: &str, more: &str) {
        if let Some((_, range)) = self.fields.iter_mut().find(|(field, _)| field.eq_ignore_ascii_case(name)) {
            // Written anew at the end: there is nothing behind it to be moved.
            let start = self.values.len();
            self.values.extend_from_within(range.clone());
            self.values.extend(without_controls(more.as_bytes()));
            *range = start..self.values.len();
        }
    }

    /// The body.
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Appends the whole answer to `out`.
    ///
    /// `head_only` (the answer to HEAD) leaves out the body, not its length. `keep_alive` is whether this side
    /// keeps the connection open. `date` is an IMF-fixdate.
    pub fn encode(&self, version: Version, keep_alive: bool, head_only: bool, date: &str, out: &mut Vec<u8>) {
        self.encode_with(&self.body, version, keep_alive, head_only, date, out);
    }

    /// [`encode`](Self::encode) with another body than its own: of an answer that is given many times.
    pub fn encode_with(
        &self,
        body: &[u8],
        version: Version,
        keep_alive: bool,
        head_only: bool,
        date: &str,
        out: &mut Vec<u8>,
    ) {
        out.reserve(256 + self.values.len() + body.len());
        self.encode_start(version, date, out);
        match (version, keep_alive) {
            (Version::Http11 | Version::Http2, true) => {}
            (Version::Http10, true) => push_field("Connection", b"keep-alive", out),
            (_, false) => push_field("Connection", b"close", out),
        }
        let has_body = self.has_body();
        if has_body {
            push_field("Content-Length", body.len().to_string().as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
        if has_body && !head_only {
            out.extend_from_slice(body);
        }
    }

    /// Appends the head of an answer whose body is a stream without known end, the last one on its connection:
    /// chunked with HTTP/1.1, ended by closing with HTTP/1.0. Also the answer to a HEAD request for such a stream,
    /// closed at once.
    pub fn encode_stream(&self, version: Version, date: &str, out: &mut Vec<u8>) {
        self.encode_start(version, date, out);
        if version == Version::Http11 {
            push_field("Transfer-Encoding", b"chunked", out);
        }
        push_field("Connection", b"close", out);
        out.extend_from_slice(b"\r\n");
    }

    /// All fields of the answer over HTTP/2, where frames say how it goes on: names in lower case, those included that encoding
    /// adds. `length`: of the body, if that is known and the status has one.
    pub fn frame_fields(&self, length: Option<usize>, date: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
        let own = [
            Some(("date".to_owned(), without_controls(date.as_bytes()).collect())),
            Some(("x-content-type-options".to_owned(), b"nosniff".to_vec())),
            length
                .filter(|_| self.has_body())
                .map(|length| ("content-length".to_owned(), length.to_string().into_bytes())),
        ];
        let fields = self.fields().map(|(name, value)| (name.to_ascii_lowercase(), value.trim_ascii().to_vec()));
        fields.chain(own.into_iter().flatten())
    }

    /// Whether an answer with this status has a body. RFC 9110 §8.6: a 204 has no length; a 304 would have to give the one of the 200.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    fn encode_start(&self, version: Version, date: &str, out: &mut Vec<u8>) {
        // HTTP/1.0 clients are answered in kind: old ones distrust a version they don't know.
        out.extend_from_slice(match version {
            Version::Http10 => b"HTTP/1.0 ",
            Version::Http11 | Version::Http2 => b"HTTP/1.1 ",
        });
        out.extend_from_slice(self.status.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(b"Date: ");
        out.extend(without_controls(date.as_bytes()));
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.fields() {
            push_field(name, value, out);
        }
        push_field("X-Content-Type-Options", b"nosniff", out);
    }
}

fn push_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn without_controls(value: &[u8]) -> impl Iterator<Item = u8> {
    value.iter().map(|&byte| if byte.is_ascii_control() && byte != b'\t' { b' ' } else { byte })
}

/// The reason phrase of a status this server answers with; empty for others, which the grammar allows.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn encoded(head: &ResponseHead, version: Version, keep_alive: bool, head_only: bool) -> String {
        let mut out = Vec::new();
        head.encode(version, keep_alive, head_only, DATE, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer() {
        let head = ResponseHead::new(200).field("Content-Type", "text/plain").body("hi");
        assert_eq!(
            encoded(&head, Version::Http11, true, false),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Length: 2\r\n\r\nhi"
        );
        assert!(encoded(&head, Version::Http11, false, false).contains("\r\nConnection: close\r\n"));
        assert!(encoded(&head, Version::Http10, true, false).contains("\r\nConnection: keep-alive\r\n"));
        assert!(encoded(&head, Version::Http10, false, false).starts_with("HTTP/1.0 200 OK\r\n"));
        assert!(encoded(&head, Version::Http10, false, false).contains("\r\nConnection: close\r\n"));
    }

    #[test]
    fn head_keeps_the_length_and_loses_the_body() {
        let text = encoded(&ResponseHead::new(200).body("hi"), Version::Http11, true, true);
        assert!(text.contains("\r\nContent-Length: 2\r\n") && text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn no_content_has_neither_length_nor_body() {
        for status in [204, 304] {
            let text = encoded(&ResponseHead::new(status).body("hi"), Version::Http11, true, false);
            assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"));
        }
    }

    #[test]
    fn streams() {
        let head = ResponseHead::new(200).field("Content-Type", "text/event-stream");
        let mut out = Vec::new();
        head.encode_stream(Version::Http11, DATE, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("nosniff\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"));
        let mut out = Vec::new();
        head.encode_stream(Version::Http10, DATE, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with("nosniff\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_value_cannot_split_the_answer() {
        let head = ResponseHead::new(200).field("X-A", "a\r\nSet-Cookie: b\0\r\n\r\n<html>");
        assert_eq!(head.get("x-a"), Some(&b"a  Set-Cookie: b     <html>"[..]));
        let mut out = Vec::new();
        head.encode(Version::Http11, true, false, "today\r\nX: y", &mut out);
        assert!(out.starts_with(b"HTTP/1.1 200 OK\r\nDate: today  X: y\r\n"));
    }

    #[test]
    #[should_panic(expected = "can't be set")]
    fn framing_is_written_here_alone() {
        let _ = ResponseHead::new(200).field("content-length", "5");
    }

    #[test]
    fn every_refusal_has_a_phrase() {
        for status in [400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 429, 431, 500, 501, 503, 505] {
            assert_ne!(reason(status), "", "{status}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            status in 200u16..600,
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            body in prop::collection::vec(any::<u8>(), 0..100),
            keep_alive: bool,
        ) {
            let mut head = ResponseHead::new(status).body(body.clone());
            for value in &values {
                head.add_field("X-Value", value);
            }
            let mut out = Vec::new();
            head.encode(Version::Http11, keep_alive, false, DATE, &mut out);

            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut fields);
            let len = response.parse(&out).unwrap().unwrap();
            prop_assert_eq!(response.code, Some(status));
            prop_assert_eq!(response.reason, Some(reason(status)));
            let read = |name: &'static str| response.headers.iter().filter(move |field| field.name == name).map(|field| field.value);
            let sent = values.iter().map(|value| without_controls(value).collect::<Vec<_>>().trim_ascii().to_vec());
            prop_assert!(read("X-Value").map(<[u8]>::to_vec).eq(sent));
            prop_assert_eq!(read("Connection").next().is_some(), !keep_alive);
            if status == 204 || status == 304 {
                prop_assert_eq!(out.len(), len);
            } else {
                let length = body.len().to_string();
                prop_assert_eq!(read("Content-Length").next(), Some(length.as_bytes()));
                prop_assert_eq!(&out[len..], &body[..]);
            }
            let wire = response.headers.iter().map(|field| field.name).filter(|&name| name != "X-Value").count();
            prop_assert_eq!(wire, 2 + usize::from(!keep_alive) + usize::from(status != 204 && status != 304));
        }
    }
}
