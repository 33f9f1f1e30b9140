//! Error answers: problem documents (RFC 9457) and the challenges of the Bearer scheme (RFC 6750 §3).

use serde_json::{Map, Value};

use super::response::ResponseHead;

/// An answer with an `application/problem+json` body.
///
/// `extra` holds more members, among them `type` (`about:blank` otherwise); it can't replace status, title and
/// detail. Problems aren't for caches, some of which would keep a 404, 414 or 501 they weren't told about.
#[must_use]
pub fn problem(status: u16, title: &str, detail: &str, extra: &[(&str, Value)]) -> ResponseHead {
    let mut members = Map::new();
    members.insert("type".to_owned(), "about:blank".into());
    members.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    members.insert("status".to_owned(), status.into());
    members.insert("title".to_owned(), title.into());
    members.insert("detail".to_owned(), detail.into());
    ResponseHead::new(status)
        .field("Content-Type", "application/problem+json")
        .field("Cache-Control", "no-store")
        .body(Value::Object(members).to_string())
}

/// The value of `WWW-Authenticate`. Without an error code it only says that a token is needed.
///
/// `description` must tell nothing about why a token is invalid; `resource_metadata` is the URL of RFC 9728 §5.1.
#[must_use]
pub fn challenge(error: Option<&str>, description: Option<&str>, resource_metadata: Option<&str>) -> String {
    let parameters = [("error", error), ("error_description", description), ("resource_metadata", resource_metadata)];
    let mut value = String::from("Bearer");
    let mut separator = " ";
    for (name, text) in parameters.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        value.push_str(separator);
        push_parameter(name, text, &mut value);
        separator = ", ";
    }
    value
}

/// Adds the URL of RFC 9728 §5.1 to the challenge of an answer, if it has one.
pub fn point_to_metadata(answer: &mut ResponseHead, resource_metadata: &str) {
    let Some(challenge) = answer.get("WWW-Authenticate") else {
        return;
    };
    let first = challenge == b"Bearer";
    let mut more = String::from(if first { " " } else { ", " });
    push_parameter("resource_metadata", resource_metadata, &mut more);
    answer.extend_field("WWW-Authenticate", &more);
}

fn push_parameter(name: &str, text: &str, value: &mut String) {
    value.push_str(name);
    value.push_str("=\"");
    value.extend(text.chars().map(quotable));
    value.push('"');
}

/// RFC 6750 §3 has no quotes, backslashes, control or other characters inside its values, escaped or not.
fn quotable(c: char) -> char {
    match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn documents() {
        let answer = problem(400, "Bad Request", "no \"topic\"\r\n", &[("field", json!("topic"))]);
        let body: Value = serde_json::from_slice(answer.body_bytes()).unwrap();
        let expected = json!({"type": "about:blank", "status": 400, "title": "Bad Request", "detail": "no \"topic\"\r\n", "field": "topic"});
        assert_eq!(body, expected);
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.get("content-type"), Some(&b"application/problem+json"[..]));
    }

    #[test]
    fn a_rule_may_have_a_type_but_extra_members_replace_nothing_else() {
        let answer =
            problem(403, "t", "d", &[("type", json!("urn:x:y")), ("status", json!(200)), ("detail", json!(null))]);
        let body: Value = serde_json::from_slice(answer.body_bytes()).unwrap();
        assert_eq!(body, json!({"type": "urn:x:y", "status": 403, "title": "t", "detail": "d"}));
    }

    #[test]
    fn challenges() {
        assert_eq!(challenge(None, None, None), "Bearer");
        assert_eq!(challenge(None, None, Some("https://e/m")), "Bearer resource_metadata=\"https://e/m\"");
        assert_eq!(
            challenge(Some("invalid_token"), None, Some("https://e/m")),
            "Bearer error=\"invalid_token\", resource_metadata=\"https://e/m\""
        );
        assert_eq!(
            challenge(Some("invalid_request"), Some("a \"b\" \\ é"), None),
            "Bearer error=\"invalid_request\", error_description=\"a 'b' ? ?\""
        );
    }

    #[test]
    fn a_challenge_learns_where_the_metadata_is() {
        let with = |error| {
            let mut answer = ResponseHead::new(401).field("WWW-Authenticate", challenge(error, None, None));
            point_to_metadata(&mut answer, "https://e/m");
            String::from_utf8(answer.get("WWW-Authenticate").unwrap().to_vec()).unwrap()
        };
        for error in [None, Some("invalid_token")] {
            assert_eq!(with(error), challenge(error, None, Some("https://e/m")));
        }
        let mut answer = ResponseHead::new(404);
        point_to_metadata(&mut answer, "https://e/m");
        assert_eq!(answer, ResponseHead::new(404));
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_quotes(text in any::<String>()) {
            let value = challenge(None, Some(&text), None);
            let inside = value.strip_prefix("Bearer error_description=\"").and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(inside.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'));
        }
    }
}
