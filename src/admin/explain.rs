//! Why a token may do something or may not, rule by rule, as JSON.

use serde_json::{Value, json};

use crate::hub::Denials;
use crate::protocol::token::{Access, Outcome, Role, TokenVerifier};
use crate::protocol::topic::{HubUrl, ParsedTopic, Topic};

/// Every rule of the hub for this token in a role, and whether its grants cover each topic. A publish needs all of them
/// covered; of a private update's topics one is enough to read it.
pub fn explain(
    verifier: &TokenVerifier,
    hub: &HubUrl,
    denials: &Denials,
    token: &str,
    role: Role,
    topics: &[String],
    now_ms: u64,
) -> Value {
    let checks = verifier.explain(token, role, now_ms);
    let rules = checks.iter().map(|check| {
        let (outcome, why) = match &check.outcome {
            Outcome::Pass => ("pass", None),
            Outcome::Fail(why) => ("fail", Some(why)),
            Outcome::Skipped => ("skipped", None),
        };
        json!({"rule": check.rule, "outcome": outcome, "detail": check.detail, "why": why})
    });
    let access = verifier.verify(token, role, now_ms).ok();
    let judged: Vec<_> = topics.iter().map(|topic| (topic, judge(access.as_ref(), hub, role, topic))).collect();
    let granted = match role {
        Role::Publisher => judged.iter().all(|(_, why)| why.is_none()),
        Role::Subscriber => judged.is_empty() || judged.iter().any(|(_, why)| why.is_none()),
    };
    let denied = access.as_ref().is_some_and(|access| denials.cover_token(access, now_ms));
    json!({
        "action": match role { Role::Publisher => "publish", Role::Subscriber => "subscribe" },
        "valid": access.is_some(),
        "denied": denied,
        "allowed": access.is_some() && granted && !denied,
        "rules": rules.collect::<Vec<_>>(),
        "topics": judged
            .iter()
            .map(|(topic, why)| json!({"topic": topic, "granted": why.is_none(), "why": why}))
            .collect::<Vec<_>>(),
    })
}

/// Why a topic isn't granted; `None`: it is.
fn judge(access: Option<&Access>, hub: &HubUrl, role: Role, topic: &str) -> Option<String> {
    let Some(access) = access else {
        return Some("the token isn't valid".to_owned());
    };
    let parsed = ParsedTopic::new(topic, hub);
    let granted = match role {
        Role::Publisher => match Topic::parse(topic, hub) {
            Err(why) => return Some(why.to_string()),
            Ok(_) => access.grants.may_publish(&parsed),
        },
        Role::Subscriber => access.grants.may_subscribe(&parsed),
    };
    (!granted).then(|| "no grant of the token covers it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Denied;
    use crate::protocol::keys::{SigningKey, VerificationKey};
    use crate::protocol::matcher::MatchType;
    use crate::protocol::token::{Issuer, Mint, TokenRules, mint};

    const SECRET: &str = "a secret of more than thirty-two bytes";
    const AUDIENCE: &str = "https://hub.example/.well-known/mercure";

    fn hub() -> HubUrl {
        HubUrl::parse(AUDIENCE).unwrap()
    }

    fn explained(audience: &str, role: Role, topics: &[&str], denials: &Denials) -> Value {
        let key = VerificationKey::from_text(SECRET, &[jsonwebtoken::Algorithm::HS256]).unwrap();
        let issuer = Issuer { id: "https://app.example".into(), publisher: Some(vec![key]), subscriber: None };
        let rules = TokenRules { issuers: vec![issuer], audience: AUDIENCE.into(), hub: hub(), compat: None };
        let token = Mint {
            issuer: "https://app.example".into(),
            audience: audience.into(),
            subject: Some("ann".into()),
            issued_at_s: 1_000,
            expires_at_s: 2_000,
            publish: vec![(MatchType::Exact, "urn:a".into())],
            ..Mint::default()
        };
        let token = mint(&token, &SigningKey::from_text(SECRET, None).unwrap()).unwrap();
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        explain(&TokenVerifier::new(rules), &hub(), denials, &token, role, &topics, 1_500_000)
    }

    #[test]
    fn a_token_may_do_what_it_grants_and_no_more() {
        let nobody = Denials::default();
        let good = explained(AUDIENCE, Role::Publisher, &["urn:a"], &nobody);
        assert_eq!((&good["valid"], &good["allowed"]), (&json!(true), &json!(true)), "{good}");
        let more = explained(AUDIENCE, Role::Publisher, &["urn:a", "urn:b", "/.well-known/mercure/x"], &nobody);
        assert_eq!((&more["valid"], &more["allowed"]), (&json!(true), &json!(false)));
        assert_eq!(more["topics"][0], json!({"topic": "urn:a", "granted": true, "why": null}));
        assert_eq!(more["topics"][1]["why"], "no grant of the token covers it");
        assert_eq!(more["topics"][2]["granted"], false, "reserved");
    }

    #[test]
    fn the_rule_that_fails_is_named() {
        let wrong = explained("https://elsewhere.example", Role::Publisher, &["urn:a"], &Denials::default());
        let failed: Vec<_> =
            wrong["rules"].as_array().unwrap().iter().filter(|rule| rule["outcome"] == "fail").collect();
        assert_eq!((failed.len(), &failed[0]["rule"], &wrong["allowed"]), (1, &json!("aud"), &json!(false)));
        assert!(failed[0]["why"].as_str().unwrap().contains(AUDIENCE));
    }

    #[test]
    fn who_is_denied_is_told_so() {
        let mut denials = Denials::default();
        denials.deny(&Denied::Subject("ann".into()), u64::MAX).unwrap();
        let denied = explained(AUDIENCE, Role::Publisher, &["urn:a"], &denials);
        assert_eq!(
            (&denied["valid"], &denied["denied"], &denied["allowed"]),
            (&json!(true), &json!(true), &json!(false))
        );
    }
}
