//! The scripts, by the names Redis gives them.

use std::sync::LazyLock;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What Redis runs as one step.
pub(super) struct Script {
    pub(super) text: &'static str,
    /// The SHA-1 of the text, in hex: what Redis knows it by, once it has seen it.
    sha1: LazyLock<String>,
}

impl Script {
    pub(super) fn name(&self) -> &str {
        &self.sha1
    }
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: Script = Script {
            text: include_str!($file),
            sha1: LazyLock::new(|| {
                let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, include_bytes!($file));
                hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
            }),
        };
    };
}

script!(APPEND, "append.lua");
script!(FIND, "find.lua");
script!(OPEN, "open.lua");
script!(PRESENCE, "presence.lua");
script!(READ, "read.lua");
