//! What a head is read as, and every way of having two readings that is refused.

use proptest::prelude::*;

use super::*;

pub(in crate::http) fn whole(raw: &[u8]) -> Result<Head<'_>, HeadError> {
    match parse(raw, &HeadLimits::default())? {
        HeadStatus::Complete(head) => Ok(head),
        HeadStatus::Partial => panic!("the head is complete"),
    }
}

/// What a GET request with these fields and a host is judged to be.
pub(in crate::http) fn with_fields<T>(fields: &str, judge: impl FnOnce(&Head<'_>) -> T) -> T {
    let raw = format!("GET / HTTP/1.1\r\nHost: e.com\r\n{fields}\r\n");
    judge(&whole(raw.as_bytes()).unwrap())
}

#[test]
fn a_subscription() {
    let raw = b"GET /.well-known/mercure?match=a HTTP/1.1\r\nHost: hub.example:3000\r\nLast-Event-ID:\t \xc3\xa9 \r\nX-Empty:\r\n\r\nGET";
    let head = whole(raw).unwrap();
    assert_eq!(head.method, Method::Get);
    assert_eq!((head.path, head.query), ("/.well-known/mercure", Some("match=a")));
    assert_eq!((head.version, head.host), (Version::Http11, Some("hub.example:3000")));
    assert_eq!((head.body, head.keep_alive, head.expect_continue), (BodyFraming::None, true, false));
    assert_eq!(head.len, raw.len() - 3);
    assert_eq!(head.get("last-event-id"), Some("é".as_bytes()));
    assert_eq!(head.get_str("LAST-EVENT-ID"), Some("é"));
    assert_eq!(head.get("x-empty"), Some(&b""[..]));
    assert_eq!(head.get("x-other"), None);
    assert_eq!(head.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["Host", "Last-Event-ID", "X-Empty"]);
}

#[test]
fn repeated_fields() {
    with_fields("A: 1\r\nB: x\r\na: 2\r\n", |head| {
        assert_eq!(head.get_all("a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.get("A"), Some(&b"1"[..]));
        assert_eq!(head.get_str("a"), None);
    });
}

#[test]
fn methods() {
    let method = |name: &str| whole(format!("{name} / HTTP/1.1\r\nHost: e\r\n\r\n").as_bytes()).map(|head| head.method);
    assert_eq!(method("GET"), Ok(Method::Get));
    assert_eq!(method("HEAD"), Ok(Method::Head));
    assert_eq!(method("POST"), Ok(Method::Post));
    assert_eq!(method("OPTIONS"), Ok(Method::Options));
    assert_eq!(method("QUERY"), Ok(Method::Query));
    assert_eq!(method("get"), Ok(Method::Other));
    assert_eq!(method("DELETE"), Ok(Method::Other));
}

#[test]
fn whether_the_connection_stays() {
    let stays = |version: &str, connection: &str| {
        whole(format!("GET / HTTP/{version}\r\nHost: e\r\n{connection}\r\n").as_bytes()).unwrap().keep_alive
    };
    assert!(stays("1.1", ""));
    assert!(stays("1.1", "Connection: upgrade\r\n"));
    assert!(!stays("1.1", "Connection: Close\r\n"));
    assert!(!stays("1.1", "Connection: keep-alive\r\nConnection: x , close\r\n"));
    assert!(!stays("1.0", ""));
    assert!(stays("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!stays("1.0", "Connection: keep-alive, close\r\n"));
}

#[test]
fn expectations() {
    let waits = |version: &str, fields: &str| {
        whole(format!("POST / HTTP/{version}\r\nHost: e\r\n{fields}\r\n").as_bytes()).map(|head| head.expect_continue)
    };
    assert_eq!(waits("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n"), Ok(true));
    assert_eq!(waits("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"), Ok(true));
    assert_eq!(waits("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n"), Ok(false));
    assert_eq!(waits("1.1", "Expect: 100-continue\r\n"), Ok(false));
    assert_eq!(waits("1.1", "Expect: 100-continue, x\r\n"), Err(HeadError::ExpectationUnknown));
    assert_eq!(waits("1.1", "Expect: x\r\n"), Err(HeadError::ExpectationUnknown));
    assert_eq!(waits("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n"), Ok(false));
}

#[test]
fn http10_needs_no_host() {
    assert_eq!(whole(b"GET / HTTP/1.0\r\n\r\n").unwrap().host, None);
    assert_eq!(whole(b"GET / HTTP/1.0\r\nHost: e\r\n\r\n").unwrap().host, Some("e"));
}

#[test]
fn an_absolute_target_names_the_host() {
    let head = whole(b"GET http://E.com/a HTTP/1.1\r\nHost: e.com\r\n\r\n").unwrap();
    assert_eq!((head.host, head.path), (Some("E.com"), "/a"));
    let head = whole(b"GET http://e.com HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.host, head.path), (Some("e.com"), "/"));
}

#[test]
fn one_empty_line_before_the_request_is_tolerated() {
    let raw = b"\r\nGET / HTTP/1.1\r\nHost: e\r\n\r\n";
    assert_eq!(whole(raw).unwrap().len, raw.len());
}

#[test]
fn body_lengths() {
    let body =
        |field: &str| whole(format!("POST / HTTP/1.1\r\nHost: e\r\n{field}\r\n\r\n").as_bytes()).map(|head| head.body);
    assert_eq!(body("Content-Length: 0"), Ok(BodyFraming::Length(0)));
    assert_eq!(body("Content-Length: 18446744073709551615"), Ok(BodyFraming::Length(u64::MAX)));
    assert_eq!(body("transfer-encoding: Chunked"), Ok(BodyFraming::Chunked));
}

/// Requests that some parser takes for something else than another does.
#[test]
fn whatever_has_two_readings_is_refused() {
    use HeadError as E;
    let cases: &[(&str, &[u8], HeadError)] = &[
        ("both lengths", b"Host: e\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", E::TwoLengths),
        (
            "both lengths, the other order",
            b"Host: e\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            E::TwoLengths,
        ),
        ("two lengths", b"Host: e\r\nContent-Length: 3\r\nContent-Length: 4\r\n", E::ContentLengthRepeated),
        ("the same length twice", b"Host: e\r\nContent-Length: 3\r\ncontent-length: 3\r\n", E::ContentLengthRepeated),
        ("a list of lengths", b"Host: e\r\nContent-Length: 3, 3\r\n", E::ContentLengthInvalid),
        ("length with a plus", b"Host: e\r\nContent-Length: +3\r\n", E::ContentLengthInvalid),
        ("length with a minus", b"Host: e\r\nContent-Length: -3\r\n", E::ContentLengthInvalid),
        ("length in hexadecimal", b"Host: e\r\nContent-Length: 0x3\r\n", E::ContentLengthInvalid),
        ("length like octal", b"Host: e\r\nContent-Length: 010\r\n", E::ContentLengthInvalid),
        ("length with a fraction", b"Host: e\r\nContent-Length: 3.0\r\n", E::ContentLengthInvalid),
        ("length with a space", b"Host: e\r\nContent-Length: 1 0\r\n", E::ContentLengthInvalid),
        ("length with an underscore", b"Host: e\r\nContent-Length: 1_0\r\n", E::ContentLengthInvalid),
        ("empty length", b"Host: e\r\nContent-Length:\r\n", E::ContentLengthInvalid),
        ("length over 64 bits", b"Host: e\r\nContent-Length: 18446744073709551616\r\n", E::ContentLengthInvalid),
        ("length in other digits", "Host: e\r\nContent-Length: ٣\r\n".as_bytes(), E::ContentLengthInvalid),
        ("unknown coding", b"Host: e\r\nTransfer-Encoding: gzip\r\n", E::TransferCodingUnknown),
        ("unknown coding before chunked", b"Host: e\r\nTransfer-Encoding: gzip, chunked\r\n", E::TransferCodingUnknown),
        ("coding after chunked", b"Host: e\r\nTransfer-Encoding: chunked, identity\r\n", E::TransferCodingUnknown),
        ("nearly chunked", b"Host: e\r\nTransfer-Encoding: xchunked\r\n", E::TransferCodingUnknown),
        ("chunked twice", b"Host: e\r\nTransfer-Encoding: chunked, chunked\r\n", E::TransferEncodingInvalid),
        (
            "two coding fields",
            b"Host: e\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            E::TransferEncodingInvalid,
        ),
        (
            "two coding fields, one unknown",
            b"Host: e\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            E::TransferEncodingInvalid,
        ),
        ("empty coding", b"Host: e\r\nTransfer-Encoding:\r\n", E::TransferEncodingInvalid),
        ("quoted coding", b"Host: e\r\nTransfer-Encoding: \"chunked\"\r\n", E::TransferEncodingInvalid),
        ("coding with a parameter", b"Host: e\r\nTransfer-Encoding: chunked;a=b\r\n", E::TransferEncodingInvalid),
        ("coding and a comma", b"Host: e\r\nTransfer-Encoding: chunked,\r\n", E::TransferEncodingInvalid),
        ("coding behind a vertical tab", b"Host: e\r\nTransfer-Encoding: \x0bchunked\r\n", E::FieldValue),
        (
            "coding behind a no-break space",
            b"Host: e\r\nTransfer-Encoding: \xa0chunked\r\n",
            E::TransferEncodingInvalid,
        ),
        ("space before the colon", b"Host: e\r\nTransfer-Encoding : chunked\r\n", E::FieldName),
        ("tab before the colon", b"Host: e\r\nContent-Length\t: 3\r\n", E::FieldName),
        ("no colon", b"Host: e\r\nContent-Length 3\r\n", E::FieldName),
        ("empty name", b"Host: e\r\n: x\r\n", E::FieldName),
        ("NUL in a name", b"Host: e\r\nA\0: x\r\n", E::FieldName),
        ("non-ASCII in a name", b"Host: e\r\nA\xe9: x\r\n", E::FieldName),
        ("NUL in a value", b"Host: e\r\nA: x\0y\r\n", E::FieldValue),
        ("DEL in a value", b"Host: e\r\nA: x\x7fy\r\n", E::FieldValue),
        ("folded field", b"Host: e\r\nA: x\r\n y\r\n", E::ObsoleteFolding),
        ("field folded by a tab", b"Host: e\r\nTransfer-Encoding:\r\n\tchunked\r\n", E::ObsoleteFolding),
        ("space before the first field", b" Host: e\r\n", E::ObsoleteFolding),
        ("bare LF after a field", b"Host: e\r\nA: x\nContent-Length: 3\r\n", E::BareLineFeed),
        ("bare LF after the first field", b"Host: e\nA: x\r\n", E::BareLineFeed),
        ("bare LF ends the head", b"Host: e\r\n\nGET / HTTP/1.1\r\n", E::BareLineFeed),
        ("bare CR in a value", b"Host: e\r\nA: x\rContent-Length: 3\r\n", E::BareCarriageReturn),
        ("two CR before LF", b"Host: e\r\nA: x\r\r\n", E::BareCarriageReturn),
        ("no host", b"A: x\r\n", E::HostMissing),
        ("two hosts", b"Host: e\r\nHost: f\r\n", E::HostRepeated),
        ("the same host twice", b"Host: e\r\nHost: e\r\n", E::HostRepeated),
        ("empty host", b"Host:\r\n", E::HostInvalid),
        ("joined hosts", b"Host: e, f\r\n", E::HostInvalid),
        ("host with a path", b"Host: e/f\r\n", E::HostInvalid),
        ("host with a user", b"Host: me@e\r\n", E::HostInvalid),
        ("host with a space", b"Host: e f\r\n", E::HostInvalid),
        ("host with a bad port", b"Host: e:8x\r\n", E::HostInvalid),
        ("host that isn't UTF-8", b"Host: \xff\r\n", E::HostInvalid),
    ];
    for (name, fields, error) in cases {
        let raw = [b"POST / HTTP/1.1\r\n", *fields, b"\r\n"].concat();
        assert_eq!(whole(&raw), Err(*error), "{name}");
    }
}

#[test]
fn request_lines_that_are_refused() {
    use HeadError as E;
    let cases: &[(&str, &[u8], HeadError)] = &[
        ("bare LF", b"GET / HTTP/1.1\n", E::BareLineFeed),
        ("LF before the request", b"\nGET / HTTP/1.1\r\n", E::BareLineFeed),
        ("two empty lines before it", b"\r\n\r\nGET / HTTP/1.1\r\n", E::LeadingEmptyLines),
        ("space before it", b" GET / HTTP/1.1\r\n", E::RequestLine),
        ("two spaces", b"GET  / HTTP/1.1\r\n", E::RequestLine),
        ("two spaces before the version", b"GET /  HTTP/1.1\r\n", E::RequestLine),
        ("space after the version", b"GET / HTTP/1.1 \r\n", E::RequestLine),
        ("tab", b"GET\t/ HTTP/1.1\r\n", E::RequestLine),
        ("space in the target", b"GET /a b HTTP/1.1\r\n", E::RequestLine),
        ("NUL in the target", b"GET /\0 HTTP/1.1\r\n", E::RequestLine),
        ("target that isn't UTF-8", b"GET /\xff HTTP/1.1\r\n", E::RequestLine),
        ("non-ASCII target", "GET /é HTTP/1.1\r\n".as_bytes(), E::TargetBytes),
        ("fragment", b"GET /#a HTTP/1.1\r\n", E::TargetBytes),
        ("authority", b"CONNECT e.com:443 HTTP/1.1\r\n", E::TargetForm),
        ("asterisk", b"GET * HTTP/1.1\r\n", E::TargetForm),
        ("other scheme", b"GET https://e/ HTTP/1.1\r\n", E::TargetForm),
        ("user in the target", b"GET http://me@e/ HTTP/1.1\r\n", E::TargetForm),
        ("another host than Host", b"GET http://f/ HTTP/1.1\r\n", E::HostDisagrees),
        ("another port than Host", b"GET http://e:80/ HTTP/1.1\r\n", E::HostDisagrees),
        ("no version", b"GET /\r\n", E::RequestLine),
        ("odd version", b"GET / HTTP/1.10\r\n", E::RequestLine),
        ("lower-case version", b"GET / http/1.1\r\n", E::RequestLine),
        ("version without a dot", b"GET / HTTP/11\r\n", E::RequestLine),
        ("other protocol", b"GET / RTSP/1.0\r\n", E::RequestLine),
        ("version 1.2", b"GET / HTTP/1.2\r\n", E::VersionUnsupported),
        ("version 2.0", b"GET / HTTP/2.0\r\n", E::VersionUnsupported),
        ("version 0.9", b"GET / HTTP/0.9\r\n", E::VersionUnsupported),
        ("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n", E::VersionUnsupported),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00", E::RequestLine),
        ("no method", b"/ HTTP/1.1\r\n", E::RequestLine),
    ];
    for (name, line, error) in cases {
        let raw = [*line, b"Host: e\r\n\r\n"].concat();
        assert_eq!(whole(&raw), Err(*error), "{name}");
    }
    assert_eq!(whole(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(E::TransferEncodingInHttp10));
}

#[test]
fn statuses() {
    assert_eq!(HeadError::BareLineFeed.status(), 400);
    assert_eq!(HeadError::TargetTooLong { bytes_max: 1 }.status(), 414);
    assert_eq!(HeadError::ExpectationUnknown.status(), 417);
    assert_eq!(HeadError::TooLarge { bytes_max: 1 }.status(), 431);
    assert_eq!(HeadError::TooManyFields { fields_max: 1 }.status(), 431);
    assert_eq!(HeadError::TransferCodingUnknown.status(), 501);
    assert_eq!(HeadError::VersionUnsupported.status(), 505);
}

#[test]
fn limits() {
    let limits = HeadLimits { head_bytes_max: 60, fields_max: 2, target_bytes_max: 10 };
    let verdict = |raw: &str| parse(raw.as_bytes(), &limits).map(|status| status != HeadStatus::Partial);
    let start = "GET / HTTP/1.1\r\nHost: e\r\nA: ";
    let fill = |len: usize| format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4));
    assert_eq!(verdict(&fill(60)), Ok(true));
    assert_eq!(verdict(&fill(61)), Err(HeadError::TooLarge { bytes_max: 60 }));
    assert_eq!(verdict(&fill(61)[..59]), Ok(false));
    assert_eq!(
        verdict("GET / HTTP/1.1\r\nHost: e\r\nA: x\r\nB: y\r\n\r\n"),
        Err(HeadError::TooManyFields { fields_max: 2 })
    );
    assert_eq!(verdict("GET /123456789 HTTP/1.1\r\nHost: e\r\n\r\n"), Ok(true));
    assert_eq!(verdict("GET /1234567890 HTTP/1.1\r\nHost: e\r\n\r\n"), Err(HeadError::TargetTooLong { bytes_max: 10 }));
    assert_eq!(verdict(&format!("GET /{}", "x".repeat(60))), Err(HeadError::TargetTooLong { bytes_max: 10 }));
    // A large body behind a small head doesn't count.
    assert_eq!(verdict(&format!("{}{}", fill(60), "x".repeat(1000))), Ok(true));
}

#[test]
fn the_end_is_found_from_wherever_the_last_look_ended() {
    let raw = b"\r\nGET / HTTP/1.1\r\nHost: e\r\n\r\n";
    for seen in 0..raw.len() {
        assert_eq!(head_end(&raw[..seen], 0), None, "{seen}");
        assert_eq!(head_end(raw, seen), Some(raw.len()), "{seen}");
    }
    assert_eq!(head_end(b"", 0), None);
    assert_eq!(head_end(b"G", 5), None);
    assert_eq!(head_end(b"GET /\n", 2), Some(6));
    assert_eq!(head_end(b"\x16\x03", 0), Some(1));
}

#[test]
fn tokens_stay_out_of_logs() {
    with_fields("Authorization: Bearer secret\r\n", |head| assert!(!format!("{head:?}").contains("secret")));
}

/// Heads that are nearly right, with bytes and lines that tend to be read differently.
fn nearly_heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "Host: e.com",
        "Host: f",
        "Content-Length: 3",
        "Content-Length: 03",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Expect: 100-continue",
        "A: b",
        "A : b",
        " folded",
        ": x",
        "A",
        "A: \u{0}",
        "A: é",
        "",
    ]);
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"]);
    let start = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "\r\nGET / HTTP/1.1\r\n",
        "\n",
        "GET http://e.com/ HTTP/1.1\r\n",
        "GET /#a HTTP/1.1\r\n",
        "GET * HTTP/1.1\r\n",
        "",
    ]);
    (start, prop::collection::vec((line, end), 0..6), prop::collection::vec(any::<u8>(), 0..4)).prop_map(
        |(start, lines, tail)| {
            let lines = lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect::<String>();
            [start.as_bytes(), lines.as_bytes(), b"\r\n", &tail].concat()
        },
    )
}

fn agrees_with_httparse(raw: &[u8]) -> Result<(), TestCaseError> {
    let Ok(HeadStatus::Complete(head)) = parse(raw, &HeadLimits::default()) else {
        return Ok(());
    };
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    prop_assert_eq!(request.parse(raw), Ok(httparse::Status::Complete(head.len)));
    let feeds = raw[..head.len].iter().filter(|&&byte| byte == b'\n').count();
    let pairs = raw[..head.len].windows(2).filter(|pair| pair == b"\r\n").count();
    prop_assert_eq!(feeds, pairs);
    prop_assert!(head.get_all("content-length").chain(head.get_all("transfer-encoding")).count() <= 1);
    prop_assert_eq!(
        head.body == BodyFraming::None,
        head.get("content-length").or(head.get("transfer-encoding")).is_none()
    );
    prop_assert!(head.get_all("host").count() == 1 || head.version == Version::Http10);
    prop_assert!(raw[..head.len].ends_with(b"\r\n\r\n"));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_survived(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        agrees_with_httparse(&raw)?;
    }

    #[test]
    fn what_is_accepted_has_one_reading(raw in nearly_heads()) {
        agrees_with_httparse(&raw)?;
    }

    #[test]
    fn any_split_gives_the_same(raw in nearly_heads(), head_bytes_max in 20usize..120) {
        let limits = HeadLimits { head_bytes_max, fields_max: 4, target_bytes_max: 20 };
        let whole = parse(&raw, &limits);
        let mut scanned = 0;
        for len in 0..=raw.len() {
            let so_far = parse(&raw[..len], &limits);
            let end = head_end(&raw[..len], scanned);
            scanned = len;
            if so_far == Ok(HeadStatus::Partial) {
                prop_assert_eq!(end, None);
            } else {
                prop_assert_eq!(&so_far, &whole);
                break;
            }
        }
    }
}
