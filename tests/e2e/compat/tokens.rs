//! The claim `mercure`, and the checks that are dropped and kept.

use super::*;

fn status(hub: &Hub, token: &Token) -> u16 {
    hub.post(&token.sign(PUBLISHER_KEY), &[("topic", "https://e.example/1")]).status
}

#[test]
fn the_claim_grants_by_texts_templates_and_objects() {
    let hub = hub("8");
    for (publish, expected) in [
        (json!(["*"]), 200),
        (json!(["https://e.example/1"]), 200),
        (json!(["urn:a", "https://e.example/{id}"]), 200),
        (json!([{"match": "https://e.example/:id", "match_type": "urlpattern"}]), 200),
        (json!([{"match": "https://e.example/1"}]), 200),
        (json!([{"match": "https://e.example/{id}"}]), 403),
        (json!(["https://e.example/{id}/x"]), 403),
        (json!([]), 403),
    ] {
        assert_eq!(status(&hub, &old(json!({"publish": publish}))), expected, "{publish}");
    }
    assert_eq!(status(&hub, &old(json!({"subscribe": ["*"]}))), 403);
    assert_eq!(status(&hub, &old(json!({})).without_claim("mercure")), 403);
}

#[test]
fn every_topic_of_an_update_has_to_be_granted() {
    let hub = hub("8");
    let token = old_publisher(&["urn:a", "urn:b"]);
    assert_eq!(hub.post(&token, &[("topic", "urn:a"), ("topic", "urn:b")]).status, 200);
    let refused = hub.post(&token, &[("topic", "urn:a"), ("topic", "urn:c")]);
    assert_eq!((refused.status, refused.bearer_error().as_deref()), (403, Some("insufficient_scope")));
}

#[test]
fn version_seven_alone_lets_public_updates_to_ungranted_topics_pass() {
    for (version, public) in [("7", 200), ("8", 403)] {
        let hub = hub(version);
        let token = old_publisher(&["urn:a"]);
        assert_eq!(hub.post(&token, &[("topic", "urn:b")]).status, public);
        assert_eq!(hub.post(&token, &[("topic", "urn:b"), ("private", "on")]).status, 403);
        assert_eq!(hub.post(&token, &[("topic", "urn:a"), ("private", "on")]).status, 200);
        assert_eq!(hub.post_with(&[], &[("topic", "urn:b")]).status, 401, "a token is needed all the same");
    }
}

#[test]
fn the_namespaced_claim_wins() {
    let hub = hub("8");
    let token = |full: Value, short: Value| old(short).claim("https://mercure.rocks/", full);
    assert_eq!(status(&hub, &token(json!({"publish": ["*"]}), json!({}))), 200);
    assert_eq!(status(&hub, &token(json!({}), json!({"publish": ["*"]}))), 403);
}

#[test]
fn authorization_details_win_over_the_claim_unless_they_are_empty() {
    let hub = hub("8");
    let token = |details: Value| old(json!({"publish": ["*"]})).claim("authorization_details", details);
    assert_eq!(status(&hub, &token(json!([details(&["publish"], &["urn:else"])]))), 403);
    assert_eq!(status(&hub, &token(json!([]))), 200);
    assert_eq!(status(&hub, &token(json!([{"type": "payment"}]))), 403);
    assert_eq!(status(&hub, &token(json!(null))), 401);
}

#[test]
fn a_malformed_claim_is_401() {
    let hub = hub("8");
    for claim in [
        json!(null),
        json!("*"),
        json!(["*"]),
        json!({"publish": "*"}),
        json!({"publish": [1]}),
        json!({"publish": ["*", null]}),
        json!({"publish": ["*"], "subscribe": [{"match": "a", "match_type": "topic"}]}),
        json!({"publish": ["*", "a\u{200B}"]}),
        json!({"publish": vec!["*"; 1001]}),
    ] {
        let response = hub.post(&old(claim.clone()).sign(PUBLISHER_KEY), &[("topic", "urn:a")]);
        assert_eq!((response.status, response.bearer_error().as_deref()), (401, Some("invalid_token")), "{claim}");
    }
    assert_eq!(status(&hub, &old(json!({"publish": vec!["*"; 1000]}))), 200);
}

#[test]
fn type_audience_issuer_and_expiry_need_not_be_there_nor_fit() {
    let hub = hub("8");
    let token = || old(json!({"publish": ["*"]}));
    assert_eq!(status(&hub, &token()), 200);
    for typ in ["JWT", "at+jwt", "dpop+jwt"] {
        assert_eq!(status(&hub, &token().header("typ", json!(typ))), 200, "{typ}");
    }
    for (claim, value) in [
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!(1)),
        ("iss", json!("https://elsewhere.example")),
        ("iss", json!(null)),
        ("exp", json!(now() + 60)),
        ("nbf", json!(now() - 60)),
    ] {
        assert_eq!(status(&hub, &token().claim(claim, value)), 200, "{claim}");
    }
}

#[test]
fn signature_algorithm_and_times_are_checked_as_ever() {
    let hub = hub("8");
    let token = || old(json!({"publish": ["*"]}));
    assert_eq!(hub.post(&token().sign(SUBSCRIBER_KEY), &[("topic", "urn:a")]).status, 401, "the other role's key");
    for (name, token) in [
        ("alg", token().header("alg", json!("none"))),
        ("alg", token().header("alg", json!("HS384"))),
        ("crit", token().header("crit", json!(["exp"]))),
        ("exp", token().claim("exp", json!(now() - 1))),
        ("exp", token().claim("exp", json!("never"))),
        ("nbf", token().claim("nbf", json!(now() + 600))),
    ] {
        assert_eq!(status(&hub, &token), 401, "{name}");
    }
    let unsigned = format!("{}.", token().header("alg", json!("none")).signing_input());
    assert_eq!(hub.post(&unsigned, &[("topic", "urn:a")]).status, 401);
}

#[test]
fn an_unknown_issuer_is_taken_for_the_only_one_there_is() {
    let token = || old(json!({"publish": ["*"]}));
    let elsewhere = token().claim("iss", json!("https://elsewhere.example"));
    let one = launch("8").args(&["--issuer", ISSUER]).start();
    assert_eq!((status(&one, &token()), status(&one, &elsewhere)), (200, 200));
    let two = launch("8").args(&["--issuer", ISSUER, "--issuer", "https://second.example"]).start();
    assert_eq!((status(&two, &token()), status(&two, &elsewhere)), (401, 401));
    assert_eq!(status(&two, &token().claim("iss", json!(ISSUER))), 200);
}

#[test]
fn a_stream_ends_with_its_token_and_goes_on_without_an_end() {
    let hub = hub("8");
    let claim = json!({"subscribe": ["urn:a"]});
    let mut endless = hub.subscribe_as(&old(claim.clone()).sign(SUBSCRIBER_KEY), &[("topic", "urn:a")]);
    let short = old(claim).claim("exp", json!(now() + 4)).sign(SUBSCRIBER_KEY);
    let mut ending = hub.subscribe_as(&short, &[("topic", "urn:a")]);
    ending.end();
    let fields = [("topic", "urn:a"), ("data", "later"), ("private", "on")];
    assert_eq!(hub.post(&old_publisher(&["*"]), &fields).status, 200);
    assert_eq!(endless.data(), "later");
}

#[test]
fn tokens_of_old_are_minted_and_explained() {
    let minted = Launch::bare()
        .args(&["token", "mint", "--compat", "--key", PUBLISHER_KEY])
        .args(&["--publish", "https://e.example/{id}", "--publish-pattern", "/r/:id", "--payload", "{\"a\":1}"])
        .output("");
    let token = String::from_utf8_lossy(&minted.stdout).trim().to_owned();
    let hub = hub("8");
    assert_eq!(hub.post(&token, &[("topic", "https://e.example/1"), ("topic", "/r/1")]).status, 200);
    assert_eq!(hub.post(&token, &[("topic", "urn:a")]).status, 403);
    let explain = |token: &str, options: &[&str]| {
        let output = Launch::bare()
            .args(&["token", "explain", token, "--resource", RESOURCE, "--publisher-jwt-key", PUBLISHER_KEY])
            .args(options)
            .output("");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (accepted, text) = explain(&token, &["--compat", "8", "--topic", "https://e.example/1"]);
    assert!(accepted && text.contains("topic \"https://e.example/{id}\""), "{text}");
    let (accepted, text) = explain(&old_publisher(&["*"]), &["--compat", "8"]);
    assert!(accepted && text.contains("never expires") && text.contains("claim mercure"), "{text}");
    let (accepted, text) = explain(&token, &["--issuer", "http://localhost:3000"]);
    assert!(!accepted && text.contains("FAIL  typ"), "{text}");
}
