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
        value.push_str(name);
        value.push_str("=\"");
        value.extend(text.chars().map(quotable));
        value.push('"');
        separator = ", ";
    }
    value
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

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_quotes(text in any::<String>()) {
            let value = challenge(None, Some(&text), None);
            let inside = value.strip_prefix("Bearer error_description=\"").and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(inside.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'));
        }
    }
}
