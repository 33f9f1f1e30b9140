//! Publishing: every field, every rejection, every answer.

use crate::harness::*;

#[test]
fn the_answer_is_the_id_in_plain_text_and_subscribers_see_the_same() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let response = hub.post(&publisher(), &[("topic", "urn:a"), ("data", "hello")]);
    assert_eq!(response.status, 200, "{response:?}");
    let content_type = response.header("content-type").expect("a content type");
    assert_eq!(content_type.to_ascii_lowercase(), "text/plain; charset=utf-8");
    let event = stream.next();
    assert_eq!(event.id, response.text());
    assert_eq!((event.data.as_str(), event.event, event.retry), ("hello", None, None));
}

#[test]
fn generated_ids_are_urns_of_version_8_uuids_and_differ() {
    let hub = Hub::anonymous();
    let ids: std::collections::HashSet<String> = (0..50).map(|_| hub.say("urn:a", "x")).collect();
    assert_eq!(ids.len(), 50);
    for id in ids {
        let uuid = id.strip_prefix("urn:uuid:").unwrap_or_else(|| panic!("{id}"));
        assert_eq!(uuid.len(), 36, "{id}");
        assert_eq!(&uuid[14..15], "8", "the version of {id}");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "the variant of {id}");
    }
}

#[test]
fn a_given_id_type_and_retry_are_kept() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let id =
        hub.publish(&[("topic", "urn:a"), ("id", "CUSTOM_ID"), ("type", "price"), ("retry", "1500"), ("data", "x")]);
    assert_eq!(id, "CUSTOM_ID");
    let expected = Event { id: "CUSTOM_ID".into(), event: Some("price".into()), retry: Some(1500), data: "x".into() };
    assert_eq!(stream.next(), expected);
}

#[test]
fn a_retry_of_zero_is_delivered() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.publish(&[("topic", "urn:a"), ("retry", "0")]);
    assert_eq!(stream.next().retry, Some(0));
}

#[test]
fn an_empty_id_counts_as_absent() {
    let hub = Hub::anonymous();
    let id = hub.publish(&[("topic", "urn:a"), ("id", "")]);
    assert!(id.starts_with("urn:uuid:"), "{id}");
}

#[test]
fn a_topic_is_required() {
    let hub = Hub::anonymous();
    refused(&hub, &[("data", "x")]);
    refused(&hub, &[]);
}

#[test]
fn a_star_is_no_topic_neither_first_nor_alternate() {
    let hub = Hub::anonymous();
    refused(&hub, &[("topic", "*")]);
    refused(&hub, &[("topic", "urn:a"), ("topic", "*")]);
    accepted(&hub, &[("topic", "**")]);
}

#[test]
fn an_id_that_starts_with_a_hash_or_is_earliest_is_refused() {
    let hub = Hub::anonymous();
    refused(&hub, &[("topic", "urn:a"), ("id", "#1")]);
    refused(&hub, &[("topic", "urn:a"), ("id", "#")]);
    refused(&hub, &[("topic", "urn:a"), ("id", "earliest")]);
    accepted(&hub, &[("topic", "urn:a"), ("id", "a#1")]);
    accepted(&hub, &[("topic", "urn:a"), ("id", "Earliest")]);
}

#[test]
fn the_type_mercure_is_refused_and_its_look_alikes_are_not() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    refused(&hub, &[("topic", "urn:a"), ("type", "mercure")]);
    for look_alike in ["Mercure", " mercure", "mercure2"] {
        accepted(&hub, &[("topic", "urn:a"), ("type", look_alike)]);
        assert_eq!(stream.next().event.as_deref(), Some(look_alike));
    }
}

#[test]
fn retry_takes_ascii_digits_only() {
    let hub = Hub::anonymous();
    for bad in ["+1", "-1", "1.5", "1e3", " 1", "1 ", "0x1", "１", "soon", "1\n"] {
        refused(&hub, &[("topic", "urn:a"), ("retry", bad)]);
    }
    accepted(&hub, &[("topic", "urn:a"), ("retry", "007")]);
}

#[test]
fn control_and_format_characters_are_refused_in_topic_id_and_type() {
    let hub = Hub::anonymous();
    for bad in [
        "\0",
        "\t",
        "\n",
        "\r",
        "\u{1f}",
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "\u{9f}",
        "\u{ad}",
        "\u{600}",
        "\u{200b}",
        "\u{202e}",
        "\u{2066}",
        "\u{feff}",
        "\u{110bd}",
        "\u{13430}",
        "\u{e0001}",
    ] {
        let value = format!("urn:a{bad}b");
        refused(&hub, &[("topic", &value)]);
        refused(&hub, &[("topic", "urn:a"), ("topic", &value)]);
        refused(&hub, &[("topic", "urn:a"), ("id", &value)]);
        refused(&hub, &[("topic", "urn:a"), ("type", &value)]);
    }
}

#[test]
fn every_other_character_is_legal_and_kept() {
    let hub = Hub::anonymous();
    let odd = "a b\u{a0}c\u{2028}d\"'<é>🦀\u{e000}+%41&=;";
    let mut stream = hub.subscribe(&[("match", odd)]);
    let id = hub.publish(&[("topic", odd), ("id", odd), ("type", odd), ("data", odd)]);
    assert_eq!(id, odd);
    let event = stream.next();
    assert_eq!((event.id.as_str(), event.event.as_deref(), event.data.as_str()), (odd, Some(odd), odd));
}

#[test]
fn fields_that_are_not_utf8_are_refused() {
    let hub = Hub::anonymous();
    for body in [
        "topic=%ff",
        "topic=urn:a&data=%ff",
        "topic=urn:a&data=%ed%a0%80",
        "topic=urn:a&id=%c3",
        "topic=urn:a&type=%fe",
    ] {
        let response = post_raw(&hub, body.as_bytes());
        assert_eq!(response.status, 400, "{body}: {response:?}");
    }
}

#[test]
fn presence_alone_makes_an_update_private() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for body in [
        "topic=urn:a&private",
        "topic=urn:a&private=",
        "topic=urn:a&private=0",
        "topic=urn:a&private=false",
        "private=on&topic=urn:a",
    ] {
        assert_eq!(post_raw(&hub, body.as_bytes()).status, 200, "{body}");
    }
    hub.say("urn:a", "public");
    assert_eq!(stream.data(), "public");
}

#[test]
fn fields_are_taken_from_the_body_only() {
    let hub = Hub::anonymous();
    let token = format!("Bearer {}", publisher());
    let mut client = hub.connect();
    client.request(
        "POST",
        &query(&[("topic", "urn:a")]),
        &[("Authorization", &token), ("Content-Type", "application/x-www-form-urlencoded")],
        Some(b"data=x"),
    );
    assert_eq!(client.response("POST").status, 400);
}

#[test]
fn unknown_fields_are_ignored() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    accepted(&hub, &[("topic", "urn:a"), ("colour", "red"), ("Topic", "*"), ("match", "x"), ("data", "x")]);
    assert_eq!(stream.data(), "x");
}

#[test]
fn a_refused_update_reaches_nobody() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    refused(&hub, &[("topic", "urn:a"), ("id", "earliest"), ("data", "refused")]);
    let forbidden =
        hub.post(&publisher_of(&["urn:a"]), &[("topic", "urn:a"), ("topic", "urn:b"), ("data", "forbidden")]);
    assert_eq!(forbidden.status, 403);
    hub.say("urn:a", "accepted");
    assert_eq!(stream.data(), "accepted");
}

#[test]
fn every_topic_needs_a_grant() {
    let hub = Hub::anonymous();
    let token = publisher_of(&["urn:a", "urn:b"]);
    let ok = hub.post(&token, &[("topic", "urn:a"), ("topic", "urn:b")]);
    assert_eq!(ok.status, 200, "{ok:?}");
    let refusal = hub.post(&token, &[("topic", "urn:a"), ("topic", "urn:b"), ("topic", "urn:c")]);
    assert_eq!(refusal.status, 403, "{refusal:?}");
    assert_eq!(refusal.bearer_error().as_deref(), Some("insufficient_scope"));
    refusal.problem();
}

#[test]
fn an_update_without_a_token_is_401_even_where_subscribers_may_be_anonymous() {
    let hub = Hub::anonymous();
    let response = hub.post_with(&[], &[("topic", "urn:a")]);
    assert_eq!(response.status, 401, "{response:?}");
    assert_eq!(response.bearer_error(), None);
}

#[test]
fn bodies_and_topics_beyond_the_limits_are_413() {
    let hub = Hub::anonymous();
    let token = format!("Bearer {}", publisher());
    let mut client = hub.connect();
    client.request(
        "POST",
        HUB,
        &[
            ("Authorization", &token),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", "1000000000"),
        ],
        None,
    );
    assert_eq!(client.response("POST").status, 413, "a body announced as too large");

    let mut client = hub.connect();
    client.send(
        format!("POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: {token}\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n")
            .as_bytes(),
    );
    let chunk = format!("{:x}\r\n{}\r\n", 65_536, "x".repeat(65_536));
    for _ in 0..1024 {
        // The hub may stop reading as soon as it knows.
        if client.try_send(chunk.as_bytes()).is_err() {
            break;
        }
    }
    if let Some(response) = client.try_response("POST") {
        assert_eq!(response.status, 413, "a chunked body that grows too large");
    }

    let topics = (0..20_000).map(|n| format!("topic=urn:{n}")).collect::<Vec<_>>().join("&");
    assert_eq!(post_raw(&hub, topics.as_bytes()).status, 413, "20,000 topics");
    accepted(&hub, &[("topic", "urn:a")]);
}

#[test]
fn half_a_megabyte_of_data_arrives_whole() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let data: String = ('a'..='z').cycle().take(500_000).collect();
    hub.say("urn:a", &data);
    assert!(stream.data() == data, "large data was changed on the way");
}

#[test]
fn other_media_types_are_refused_and_parameters_and_case_are_not() {
    let hub = Hub::anonymous();
    let token = format!("Bearer {}", publisher());
    let post = |content_type: Option<&str>| {
        let mut client = hub.connect();
        let mut headers = vec![("Authorization", token.as_str())];
        headers.extend(content_type.map(|value| ("Content-Type", value)));
        client.request("POST", HUB, &headers, Some(b"topic=urn:a"));
        client.response("POST").status
    };
    assert_eq!(post(Some("application/json")), 415);
    assert_eq!(post(Some("multipart/form-data; boundary=x")), 415);
    assert_eq!(post(Some("application/x-www-form-urlencodedx")), 415);
    assert!(matches!(post(None), 400 | 415));
    assert_eq!(post(Some("application/x-www-form-urlencoded; charset=UTF-8")), 200);
    assert_eq!(post(Some("Application/X-WWW-Form-URLEncoded")), 200);
}

#[test]
fn other_methods_are_405_with_the_list_of_those_allowed() {
    let hub = Hub::anonymous();
    for method in ["PUT", "DELETE", "PATCH", "BREW"] {
        let response = hub.request(method, HUB, &[]);
        assert_eq!(response.status, 405, "{method}");
        let allowed = response.list("allow");
        for expected in ["get", "head", "post", "options"] {
            assert!(allowed.iter().any(|method| method == expected), "{method}: {allowed:?}");
        }
    }
}

#[test]
fn refusals_say_in_problem_json_which_rule_failed() {
    let hub = Hub::anonymous();
    let answers: Vec<String> = [
        &[("data", "x")][..],
        &[("topic", "*")],
        &[("topic", "urn:a"), ("id", "#1")],
        &[("topic", "urn:a"), ("type", "mercure")],
        &[("topic", "urn:a"), ("retry", "soon")],
        &[("topic", "urn:a\u{7}")],
        &[("topic", "/.well-known/mercure/x")],
    ]
    .iter()
    .map(|fields| refused(&hub, fields))
    .collect();
    let different: std::collections::HashSet<&String> = answers.iter().collect();
    assert_eq!(different.len(), answers.len(), "each rule has words of its own: {answers:?}");
}

fn accepted(hub: &Hub, fields: &[(&str, &str)]) {
    hub.publish(fields);
}

fn refused(hub: &Hub, fields: &[(&str, &str)]) -> String {
    let response = hub.post(&publisher(), fields);
    assert_eq!(response.status, 400, "{fields:?}: {response:?}");
    response.problem().to_string()
}

fn post_raw(hub: &Hub, body: &[u8]) -> Response {
    let mut client = hub.connect();
    client.post(&[("Authorization", &format!("Bearer {}", publisher()))], body);
    client.response("POST")
}

/// Seen: a hub told to take bodies larger than all bodies together may be answered every one of them 503.
#[test]
fn a_body_of_the_largest_size_that_was_set_is_taken() {
    let hub = Hub::start(&["--anonymous", "--max-body-bytes", "40MiB", "--tail-bytes", "128MiB"]);
    let data = "x".repeat(39 << 20);
    assert_eq!(hub.post(&publisher(), &[("topic", "urn:a"), ("data", &data)]).status, 200);
}
