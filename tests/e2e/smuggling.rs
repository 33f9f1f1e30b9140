//! Whatever two parsers could read differently is refused, the connection ends, and nothing is published.

use crate::harness::*;

const BODY: &str = "topic=urn:a&data=smuggled";

#[test]
fn lengths_told_twice_or_oddly_are_refused() {
    let n = BODY.len();
    refuse_all(&[
        ("both lengths", format!("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunked())),
        (
            "both lengths, the other way round",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n\r\n{}", chunked()),
        ),
        ("duplicate lengths", format!("Content-Length: {n}\r\nContent-Length: {n}\r\n\r\n{BODY}")),
        ("different lengths", format!("Content-Length: {n}\r\nContent-Length: 5\r\n\r\n{BODY}")),
        ("a list of lengths", format!("Content-Length: {n}, {n}\r\n\r\n{BODY}")),
        ("a sign", format!("Content-Length: +{n}\r\n\r\n{BODY}")),
        ("a negative length", format!("Content-Length: -{n}\r\n\r\n{BODY}")),
        ("hexadecimal", format!("Content-Length: 0x{n:x}\r\n\r\n{BODY}")),
        ("an empty length", format!("Content-Length:\r\n\r\n{BODY}")),
        ("a fraction", format!("Content-Length: {n}.0\r\n\r\n{BODY}")),
        ("a unit", format!("Content-Length: {n}B\r\n\r\n{BODY}")),
        ("a space within", format!("Content-Length: {} {}\r\n\r\n{BODY}", n / 10, n % 10)),
        ("a vertical tab", format!("Content-Length: \x0b{n}\r\n\r\n{BODY}")),
        ("more than 64 bits", format!("Content-Length: 18446744073709551{:03}\r\n\r\n{BODY}", 616 + n)),
    ]);
}

#[test]
fn transfer_codings_other_than_chunked_once_are_refused() {
    for_each_coding(&[
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;x=y",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0c",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ]);
}

#[test]
fn chunked_is_refused_in_http_1_0() {
    let request = format!("{}Transfer-Encoding: chunked\r\n\r\n{}", head(), chunked()).replace("HTTP/1.1", "HTTP/1.0");
    refuse_raw(&[("chunked in HTTP/1.0", request.into_bytes())]);
}

#[test]
fn bad_chunk_sizes_are_refused() {
    let hex = format!("{:x}", BODY.len());
    let body = |size: &str| format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\n{BODY}\r\n0\r\n\r\n");
    refuse_all(&[
        ("a sign", body(&format!("+{hex}"))),
        ("a negative size", body(&format!("-{hex}"))),
        ("a prefix", body(&format!("0x{hex}"))),
        ("a leading space", body(&format!(" {hex}"))),
        ("no digits", body("")),
        ("no hexadecimal digits", body("zz")),
        ("an underscore", body(&format!("0_{hex}"))),
        ("more than 64 bits", body(&format!("10000000000000000{hex:0>2}"))),
        ("bare LF after the size", format!("Transfer-Encoding: chunked\r\n\r\n{hex}\n{BODY}\r\n0\r\n\r\n")),
        ("bare LF after the data", format!("Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{BODY}\n0\r\n\r\n")),
        ("bare CR after the size", format!("Transfer-Encoding: chunked\r\n\r\n{hex}\r{BODY}\r\n0\r\n\r\n")),
        ("data longer than its size", format!("Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{BODY}xx\r\n0\r\n\r\n")),
        ("a line feed in an extension", format!("Transfer-Encoding: chunked\r\n\r\n{hex};a\nb\r\n{BODY}\r\n0\r\n\r\n")),
        (
            "no end after the last chunk",
            format!("Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{BODY}\r\n0\r\nGET / HTTP/1.1\n\r\n\r\n"),
        ),
    ]);
}

#[test]
fn malformed_header_lines_are_refused() {
    let n = BODY.len();
    let with = |line: &str| format!("Content-Length: {n}\r\n{line}\r\n\r\n{BODY}");
    refuse_all(&[
        ("a space before the colon", format!("Content-Length : {n}\r\n\r\n{BODY}")),
        ("a tab before the colon", with("X-A\t: b")),
        ("obsolete folding", with("X-A: b\r\n c")),
        ("obsolete folding by a tab", with("X-A: b\r\n\tc")),
        ("a folded length", format!("Content-Length:\r\n {n}\r\n\r\n{BODY}")),
        ("bare LF between headers", format!("Content-Length: {n}\nX-A: b\r\n\r\n{BODY}")),
        ("bare LF at the end of the head", format!("Content-Length: {n}\r\n\n{BODY}")),
        ("LF CR LF", format!("Content-Length: {n}\n\r\n{BODY}")),
        ("bare CR in a value", with("X-A: b\rc")),
        ("NUL in a value", with("X-A: b\0c")),
        ("a control character in a value", with("X-A: b\x01c")),
        ("DEL in a value", with("X-A: b\x7fc")),
        ("NUL in a name", with("X\0A: b")),
        ("no colon", with("X-A")),
        ("an empty name", with(": b")),
        ("a space in a name", with("X A: b")),
        ("a bracket in a name", with("X[A]: b")),
        ("a name that isn't ASCII", with("X-é: b")),
    ]);
}

#[test]
fn a_folded_first_header_is_refused() {
    let request = format!("POST {HUB} HTTP/1.1\r\n X: y\r\n{}", &head()[head().find("Host").expect("a host")..]);
    refuse_raw(&[(
        "a folded first header",
        format!("{request}Content-Length: {}\r\n\r\n{BODY}", BODY.len()).into_bytes(),
    )]);
}

#[test]
fn odd_hosts_are_refused() {
    let bearer = format!("Bearer {}", publisher());
    let with = |hosts: &str| {
        format!(
            "POST {HUB} HTTP/1.1\r\n{hosts}Authorization: {bearer}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        )
        .into_bytes()
    };
    let mut cases = vec![
        ("no host".to_owned(), with("")),
        ("two hosts".to_owned(), with("Host: a.example\r\nHost: a.example\r\n")),
        ("two different hosts".to_owned(), with("Host: a.example\r\nHost: b.example\r\n")),
    ];
    for host in [
        "a b",
        "a.example, b.example",
        "user@a.example",
        "a.example/path",
        "a.example?x",
        "a.example#x",
        "a.example:80:81",
        "a.example:x",
        "a.example:99999",
        "[::1",
        "a\\b",
        "http://a.example",
    ] {
        cases.push((format!("host {host:?}"), with(&format!("Host: {host}\r\n"))));
    }
    let cases: Vec<(&str, Vec<u8>)> = cases.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    refuse_raw(&cases);
}

#[test]
fn odd_request_lines_are_refused() {
    let rest =
        format!("{}Content-Length: {}\r\n\r\n{BODY}", &head()[head().find("Host").expect("a host")..], BODY.len());
    let cases: Vec<(String, Vec<u8>)> = [
        "POST  /.well-known/mercure HTTP/1.1\r\n",
        "POST /.well-known/mercure  HTTP/1.1\r\n",
        "POST\t/.well-known/mercure\tHTTP/1.1\r\n",
        " POST /.well-known/mercure HTTP/1.1\r\n",
        "POST /.well-known/mercure HTTP/1.1 \r\n",
        "POST /.well-known/mercure HTTP/1.1\n",
        "POST /.well-known/mercure\r\n",
        "POST /.well-known/mercure HTTP/1.2\r\n",
        "POST /.well-known/mercure HTTP/2.0\r\n",
        "POST /.well-known/mercure HTTP/3\r\n",
        "POST /.well-known/mercure http/1.1\r\n",
        "POST /.well-known/mercure HTTP/1.10\r\n",
        "POST .well-known/mercure HTTP/1.1\r\n",
        "POST /.well-known/mercure\0 HTTP/1.1\r\n",
        "POST /.well-known/\x01mercure HTTP/1.1\r\n",
        "PO ST /.well-known/mercure HTTP/1.1\r\n",
        "PO(ST /.well-known/mercure HTTP/1.1\r\n",
    ]
    .iter()
    .map(|line| (format!("{line:?}"), format!("{line}{rest}").into_bytes()))
    .collect();
    let cases: Vec<(&str, Vec<u8>)> = cases.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    refuse_raw(&cases);
}

#[test]
fn a_body_is_never_read_as_the_next_request() {
    let hub = Hub::anonymous();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (method, target) in [("POST", "/nowhere"), ("GET", "/nowhere"), ("OPTIONS", HUB), ("PUT", HUB)] {
        let mut client = hub.connect();
        client.request(method, target, &[], Some(inner.as_bytes()));
        client.response(method);
        // Either the connection ends after the answer or the body has been skipped: what follows is answered, not the inside.
        let mut bytes = "HEAD /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".as_bytes();
        let _ = client.try_send(std::mem::take(&mut bytes));
        let _ = client.try_response("HEAD");
        client.expect_closed();
    }
}

/// The head of a publish, up to where the length of the body is told.
fn head() -> String {
    format!(
        "POST {HUB} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        publisher()
    )
}

fn chunked() -> String {
    format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len())
}

fn for_each_coding(codings: &[&str]) {
    let cases: Vec<(&str, String)> =
        codings.iter().map(|&coding| (coding, format!("{coding}\r\n\r\n{}", chunked()))).collect();
    refuse_all(&cases);
}

/// What follows the common head has to be refused.
fn refuse_all(cases: &[(&str, String)]) {
    let cases: Vec<(&str, Vec<u8>)> =
        cases.iter().map(|(name, rest)| (*name, format!("{}{rest}", head()).into_bytes())).collect();
    refuse_raw(&cases);
}

/// Every request is refused or cut off, its connection ends, and nothing of it is published.
fn refuse_raw(cases: &[(&str, Vec<u8>)]) {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "*")]);
    // Were the same requests well-formed, they would be served: it is their form that is refused.
    for framing in [
        format!("Content-Length: {}\r\n\r\n{BODY}", BODY.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{}", chunked()),
    ] {
        let mut client = hub.connect();
        client.send(format!("{}{framing}", head()).as_bytes());
        client.finish_sending();
        assert_eq!(client.response("POST").status, 200, "{framing}");
        assert_eq!(stream.data(), "smuggled");
    }
    for (name, bytes) in cases {
        let mut client = hub.connect();
        let _ = client.try_send(bytes);
        client.finish_sending();
        if let Some(response) = client.try_response("POST") {
            assert!(matches!(response.status, 400 | 408 | 411 | 413 | 431 | 501 | 505), "{name}: {response:?}");
            client.expect_closed();
        }
        let marker = name.escape_debug().to_string();
        hub.say("urn:marker", &marker);
        assert_eq!(stream.data(), marker, "published in spite of being refused");
    }
}
