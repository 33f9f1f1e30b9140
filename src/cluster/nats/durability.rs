//! What an acknowledged event survives in the stream it is in.

use serde_json::Value;

/// A sentence, and whether it is a warning.
pub(super) fn of(config: &Value) -> (String, bool) {
    if config["storage"] == "memory" {
        let text =
            "when NATS stops, all events are lost (the stream is in memory); delete it, and the hubs make one in files";
        return (text.to_owned(), true);
    }
    let replicas = config["num_replicas"].as_u64().unwrap_or(1);
    let text = if replicas > 1 {
        format!(
            "an acknowledged event has been written by most of {replicas} servers and survives the crash or the power failure of one; \
             if most of them lose power at once, events of the last minutes may be lost (sync_interval, 2 minutes by default)"
        )
    } else {
        "an acknowledged event survives a crash of NATS, but a power failure may take those of the last minutes (sync_interval, 2 minutes \
         by default); a cluster of three servers keeps three copies"
            .to_owned()
    };
    (text, false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_in_memory_is_warned_of() {
        assert!(of(&json!({ "storage": "memory", "num_replicas": 3 })).1);
        for replicas in [1, 3] {
            let (text, warn) = of(&json!({ "storage": "file", "num_replicas": replicas }));
            assert!(text.contains("sync_interval") && !warn, "{text}");
        }
    }
}
