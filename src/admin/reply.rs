//! What an administrator's request is answered with.

use serde_json::{Value, json};

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body's media type.
    pub content_type: &'static str,
    /// Further fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A body of some type.
    pub fn new(content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status: 200, content_type, fields: Vec::new(), body: body.into() }
    }

    /// JSON.
    pub fn json(value: &Value) -> Reply {
        Reply::new("application/json", format!("{value}\n"))
    }

    /// A refusal, as problem details (RFC 9457).
    pub fn problem(status: u16, title: &str, detail: &str) -> Reply {
        let body = json!({"title": title, "status": status, "detail": detail});
        Reply { status, ..Reply::new("application/problem+json", format!("{body}\n")) }
    }

    /// The same with another status.
    pub fn with_status(self, status: u16) -> Reply {
        Reply { status, ..self }
    }

    /// The same with one more field.
    pub fn with_field(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.fields.push((name, value.into()));
        self
    }
}
