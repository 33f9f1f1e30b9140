//! Mints the tokens a Mercure 1.0 hub wants from its publishers and subscribers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

/// How long a token is good for, in seconds.
const LIFETIME_S: u64 = 24 * 3600;

/// An issuer that signs with a shared secret.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(crate) secret: String,
    /// The hub's resource identifier.
    pub(crate) audience: String,
}

impl Issuer {
    /// A token that may do this action (`publish` or `subscribe`) on every topic.
    pub(crate) fn mint(&self, action: &str, now_s: u64) -> String {
        self.mint_for(action, "*", "loadgen", now_s)
    }

    /// A token of somebody who may do this action on one topic.
    pub(crate) fn mint_for(&self, action: &str, topic: &str, subject: &str, now_s: u64) -> String {
        let header = json!({"typ": "at+jwt", "alg": "HS256"});
        let claims = json!({
            "iss": self.name,
            "aud": self.audience,
            "sub": subject,
            "client_id": "loadgen",
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
            "authorization_details": [{
                "type": "https://mercure.rocks/authorization-detail",
                "actions": [action],
                "topics": [{"match": topic}],
            }],
        });
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn encoded(text: String) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_signed_claims() {
        let issuer = Issuer { name: "https://a".into(), secret: "s".into(), audience: "http://h/m".into() };
        let token = issuer.mint("publish", 1000);
        let parts: Vec<&str> = token.split('.').collect();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("JSON");
        assert_eq!(claims["aud"], "http://h/m");
        assert_eq!(claims["authorization_details"][0]["actions"], json!(["publish"]));
        assert_eq!(claims["exp"], 1000 + LIFETIME_S);
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s");
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
        hmac::verify(&key, format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature).expect("signed");
    }
}
