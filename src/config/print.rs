//! The configuration as a table for people: setting, value, where the value comes from.

use super::Source;
use super::load::Config;
use super::setting::{SETTINGS, Setting};
use crate::protocol::keys::VerificationKey;
use crate::protocol::token::Role;

impl Config {
    /// One line per setting, in three columns, and one per issuer. Secrets are not shown.
    pub fn table(&self) -> String {
        let mut rows: Vec<[String; 3]> = SETTINGS.iter().map(|setting| self.row(setting)).collect();
        for issuer in &self.issuers {
            let role = |role, keys: &Option<Vec<VerificationKey>>| {
                let set = self.key_sets.iter().find(|set| set.issuer == issuer.id && set.role == role);
                let at_hand = keys.as_deref().filter(|keys| !keys.is_empty()).map(algorithms);
                let all: Vec<String> = at_hand.into_iter().chain(set.map(|set| format!("set {}", set.url))).collect();
                if all.is_empty() { "none".to_owned() } else { all.join(" + ") }
            };
            let publisher = role(Role::Publisher, &issuer.publisher);
            let keys = format!("publisher: {publisher}, subscriber: {}", role(Role::Subscriber, &issuer.subscriber));
            rows.push([format!("  keys of {}", issuer.id), keys, self.resolved.said("issuer").source.to_string()]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1)];
        rows.iter()
            .map(|[name, value, source]| format!("{name:0$}  {value:1$}  {source}\n", widths[0], widths[1]))
            .collect()
    }

    fn row(&self, setting: &Setting) -> [String; 3] {
        let said = self.resolved.said(setting.name);
        let value = match said.words.as_slice() {
            [] => self.unsaid(setting),
            _ if setting.secret => "(secret)".to_owned(),
            words => words.join(" "),
        };
        [setting.name.to_owned(), value, said.source.to_string()]
    }

    /// What a setting without a value comes to.
    fn unsaid(&self, setting: &Setting) -> String {
        match setting.name {
            "resource" => self.resource.clone(),
            "shards" => self.shards.to_string(),
            _ => setting.default_in(self.dev).text().to_owned(),
        }
    }

    /// Where the value of a setting comes from.
    pub fn source(&self, name: &str) -> &Source {
        &self.resolved.said(name).source
    }
}

fn algorithms(keys: &[VerificationKey]) -> String {
    let names = |key: &VerificationKey| key.algorithms().iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
    keys.iter().map(|key| names(key).join(" ")).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Source, flags};

    fn table() -> String {
        let given = [
            ("resource", "https://hub.example/.well-known/mercure"),
            ("issuer", "https://a.example"),
            ("publisher-jwt-key", "a secret of more than thirty-two bytes"),
            ("heartbeat", "20s"),
        ];
        let flags = flags(given.map(|(name, word)| (name, vec![word.to_owned()])));
        let variables = [("CINNABAR_CORS_ORIGIN".into(), "https://a.example https://b.example".into())];
        Config::load(flags, variables).unwrap().table()
    }

    fn line(table: &str, name: &str) -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.split("  ").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn values_stand_beside_their_sources() {
        let table = table();
        assert_eq!(line(&table, "heartbeat"), ["heartbeat", "20s", "flag"]);
        assert_eq!(
            line(&table, "cors-origin"),
            ["cors-origin", "https://a.example https://b.example", "environment CINNABAR_CORS_ORIGIN"]
        );
        assert_eq!(line(&table, "max-lifetime"), ["max-lifetime", "1h", "default"]);
        assert_eq!(line(&table, "max-connections"), ["max-connections", "as many as the machine allows", "default"]);
        assert_eq!(
            line(&table, "  keys of https://a.example"),
            ["keys of https://a.example", "publisher: HS256, subscriber: none", "flag"]
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let table = table();
        assert_eq!(line(&table, "publisher-jwt-key"), ["publisher-jwt-key", "(secret)", "flag"]);
        assert!(!table.contains("thirty-two"));
    }

    #[test]
    fn sources_can_be_asked_for() {
        let config = Config::load(flags([("dev", vec!["true".to_owned()])]), []).unwrap();
        assert_eq!(config.source("dev"), &Source::Flag);
        assert_eq!(config.source("anonymous"), &Source::Development);
        assert_eq!(config.source("heartbeat"), &Source::Default);
    }
}
