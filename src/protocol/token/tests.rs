//! One test for each rule, the hostile ways around it included.

mod compat;
mod key_sets;
mod minting;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use super::error::span;
use super::*;
use crate::protocol::grants::{DETAIL_TYPE, GrantsError};
use crate::protocol::keys::jwk::tests::jwk_of;
use crate::protocol::keys::tests::{P256, P256_PUBLIC, RSA, RSA_PUBLIC};
use crate::protocol::keys::{KEY_SET_ALGORITHMS, KeySet, SigningKey};
use crate::protocol::matcher::MatchType;
use crate::protocol::topic::ParsedTopic;

const HUB: &str = "https://hub.example/.well-known/mercure";
const ISSUER: &str = "https://app.example";
/// An issuer that signs with RSA and whose tokens are for subscribing only.
const RSA_ISSUER: &str = "https://rsa.example";
const PUBLISHER_SECRET: &str = "!ChangeThisMercureHubJWTSecretKey!";
const SUBSCRIBER_SECRET: &str = "another secret, of thirty-two bytes at least";
const NOW_S: u64 = 1_800_000_000;
const NOW_MS: u64 = NOW_S * 1000;

fn secret(text: &str) -> VerificationKey {
    VerificationKey::from_text(text, &[Algorithm::HS256]).unwrap()
}

fn verifier() -> TokenVerifier {
    let rsa = VerificationKey::from_text(RSA_PUBLIC, &[Algorithm::RS256, Algorithm::PS256]).unwrap();
    let ec = VerificationKey::from_text(P256_PUBLIC, &[]).unwrap();
    TokenVerifier::new(TokenRules {
        issuers: vec![
            Issuer {
                id: ISSUER.into(),
                publisher: Some(vec![secret(PUBLISHER_SECRET)]),
                subscriber: Some(vec![secret(SUBSCRIBER_SECRET)]),
            },
            Issuer { id: RSA_ISSUER.into(), publisher: None, subscriber: Some(vec![ec, rsa]) },
        ],
        audience: HUB.into(),
        hub: HubUrl::parse(HUB).unwrap(),
        compat: None,
    })
}

fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "HS256"})
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": HUB, "exp": NOW_S + 900, "sub": "u-7", "jti": "k1"})
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

fn sign_text(header: &str, claims: &str, key: &SigningKey) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(message.as_bytes()).unwrap();
    format!("{message}.{signature}")
}

fn publisher_key() -> SigningKey {
    SigningKey::from_text(PUBLISHER_SECRET, None).unwrap()
}

fn sign(header: &Value, claims: &Value) -> String {
    sign_text(&header.to_string(), &claims.to_string(), &publisher_key())
}

fn verify(token: &str) -> Result<Access, TokenError> {
    verifier().verify(token, Role::Publisher, NOW_MS)
}

/// What comes of claims that are signed as they should be.
fn judge(claims: &Value) -> Result<Access, TokenError> {
    verify(&sign(&header(), claims))
}

fn rsa_token(private: &str, algorithm: Algorithm) -> String {
    let key = SigningKey::from_text(private, Some(algorithm)).unwrap();
    let header = with(header(), "alg", format!("{algorithm:?}").into());
    sign_text(&header.to_string(), &with(claims(), "iss", RSA_ISSUER.into()).to_string(), &key)
}

#[test]
fn a_valid_token_gives_what_it_says() {
    let details = json!([{"type": DETAIL_TYPE, "actions": ["publish"], "topics": [{"match": "urn:a"}]}]);
    let claims = with(with(claims(), "authorization_details", details), "nbf", (NOW_S - 1).into());
    let access = judge(&claims).unwrap();
    assert_eq!(&*access.issuer, ISSUER);
    assert_eq!(access.subject.as_deref(), Some("u-7"));
    assert_eq!(access.token_id.as_deref(), Some("k1"));
    assert_eq!(access.expires_at_ms, NOW_MS + 900_000);
    assert_eq!(access.not_before_ms, NOW_MS - 1000);
    let hub = HubUrl::parse(HUB).unwrap();
    assert!(access.grants.may_publish(&ParsedTopic::new("urn:a", &hub)));
    assert!(!access.grants.may_subscribe(&ParsedTopic::new("urn:a", &hub)));
}

#[test]
fn a_token_without_details_is_valid_and_grants_nothing() {
    assert_eq!(judge(&claims()).unwrap().grants, Grants::default());
}

// Form

#[test]
fn form_is_three_parts() {
    let token = sign(&header(), &claims());
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(verify(message), Err(TokenError::NotCompact { parts: 2 }));
    assert_eq!(verify(&format!("{token}.x")), Err(TokenError::NotCompact { parts: 4 }));
    assert_eq!(verify(""), Err(TokenError::NotCompact { parts: 1 }));
    let json = r#"{"payload":"e30","protected":"e30","signature":"AA"}"#;
    assert_eq!(verify(json), Err(TokenError::NotCompact { parts: 1 }));
}

#[test]
fn form_has_a_longest_length() {
    let token = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(verify(&token), Err(TokenError::TooLong { bytes: TOKEN_BYTES_MAX + 1 }));
    let long = with(claims(), "x", "y".repeat(5900).into());
    let token = sign(&header(), &long);
    assert!((8000..=TOKEN_BYTES_MAX).contains(&token.len()), "{}", token.len());
    assert!(verify(&token).is_ok());
}

#[test]
fn form_has_one_spelling() {
    let token = sign(&header(), &claims());
    let [head, body, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    for (token, part) in [
        (format!("{head}=.{body}.{signature}"), Part::Header),
        (format!(" {head}.{body}.{signature}"), Part::Header),
        (format!("{head}.{body}\n.{signature}"), Part::Claims),
        (format!("{head}.{body}.{signature}="), Part::Signature),
        (format!("{head}.{body}.{signature}\n"), Part::Signature),
        (format!("{head}.{body}.{}", signature.replace(['-', '_'], "+") + "+"), Part::Signature),
    ] {
        assert_eq!(verify(&token), Err(TokenError::Base64(part)), "{token}");
    }
    // The last of 43 characters carries four bits of the signature and two that must be zero.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    for stray in 1..4 {
        let other = &alphabet[place + stray..=place + stray];
        let token = format!("{head}.{body}.{}{other}", &signature[..42]);
        assert_eq!(verify(&token), Err(TokenError::Base64(Part::Signature)));
    }
}

#[test]
fn form_holds_json_objects() {
    let key = publisher_key();
    let (head, body) = (header().to_string(), claims().to_string());
    for text in ["[]", "\"x\"", "null", "1"] {
        assert_eq!(verify(&sign_text(text, &body, &key)), Err(TokenError::NotAnObject(Part::Header)));
        assert_eq!(verify(&sign_text(&head, text, &key)), Err(TokenError::NotAnObject(Part::Claims)));
    }
    let is_bad_json = |token: &str| matches!(verify(token), Err(TokenError::Json { part: Part::Claims, .. }));
    for text in ["", "{", "{}{}", "{} x", "{'a':1}", "{\"a\":1,}", "\u{feff}{}", "{\"a\":\"\\ud800\"}", "{\"a\":NaN}"] {
        assert!(is_bad_json(&sign_text(&head, text, &key)), "{text}");
    }
    assert!(is_bad_json(&sign_text(&head, &"[".repeat(2000), &key)));
}

#[test]
fn form_has_no_repeated_members() {
    let key = publisher_key();
    let (head, body) = (header().to_string(), claims().to_string());
    let twice = |object: &str, member: &str| format!("{{{member},{}", &object[1..]);
    let reason = |result| match result {
        Err(TokenError::Json { part, reason }) => (part, reason),
        other => panic!("{other:?}"),
    };
    let token = sign_text(&twice(&head, r#""alg":"none""#), &body, &key);
    let (part, text) = reason(verify(&token));
    assert!(part == Part::Header && text.starts_with(r#"the member "alg" occurs twice"#), "{text}");
    let token = sign_text(&head, &twice(&body, r#""iss":"https://evil.example""#), &key);
    assert_eq!(reason(verify(&token)).0, Part::Claims);
    let nested = r#""authorization_details":[{"type":"x","topics":[{"match":"a","match":"*"}]}]"#;
    assert_eq!(reason(verify(&sign_text(&head, &twice(&body, nested), &key))).0, Part::Claims);
}

#[test]
fn names_are_compared_exactly() {
    for name in ["exp", "aud", "iss"] {
        let upper = with(without(claims(), name), &name.to_uppercase(), claims()[name].clone());
        assert!(judge(&upper).is_err(), "{name}");
    }
    let upper = with(without(header(), "typ"), "Typ", "at+jwt".into());
    assert_eq!(verify(&sign(&upper, &claims())), Err(TokenError::Type { found: None }));
    let details = with(claims(), "Authorization_details", json!("rubbish"));
    assert_eq!(judge(&details).unwrap().grants, Grants::default());
}

// Header

#[test]
fn typ_is_at_jwt() {
    for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(verify(&sign(&with(header(), "typ", good.into()), &claims())).is_ok(), "{good}");
    }
    for bad in [
        json!("JWT"),
        json!("jwt"),
        json!("at+jwt "),
        json!("at-jwt"),
        json!("application/application/at+jwt"),
        json!("text/at+jwt"),
        json!("application/"),
        json!(""),
        json!(null),
        json!(["at+jwt"]),
        json!("âpplication/at+jwt"),
    ] {
        let found = Some(shortened(&bad));
        assert_eq!(verify(&sign(&with(header(), "typ", bad), &claims())), Err(TokenError::Type { found }));
    }
    assert_eq!(verify(&sign(&without(header(), "typ"), &claims())), Err(TokenError::Type { found: None }));
}

#[test]
fn crit_is_never_understood() {
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("x")] {
        let token = sign(&with(with(header(), "crit", crit), "b64", true.into()), &claims());
        assert_eq!(verify(&token), Err(TokenError::Critical));
    }
}

#[test]
fn alg_none_is_never_accepted() {
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(header(), "alg", name.into());
        let error = Err(TokenError::Algorithm { found: Some(format!("{name:?}")) });
        assert_eq!(verify(&sign(&header, &claims())), error);
        let unsigned =
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims().to_string()));
        assert_eq!(verify(&unsigned), error);
    }
}

#[test]
fn alg_is_a_known_name_in_its_own_case() {
    for bad in
        [json!("hs256"), json!("HS256 "), json!("ES256K"), json!("RSA-OAEP"), json!(null), json!(["HS256"]), json!(1)]
    {
        let found = Some(shortened(&bad));
        let token = sign(&with(header(), "alg", bad), &claims());
        assert_eq!(verify(&token), Err(TokenError::Algorithm { found }));
    }
    let token = sign(&without(header(), "alg"), &claims());
    assert_eq!(verify(&token), Err(TokenError::Algorithm { found: None }));
}

#[test]
fn alg_is_among_those_of_the_key() {
    let allowed = vec![Algorithm::HS256];
    for algorithm in [Algorithm::HS384, Algorithm::RS256, Algorithm::EdDSA] {
        let token = sign(&with(header(), "alg", format!("{algorithm:?}").into()), &claims());
        let error = TokenError::AlgorithmNotAllowed { algorithm, role: Role::Publisher, allowed: allowed.clone() };
        assert_eq!(verify(&token), Err(error));
    }
    let verify = |token: &str| verifier().verify(token, Role::Subscriber, NOW_MS);
    assert!(verify(&rsa_token(RSA, Algorithm::RS256)).is_ok());
    assert!(verify(&rsa_token(RSA, Algorithm::PS256)).is_ok());
    assert!(verify(&rsa_token(P256, Algorithm::ES256)).is_ok());
    assert!(matches!(
        verify(&rsa_token(RSA, Algorithm::RS512)),
        Err(TokenError::AlgorithmNotAllowed { algorithm: Algorithm::RS512, .. })
    ));
}

#[test]
fn alg_confusion_with_the_public_key_as_secret_is_refused() {
    // The attacker knows the public key and signs with it as if it were a secret, in every usual spelling.
    let der = pem::parse(RSA_PUBLIC).unwrap().into_contents();
    for (secret, algorithm) in [
        (RSA_PUBLIC.as_bytes(), Algorithm::HS256),
        (RSA_PUBLIC.trim().as_bytes(), Algorithm::HS256),
        (&der, Algorithm::HS256),
        (&der, Algorithm::HS512),
    ] {
        let header = with(header(), "alg", format!("{algorithm:?}").into()).to_string();
        let claims = with(claims(), "iss", RSA_ISSUER.into()).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
        let allowed = vec![Algorithm::ES256, Algorithm::RS256, Algorithm::PS256];
        assert_eq!(
            verifier().verify(&format!("{message}.{signature}"), Role::Subscriber, NOW_MS),
            Err(TokenError::AlgorithmNotAllowed { algorithm, role: Role::Subscriber, allowed })
        );
    }
}

#[test]
fn kid_and_keys_in_the_header_change_nothing() {
    let key: Value = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("x".repeat(32))});
    for (name, value) in [
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!(1)),
        ("kid", json!(null)),
        ("jwk", key.clone()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/certificate")),
        ("x5c", json!([STANDARD.encode("x")])),
    ] {
        let header = with(header(), name, value);
        assert!(verify(&sign(&header, &claims())).is_ok(), "{name}");
        let own = SigningKey::from_text(&"x".repeat(32), None).unwrap();
        let token = sign_text(&header.to_string(), &claims().to_string(), &own);
        assert_eq!(
            verify(&token),
            Err(TokenError::Signature { issuer: ISSUER.into(), role: Role::Publisher }),
            "{name}"
        );
    }
}

// Key and signature

#[test]
fn iss_is_compared_exactly() {
    for other in ["https://app.example/", "https://APP.example", "https://app.exampl", "https://app.example.evil", ""] {
        let result = judge(&with(claims(), "iss", other.into()));
        assert!(matches!(&result, Err(TokenError::IssuerUnknown { found, .. }) if found == other), "{result:?}");
    }
    for bad in [json!(null), json!([ISSUER]), json!(1)] {
        let found = Some(shortened(&bad));
        assert_eq!(judge(&with(claims(), "iss", bad)), Err(TokenError::IssuerMalformed { found }));
    }
    assert_eq!(judge(&without(claims(), "iss")), Err(TokenError::IssuerMalformed { found: None }));
}

#[test]
fn iss_chooses_its_own_keys() {
    // Signed by one trusted issuer in the name of the other.
    let token = sign(&header(), &with(claims(), "iss", RSA_ISSUER.into()));
    let result = verifier().verify(&token, Role::Subscriber, NOW_MS);
    assert!(matches!(result, Err(TokenError::AlgorithmNotAllowed { .. })), "{result:?}");
}

#[test]
fn key_is_that_of_the_role() {
    let publisher = sign(&header(), &claims());
    let subscriber = sign_text(
        &header().to_string(),
        &claims().to_string(),
        &SigningKey::from_text(SUBSCRIBER_SECRET, None).unwrap(),
    );
    let verify = |token: &str, role| verifier().verify(token, role, NOW_MS).map(|_| ());
    assert_eq!(verify(&publisher, Role::Publisher), Ok(()));
    assert_eq!(verify(&subscriber, Role::Subscriber), Ok(()));
    assert_eq!(
        verify(&publisher, Role::Subscriber),
        Err(TokenError::Signature { issuer: ISSUER.into(), role: Role::Subscriber })
    );
    assert_eq!(
        verify(&subscriber, Role::Publisher),
        Err(TokenError::Signature { issuer: ISSUER.into(), role: Role::Publisher })
    );
    assert_eq!(
        verify(&rsa_token(RSA, Algorithm::RS256), Role::Publisher),
        Err(TokenError::NoKey { issuer: RSA_ISSUER.into(), role: Role::Publisher })
    );
}

#[test]
fn signature_covers_header_and_claims() {
    let token = sign(&header(), &claims());
    let [head, body, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other_claims = URL_SAFE_NO_PAD.encode(with(claims(), "sub", "root".into()).to_string());
    let other_header = URL_SAFE_NO_PAD.encode(with(header(), "kid", "x".into()).to_string());
    let wrong = Err(TokenError::Signature { issuer: ISSUER.into(), role: Role::Publisher });
    assert_eq!(verify(&format!("{head}.{other_claims}.{signature}")), wrong);
    assert_eq!(verify(&format!("{other_header}.{body}.{signature}")), wrong);
    assert_eq!(verify(&format!("{head}.{body}.{}", &signature[..40])), wrong);
    assert_eq!(verify(&format!("{head}.{body}.AAAA")), wrong);
    assert_eq!(verify(&format!("{head}.{body}.")), Err(TokenError::Unsigned));
}

#[test]
fn signature_of_ecdsa_has_no_zeros_and_no_asn1() {
    let token = rsa_token(P256, Algorithm::ES256);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let verify = |signature: &[u8]| {
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        verifier().verify(&token, Role::Subscriber, NOW_MS)
    };
    assert!(verify(&raw).is_ok());
    let wrong = Err(TokenError::Signature { issuer: RSA_ISSUER.into(), role: Role::Subscriber });
    assert_eq!(verify(&[0; 64]), wrong);
    assert_eq!(verify(&raw[..63]), wrong);
    let mut padded = raw.clone();
    padded.push(0);
    assert_eq!(verify(&padded), wrong);
    let asn1 = [&[0x30, 0x44, 0x02, 0x20], &raw[..32], &[0x02, 0x20], &raw[32..]].concat();
    assert_eq!(verify(&asn1), wrong);
}

#[test]
fn signature_is_checked_before_the_other_claims() {
    let own = SigningKey::from_text(&"x".repeat(32), None).unwrap();
    for claims in [with(claims(), "exp", 0.into()), with(claims(), "aud", 1.into()), without(claims(), "exp")] {
        let token = sign_text(&header().to_string(), &claims.to_string(), &own);
        assert_eq!(verify(&token), Err(TokenError::Signature { issuer: ISSUER.into(), role: Role::Publisher }));
    }
}

// Claims

#[test]
fn exp_is_required_and_in_the_future() {
    assert_eq!(judge(&without(claims(), "exp")), Err(TokenError::ExpirationMissing));
    let expired = |expires_at_ms| Err(TokenError::Expired { expires_at_ms, now_unix_ms: NOW_MS });
    assert_eq!(judge(&with(claims(), "exp", NOW_S.into())), expired(NOW_MS));
    assert_eq!(judge(&with(claims(), "exp", (NOW_S - 1).into())), expired(NOW_MS - 1000));
    assert!(judge(&with(claims(), "exp", (NOW_S + 1).into())).is_ok());
}

#[test]
fn exp_may_have_a_fraction_and_is_rounded_down() {
    let exp = |value| judge(&with(claims(), "exp", value)).map(|access| access.expires_at_ms);
    assert_eq!(exp(json!(1_800_000_000.5)), Ok(NOW_MS + 500));
    assert_eq!(exp(json!(1_800_000_001.999_9)), Ok(NOW_MS + 1999));
    assert_eq!(exp(json!(1_800_000_900.0)), Ok(NOW_MS + 900_000));
    assert!(matches!(exp(json!(1_800_000_000.000_5)), Err(TokenError::Expired { .. })));
}

#[test]
fn exp_is_a_number_and_no_number_overflows() {
    for bad in [json!("1800000900"), json!(null), json!(true), json!([NOW_S + 900]), json!({})] {
        let found = shortened(&bad);
        assert_eq!(judge(&with(claims(), "exp", bad)), Err(TokenError::TimeMalformed { claim: "exp", found }));
    }
    let body = |exp: &str| claims().to_string().replace(&(NOW_S + 900).to_string(), exp);
    let judge = |exp: &str| verify(&sign_text(&header().to_string(), &body(exp), &publisher_key()));
    for far in ["18446744073709551615", "18446744073709551616", "1e300", "1.7976931348623157e308"] {
        assert_eq!(judge(far).map(|access| access.expires_at_ms), Ok(u64::MAX), "{far}");
    }
    for past in ["-1", "-1e300", "-9223372036854775808", "0", "-0.0", "1e-320"] {
        assert_eq!(judge(past), Err(TokenError::Expired { expires_at_ms: 0, now_unix_ms: NOW_MS }), "{past}");
    }
    for no_json in ["1e400", "-1e400", "NaN", "Infinity", "0x7fffffff", "01800000900", "+1", "1."] {
        assert!(matches!(judge(no_json), Err(TokenError::Json { part: Part::Claims, .. })), "{no_json}");
    }
}

#[test]
fn nbf_is_enforced_if_present() {
    let nbf = |value| judge(&with(claims(), "nbf", value)).map(|access| access.not_before_ms);
    assert_eq!(nbf(NOW_S.into()), Ok(NOW_MS));
    assert_eq!(nbf(json!(1_799_999_999.000_1)), Ok(NOW_MS - 999));
    assert_eq!(nbf(json!(-5)), Ok(0));
    let early = |not_before_ms| Err(TokenError::NotYetValid { not_before_ms, now_unix_ms: NOW_MS });
    assert_eq!(nbf((NOW_S + 1).into()), early(NOW_MS + 1000));
    assert_eq!(nbf(json!(1_800_000_000.000_9)), early(NOW_MS + 1));
    assert_eq!(nbf(json!(1e300)), early(u64::MAX));
    for bad in [json!("0"), json!(null)] {
        let found = shortened(&bad);
        assert_eq!(nbf(bad), Err(TokenError::TimeMalformed { claim: "nbf", found }));
    }
}

#[test]
fn iat_sub_and_jti_are_the_issuers_duty() {
    let odd = with(with(with(claims(), "iat", "soon".into()), "sub", 7.into()), "jti", json!(null));
    let access = judge(&odd).unwrap();
    assert_eq!((access.subject, access.token_id), (None, None));
}

#[test]
fn aud_is_or_holds_exactly_the_resource_identifier() {
    for good in [json!(HUB), json!([HUB]), json!(["https://other.example", HUB])] {
        assert!(judge(&with(claims(), "aud", good)).is_ok());
    }
    for other in [
        json!("https://hub.example"),
        json!("https://hub.example/.well-known/mercure/"),
        json!("https://hub.example/.well-known/mercure2"),
        json!("HTTPS://hub.example/.well-known/mercure"),
        json!(format!(" {HUB}")),
        json!(["https://hub.example/.well-known/"]),
        json!([]),
        json!("*"),
        json!(""),
    ] {
        let found = shortened(&other);
        let error = TokenError::AudienceWrong { found, expected: HUB.into() };
        assert_eq!(judge(&with(claims(), "aud", other)), Err(error));
    }
    for bad in [json!(null), json!(1), json!({"0": HUB}), json!([HUB, null]), json!([[HUB]])] {
        let found = Some(shortened(&bad));
        let error = TokenError::AudienceMalformed { found, expected: HUB.into() };
        assert_eq!(judge(&with(claims(), "aud", bad)), Err(error));
    }
    let error = TokenError::AudienceMalformed { found: None, expected: HUB.into() };
    assert_eq!(judge(&without(claims(), "aud")), Err(error));
}

#[test]
fn authorization_details_are_all_good_or_the_token_is_not() {
    let details = json!([{"type": DETAIL_TYPE, "actions": ["publish"], "topics": ["urn:a"]}]);
    let claims = |details| with(claims(), "authorization_details", details);
    assert_eq!(judge(&claims(details)), Err(TokenError::Grants(GrantsError::Topics { entry: 0 })));
    assert_eq!(judge(&claims(json!(null))), Err(TokenError::Grants(GrantsError::NotAnArray)));
    // The claim of other versions of the protocol grants nothing.
    let old = with(self::claims(), "mercure", json!({"publish": ["*"], "subscribe": ["*"]}));
    assert_eq!(judge(&old).unwrap().grants, Grants::default());
}

#[test]
fn access_is_valid_from_nbf_until_before_exp() {
    let access = judge(&with(claims(), "nbf", NOW_S.into())).unwrap();
    assert!(!access.valid_at(NOW_MS - 1));
    assert!(access.valid_at(NOW_MS));
    assert!(access.valid_at(NOW_MS + 899_999));
    assert!(!access.valid_at(NOW_MS + 900_000));
}

#[test]
fn one_verifier_and_one_access_serve_every_shard() {
    fn shared<T: Send + Sync>() {}
    shared::<TokenVerifier>();
    shared::<Access>();
}

// For people

#[test]
fn sentences_have_no_line_breaks_and_bounded_lengths() {
    let evil = format!("https://evil\n\u{1b}[31m\u{202e}{}", "x".repeat(3000));
    for claims in [with(claims(), "iss", evil.as_str().into()), with(claims(), "aud", json!([evil]))] {
        let sentence = judge(&claims).unwrap_err().to_string();
        assert!(sentence.len() < 700, "{sentence}");
        assert!(!sentence.contains(['\n', '\u{1b}', '\u{202e}']), "{sentence}");
    }
}

#[test]
fn spans_are_told_in_two_units() {
    for (ms, text) in
        [(999, "999 ms"), (59_000, "59 s"), (61_000, "1 min 1 s"), (3_720_000, "1 h 2 min"), (90_000_000, "1 d 1 h")]
    {
        assert_eq!(span(ms), text);
    }
}

fn failed(checks: &[Check]) -> Vec<&str> {
    let failed = checks.iter().filter(|check| matches!(check.outcome, Outcome::Fail(_)));
    failed.map(|check| check.rule).collect()
}

fn skipped(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| check.outcome == Outcome::Skipped).map(|check| check.rule).collect()
}

#[test]
fn explain_walks_every_rule() {
    let explain = |token: &str| verifier().explain(token, Role::Publisher, NOW_MS);
    let good = explain(&sign(&header(), &claims()));
    assert!(good.iter().all(|check| check.outcome == Outcome::Pass), "{good:#?}");
    assert_eq!(good.len(), 13);

    let bad = with(with(without(claims(), "exp"), "aud", "x".into()), "nbf", "y".into());
    let checks = explain(&sign(&with(header(), "typ", "JWT".into()), &bad));
    assert_eq!(failed(&checks), ["typ", "exp", "nbf", "aud"]);
    assert_eq!(
        checks.iter().map(|check| check.rule).collect::<Vec<_>>(),
        good.iter().map(|check| check.rule).collect::<Vec<_>>()
    );

    let checks = explain(&sign(&header(), &with(claims(), "iss", "https://app.example/".into())));
    assert_eq!((failed(&checks), skipped(&checks)), (vec!["iss"], vec!["key", "signature"]));

    let checks = explain("rubbish");
    assert_eq!(failed(&checks), ["form"]);
    assert_eq!(skipped(&checks).len(), 12);

    let token = sign(&header(), &claims()).replacen("ey", "", 1);
    let checks = explain(&token);
    assert_eq!(failed(&checks), ["header"]);
    assert_eq!(skipped(&checks), ["typ", "crit", "alg", "key", "signature"]);
}

#[test]
fn explain_agrees_with_verify() {
    let wrong_key = SigningKey::from_text(&"x".repeat(32), None).unwrap();
    let mut tokens = vec![
        sign_text(&header().to_string(), &claims().to_string(), &wrong_key),
        sign(&with(header(), "crit", json!(["x"])), &claims()),
        sign(&header(), &with(claims(), "authorization_details", json!({}))),
        rsa_token(RSA, Algorithm::RS256),
    ];
    tokens.extend(["typ", "alg"].map(|name| sign(&without(header(), name), &claims())));
    tokens.extend(["iss", "aud", "exp", "sub"].map(|name| sign(&header(), &without(claims(), name))));
    for token in tokens {
        for role in [Role::Publisher, Role::Subscriber] {
            let checks = verifier().explain(&token, role, NOW_MS);
            let first = checks.iter().find_map(|check| match &check.outcome {
                Outcome::Fail(sentence) => Some(sentence.clone()),
                _ => None,
            });
            let verified = verifier().verify(&token, role, NOW_MS);
            assert_eq!(first, verified.err().map(|error| error.to_string()));
        }
    }
}

#[test]
fn decoding_shows_a_token_that_nobody_trusts() {
    let token = sign(&with(header(), "alg", "none".into()), &with(claims(), "iss", "x".into()));
    let (header, claims) = decode_unverified(&token).unwrap();
    assert_eq!((header["alg"].as_str(), claims["iss"].as_str()), (Some("none"), Some("x")));
    let padded = format!("{}.e30.", URL_SAFE.encode("{  }"));
    assert_eq!(decode_unverified(&padded), Err(TokenError::Base64(Part::Header)));
}
