//! What the TOML file says: the same settings under `max_lifetime` names, and `[[issuer]]` tables.

use super::layer::{self, Layer, Said, Source};
use super::nearest::nearest;
use super::refusal::Refusal;
use super::setting::{Kind, SETTINGS, Setting};
use crate::protocol::token::Role;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const ISSUER_KEYS: &[&str] = &["id", "publisher", "subscriber", "authorization_server"];
const ROLE_KEYS: &[&str] = &["key", "key_file", "jwks_url", "algorithms"];

/// What was found in the file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct File {
    /// The settings it names; `issuer` has the ids of the tables when there are tables.
    pub(super) layer: Layer,
    /// The `[[issuer]]` tables.
    pub(super) issuers: Vec<IssuerTable>,
    /// What can't stand.
    pub(super) refusals: Vec<Refusal>,
    /// Nothing is known of what it says: it can't be read, or isn't TOML.
    pub(super) unread: bool,
}

/// One `[[issuer]]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IssuerTable {
    pub(super) id: String,
    pub(super) publisher: Option<RoleTable>,
    pub(super) subscriber: Option<RoleTable>,
    /// Whether the metadata names it.
    pub(super) authorization_server: bool,
}

/// Its `publisher` or `subscriber`.
#[derive(Clone, Default, PartialEq)]
pub(super) struct RoleTable {
    pub(super) key: Option<String>,
    /// Resolved against the folder of the file.
    pub(super) key_file: Option<PathBuf>,
    pub(super) jwks_url: Option<String>,
    pub(super) algorithms: Vec<String>,
}

// Not derived: the key must not reach a log.
impl std::fmt::Debug for RoleTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleTable")
            .field("key_file", &self.key_file)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// Reads the file's text; relative paths in it are relative to its folder.
pub(super) fn read(path: &Path, text: &str) -> File {
    let mut reader = Reader { path, found: File::default() };
    match text.parse::<Table>() {
        Ok(table) => reader.settings(table),
        // Only the message and the line: the parser's own text quotes the line, and that may hold a key.
        Err(error) => {
            let before = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
            let why = format!("line {line}: {}", error.message());
            reader.found.unread = true;
            reader.refuse(Refusal::NotToml { path: path.to_owned(), why });
        }
    }
    reader.found
}

struct Reader<'a> {
    path: &'a Path,
    found: File,
}

impl Reader<'_> {
    fn refuse(&mut self, refusal: Refusal) {
        self.found.refusals.push(refusal);
    }

    fn settings(&mut self, table: Table) {
        for (key, value) in table {
            let setting = SETTINGS.iter().find(|setting| setting.key().is_some_and(|known| known == key));
            match (setting, value) {
                (Some(setting), Value::Array(items))
                    if setting.name == "issuer" && items.iter().any(Value::is_table) =>
                {
                    self.issuers(items);
                }
                (Some(setting), value) => self.setting(setting, &key, value),
                (None, _) => {
                    let known: Vec<String> = SETTINGS.iter().filter_map(Setting::key).collect();
                    self.unknown(key, known.iter().map(String::as_str));
                }
            }
        }
    }

    fn setting(&mut self, setting: &'static Setting, key: &str, value: Value) {
        let words = match (setting.kind, value) {
            (Kind::Many, Value::Array(items)) => {
                let count = items.len();
                let words: Vec<String> = items.into_iter().filter_map(word).collect();
                if words.len() != count {
                    return self.wrong_kind(key, "an array of other things", "an array of texts");
                }
                words
            }
            (Kind::Many, Value::String(text)) => layer::words(setting, &text),
            (Kind::Many, other) => {
                return self.wrong_kind(key, kind_of(&other), "an array of texts");
            }
            (Kind::Switch, Value::Boolean(on)) => vec![on.to_string()],
            (Kind::Switch, other) => return self.wrong_kind(key, kind_of(&other), "true or false"),
            (Kind::One, other) => {
                let kind = kind_of(&other);
                match word(other) {
                    Some(text) if kind != "true or false" => vec![text],
                    _ => return self.wrong_kind(key, kind, "one text or number"),
                }
            }
        };
        // `data` is the only setting that is a path; `history` may become one.
        let words = match setting.name {
            "data"
            | "cluster-credentials"
            | "cluster-ca"
            | "cluster-certificate"
            | "cluster-key"
            | "tls-certificate"
            | "tls-key" => words.iter().map(|word| self.beside(word).to_string_lossy().into_owned()).collect(),
            _ => words,
        };
        self.found.layer.insert(setting.name, Said { words, source: Source::File(self.path.to_owned()) });
    }

    fn issuers(&mut self, items: Vec<Value>) {
        for item in items {
            match item {
                Value::Table(table) => self.issuer(table),
                other => self.wrong_kind("issuer", kind_of(&other), "either texts or [[issuer]] tables, not both"),
            }
        }
        let words = self.found.issuers.iter().map(|issuer| issuer.id.clone()).collect();
        self.found.layer.insert("issuer", Said { words, source: Source::File(self.path.to_owned()) });
    }

    fn issuer(&mut self, table: Table) {
        let mut id = None;
        let mut roles = [None, None];
        let mut authorization_server = false;
        for (key, value) in table {
            match (key.as_str(), value) {
                ("id", Value::String(text)) if !text.is_empty() => id = Some(text),
                ("id", Value::String(_)) => {}
                ("id", other) => self.wrong_kind("issuer.id", kind_of(&other), "a text"),
                ("publisher", Value::Table(table)) => roles[0] = Some(self.role(Role::Publisher, table)),
                ("subscriber", Value::Table(table)) => roles[1] = Some(self.role(Role::Subscriber, table)),
                ("authorization_server", Value::Boolean(named)) => authorization_server = named,
                ("authorization_server", other) => {
                    self.wrong_kind("issuer.authorization_server", kind_of(&other), "true or false");
                }
                ("publisher" | "subscriber", other) => {
                    self.wrong_kind(&format!("issuer.{key}"), kind_of(&other), "a table, such as { key = \"…\" }");
                }
                _ => self.unknown(format!("issuer.{key}"), ISSUER_KEYS.iter().copied()),
            }
        }
        let [publisher, subscriber] = roles;
        match id {
            Some(id) => self.found.issuers.push(IssuerTable { id, publisher, subscriber, authorization_server }),
            None => self.refuse(Refusal::IssuerWithoutId { path: self.path.to_owned() }),
        }
    }

    fn role(&mut self, role: Role, table: Table) -> RoleTable {
        let mut found = RoleTable::default();
        for (key, value) in table {
            let name = format!("issuer.{role}.{key}");
            match (key.as_str(), value) {
                ("key", Value::String(text)) => found.key = Some(text),
                ("key_file", Value::String(text)) => found.key_file = Some(self.beside(&text)),
                ("jwks_url", Value::String(text)) => found.jwks_url = Some(text),
                ("algorithms", Value::Array(items)) if items.iter().all(Value::is_str) => {
                    found.algorithms = items.into_iter().filter_map(word).collect();
                }
                ("algorithms", other) => self.wrong_kind(&name, kind_of(&other), "an array of texts"),
                ("key" | "key_file" | "jwks_url", other) => self.wrong_kind(&name, kind_of(&other), "a text"),
                _ => self.unknown(name, ROLE_KEYS.iter().copied()),
            }
        }
        found
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    fn unknown<'a>(&mut self, key: String, known: impl Iterator<Item = &'a str>) {
        let last = key.rsplit('.').next().expect("splitting yields at least one piece");
        let nearest = nearest(last, known);
        self.refuse(Refusal::UnknownKey { path: self.path.to_owned(), key, nearest });
    }

    fn wrong_kind(&mut self, key: &str, found: &'static str, expected: &'static str) {
        self.refuse(Refusal::WrongKind { path: self.path.to_owned(), key: key.to_owned(), found, expected });
    }
}

/// A value that can be written as one word.
fn word(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> File {
        read(Path::new("etc/hub.toml"), text)
    }

    fn sentence(text: &str) -> String {
        let refusals = read_text(text).refusals;
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        refusals[0].to_string()
    }

    #[test]
    fn settings_stand_under_their_names() {
        let found = read_text(
            "listen = '0.0.0.0:80'\nmax_connections = 1000\nanonymous = true\ncors_origin = ['https://a.example']\ndata = 'd'",
        );
        assert_eq!(found.refusals, []);
        assert_eq!(found.layer["listen"].words, ["0.0.0.0:80"]);
        assert_eq!(found.layer["max-connections"].words, ["1000"]);
        assert_eq!(found.layer["anonymous"].words, ["true"]);
        assert_eq!(found.layer["cors-origin"].words, ["https://a.example"]);
        assert_eq!(found.layer["data"].words, ["etc/d"]);
        assert_eq!(found.layer["listen"].source, Source::File("etc/hub.toml".into()));
    }

    #[test]
    fn issuers_have_keys_of_their_own() {
        let found = read_text(
            "[[issuer]]\nid = 'https://a.example'\npublisher = { key = 'k', algorithms = ['HS512'] }\n\
             [[issuer]]\nid = 'https://b.example'\n[issuer.subscriber]\nkey_file = 'b.pem'\nalgorithms = ['EdDSA']\n",
        );
        assert_eq!(found.refusals, []);
        assert_eq!(found.layer["issuer"].words, ["https://a.example", "https://b.example"]);
        let publisher = found.issuers[0].publisher.as_ref().unwrap();
        assert_eq!(publisher.key.as_deref(), Some("k"));
        assert_eq!(publisher.algorithms, ["HS512"]);
        let subscriber = found.issuers[1].subscriber.as_ref().unwrap();
        assert_eq!(subscriber.key_file.as_deref(), Some(Path::new("etc/b.pem")));
        assert!(found.issuers[1].publisher.is_none());
    }

    #[test]
    fn issuers_that_share_keys_are_an_array_of_texts() {
        let found = read_text("issuer = ['https://a.example', 'https://b.example']");
        assert_eq!(found.layer["issuer"].words.len(), 2);
        assert_eq!(found.issuers, []);
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_name() {
        assert_eq!(
            sentence("max-lifetime = '1h'"),
            "etc/hub.toml has the key `max-lifetime`, which isn't known; did you mean `max_lifetime`?"
        );
        assert_eq!(sentence("quux = 1"), "etc/hub.toml has the key `quux`, which isn't known");
        assert_eq!(
            sentence("[[issuer]]\nid = 'a'\npublisher = { keyfile = 'x' }"),
            "etc/hub.toml has the key `issuer.publisher.keyfile`, which isn't known; did you mean `key_file`?"
        );
        assert_eq!(
            sentence("[[issuer]]\nid = 'a'\npublishers = { }"),
            "etc/hub.toml has the key `issuer.publishers`, which isn't known; did you mean `publisher`?"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        assert_eq!(sentence("anonymous = 'yes'"), "etc/hub.toml has `anonymous` as a text; write true or false");
        assert_eq!(sentence("heartbeat = [1]"), "etc/hub.toml has `heartbeat` as an array; write one text or number");
        assert_eq!(
            sentence("heartbeat = true"),
            "etc/hub.toml has `heartbeat` as true or false; write one text or number"
        );
        assert_eq!(sentence("cors_origin = 5"), "etc/hub.toml has `cors_origin` as a number; write an array of texts");
        assert_eq!(
            sentence("[[issuer]]\nid = 'a'\npublisher = 'key'"),
            "etc/hub.toml has `issuer.publisher` as a text; write a table, such as { key = \"…\" }"
        );
        assert_eq!(
            sentence("[[issuer]]\npublisher = { key = 'x' }"),
            "etc/hub.toml has an [[issuer]] without `id`: add `id = \"…\"`, the `iss` of its tokens"
        );
    }

    #[test]
    fn what_is_no_toml_is_refused_with_the_line() {
        let sentence = sentence("listen = 'a'\nlisten = \n");
        assert!(sentence.starts_with("etc/hub.toml isn't valid TOML: "), "{sentence}");
        assert!(sentence.contains("line 2: "), "{sentence}");
        assert!(!super::tests::sentence("data = 'a'\npublisher_jwt_key = 'hunter2\n").contains("hunter2"));
    }

    #[test]
    fn keys_stay_out_of_debug_output() {
        let found = read_text("[[issuer]]\nid = 'a'\npublisher = { key = 'hunter2hunter2' }");
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
