//! Which tokens are valid, and that nothing tells why one isn't.

use super::{good, publish_status, subscribe_status};
use crate::harness::*;
use serde_json::{Value, json};

#[test]
fn good_tokens_are_accepted_in_all_their_variants() {
    let hub = Hub::start(&[]);
    for (name, token) in [
        ("plain", good()),
        ("typ in another case", good().header("typ", json!("AT+JWT"))),
        ("typ as a media type", good().header("typ", json!("application/at+jwt"))),
        ("typ as a media type in another case", good().header("typ", json!("Application/AT+jwt"))),
        ("audiences", good().claim("aud", json!(["https://other.example", RESOURCE]))),
        ("a fractional exp", good().claim("exp", json!(now() as f64 + 1000.5))),
        ("nbf in the past", good().claim("nbf", json!(now() - 10))),
        ("a kid", good().header("kid", json!("whatever"))),
        ("a jwk, which is not used", good().header("jwk", json!({"kty": "oct", "k": "AAAA"}))),
        ("unknown claims and headers", good().claim("colour", json!("red")).header("x", json!(1))),
        ("no subject, client or id", good().without_claim("sub").without_claim("client_id").without_claim("jti").without_claim("iat")),
        ("a detail of another type, malformed", Token::with_details(json!([{"type": "other", "actions": 1}, details(&["publish"], &["*"])]))),
        ("unknown actions", Token::with_details(json!([details(&["dance", "publish"], &["*"])]))),
        ("unknown members", good().claim("authorization_details", json!([{"type": "https://mercure.rocks/authorization-detail", "actions": ["publish"], "topics": [{"match": "*", "colour": 1}], "x": 1}]))),
    ] {
        assert_eq!(publish_status(&hub, &token.sign(PUBLISHER_KEY)), 200, "{name}");
    }
}

#[test]
fn bad_tokens_are_401_for_both_roles_and_nothing_tells_why() {
    let hub = Hub::start(&["--anonymous"]);
    let mut answers = std::collections::BTreeMap::new();
    for (name, make) in bad_tokens() {
        let published = hub.post(&make(PUBLISHER_KEY), &[("topic", "urn:a")]);
        assert_eq!(published.status, 401, "publish with {name}: {published:?}");
        assert_eq!(published.bearer_error().as_deref(), Some("invalid_token"), "{name}");
        let bearer = format!("Bearer {}", make(SUBSCRIBER_KEY));
        let refusal = hub.try_subscribe(&[("match", "urn:a")], &[("Authorization", &bearer)]).expect_err(name);
        assert_eq!(refusal.status, 401, "subscribe with {name}: {refusal:?}");
        for answer in [published, refusal] {
            let challenge = answer.header("www-authenticate").expect("a challenge").to_owned();
            answers.insert((challenge, without_reference(&answer.text())), name);
        }
    }
    assert_eq!(answers.len(), 1, "answers to invalid tokens differ: {answers:#?}");
}

/// Seen: 401 invalid_token, and a client that threw its good token away.
#[test]
fn a_token_whose_patterns_find_no_room_is_not_called_invalid() {
    let hub = Hub::start(&["--anonymous"]);
    let mut held = Vec::new();
    let full = (0..20).any(|stream| {
        let patterns: Vec<String> = (0..100).map(|n| format!("/p/(x{stream}|y{n})")).collect();
        let matchers: Vec<(&str, &str)> = patterns.iter().map(|pattern| ("match_urlpattern", &**pattern)).collect();
        match hub.try_subscribe(&matchers, &[]) {
            Ok(stream) => held.push(stream),
            Err(refusal) => return refusal.status == 503,
        }
        false
    });
    assert!(full, "{} streams with a hundred regular expressions each", held.len());
    // What room is left for a few is taken, too.
    while hub.subscribe_status(&[("match_urlpattern", "/p/(one|more)")], &[]) == 200 {
        let pattern = format!("/p/(z{})", "z".repeat(held.len()));
        held.extend(hub.try_subscribe(&[("match_urlpattern", &pattern)], &[]).ok());
    }
    let post = |number: usize| {
        let topics: Vec<Value> =
            (0..100).map(|n| json!({"match": format!("/t/(a{number}|b{n})"), "match_type": "urlpattern"})).collect();
        let detail =
            json!([{"type": "https://mercure.rocks/authorization-detail", "actions": ["publish"], "topics": topics}]);
        let token = Token::with_details(detail).sign(PUBLISHER_KEY);
        hub.post(&token, &[("topic", &format!("/t/a{number}"))])
    };
    // Tokens have room of their own, which is bounded too.
    assert_eq!(post(0).status, 200);
    let answer =
        (1..10).map(post).find(|answer| answer.status != 200).expect("a thousand regular expressions of tokens");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some() && answer.header("www-authenticate").is_none(), "{answer:?}");
    drop(held);
    eventually("there is room again", || post(20).status == 200);
}

#[test]
fn the_log_has_the_rule_under_the_reference_of_the_answer() {
    let hub = Hub::start(&[]);
    let answer = hub.post(&good().without_claim("exp").sign(PUBLISHER_KEY), &[("topic", "urn:a")]).text();
    let problem: Value = serde_json::from_str(&answer).expect("problem+json");
    let reference = references(&problem.to_string());
    assert!(!reference.is_empty(), "no reference in {answer}");
    eventually("the log explains the refusal", || {
        hub.log().lines().any(|line| line.contains("exp") && reference.iter().any(|word| line.contains(word)))
    });
}

#[test]
fn the_log_has_neither_tokens_nor_data() {
    let hub = Hub::start(&["--anonymous"]);
    let token = publisher();
    hub.post(&token, &[("topic", "urn:a"), ("data", "confidential-data")]);
    let broken = good().claim("aud", json!("confidential-audience-is-fine")).sign(PUBLISHER_KEY);
    hub.post(&broken, &[("topic", "urn:a"), ("data", "confidential-data")]);
    let mut hub = hub;
    hub.stop();
    let log = hub.log();
    assert!(!log.contains("confidential-data"), "{log}");
    for secret in [PUBLISHER_KEY, SUBSCRIBER_KEY] {
        assert!(!log.contains(secret), "{log}");
    }
    for token in [token, broken] {
        let signature = token.rsplit('.').next().expect("three parts");
        assert!(!log.contains(signature), "{log}");
    }
}

#[test]
fn a_token_without_details_is_valid_and_grants_nothing() {
    let hub = Hub::start(&[]);
    for token in [good().without_claim("authorization_details"), Token::with_details(json!([]))] {
        let response = hub.post(&token.sign(PUBLISHER_KEY), &[("topic", "urn:a")]);
        assert_eq!(response.status, 403, "{response:?}");
        assert_eq!(response.bearer_error().as_deref(), Some("insufficient_scope"));
        assert_eq!(subscribe_status(&hub, &token.sign(SUBSCRIBER_KEY)), 200);
    }
}

#[test]
fn the_keys_of_the_two_roles_are_not_interchangeable() {
    let hub = Hub::start(&[]);
    let both = Token::granting(&["publish", "subscribe"], &["*"]);
    assert_eq!(publish_status(&hub, &both.sign(PUBLISHER_KEY)), 200);
    assert_eq!(publish_status(&hub, &both.sign(SUBSCRIBER_KEY)), 401);
    assert_eq!(subscribe_status(&hub, &both.sign(SUBSCRIBER_KEY)), 200);
    assert_eq!(subscribe_status(&hub, &both.sign(PUBLISHER_KEY)), 401);
}

#[test]
fn a_token_that_has_been_accepted_is_refused_once_it_has_expired() {
    let hub = Hub::start(&[]);
    let token = good().claim("exp", json!(now() + 3)).sign(PUBLISHER_KEY);
    assert_eq!(publish_status(&hub, &token), 200);
    eventually("the token expires", || publish_status(&hub, &token) == 401);
}

type Make = Box<dyn Fn(&str) -> String>;

/// Everything that makes a token invalid, one thing at a time.
fn bad_tokens() -> Vec<(&'static str, Make)> {
    fn spoilt(token: Token) -> Make {
        Box::new(move |key| token.sign(key))
    }
    fn broken(change: impl Fn(String) -> String + 'static) -> Make {
        Box::new(move |key| change(good().sign(key)))
    }
    let detail = |members: Value| {
        let mut detail = details(&["publish", "subscribe"], &["*"]);
        for (name, value) in members.as_object().expect("an object") {
            let detail = detail.as_object_mut().expect("an object");
            if value == "absent" {
                detail.remove(name);
            } else {
                detail.insert(name.clone(), value.clone());
            }
        }
        spoilt(Token::with_details(json!([details(&["publish", "subscribe"], &["*"]), detail])))
    };
    let many = |count: usize| Value::Array((0..count).map(|n| json!({"match": format!("urn:{n}")})).collect());
    vec![
        ("no typ", spoilt(good().without_header("typ"))),
        ("typ JWT", spoilt(good().header("typ", json!("JWT")))),
        ("typ of another kind", spoilt(good().header("typ", json!(1)))),
        ("alg none", Box::new(|_| good().header("alg", json!("none")).sign_with(|_| Vec::new()))),
        ("alg None", Box::new(|_| good().header("alg", json!("None")).sign_with(|_| Vec::new()))),
        ("no alg", spoilt(good().without_header("alg"))),
        ("another HMAC", spoilt(good().header("alg", json!("HS512")))),
        ("an asymmetric alg", spoilt(good().header("alg", json!("ES256")))),
        ("crit", spoilt(good().header("crit", json!(["exp"])))),
        ("another key", Box::new(|_| good().sign("some-other-secret-0123456789abcdef"))),
        ("no signature", broken(|token| token[..=token.rfind('.').expect("a dot")].to_owned())),
        ("two parts", broken(|token| token[..token.rfind('.').expect("a dot")].to_owned())),
        ("four parts", broken(|token| token + ".AAAA")),
        ("a cut signature", broken(|token| token[..token.len() - 4].to_owned())),
        ("padding", broken(|token| token + "=")),
        ("nonsense", Box::new(|_| "nonsense".to_owned())),
        ("nonsense in three parts", Box::new(|_| "a.b.c".to_owned())),
        ("claims that are no object", Box::new(|key| Token { claims: json!([]), ..good() }.sign(key))),
        ("no exp", spoilt(good().without_claim("exp"))),
        ("exp in the past", spoilt(good().claim("exp", json!(now() - 60)))),
        ("exp as text", spoilt(good().claim("exp", json!("9999999999")))),
        ("exp null", spoilt(good().claim("exp", Value::Null))),
        ("nbf in the future", spoilt(good().claim("nbf", json!(now() + 1000)))),
        ("nbf as text", spoilt(good().claim("nbf", json!("0")))),
        ("no aud", spoilt(good().without_claim("aud"))),
        ("another aud", spoilt(good().claim("aud", json!("https://other.example")))),
        ("aud with a slash more", spoilt(good().claim("aud", json!(format!("{RESOURCE}/"))))),
        ("an empty list of audiences", spoilt(good().claim("aud", json!([])))),
        ("aud in another case", spoilt(good().without_claim("aud").claim("AUD", json!(RESOURCE)))),
        ("no iss", spoilt(good().without_claim("iss"))),
        ("an unknown iss", spoilt(good().claim("iss", json!("https://other.example")))),
        ("iss with a slash more", spoilt(good().claim("iss", json!(format!("{ISSUER}/"))))),
        ("details that are no array", spoilt(good().claim("authorization_details", details(&["publish"], &["*"])))),
        ("details null", spoilt(good().claim("authorization_details", Value::Null))),
        ("a detail that is no object", spoilt(Token::with_details(json!(["publish"])))),
        ("no actions", detail(json!({"actions": "absent"}))),
        ("empty actions", detail(json!({"actions": []}))),
        ("an action that is no string", detail(json!({"actions": ["publish", 1]}))),
        ("an action null", detail(json!({"actions": ["publish", null]}))),
        ("no topics", detail(json!({"topics": "absent"}))),
        ("empty topics", detail(json!({"topics": []}))),
        ("bare strings as topics", detail(json!({"topics": ["*"]}))),
        ("a topic without match", detail(json!({"topics": [{"match_type": "exact"}]}))),
        ("a match that is no valid string", detail(json!({"topics": [{"match": "urn:\u{200b}"}]}))),
        ("match in another case", detail(json!({"topics": [{"Match": "*"}]}))),
        ("an unknown match_type", detail(json!({"topics": [{"match": "urn:a", "match_type": "regexp"}]}))),
        ("match_type in another case", detail(json!({"topics": [{"match": "urn:a", "match_type": "Exact"}]}))),
        ("an empty match_type", detail(json!({"topics": [{"match": "urn:a", "match_type": ""}]}))),
        ("match_type null", detail(json!({"topics": [{"match": "urn:a", "match_type": null}]}))),
        (
            "a malformed pattern",
            detail(json!({"topics": [{"match": "https://e.example/([", "match_type": "urlpattern"}]})),
        ),
        ("far too many topics", detail(json!({"topics": many(150)}))),
    ]
}

/// Seen: some hundred invalid tokens stopped a hub whose log nobody read.
#[test]
fn invalid_tokens_do_not_flood_the_log() {
    const TOKENS: usize = 2000;
    let mut hub = Hub::anonymous();
    let mut client = hub.connect();
    for _ in 0..TOKENS {
        client.request("GET", &query(&[("match", "urn:a")]), &[("Authorization", "Bearer a.b.c")], None);
        assert_eq!(client.response("GET").status, 401);
    }
    hub.stop();
    eventually("the log ends", || hub.log().contains("stopped events="));
    let log = hub.log();
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("an access token was refused")).collect();
    assert!(!refusals.is_empty() && refusals.len() < TOKENS / 2, "{} lines", refusals.len());
    let left_out = |line: &&str| line.split_once("left_out=").map_or(0, |(_, count)| count.parse().expect("a number"));
    let counted: usize = refusals.iter().map(left_out).sum();
    assert!(refusals.len() + counted <= TOKENS, "{counted} left out and {} logged", refusals.len());
}

/// The text with whatever may be a reference masked: words that hold a digit or are long.
fn without_reference(text: &str) -> String {
    let mut masked = text.to_owned();
    for word in references(text) {
        masked = masked.replace(&word, "REFERENCE");
    }
    masked
}

fn references(text: &str) -> Vec<String> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
        .filter(|word| word.len() >= 6 && word.bytes().any(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}
