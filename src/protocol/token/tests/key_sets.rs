//! Which of an issuer's keys a token is tried with: those of a set have names.

use super::*;

/// A verifier whose only issuer has this set for subscribing, and a key without a name besides if there is one.
fn with_set(jwks: Value, nameless: Option<&str>) -> TokenVerifier {
    let text = json!({ "keys": jwks }).to_string();
    let mut keys = KeySet::parse(text.as_bytes(), &KEY_SET_ALGORITHMS).unwrap().keys;
    keys.extend(nameless.map(|pem| VerificationKey::from_text(pem, &[]).unwrap()));
    TokenVerifier::new(TokenRules {
        issuers: vec![Issuer { id: ISSUER.into(), publisher: None, subscriber: Some(keys) }],
        audience: HUB.into(),
        hub: HubUrl::parse(HUB).unwrap(),
        compat: None,
    })
}

fn jwk(kid: &str, pem: &str) -> Value {
    with(jwk_of(pem), "kid", kid.into())
}

/// A token of the set's issuer, signed with the P-256 key under this name.
fn signed_as(kid: Option<&str>) -> String {
    let header = with(json!({"typ": "at+jwt", "alg": "ES256"}), "kid", kid.into());
    sign_text(&header.to_string(), &claims().to_string(), &SigningKey::from_text(P256, None).unwrap())
}

#[test]
fn kid_chooses_among_keys_that_have_names() {
    let verify = |verifier: &TokenVerifier, kid| verifier.verify(&signed_as(kid), Role::Subscriber, NOW_MS).map(|_| ());
    let set = with_set(json!([jwk("a", P256_PUBLIC), jwk("b", RSA_PUBLIC)]), None);
    assert_eq!(verify(&set, Some("a")), Ok(()));
    assert_eq!(verify(&set, None), Ok(()), "no name: all that fit are tried");
    assert!(matches!(verify(&set, Some("b")), Err(TokenError::AlgorithmNotAllowed { .. })), "another key's name");
    let unknown = TokenError::KeyUnknown { issuer: ISSUER.into(), role: Role::Subscriber, found: "c".into() };
    assert_eq!(verify(&set, Some("c")), Err(unknown));
    let nameless = with_set(json!([jwk("b", RSA_PUBLIC)]), Some(P256_PUBLIC));
    assert_eq!(verify(&nameless, Some("c")), Ok(()), "a key without a name goes with any");
}

#[test]
fn a_token_without_kid_is_not_tried_with_every_key_of_a_large_set() {
    let jwks: Vec<_> = (0..KEYS_TRIED_MAX + 1).map(|number| jwk(&number.to_string(), P256_PUBLIC)).collect();
    let set = with_set(jwks.into(), None);
    let verify = |kid| set.verify(&signed_as(kid), Role::Subscriber, NOW_MS).map(|_| ());
    let keys = KEYS_TRIED_MAX + 1;
    assert_eq!(verify(None), Err(TokenError::KeyAmbiguous { issuer: ISSUER.into(), role: Role::Subscriber, keys }));
    assert_eq!(verify(Some("3")), Ok(()));
}

#[test]
fn a_set_without_keys_is_said_to_be_one() {
    let error = with_set(json!([]), None).verify(&signed_as(None), Role::Subscriber, NOW_MS);
    assert_eq!(error, Err(TokenError::KeySetEmpty { issuer: ISSUER.into(), role: Role::Subscriber }));
}

#[test]
fn an_access_names_one_of_the_keys_of_its_verifier() {
    let set = with_set(json!([jwk("a", P256_PUBLIC), jwk("b", RSA_PUBLIC)]), None);
    let access = set.verify(&signed_as(None), Role::Subscriber, NOW_MS).unwrap();
    assert_eq!(set.keys().find(|(identity, _)| *identity == access.key).unwrap().1, Some("a"));
    assert_eq!(set.keys().count(), 7, "one use of the first, six of the second");
    let pem = with_set(json!([]), Some(P256_PUBLIC)).verify(&signed_as(None), Role::Subscriber, NOW_MS).unwrap();
    assert_eq!(pem.key, access.key, "the same key in another form");
}
