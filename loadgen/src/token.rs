//! Mints the tokens a Mercure 1.0 hub wants from its publishers and subscribers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

/// How long a token is good for, in seconds.
const LIFETIME_S: u64 = 24 * 3600;

/// Which claims say what a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claims {
    /// Mercure 1.0: `authorization_details`.
    Mercure1,
    /// Mercure 0.x: the `mercure` claim.
    Mercure0,
    /// Centrifugo: `channels` to be subscribed to.
    Centrifugo,
}

/// An issuer that signs with a shared secret.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) claims: Claims,
    pub(crate) name: String,
    pub(crate) secret: String,
    /// The hub's resource identifier.
    pub(crate) audience: String,
    /// When tokens are issued, in seconds since 1970: the same for all, so that a token made again is the same.
    pub(crate) now_s: u64,
}

impl Issuer {
    /// A token of somebody who may do this action (`publish` or `subscribe`) on these topics; `*` means all.
    pub(crate) fn mint(&self, action: &str, topics: &[String], subject: &str) -> String {
        let mut claims = json!({"sub": subject, "iat": self.now_s, "exp": self.now_s + LIFETIME_S});
        match self.claims {
            Claims::Mercure1 => {
                let topics: Vec<_> = topics.iter().map(|topic| json!({"match": topic})).collect();
                claims["iss"] = json!(self.name);
                claims["aud"] = json!(self.audience);
                claims["client_id"] = json!("loadgen");
                claims["authorization_details"] = json!([{
                    "type": "https://mercure.rocks/authorization-detail",
                    "actions": [action],
                    "topics": topics,
                }]);
            }
            Claims::Mercure0 => claims["mercure"] = json!({action: topics}),
            Claims::Centrifugo => claims["channels"] = json!(topics),
        }
        let kind = if self.claims == Claims::Mercure1 { "at+jwt" } else { "JWT" };
        let header = json!({"typ": kind, "alg": "HS256"});
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

    fn claims_of(claims: Claims, action: &str) -> serde_json::Value {
        let issuer =
            Issuer { claims, name: "https://a".into(), secret: "s".into(), audience: "http://h/m".into(), now_s: 1000 };
        let token = issuer.mint(action, &["urn:x".to_owned()], "me");
        let parts: Vec<&str> = token.split('.').collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s");
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
        hmac::verify(&key, format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature).expect("signed");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("JSON")
    }

    #[test]
    fn a_token_has_the_claims_of_its_kind() {
        let claims = claims_of(Claims::Mercure1, "publish");
        assert_eq!(claims["aud"], "http://h/m");
        assert_eq!(claims["authorization_details"][0]["actions"], json!(["publish"]));
        assert_eq!(claims["authorization_details"][0]["topics"], json!([{"match": "urn:x"}]));
        assert_eq!(claims["exp"], 1000 + LIFETIME_S);
        assert_eq!(claims_of(Claims::Mercure0, "subscribe")["mercure"], json!({"subscribe": ["urn:x"]}));
        let claims = claims_of(Claims::Centrifugo, "subscribe");
        assert_eq!((&claims["channels"], &claims["sub"]), (&json!(["urn:x"]), &json!("me")));
    }
}
