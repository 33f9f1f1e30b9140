//! What an acknowledged event survives with the settings of the Redis that has it.

use std::collections::HashMap;

use ::redis::Value;

/// What INFO and CONFIG GET told, where they may be asked.
pub(super) struct Settings(HashMap<String, String>);

impl Settings {
    pub(super) fn new(info: &str, config: Vec<Value>) -> Settings {
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        let mut all: HashMap<_, _> = lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let text = |value| match value {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        };
        let mut config = config.into_iter().map(text);
        while let (Some(name), Some(value)) = (config.next(), config.next()) {
            all.insert(name, value);
        }
        Settings(all)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn server(&self) -> String {
        match (self.get("valkey_version"), self.get("redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, Some(version)) => format!("Redis {version}"),
            (None, None) => "Redis, whose version may not be asked for".to_owned(),
        }
    }

    /// A sentence, and whether it is a warning.
    pub(super) fn durability(&self) -> (String, bool) {
        let appends = self.get("appendonly").map(|set| set == "yes").or(self.get("aof_enabled").map(|set| set == "1"));
        let (mut text, mut warn) = match (appends, self.get("appendfsync")) {
            (Some(true), Some("always")) => (
                "an acknowledged event survives a crash of Redis and a power failure (appendonly yes, appendfsync always)".to_owned(),
                false,
            ),
            (Some(true), Some("everysec")) => (
                "an acknowledged event survives a crash of Redis, but a power failure may take those of the last seconds (appendfsync \
                 everysec); set appendfsync always if it must not"
                    .to_owned(),
                true,
            ),
            (Some(true), Some(_)) => (
                "an acknowledged event survives a crash of Redis, but a power failure may take those of the last half minute or more \
                 (appendfsync no); set appendfsync always if it must not"
                    .to_owned(),
                true,
            ),
            (Some(true), None) => (
                "an acknowledged event survives a crash of Redis (appendonly yes); whether it survives a power failure depends on \
                 appendfsync, which couldn't be read: allow the hubs' user +config|get, and set appendfsync always"
                    .to_owned(),
                true,
            ),
            (Some(false), _) => (
                "when Redis stops, acknowledged events may be lost back to its last snapshot, or all of them (appendonly no); set \
                 appendonly yes and appendfsync always"
                    .to_owned(),
                true,
            ),
            (None, _) => (
                "what an acknowledged event survives couldn't be read: allow the hubs' user +info and +config|get, and set appendonly yes \
                 and appendfsync always"
                    .to_owned(),
                true,
            ),
        };
        let limited = self.get("maxmemory").is_none_or(|bytes| bytes != "0");
        if let Some(policy) = self.get("maxmemory-policy").filter(|policy| limited && policy.starts_with("allkeys")) {
            text.push_str(&format!(
                "; it may throw the whole log away when its memory is full (maxmemory-policy {policy}): set noeviction"
            ));
            warn = true;
        }
        if self.get("connected_slaves").is_some_and(|replicas| replicas != "0") {
            text.push_str("; replicas follow a little later, so that a failover may lose the newest events");
        }
        (text, warn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(info: &str, config: &[&str]) -> (String, bool) {
        let config = config.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect();
        Settings::new(info, config).durability()
    }

    #[test]
    fn only_an_appended_and_synced_file_needs_no_warning() {
        let (text, warn) = judged("", &["appendonly", "yes", "appendfsync", "always", "maxmemory", "0"]);
        assert!(text.contains("power failure") && !warn, "{text}");
        for (appendonly, appendfsync) in [("yes", "everysec"), ("yes", "no"), ("no", "always"), ("no", "everysec")] {
            let (text, warn) = judged("", &["appendonly", appendonly, "appendfsync", appendfsync]);
            assert!(warn && text.contains("appendfsync always"), "{text}");
        }
    }

    #[test]
    fn where_config_is_forbidden_info_says_something() {
        let (text, warn) = judged("# Persistence\r\naof_enabled:1\r\n", &[]);
        assert!(text.contains("couldn't be read") && text.contains("survives a crash") && warn, "{text}");
        let (text, warn) = judged("aof_enabled:0\r\n", &[]);
        assert!(text.contains("appendonly no") && warn, "{text}");
        let (text, warn) = judged("", &[]);
        assert!(text.contains("+info") && warn, "{text}");
    }

    #[test]
    fn a_policy_that_evicts_the_log_is_warned_of_where_memory_is_limited() {
        let safe = ["appendonly", "yes", "appendfsync", "always"];
        let with = |more: [&str; 4]| judged("", &[&safe[..], &more].concat());
        let (text, warn) = with(["maxmemory", "100", "maxmemory-policy", "allkeys-lru"]);
        assert!(text.contains("noeviction") && warn, "{text}");
        assert!(!with(["maxmemory", "0", "maxmemory-policy", "allkeys-lru"]).1);
        assert!(!with(["maxmemory", "100", "maxmemory-policy", "volatile-lru"]).1);
    }

    #[test]
    fn the_server_is_named_with_its_version() {
        assert_eq!(Settings::new("redis_version:7.0.15\r\n", Vec::new()).server(), "Redis 7.0.15");
        assert_eq!(Settings::new("redis_version:7.2.4\r\nvalkey_version:8.1.0", Vec::new()).server(), "Valkey 8.1.0");
    }
}
