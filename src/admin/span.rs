//! Spans of requests as OpenTelemetry has them, and their JSON (OTLP 1.x over HTTP).
//!
//! What an update says and what a token is never become part of a span; topics and ids do.

use serde_json::{Value, json};

/// Topics shown of a request.
const SHOWN_TOPICS_MAX: usize = 20;
/// Bytes shown of a text.
const SHOWN_BYTES_MAX: usize = 256;

/// What is said about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A text; what is long is cut.
    Text(String),
    /// Several; what are many are cut.
    Texts(Vec<String>),
    /// Yes or no.
    Flag(bool),
}

/// Where a request belongs: the field `traceparent` (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: u128,
    /// The span that sent the request.
    pub span_id: u64,
    /// Whether anybody keeps it.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the field; `None`: it isn't one.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-');
        fn hex(part: Option<&str>, digits: usize) -> Option<&str> {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.filter(|part| part.len() == digits && part.bytes().all(is_hex))
        }
        let version = hex(parts.next(), 2)?;
        let trace_id = u128::from_str_radix(hex(parts.next(), 32)?, 16).ok()?;
        let span_id = u64::from_str_radix(hex(parts.next(), 16)?, 16).ok()?;
        let flags = u8::from_str_radix(hex(parts.next(), 2)?, 16).ok()?;
        // Later versions may say more; this one may not.
        let whole = version != "ff" && (version != "00" || parts.next().is_none());
        (whole && trace_id != 0 && span_id != 0).then_some(TraceParent { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What kind of request, e.g. `mercure.publish`.
    pub name: &'static str,
    /// Its trace.
    pub trace_id: u128,
    /// Itself.
    pub span_id: u64,
    /// The span that sent it.
    pub parent_id: Option<u64>,
    /// When it began, microseconds of Unix time.
    pub start_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// The status it was answered with.
    pub status: u16,
    /// What else is known.
    pub notes: Vec<(&'static str, Note)>,
}

/// A batch of spans, as a collector takes it.
pub fn otlp(spans: &[Span], version: &str) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "cinnabar"), text("service.version", version)]},
        "scopeSpans": [{
            "scope": {"name": "cinnabar", "version": version},
            "spans": spans.iter().map(Span::otlp).collect::<Vec<_>>(),
        }],
    }]})
}

impl Span {
    fn otlp(&self) -> Value {
        let mut attributes: Vec<Value> =
            self.notes.iter().map(|(key, note)| json!({"key": key, "value": note.otlp()})).collect();
        attributes.push(json!({
            "key": "http.response.status_code",
            "value": {"intValue": self.status.to_string()},
        }));
        // SPAN_KIND_SERVER; STATUS_CODE_ERROR or STATUS_CODE_UNSET.
        json!({
            "traceId": format!("{:032x}", self.trace_id),
            "spanId": format!("{:016x}", self.span_id),
            "parentSpanId": self.parent_id.map(|id| format!("{id:016x}")).unwrap_or_default(),
            "name": self.name,
            "kind": 2,
            "startTimeUnixNano": (u128::from(self.start_us) * 1_000).to_string(),
            "endTimeUnixNano": (u128::from(self.start_us + self.took_us) * 1_000).to_string(),
            "attributes": attributes,
            "status": {"code": if self.status >= 500 { 2 } else { 0 }},
        })
    }
}

impl Note {
    fn otlp(&self) -> Value {
        let text = |text: &str| json!({"stringValue": cut(text)});
        match self {
            Note::Text(value) => text(value),
            Note::Flag(flag) => json!({"boolValue": flag}),
            Note::Texts(values) => {
                let values = values.iter().take(SHOWN_TOPICS_MAX).map(|value| text(value));
                json!({"arrayValue": {"values": values.collect::<Vec<_>>()}})
            }
        }
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=SHOWN_BYTES_MAX.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_is_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceParent::parse(good).unwrap();
        assert_eq!(
            (parent.trace_id, parent.span_id),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)
        );
        assert!(parent.sampled && !TraceParent::parse(&good.replace("-01", "-00")).unwrap().sampled);
        assert!(TraceParent::parse(&good.replacen("00", "01", 1).replace("-01", "-01-more")).is_some());
        for wrong in [
            "",
            "00",
            &good.replace("-01", ""),
            &good.replace("-01", "-01-more"),
            &good.replacen("00", "ff", 1),
            &good.to_uppercase(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_span_is_what_collectors_take() {
        let span = Span {
            name: "mercure.publish",
            trace_id: 1,
            span_id: 2,
            parent_id: Some(3),
            start_us: 1_000,
            took_us: 5,
            status: 503,
            notes: vec![
                ("mercure.topics", Note::Texts(vec!["urn:a".to_owned(); 30])),
                ("mercure.private", Note::Flag(true)),
                ("mercure.update.id", Note::Text("ü".repeat(200))),
            ],
        };
        let batch = otlp(&[span], "1");
        let span = &batch["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "00000000000000000000000000000001");
        assert_eq!((&span["parentSpanId"], &span["status"]["code"]), (&json!("0000000000000003"), &json!(2)));
        assert_eq!((&span["startTimeUnixNano"], &span["endTimeUnixNano"]), (&json!("1000000"), &json!("1005000")));
        let values = span["attributes"][0]["value"]["arrayValue"]["values"].as_array().unwrap();
        assert_eq!((values.len(), &values[0]), (20, &json!({"stringValue": "urn:a"})));
        assert_eq!(span["attributes"][1]["value"], json!({"boolValue": true}));
        assert_eq!(span["attributes"][2]["value"]["stringValue"].as_str().unwrap().len(), 256);
        assert_eq!(span["attributes"][3]["value"], json!({"intValue": "503"}));
    }
}
