//! `topic=`: texts, URI templates and the wildcard.

use super::*;

#[test]
fn topic_selects_by_text_by_template_and_all() {
    let hub = hub("8");
    let mut text = hub.subscribe(&[("topic", "https://e.example/books/1")]);
    let mut template = hub.subscribe(&[("topic", "https://e.example/books/{id}")]);
    let mut several = hub.subscribe(&[("topic", "https://e.example/{kind}/{id}{?page}"), ("topic", "urn:a")]);
    let mut all = hub.subscribe(&[("topic", "*")]);
    let topics = [
        "https://e.example/books/1",
        "https://e.example/books/2",
        "https://e.example/books/2/pages",
        "https://e.example/films/3?page=4",
        "urn:a",
    ];
    for topic in topics {
        say(&hub, topic, topic);
    }
    say(&hub, topics[0], "end");
    assert_eq!(text.datas(2), [topics[0], "end"]);
    assert_eq!(template.datas(3), [topics[0], topics[1], "end"]);
    assert_eq!(several.datas(5), [topics[0], topics[1], topics[3], topics[4], "end"]);
    assert_eq!(all.datas(6), [topics[0], topics[1], topics[2], topics[3], topics[4], "end"]);
}

#[test]
fn a_template_is_held_against_the_raw_text_of_a_topic() {
    let hub = hub("8");
    let mut relative = hub.subscribe(&[("topic", "/books/{id}")]);
    let mut absolute = hub.subscribe(&[("topic", "https://hub.example/books/{id}")]);
    say(&hub, "/books/1", "relative");
    say(&hub, "https://hub.example/books/1", "absolute");
    say(&hub, "/books/2", "relative");
    assert_eq!(relative.datas(2), ["relative", "relative"]);
    assert_eq!(absolute.data(), "absolute");
}

#[test]
fn what_is_no_template_is_a_text() {
    let hub = hub("8");
    let mut stream = hub.subscribe(&[("topic", "{not a template}"), ("topic", ":id"), ("topic", "a*")]);
    for topic in ["x", "{not a template}", ":id", "ab", "a*"] {
        say(&hub, topic, topic);
    }
    assert_eq!(stream.datas(3), ["{not a template}", ":id", "a*"]);
}

#[test]
fn an_event_that_several_selectors_match_comes_once() {
    let hub = hub("8");
    let mut stream = hub.subscribe(&[
        ("topic", "urn:a"),
        ("match", "urn:a"),
        ("topic", "urn:{x}"),
        ("topic", "*"),
        ("match", "*"),
        ("match_urlpattern", "urn\\:*"),
    ]);
    say(&hub, "urn:a", "1");
    say(&hub, "urn:b", "2");
    assert_eq!(stream.datas(2), ["1", "2"]);
}

#[test]
fn history_is_replayed_by_templates() {
    let hub = hub("8");
    let first = say(&hub, "https://e.example/a/1", "1");
    say(&hub, "https://e.example/b/1", "no");
    say(&hub, "https://e.example/a/2", "2");
    let mut stream = hub.subscribe(&[("topic", "https://e.example/a/{id}"), ("last_event_id", &first)]);
    assert_eq!(stream.last_event_id(), Some(first.as_str()));
    say(&hub, "https://e.example/a/3", "3");
    assert_eq!(stream.datas(2), ["2", "3"]);
    let mut stream = hub.subscribe(&[("topic", "https://e.example{/kind,id}"), ("last_event_id", "earliest")]);
    assert_eq!(stream.datas(4), ["1", "no", "2", "3"]);
}

#[test]
fn topics_follow_the_rules_and_the_limits_of_matchers() {
    let hub = hub("8");
    let status = |parameters: &[(&str, &str)]| hub.subscribe_status(parameters, &[]);
    assert_eq!(status(&[("topic", "a\nb")]), 400);
    assert_eq!(status(&[("topic", "urn:a"), ("topic", "\u{200B}")]), 400);
    assert_eq!(status(&[("topic", &"x".repeat(4097))]), 400);
    assert_eq!(status(&[("topic", "{a:9999}")]), 400);
    assert_eq!(status(&[("topic", "urn:a"), ("matcher", "x")]), 400);
    assert_eq!(status(&[("Topic", "urn:a")]), 400, "names are case-sensitive");
    let many: Vec<String> = (0..101).map(|n| format!("urn:{n}")).collect();
    let parameters: Vec<(&str, &str)> = many.iter().map(|text| ("topic", text.as_str())).collect();
    assert_eq!((status(&parameters[..100]), status(&parameters)), (200, 400));
    let templates: Vec<String> = (0..100).map(|n| format!("https://e.example/{n}/{{id}}")).collect();
    let parameters: Vec<(&str, &str)> = templates.iter().map(|text| ("topic", text.as_str())).collect();
    assert_eq!(status(&parameters), 200, "a hundred ordinary templates aren't too many");
}

#[test]
fn topics_and_matchers_share_one_limit() {
    let hub = hub("8");
    let names: Vec<String> = (0..51).map(|n| format!("urn:{n}")).collect();
    let status = |topics: usize| {
        let topics = names[..topics].iter().map(|name| ("topic", name.as_str()));
        let matchers = names[..50].iter().map(|name| ("match", name.as_str()));
        hub.subscribe_status(&matchers.chain(topics).collect::<Vec<_>>(), &[])
    };
    assert_eq!((status(50), status(51)), (200, 400));
}

#[test]
fn private_updates_are_read_by_the_grants_of_old() {
    let hub = hub("8");
    let mut stream = hub.subscribe_as(&old_subscriber(&["https://e.example/users/{id}"]), &[("topic", "*")]);
    let publish = |topic: &str, data: &str| {
        let fields = [("topic", topic), ("data", data), ("private", "on")];
        assert_eq!(hub.post(&old_publisher(&["*"]), &fields).status, 200);
    };
    publish("https://e.example/users/1/x", "not granted");
    publish("https://e.example/users/1", "granted");
    say(&hub, "urn:public", "public");
    assert_eq!(stream.datas(2), ["granted", "public"]);
}
