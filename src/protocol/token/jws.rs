//! The compact form of a JSON Web Signature (RFC 7515 §7.1), taken apart without believing any of it.
//!
//! Read in one way only: base64url without padding and without stray bits, JSON without repeated members. What two
//! programs could read differently, an attacker could show differently to each.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::TokenError;
use super::error::quoted;

/// The longest token, in bytes: the longest line of request head that usual proxies pass on.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first part: how the token is signed.
    Header,
    /// The second part: what the issuer says.
    Claims,
    /// The third part.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Header => "header",
            Part::Claims => "claims",
            Part::Signature => "signature",
        })
    }
}

/// A token taken apart. Nothing in it has been verified, nor read yet.
pub(super) struct Jws<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// What the signature is over.
    pub(super) message: &'a str,
}

impl<'a> Jws<'a> {
    pub(super) fn split(token: &'a str) -> Result<Jws<'a>, TokenError> {
        let bytes = token.len();
        if bytes > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes });
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::NotCompact { parts: token.split('.').count() });
        };
        let message = &token[..header.len() + 1 + claims.len()];
        Ok(Jws { header, claims, signature, message })
    }

    pub(super) fn header(&self) -> Result<Map<String, Value>, TokenError> {
        object(Part::Header, self.header)
    }

    pub(super) fn claims(&self) -> Result<Map<String, Value>, TokenError> {
        object(Part::Claims, self.claims)
    }

    /// The signature, base64url that is well-formed and not empty.
    pub(super) fn signature(&self) -> Result<&'a str, TokenError> {
        if bytes_of(Part::Signature, self.signature)?.is_empty() {
            return Err(TokenError::Unsigned);
        }
        Ok(self.signature)
    }
}

fn bytes_of(part: Part, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64(part))
}

fn object(part: Part, text: &str) -> Result<Map<String, Value>, TokenError> {
    match serde_json::from_slice(&bytes_of(part, text)?) {
        Ok(Unambiguous(Value::Object(members))) => Ok(members),
        Ok(_) => Err(TokenError::NotAnObject(part)),
        Err(reason) => Err(TokenError::Json { part, reason: reason.to_string() }),
    }
}

/// A JSON value in which no object has two members of the same name, at any depth (RFC 7515 §4, RFC 7519 §4).
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor).map(Unambiguous)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unambiguous(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the member {} occurs twice", quoted(&name))));
            }
            let Unambiguous(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_without_repeated_members_is_read_as_ever(text in json().prop_map(|json| json.to_string())) {
            let Unambiguous(read) = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read, serde_json::from_str::<Value>(&text).unwrap());
        }

        #[test]
        fn any_text_is_taken_apart_without_panic(token in "[A-Za-z0-9_.=é-]{0,60}") {
            if let Ok(jws) = Jws::split(&token) {
                let _ = (jws.header(), jws.claims(), jws.signature());
            }
        }
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":[],"a":2}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = serde_json::from_str::<Unambiguous>(text).map(|_| ()).unwrap_err();
            assert!(error.to_string().starts_with(r#"the member "a" occurs twice"#), "{error}");
        }
    }
}
