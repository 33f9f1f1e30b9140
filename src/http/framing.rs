//! How long the body is and whether the connection outlives the exchange: the fields that two parsers must not
//! read differently, or one of them takes the rest of a body for the next request.

use super::head::{HeadError, Version};

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is none.
    None,
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow (RFC 9112 §7.1).
    Chunked,
    /// Frames follow, the last of which says so (RFC 9113 §8.1).
    Frames,
}

pub(super) struct Framing {
    pub(super) body: BodyFraming,
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
}

impl Framing {
    pub(super) fn from_fields(version: Version, fields: &[httparse::Header<'_>]) -> Result<Self, HeadError> {
        let body = body_framing(version, fields)?;
        let waits = expectation(version, fields)?;
        Ok(Self {
            body,
            keep_alive: keep_alive(version, fields),
            // With nothing to send there is nothing to wait for (RFC 9110 §10.1.1).
            expect_continue: waits && !matches!(body, BodyFraming::None | BodyFraming::Length(0)),
        })
    }
}

/// How the body of a request over HTTP/2 is delimited. `ended`: its head was all.
pub(super) fn of_frames(fields: &[httparse::Header<'_>], ended: bool) -> Result<Framing, HeadError> {
    let mut lengths = values(fields, "content-length");
    let length = lengths.next().map(content_length).transpose()?;
    if lengths.next().is_some() {
        return Err(HeadError::ContentLengthRepeated);
    }
    let body = match length {
        _ if ended => BodyFraming::None,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::Frames,
    };
    let waits = expectation(Version::Http2, fields)?;
    Ok(Framing { body, keep_alive: true, expect_continue: waits && !matches!(body, BodyFraming::None) })
}

fn body_framing(version: Version, fields: &[httparse::Header<'_>]) -> Result<BodyFraming, HeadError> {
    let mut lengths = values(fields, "content-length");
    let mut codings = values(fields, "transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(BodyFraming::None),
        (Some(_), Some(_)) => Err(HeadError::TwoLengths),
        (Some(_), None) if lengths.next().is_some() => Err(HeadError::ContentLengthRepeated),
        (Some(length), None) => content_length(length).map(BodyFraming::Length),
        (None, Some(_)) if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
        (None, Some(_)) if codings.next().is_some() => Err(HeadError::TransferEncodingInvalid),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyFraming::Chunked),
        (None, Some(coding)) if names_another_coding(coding) => Err(HeadError::TransferCodingUnknown),
        (None, Some(_)) => Err(HeadError::TransferEncodingInvalid),
    }
}

/// Digits only: no sign, no list of equal lengths, no leading zero (some would read octal), nothing that
/// overflows.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value[0] != b'0');
    let digits = std::str::from_utf8(value).ok().filter(|_| plain);
    digits.and_then(|digits| digits.parse().ok()).ok_or(HeadError::ContentLengthInvalid)
}

/// Whether a well-formed list names a coding other than chunked; a malformed one is simply wrong.
fn names_another_coding(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).any(|coding| {
        !coding.is_empty()
            && !coding.eq_ignore_ascii_case(b"chunked")
            && coding.iter().copied().all(super::head::is_token_byte)
    })
}

fn keep_alive(version: Version, fields: &[httparse::Header<'_>]) -> bool {
    let option = |wanted: &[u8]| elements(fields, "connection").any(|option| option.eq_ignore_ascii_case(wanted));
    match version {
        Version::Http11 => !option(b"close"),
        Version::Http2 => true,
        Version::Http10 => option(b"keep-alive") && !option(b"close"),
    }
}

/// Whether the client waits for `100 Continue`; HTTP/1.0 doesn't know expectations and theirs are ignored.
fn expectation(version: Version, fields: &[httparse::Header<'_>]) -> Result<bool, HeadError> {
    if version == Version::Http10 {
        return Ok(false);
    }
    let mut waits = false;
    for expected in elements(fields, "expect") {
        if !expected.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::ExpectationUnknown);
        }
        waits = true;
    }
    Ok(waits)
}

pub(super) fn values<'f, 'b>(
    fields: &'f [httparse::Header<'b>],
    name: &'static str,
) -> impl Iterator<Item = &'b [u8]> + use<'f, 'b> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn elements<'f, 'b>(
    fields: &'f [httparse::Header<'b>],
    name: &'static str,
) -> impl Iterator<Item = &'b [u8]> + use<'f, 'b> {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}
