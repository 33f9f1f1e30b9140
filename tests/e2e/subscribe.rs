//! Subscribing: parameters, what reaches whom, and the bytes of an event.

use crate::harness::*;

#[test]
fn the_three_matcher_parameters_mix_and_their_union_is_delivered() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[
        ("match", "urn:plain"),
        ("match_exact", "urn:exact"),
        ("match_urlpattern", "https://e.example/books/:id"),
        ("match", "urn:second"),
    ]);
    let topics = ["urn:plain", "urn:exact", "https://e.example/books/1?x#y", "urn:second"];
    for topic in topics {
        hub.say("urn:other", "not for this subscriber");
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(4), topics);
}

#[test]
fn an_update_that_matches_several_ways_arrives_once() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[
        ("match", "https://e.example/1"),
        ("match", "https://e.example/1"),
        ("match_urlpattern", "https://e.example/:id"),
        ("match", "*"),
        ("match", "urn:alternate"),
    ]);
    hub.publish(&[("topic", "https://e.example/1"), ("topic", "urn:alternate"), ("data", "first")]);
    hub.say("https://e.example/2", "second");
    assert_eq!(stream.datas(2), ["first", "second"]);
}

#[test]
fn alternate_topics_reach_their_subscribers() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:alternate")]);
    hub.publish(&[("topic", "urn:canonical"), ("topic", "urn:alternate"), ("data", "x")]);
    assert_eq!(stream.data(), "x");
}

#[test]
fn the_star_matches_every_topic_whatever_the_type() {
    let hub = Hub::anonymous();
    for name in ["match", "match_exact", "match_urlpattern"] {
        let mut stream = hub.subscribe(&[(name, "*")]);
        let topics = ["urn:a", "https://[unparsable", "a b", "🦀"];
        for topic in topics {
            hub.say(topic, topic);
        }
        assert_eq!(stream.datas(4), topics, "{name}");
    }
}

#[test]
fn what_only_looks_like_the_star_is_an_ordinary_value() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "**"), ("match", " *"), ("match", "%2A")]);
    hub.say("urn:a", "not matched");
    for topic in ["**", " *", "%2A"] {
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(3), ["**", " *", "%2A"]);
}

#[test]
fn exact_is_equality_of_bytes() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "https://e.example/é")]);
    for topic in [
        "https://e.example/e\u{301}",
        "https://e.example/%C3%A9",
        "https://E.example/é",
        "https://e.example/é/",
        "https://e.example/é#",
    ] {
        hub.say(topic, "not equal");
    }
    hub.say("https://e.example/é", "equal");
    assert_eq!(stream.data(), "equal");
}

#[test]
fn relative_patterns_are_resolved_against_the_hub() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match_urlpattern", "/a/:x")]);
    hub.say("https://elsewhere.example/a/1", "elsewhere");
    hub.say("/a/1", "relative");
    hub.say("https://hub.example/a/1", "absolute");
    assert_eq!(stream.datas(2), ["relative", "absolute"]);

    let mut stream = hub.subscribe(&[("match_urlpattern", "https://hub.example/b/:x")]);
    hub.say("/b/1", "relative topic, absolute pattern");
    assert_eq!(stream.data(), "relative topic, absolute pattern");
}

#[test]
fn patterns_with_groups_wildcards_and_regular_expressions_match() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[
        ("match_urlpattern", "https://e.example/n/:id(\\d+)"),
        ("match_urlpattern", "https://*.example/wild/*"),
        ("match_urlpattern", "https://e.example/books{/old}?/:id"),
    ]);
    hub.say("https://e.example/n/x", "not a number");
    let topics = [
        "https://e.example/n/42",
        "https://any.example/wild/a/b",
        "https://e.example/books/1",
        "https://e.example/books/old/1",
    ];
    for topic in topics {
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(4), topics);
}

#[test]
fn any_other_name_in_the_match_namespace_is_refused() {
    let hub = Hub::anonymous();
    for name in [
        "matcher",
        "Match",
        "MATCH",
        "match_foo",
        "match[]",
        "match_Exact",
        "match_exact ",
        "mAtCh_urlpattern",
        "matches",
        "match_",
    ] {
        let status = hub.subscribe_status(&[("match", "urn:a"), (name, "urn:b")], &[]);
        assert_eq!(status, 400, "{name}");
    }
    let status = |query: &str| {
        let mut client = hub.connect();
        client.request("GET", &format!("{HUB}?{query}"), &[], None);
        client.stream().map_or_else(|refusal| refusal.status, |_| 200)
    };
    assert_eq!(status("match=a&%6Datch%65r=b"), 400, "names are decoded first");
    assert_eq!(status("%6Datch%5Fexact=a"), 200, "names are decoded first");
}

#[test]
fn other_parameters_are_ignored_but_do_not_subscribe() {
    let hub = Hub::anonymous();
    assert_eq!(hub.subscribe_status(&[("match", "urn:a"), ("x", "y"), ("mat", "z"), ("Last-Event-ID", "1")], &[]), 200);
    assert_eq!(hub.subscribe_status(&[], &[]), 400);
    assert_eq!(hub.subscribe_status(&[("x", "y")], &[]), 400);
    assert_eq!(hub.subscribe_status(&[("topic", "urn:a")], &[]), 400);
}

#[test]
fn one_bad_value_rejects_everything() {
    let hub = Hub::anonymous();
    for (name, value) in [
        ("match", "urn:\u{0}"),
        ("match", "urn:\u{200b}"),
        ("match_exact", "urn:\n"),
        ("match_urlpattern", "https://e.example/(["),
        ("match_urlpattern", "https://e.example/:"),
        ("match_urlpattern", "https://e.example/\u{feff}"),
    ] {
        let refusal = hub.try_subscribe(&[("match", "urn:a"), (name, value)], &[]).expect_err(value);
        assert_eq!(refusal.status, 400, "{name}={value:?}");
        refusal.problem();
    }
    let mut client = hub.connect();
    client.request("GET", &format!("{HUB}?match=%ff"), &[], None);
    assert_eq!(client.stream().expect_err("not UTF-8").status, 400);
}

#[test]
fn too_many_matchers_and_too_long_patterns_are_refused() {
    let hub = Hub::anonymous();
    let many: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|n| ("match", n.as_str())).collect();
    assert!(matches!(hub.subscribe_status(&many, &[]), 400 | 414 | 431));
    let long = format!("https://e.example/{}", "x".repeat(6000));
    assert!(matches!(hub.subscribe_status(&[("match_urlpattern", &long)], &[]), 400 | 414 | 431));
}

#[test]
fn the_query_is_parsed_as_a_form() {
    let hub = Hub::anonymous();
    let topics = ["a b", "%zz", "c;d", "100%", "x=y"];
    let mut client = hub.connect();
    client.request("GET", &format!("{HUB}?&&match=a+b&match=%zz&match=c;d&match=100%&match=x=y&"), &[], None);
    let mut stream = client.stream().expect("a stream");
    for topic in topics {
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(5), topics);
}

#[test]
fn data_is_split_on_every_kind_of_line_end_and_on_nothing_else() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let block = |data: &str, stream: &mut Stream| {
        hub.say("urn:a", data);
        let mut lines = stream.block();
        lines.retain(|line| line.starts_with("data"));
        lines
    };
    assert_eq!(block("a\nb\rc\r\nd", &mut stream), ["data: a", "data: b", "data: c", "data: d"]);
    assert_eq!(block("\n\r", &mut stream), ["data: ", "data: ", "data: "]);
    assert_eq!(block("a\n", &mut stream), ["data: a", "data: "]);
    assert_eq!(block("\r\n\r\n", &mut stream), ["data: ", "data: ", "data: "]);
    assert_eq!(block(" leading", &mut stream), ["data:  leading"]);
    let kept = "a\u{2028}b\u{85}c\u{b}d\u{c}e: f";
    assert_eq!(block(kept, &mut stream), [format!("data: {kept}")]);
}

#[test]
fn empty_and_missing_data_are_one_empty_line_so_that_clients_dispatch_it() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for fields in [&[("topic", "urn:a"), ("data", "")][..], &[("topic", "urn:a")]] {
        let id = hub.publish(fields);
        let mut block = stream.block();
        block.sort();
        assert_eq!(block, ["data: ".to_owned(), format!("id: {id}")], "{fields:?}");
    }
}

#[test]
fn a_stream_says_that_it_is_one_and_must_not_be_cached_or_buffered() {
    let hub = Hub::anonymous();
    let stream = hub.subscribe(&[("match", "urn:a")]);
    let head = &stream.head;
    let content_type = head.header("content-type").expect("a content type");
    assert!(content_type == "text/event-stream" || content_type.starts_with("text/event-stream;"), "{content_type}");
    let cache = head.list("cache-control");
    assert!(
        cache.iter().any(|word| word == "no-store") && cache.iter().any(|word| word == "no-transform"),
        "{cache:?}"
    );
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.list("connection"), ["close"], "a stream is the last exchange of its connection");
    assert_eq!(head.header("content-length"), None);
    assert_eq!(stream.last_event_id(), None, "without a cursor");
}

#[test]
fn head_ends_at_once_with_the_head_of_get() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.request("HEAD", &query(&[("match", "urn:a")]), &[("Connection", "close")], None);
    let response = client.response("HEAD");
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").expect("a content type").starts_with("text/event-stream"));
    client.expect_closed();
    assert_eq!(hub.request("HEAD", HUB, &[]).status, 400);
    assert_eq!(hub.request("HEAD", &query(&[("match", "a"), ("matcher", "b")]), &[]).status, 400);
}

#[test]
fn without_anonymous_access_a_stream_needs_a_token() {
    let hub = Hub::start(&[]);
    let refusal = hub.try_subscribe(&[("match", "urn:a")], &[]).expect_err("401");
    assert_eq!(refusal.status, 401, "{refusal:?}");
    assert_eq!(refusal.bearer_error(), None);
    assert_eq!(hub.request("HEAD", &query(&[("match", "urn:a")]), &[]).status, 401);
    let mut stream = hub.subscribe_as(&subscriber_of(&["urn:b"]), &[("match", "urn:a")]);
    hub.say("urn:a", "public updates need no grant");
    assert_eq!(stream.data(), "public updates need no grant");
}

#[test]
fn an_invalid_token_is_401_even_where_anonymous_access_is_on() {
    let hub = Hub::anonymous();
    let refusal = hub.try_subscribe(&[("match", "urn:a")], &[("Authorization", "Bearer x.y.z")]).expect_err("401");
    assert_eq!((refusal.status, refusal.bearer_error().as_deref()), (401, Some("invalid_token")));
}

#[test]
fn the_root_answers_a_page_and_other_paths_are_not_found() {
    let hub = Hub::anonymous();
    let root = hub.request("GET", "/", &[]);
    assert!(matches!(root.status, 200 | 404), "{root:?}");
    assert!(root.header("content-type").expect("a type").starts_with("text/html"), "{root:?}");
    for path in ["/other", "/.well-known/mercurex", "/.well-known/Mercure", "/.well-known"] {
        assert_eq!(hub.request("GET", path, &[]).status, 404, "{path}");
    }
}

#[test]
fn subscribers_on_every_shard_receive_everything_in_order() {
    let hub = Hub::anonymous();
    let mut streams: Vec<Stream> = (0..40).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for data in &expected {
        hub.say("urn:a", data);
    }
    for stream in &mut streams {
        assert_eq!(stream.datas(100), expected);
    }
}
