//! The head of a request: request line and fields, read strictly (RFC 9112).
//!
//! `httparse` finds the pieces; what it tolerates and another parser might not (bare line feeds, several empty
//! lines, non-ASCII targets) is refused here, and so is everything about length, host and target that has two
//! readings.

use std::fmt;
use std::mem::MaybeUninit;

use thiserror::Error;

pub use super::framing::BodyFraming;
use super::framing::Framing;
use super::target::Target;

/// Default of [`HeadLimits::head_bytes_max`].
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Default of [`HeadLimits::target_bytes_max`]: leaves a quarter of the head to tokens and cookies.
pub const TARGET_BYTES_MAX: usize = 12 * 1024;
/// Default of [`HeadLimits::fields_max`]; a browser behind two proxies sends about thirty.
pub const FIELDS_MAX: usize = 64;

/// How large a request head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first of the request line to the empty line that ends the head, both included.
    pub head_bytes_max: usize,
    /// Number of fields.
    pub fields_max: usize,
    /// Bytes of the request target.
    pub target_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: HEAD_BYTES_MAX, fields_max: FIELDS_MAX, target_bytes_max: TARGET_BYTES_MAX }
    }
}

/// What [`parse`] makes of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadStatus<'b> {
    /// Nothing wrong yet, and not all there: read more.
    Partial,
    /// A whole head; the body starts at [`Head::len`].
    Complete(Head<'b>),
}

/// A request method; names are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `OPTIONS`
    Options,
    /// `QUERY`
    Query,
    /// Any other token.
    Other,
}

impl Method {
    pub(super) fn from_token(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "OPTIONS" => Self::Options,
            "QUERY" => Self::Query,
            _ => Self::Other,
        }
    }
}

/// The version in the request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`, what nginx speaks to upstreams by default.
    Http10,
    /// `HTTP/1.1`
    Http11,
    /// `HTTP/2`, whose requests aren't read here but put together by [`assemble`](super::assemble::assemble).
    Http2,
}

/// A request head, borrowed from the buffer it was read into.
#[derive(Clone, PartialEq, Eq)]
pub struct Head<'b> {
    /// The method.
    pub method: Method,
    /// The path as sent, not decoded: starts with `/`, or is `*` for `OPTIONS *`.
    pub path: &'b str,
    /// What follows the first `?` of the target, not decoded.
    pub query: Option<&'b str>,
    /// The version.
    pub version: Version,
    /// `host` or `host:port` from the `Host` field or an absolute target, its syntax checked, letter case as sent.
    /// Always there with HTTP/1.1 and HTTP/2.
    pub host: Option<&'b str>,
    /// How the body is delimited.
    pub body: BodyFraming,
    /// Whether the client expects the connection to stay open after the answer.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Bytes of the buffer the head takes, a tolerated empty line before it included; 0 with HTTP/2.
    pub len: usize,
    pub(super) fields: Vec<httparse::Header<'b>>,
}

impl<'b> Head<'b> {
    /// All fields in order: name as sent, value without surrounding white space (it may hold bytes above 0x7F).
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// The values of every field of this name, in order; letter case doesn't count.
    pub fn get_all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'b [u8]> + 'h {
        self.fields().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.get_all(name).next()
    }

    /// The value of the only field of this name: none if it is missing, there several times or not UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&'b str> {
        let mut values = self.get_all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }
}

/// Shows names only: values may be tokens, and tokens are never logged.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("version", &self.version)
            .field("host", &self.host)
            .field("body", &self.body)
            .field("keep_alive", &self.keep_alive)
            .field("expect_continue", &self.expect_continue)
            .field("len", &self.len)
            .field("fields", &self.fields().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Why a head was refused. After any of these the connection can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum HeadError {
    #[error("the request head is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the request has more than {fields_max} header fields")]
    TooManyFields { fields_max: usize },
    #[error(
        "the request target is longer than {bytes_max} bytes; use fewer matchers, or patterns that match several topics"
    )]
    TargetTooLong { bytes_max: usize },
    #[error("a line of the request head ends in a line feed without a carriage return")]
    BareLineFeed,
    #[error("the request head holds a carriage return without a line feed")]
    BareCarriageReturn,
    #[error("more than one empty line comes before the request line")]
    LeadingEmptyLines,
    #[error("the request line isn't a method, a target and a version with single spaces between them")]
    RequestLine,
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    VersionUnsupported,
    #[error("a header field is folded over several lines, which is obsolete")]
    ObsoleteFolding,
    #[error("a header field name is empty or holds a byte that isn't allowed, such as a space before the colon")]
    FieldName,
    #[error("a header field value holds a control byte")]
    FieldValue,
    #[error("the request target holds a byte that isn't visible ASCII, or a fragment")]
    TargetBytes,
    #[error("the request target is neither a path, nor an http URL without user name, nor the * of OPTIONS")]
    TargetForm,
    #[error("the Host field is missing")]
    HostMissing,
    #[error("there is more than one Host field")]
    HostRepeated,
    #[error("the host isn't a name or an address with an optional port")]
    HostInvalid,
    #[error("the Host field and the request target name different hosts")]
    HostDisagrees,
    #[error("there is more than one Content-Length field")]
    ContentLengthRepeated,
    #[error("Content-Length isn't a plain decimal number of bytes")]
    ContentLengthInvalid,
    #[error("Content-Length and Transfer-Encoding are both there")]
    TwoLengths,
    #[error("there is more than one Transfer-Encoding field, or it isn't just \"chunked\"")]
    TransferEncodingInvalid,
    #[error("the only transfer coding known here is \"chunked\"")]
    TransferCodingUnknown,
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    TransferEncodingInHttp10,
    #[error("the only expectation known here is \"100-continue\"")]
    ExpectationUnknown,
}

impl HeadError {
    /// The status to answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::TargetTooLong { .. } => 414,
            Self::ExpectationUnknown => 417,
            Self::TooLarge { .. } | Self::TooManyFields { .. } => 431,
            Self::TransferCodingUnknown => 501,
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }
}

/// Where [`parse`] can judge the head: after the empty line that ends it, or after a byte that already spoils it.
///
/// `scanned_from` is how many bytes an earlier call has seen (0 at first, then the buffer's length at the last
/// call), so a head that trickles in byte by byte costs one look at each byte. While it answers none and the
/// buffer is smaller than [`HeadLimits::head_bytes_max`], `parse` would answer [`HeadStatus::Partial`]: there is
/// no need to call it.
#[must_use]
pub fn head_end(buf: &[u8], scanned_from: usize) -> Option<usize> {
    // A TLS greeting or other noise would have its sender wait for the time limit, since no line ever ends.
    if scanned_from == 0 && buf.first().is_some_and(|&byte| !is_token_byte(byte) && byte != b'\r') {
        return Some(1);
    }
    let unseen = buf.get(scanned_from..)?;
    memchr::memchr_iter(b'\n', unseen).map(|at| scanned_from + at).find_map(|feed| {
        let bare = feed == 0 || buf[feed - 1] != b'\r';
        let empty_line = feed >= 2 && buf[feed - 2] == b'\n';
        (bare || empty_line).then_some(feed + 1)
    })
}

/// Reads one request head from the start of `buf`; what follows the head isn't looked at.
///
/// The verdict depends only on the bytes up to [`head_end`], however they were split into reads.
///
/// # Errors
/// [`HeadError`], with the status to answer; the connection must be closed after it.
pub fn parse<'b>(buf: &'b [u8], limits: &HeadLimits) -> Result<HeadStatus<'b>, HeadError> {
    let readable = &buf[..buf.len().min(limits.head_bytes_max)];
    match head_end(readable, 0) {
        Some(end) => judge(&readable[..end], limits).map(HeadStatus::Complete),
        None if buf.len() < limits.head_bytes_max => Ok(HeadStatus::Partial),
        None if readable.contains(&b'\n') => Err(HeadError::TooLarge { bytes_max: limits.head_bytes_max }),
        None => Err(HeadError::TargetTooLong { bytes_max: limits.target_bytes_max }),
    }
}

fn judge<'b>(raw: &'b [u8], limits: &HeadLimits) -> Result<Head<'b>, HeadError> {
    check_line_ends(raw)?;
    // RFC 9112 §2.2: one empty line is tolerated, some old clients send it after a body.
    let lines = raw.strip_prefix(b"\r\n").unwrap_or(raw);
    if lines.starts_with(b"\r\n") {
        return Err(HeadError::LeadingEmptyLines);
    }

    let mut few = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut many = Vec::new();
    let room = match few.get_mut(..limits.fields_max) {
        Some(room) => room,
        None => {
            many.resize_with(limits.fields_max, MaybeUninit::uninit);
            &mut many[..]
        }
    };
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(lines, room) {
        Ok(httparse::Status::Complete(len)) if len == lines.len() => {}
        // Both parsers must agree on where the head ends.
        Ok(_) => return Err(HeadError::RequestLine),
        Err(error) => return Err(refusal(error, lines, limits)),
    }
    let (Some(token), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::RequestLine);
    };
    let fields = request.headers.to_vec();

    if target.len() > limits.target_bytes_max {
        return Err(HeadError::TargetTooLong { bytes_max: limits.target_bytes_max });
    }
    let method = Method::from_token(token);
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let target = Target::parse(method, target)?;
    let host = super::target::effective_host(&target, version, &fields)?;
    let framing = Framing::from_fields(version, &fields)?;
    Ok(Head {
        method,
        path: target.path,
        query: target.query,
        version,
        host,
        body: framing.body,
        keep_alive: framing.keep_alive,
        expect_continue: framing.expect_continue,
        len: raw.len(),
        fields,
    })
}

/// Every line ends in CRLF and no other line is begun by white space; `httparse` lets a bare LF pass.
fn check_line_ends(raw: &[u8]) -> Result<(), HeadError> {
    for at in memchr::memchr2_iter(b'\r', b'\n', raw) {
        match raw[at] {
            b'\n' if at == 0 || raw[at - 1] != b'\r' => return Err(HeadError::BareLineFeed),
            b'\r' if raw.get(at + 1) != Some(&b'\n') => return Err(HeadError::BareCarriageReturn),
            b'\n' if matches!(raw.get(at + 1), Some(b' ' | b'\t')) => {
                return Err(HeadError::ObsoleteFolding);
            }
            _ => {}
        }
    }
    Ok(())
}

fn refusal(error: httparse::Error, lines: &[u8], limits: &HeadLimits) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::FieldName,
        httparse::Error::HeaderValue => HeadError::FieldValue,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields { fields_max: limits.fields_max },
        httparse::Error::Version if names_another_version(lines) => HeadError::VersionUnsupported,
        _ => HeadError::RequestLine,
    }
}

fn names_another_version(lines: &[u8]) -> bool {
    let line = &lines[..memchr::memchr(b'\r', lines).unwrap_or(lines.len())];
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(_), Some(_), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return false;
    };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
}

/// A byte of a method or field name (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
pub(super) mod tests;
