//! Tokens of before version 1.0: what isn't asked for, and what still is.

use super::*;

fn verifier_of(ids: &[&str], compat: Option<Compat>) -> TokenVerifier {
    let issuer = |id: &&str| Issuer {
        id: (*id).to_owned(),
        publisher: Some(vec![secret(PUBLISHER_SECRET)]),
        subscriber: Some(vec![secret(SUBSCRIBER_SECRET)]),
    };
    TokenVerifier::new(TokenRules {
        issuers: ids.iter().map(issuer).collect(),
        audience: HUB.into(),
        hub: HubUrl::parse(HUB).unwrap(),
        compat,
    })
}

fn verify_old(header: Value, claims: Value) -> Result<Access, TokenError> {
    verifier_of(&[IMPLICIT_ISSUER], Some(Compat::Eight)).verify(&sign(&header, &claims), Role::Publisher, NOW_MS)
}

fn old_header() -> Value {
    json!({"alg": "HS256"})
}

#[test]
fn nothing_but_the_claim_is_needed() {
    let access = verify_old(old_header(), json!({"mercure": {"publish": ["/{id}"]}})).unwrap();
    assert_eq!((access.expires_at_ms, access.not_before_ms, &*access.issuer), (NEVER_MS, 0, IMPLICIT_ISSUER));
    assert!(access.valid_at(u64::MAX - 1));
    assert_eq!(access.grants.publish[0].kind(), MatchType::Topic);
    let strict = verifier_of(&[ISSUER], None);
    let token = sign(&old_header(), &json!({"mercure": {"publish": ["/{id}"]}}));
    assert_eq!(strict.verify(&token, Role::Publisher, NOW_MS), Err(TokenError::Type { found: None }));
    let token = sign(&header(), &with(claims(), "mercure", json!({"publish": ["*"]})));
    assert_eq!(strict.verify(&token, Role::Publisher, NOW_MS).unwrap().grants, Grants::default(), "not read");
}

#[test]
fn what_is_there_must_hold() {
    let old = |name: &str, value: Value| verify_old(old_header(), with(json!({}), name, value));
    assert!(matches!(old("exp", json!(NOW_S)), Err(TokenError::Expired { .. })));
    assert!(matches!(old("exp", json!("x")), Err(TokenError::TimeMalformed { claim: "exp", .. })));
    assert!(matches!(old("nbf", json!(NOW_S + 1)), Err(TokenError::NotYetValid { .. })));
    assert_eq!(old("exp", json!(NOW_S + 1)).unwrap().expires_at_ms, NOW_MS + 1000);
    assert!(matches!(old("mercure", json!([])), Err(TokenError::MercureClaim(_))));
    assert!(matches!(old("authorization_details", json!({})), Err(TokenError::Grants(GrantsError::NotAnArray))));
    assert_eq!(verify_old(with(old_header(), "crit", json!(["x"])), json!({})), Err(TokenError::Critical));
    let token = sign(&old_header(), &json!({}));
    let of_the_other_role = verifier_of(&["*"], Some(Compat::Seven)).verify(&token, Role::Subscriber, NOW_MS);
    assert_eq!(of_the_other_role, Err(TokenError::Signature { issuer: "*".into(), role: Role::Subscriber }));
}

#[test]
fn an_unknown_issuer_is_the_single_or_the_implicit_one() {
    let issuer = |ids: &[&str], iss: Value| {
        let token = sign(&old_header(), &json!({"iss": iss}));
        let verified = verifier_of(ids, Some(Compat::Eight)).verify(&token, Role::Publisher, NOW_MS);
        verified.map(|access| access.issuer.to_string())
    };
    assert_eq!(issuer(&["a"], json!("b")).as_deref(), Ok("a"));
    assert_eq!(issuer(&["a"], json!(1)).as_deref(), Ok("a"));
    assert_eq!(issuer(&["a", "b"], json!("b")).as_deref(), Ok("b"));
    assert!(matches!(issuer(&["a", "b"], json!("c")), Err(TokenError::IssuerUnknown { .. })));
    assert!(matches!(issuer(&["a", "b"], json!(1)), Err(TokenError::IssuerMalformed { .. })));
    assert_eq!(issuer(&["a", IMPLICIT_ISSUER], json!("c")).as_deref(), Ok(IMPLICIT_ISSUER));
    assert!(issuer(&[], json!("c")).is_err());
}

#[test]
fn the_claim_counts_where_there_are_no_details() {
    let publishes = |details: Value| {
        let claims = json!({"mercure": {"publish": ["*"]}, "authorization_details": details});
        verify_old(old_header(), claims).map(|access| !access.grants.publish.is_empty())
    };
    assert_eq!(publishes(json!([])), Ok(true));
    assert_eq!(publishes(json!([{"type": "other"}])), Ok(false));
}

#[test]
fn explain_says_what_was_not_asked_for_and_agrees_with_verify() {
    let verifier = verifier_of(&["a"], Some(Compat::Eight));
    let token = sign(&old_header(), &json!({"iss": "b", "mercure": {"subscribe": ["/{x}"]}}));
    let checks = verifier.explain(&token, Role::Publisher, NOW_MS);
    assert!(checks.iter().all(|check| check.outcome == Outcome::Pass), "{checks:#?}");
    let detail = |rule: &str| checks.iter().find(|check| check.rule == rule).unwrap().detail.clone();
    assert_eq!(detail("exp"), "absent (never expires)");
    assert_eq!(detail("iss"), "\"b\" (taken for \"a\")");
    assert_eq!(detail("authorization_details"), "by the claim mercure: publish: nothing; subscribe: topic \"/{x}\"");
    let token = sign(&old_header(), &json!({"mercure": 1}));
    let checks = verifier.explain(&token, Role::Publisher, NOW_MS);
    assert_eq!(failed(&checks), ["authorization_details"]);
    assert!(verifier.verify(&token, Role::Publisher, NOW_MS).is_err());
}

#[test]
fn what_is_minted_as_of_old_is_read_as_of_old() {
    let order = Mint {
        publish: vec![(MatchType::Topic, "/{id}".into()), (MatchType::UrlPattern, "/r/:id".into())],
        subscribe: vec![(MatchType::Topic, "*".into())],
        payload: Some(json!({"n": 1})),
        compat: true,
        ..super::minting::order()
    };
    let token = mint(&order, &publisher_key()).unwrap();
    let (header, claims) = decode_unverified(&token).unwrap();
    assert_eq!(header, json!({"typ": "JWT", "alg": "HS256"}));
    let claim = json!({"publish": ["/{id}", {"match": "/r/:id", "match_type": "urlpattern"}], "subscribe": ["*"],
        "payload": {"n": 1}});
    assert_eq!(claims, json!({"iss": ISSUER, "iat": NOW_S, "exp": NOW_S + 60, "mercure": claim}));
    let access = verifier_of(&["*"], Some(Compat::Eight)).verify(&token, Role::Publisher, NOW_MS).unwrap();
    assert_eq!((access.grants.publish.len(), access.grants.subscribe.len()), (2, 1));
    let refused = mint(&Mint { compat: false, ..order }, &publisher_key());
    assert_eq!(refused, Err(MintError::TopicWithoutCompat));
    let many = vec![(MatchType::Topic, "a".to_owned()); 1001];
    let refused = mint(&Mint { publish: many, compat: true, ..super::minting::order() }, &publisher_key());
    assert_eq!(refused, Err(MintError::TooManyEntries));
}
