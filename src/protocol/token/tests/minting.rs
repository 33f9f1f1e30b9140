//! Tokens that the hub's own commands make.

use super::*;

pub(super) fn order() -> Mint {
    Mint {
        issuer: ISSUER.into(),
        audience: HUB.into(),
        issued_at_s: NOW_S,
        expires_at_s: NOW_S + 60,
        ..Mint::default()
    }
}

#[test]
fn what_is_minted_is_valid_and_says_what_was_ordered() {
    let order = Mint {
        subject: Some("u-7".into()),
        client_id: Some("https://app.example".into()),
        token_id: Some("k1".into()),
        key_id: Some("main".into()),
        publish: vec![(MatchType::Exact, "urn:a".into())],
        subscribe: vec![(MatchType::UrlPattern, "/r/:id".into()), (MatchType::Exact, "*".into())],
        payload: Some(json!({"name": "Zoe"})),
        ..order()
    };
    let token = mint(&order, &publisher_key()).unwrap();
    let access = verify(&token).unwrap();
    assert_eq!(access.expires_at_ms, NOW_MS + 60_000);
    assert_eq!((access.grants.publish.len(), access.grants.subscribe.len()), (1, 2));
    let hub = HubUrl::parse(HUB).unwrap();
    let payload = access.grants.payload(&ParsedTopic::new("/r/1", &hub)).cloned();
    assert_eq!(payload, order.payload);
    let (header, claims) = decode_unverified(&token).unwrap();
    assert_eq!(header, json!({"typ": "at+jwt", "alg": "HS256", "kid": "main"}));
    assert_eq!(
        claims,
        json!({"iss": ISSUER, "aud": HUB, "sub": "u-7", "client_id": "https://app.example", "jti": "k1",
            "iat": NOW_S, "exp": NOW_S + 60, "authorization_details": [
                {"type": DETAIL_TYPE, "actions": ["publish"], "topics": [{"match": "urn:a"}]},
                {"type": DETAIL_TYPE, "actions": ["subscribe"], "payload": {"name": "Zoe"},
                    "topics": [{"match": "/r/:id", "match_type": "urlpattern"}, {"match": "*"}]}]})
    );
}

#[test]
fn equal_grants_are_written_once() {
    let all = vec![(MatchType::Exact, "*".to_owned())];
    let both = Mint { publish: all.clone(), subscribe: all, ..order() };
    let (_, claims) = decode_unverified(&mint(&both, &publisher_key()).unwrap()).unwrap();
    assert_eq!(claims["authorization_details"][0]["actions"], json!(["publish", "subscribe"]));
    assert_eq!(claims["authorization_details"].as_array().unwrap().len(), 1);
    let (_, claims) = decode_unverified(&mint(&order(), &publisher_key()).unwrap()).unwrap();
    assert_eq!(claims.get("authorization_details"), None);
}

#[test]
fn what_no_hub_would_accept_is_not_minted() {
    let refusal = |order: Mint| mint(&order, &publisher_key()).unwrap_err();
    let exact = |text: &str| (MatchType::Exact, text.to_owned());
    assert_eq!(refusal(Mint { expires_at_s: NOW_S, ..order() }), MintError::Expires);
    let payload = Some(json!(["x"]));
    assert_eq!(refusal(Mint { payload, subscribe: vec![exact("a")], ..order() }), MintError::Payload);
    assert_eq!(refusal(Mint { payload: Some(json!({})), ..order() }), MintError::PayloadWithoutSubscribe);
    let many = vec![exact("a"); 101];
    assert_eq!(refusal(Mint { publish: many, ..order() }), MintError::TooManyTopics { topics: 101 });
    let long = vec![exact(&"a".repeat(8000))];
    assert!(matches!(refusal(Mint { publish: long, ..order() }), MintError::TooLong { .. }));
}
