//! Malformed requests (RFC 9113, section 8.1.1) are nobody's requests.

use super::*;

const LENGTH_OF_FORM: usize = "topic=urn:a&data=x".len();

/// A publish whose field list was spoilt must not be one: its stream is reset, or answered 400, or its connection is given up.
fn assert_malformed(sealed: &Sealed, what: &str, spoil: impl Fn(&mut Vec<(&'static str, String)>)) {
    for mut peer in both(sealed) {
        let mut fields: Vec<(&str, String)> = vec![
            (":method", "POST".to_owned()),
            (":scheme", "https".to_owned()),
            (":authority", "hub.example".to_owned()),
            (":path", HUB.to_owned()),
            ("authorization", bearer(&publisher())),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        spoil(&mut fields);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let stream = peer.fresh_stream();
        let _ = peer.client().try_send(&headers(stream, &fields, 0).bytes());
        let _ = peer.client().try_send(&data(stream, b"topic=urn:a&data=x", END_STREAM).bytes());
        loop {
            let answer = peer.answer(stream);
            if let Some(code) = answer.reset {
                assert_eq!(code, Code::PROTOCOL_ERROR, "{what}");
                assert_eq!(answer.fields, None, "{what}");
                // Its neighbours are none the worse for it.
                assert_eq!(peer.ask("GET", "/", &[]).status, 200, "{what}");
                break;
            }
            if answer.fields.is_some() {
                assert_eq!(peer.head(stream).status, 400, "{what}");
                break;
            }
            if peer.read().is_none() {
                let code = peer.goaway.map(|(_, code)| code);
                assert_eq!(code, Some(Code::PROTOCOL_ERROR), "{what}");
                break;
            }
        }
    }
}

/// Nothing of what was spoilt went through.
fn finish(sealed: &Sealed, mut stream: Stream) {
    sealed.hub.say("urn:a", "the first one that is well-formed");
    assert_eq!(stream.data(), "the first one that is well-formed");
}

fn remove(fields: &mut Vec<(&'static str, String)>, name: &str) {
    fields.retain(|(given, _)| *given != name);
}

#[test]
fn each_pseudo_field_of_a_request_stands_there_once_and_first() {
    let sealed = Sealed::anonymous();
    let stream = sealed.hub.subscribe(&[("match", "urn:a")]);
    for name in [":method", ":scheme", ":path"] {
        assert_malformed(&sealed, &format!("without {name}"), |fields| remove(fields, name));
    }
    for name in [":method", ":scheme", ":path", ":authority"] {
        assert_malformed(&sealed, &format!("{name} twice"), |fields| {
            let twice = fields.iter().find(|(given, _)| *given == name).expect("there").clone();
            fields.insert(0, twice);
        });
        assert_malformed(&sealed, &format!("{name} behind others"), |fields| {
            let place = fields.iter().position(|(given, _)| *given == name).expect("there");
            let field = fields.remove(place);
            fields.push(field);
        });
    }
    assert_malformed(&sealed, "an empty path", |fields| {
        fields.iter_mut().filter(|(name, _)| *name == ":path").for_each(|(_, value)| value.clear());
    });
    assert_malformed(&sealed, "a status", |fields| fields.insert(0, (":status", "200".to_owned())));
    assert_malformed(&sealed, "an unknown one", |fields| fields.insert(0, (":topic", "urn:a".to_owned())));
    finish(&sealed, stream);
}

#[test]
fn fields_of_connections_have_no_place() {
    let sealed = Sealed::anonymous();
    let stream = sealed.hub.subscribe(&[("match", "urn:a")]);
    for (name, value) in [
        ("connection", "keep-alive"),
        ("connection", "close"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        assert_malformed(&sealed, &format!("{name}: {value}"), |fields| fields.push((name, value.to_owned())));
    }
    for mut peer in both(&sealed) {
        assert_eq!(peer.ask("GET", "/", &[("te", "trailers")]).status, 200, "the one that may be");
    }
    finish(&sealed, stream);
}

#[test]
fn names_and_values_have_no_other_characters_than_they_may() {
    let sealed = Sealed::anonymous();
    let stream = sealed.hub.subscribe(&[("match", "urn:a")]);
    for name in ["X-Upper", "content-Type", "with space", "with:colon", "", "caf\u{e9}", "new\nline", "null\0"] {
        assert_malformed(&sealed, &format!("{name:?}"), |fields| fields.push((name, "x".to_owned())));
    }
    for value in ["new\nline", "carriage\rreturn", "null\0"] {
        assert_malformed(&sealed, &format!("{value:?}"), |fields| fields.push(("x-value", value.to_owned())));
    }
    for path in ["no-slash", "/with space", "/new\nline", "/a HTTP/1.1\r\nhost: x\r\n\r\n"] {
        assert_malformed(&sealed, &format!("{path:?}"), |fields| {
            fields.iter_mut().filter(|(name, _)| *name == ":path").for_each(|(_, value)| path.clone_into(value));
        });
    }
    for method in ["PO ST", "", "POST / HTTP/1.1\r\n", "post\0"] {
        assert_malformed(&sealed, &format!("{method:?}"), |fields| {
            fields.iter_mut().filter(|(name, _)| *name == ":method").for_each(|(_, value)| method.clone_into(value));
        });
    }
    finish(&sealed, stream);
}

#[test]
fn a_length_has_to_be_that_of_the_body() {
    let sealed = Sealed::anonymous();
    let stream = sealed.hub.subscribe(&[("match", "urn:a")]);
    let less = LENGTH_OF_FORM - 1;
    let more = LENGTH_OF_FORM + 1;
    for length in [less.to_string(), more.to_string(), "0".to_owned(), "-1".to_owned(), "x".to_owned(), String::new()] {
        assert_malformed(&sealed, &format!("a length of {length:?}"), |fields| {
            fields.push(("content-length", length.clone()));
        });
    }
    assert_malformed(&sealed, "two lengths", |fields| {
        fields.push(("content-length", LENGTH_OF_FORM.to_string()));
        fields.push(("content-length", less.to_string()));
    });
    for mut peer in both(&sealed) {
        let token = bearer(&publisher());
        let length = LENGTH_OF_FORM.to_string();
        let begun = peer.begin_form("POST", &[("authorization", &token), ("content-length", &length)]);
        peer.body(begun, b"topic=urn:b&data=x");
        assert_eq!(peer.response(begun).status, 200, "the right one");
    }
    finish(&sealed, stream);
}

#[test]
fn two_hosts_are_one_too_many() {
    let sealed = Sealed::anonymous();
    let stream = sealed.hub.subscribe(&[("match", "urn:a")]);
    assert_malformed(&sealed, "another host than the authority", |fields| {
        fields.push(("host", "evil.example".to_owned()));
    });
    assert_malformed(&sealed, "an authority with somebody in it", |fields| {
        fields.iter_mut().filter(|(name, _)| *name == ":authority").for_each(|(_, value)| value.insert_str(0, "me@"));
    });
    finish(&sealed, stream);
}

/// The target of CONNECT is an authority only (RFC 9113, section 8.5), and there are no tunnels here.
#[test]
fn there_are_no_tunnels() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let stream = peer.fresh_stream();
        peer.frame(&headers(stream, &[(":method", "CONNECT"), (":authority", "elsewhere.example:22")], 0));
        let answer = loop {
            let answer = peer.answer(stream);
            if answer.reset.is_some() || answer.fields.is_some() {
                break answer;
            }
            assert!(peer.read().is_some(), "the connection ended: {:?}", peer.goaway);
        };
        let status = answer.fields.as_ref().map(|fields| fields[0].1.clone());
        assert!(status.as_ref().is_none_or(|status| status.starts_with('4')), "{status:?}");
        assert_eq!(peer.ask("GET", "/", &[]).status, 200);
    }
}
