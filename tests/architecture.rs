//! The arrows of ARCHITECTURE.md, enforced: what a room must not know, its source must not name.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that no folder in [`RULES`] may contain: what is above all of them, and the tools of the I/O shell.
const ABOVE_ALL: &[&str] = &["crate::server", "crate::commands", "monoio", "tokio", "hyper", "ureq"];

/// A folder, and words its code (tests aside) must not contain besides.
const RULES: &[(&str, &[&str])] = &[
    (
        "protocol",
        &[
            "crate::kernel",
            "crate::cluster",
            "crate::hub",
            "crate::http",
            "crate::history",
            "crate::config",
            "crate::admin",
            "std::net",
            "std::thread",
            "std::io",
            "Instant",
            "SystemTime",
        ],
    ),
    (
        "hub",
        &[
            "crate::kernel",
            "crate::cluster",
            "crate::admin",
            "crate::http",
            "crate::history",
            "crate::config",
            "std::net",
            "std::thread",
            "std::io",
            "Instant",
            "SystemTime",
            "SystemRandom",
            "libc",
            "Mutex",
            "RwLock",
        ],
    ),
    (
        "http",
        &[
            "crate::kernel",
            "crate::admin",
            "crate::hub",
            "crate::protocol",
            "crate::history",
            "crate::config",
            "std::net::Tcp",
            "std::thread",
            "Instant",
            "SystemTime",
            "libc",
        ],
    ),
    (
        "history",
        &[
            "crate::kernel",
            "crate::cluster",
            "crate::http",
            "crate::config",
            "crate::admin",
            "std::net",
            "std::thread",
            "libc",
        ],
    ),
    (
        "admin",
        &["crate::kernel", "std::net::Tcp", "std::thread", "std::fs", "std::io", "Instant", "SystemTime", "libc"],
    ),
    (
        "doctor",
        &[
            "crate::hub",
            "crate::http",
            "crate::history",
            "crate::admin",
            "crate::protocol",
            "std::net",
            "std::thread",
            "Instant",
            "SystemTime",
            "libc",
        ],
    ),
    (
        "kernel",
        &[
            "crate::hub",
            "crate::http",
            "crate::history",
            "crate::admin",
            "crate::config",
            "crate::doctor",
            "crate::protocol",
            "std::net",
            "std::thread",
            "Instant",
            "SystemTime",
            "libc",
        ],
    ),
    ("config", &["crate::hub", "crate::history", "crate::admin"]),
    (
        "cluster",
        &[
            "crate::kernel",
            "crate::hub",
            "crate::http",
            "crate::history",
            "crate::config",
            "crate::admin",
            "std::thread",
        ],
    ),
];

/// The one of them whose engines' clients live on tokio.
const ON_TOKIO: &str = "cluster";

/// Files outside these may not allow `unsafe`.
const UNSAFE: &[&str] =
    &["benches/allocator/mod.rs", "src/server/sys.rs", "src/server/sender/ring.rs", "loadgen/src/sys.rs"];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder exists").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("the file is readable");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "simulator")
        || path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
}

#[test]
fn no_layer_knows_what_is_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut offences = Vec::new();
    for (folder, words) in RULES {
        let files = rust_files(&root.join("src").join(folder));
        assert!(!files.is_empty(), "src/{folder} has files");
        for file in files.iter().filter(|file| !is_test(file)) {
            let code = code(file);
            let named = |word: &&&str| code.contains(**word) && !(*folder == ON_TOKIO && **word == "tokio");
            for word in words.iter().chain(ABOVE_ALL).filter(named) {
                offences.push(format!("{} names {word}", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "see ARCHITECTURE.md, \"Invariants\":\n{}", offences.join("\n"));
}

#[test]
fn unsafe_is_confined_to_named_modules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = rust_files(&root.join("src"));
    files.extend(rust_files(&root.join("benches")));
    files.extend(rust_files(&root.join("loadgen/src")));
    let allows = |file: &&PathBuf| code(file).contains("allow(unsafe_code)");
    let mut found: Vec<_> =
        files.iter().filter(allows).map(|file| file.strip_prefix(root).expect("below").display().to_string()).collect();
    found.retain(|file| !UNSAFE.contains(&file.as_str()));
    assert!(found.is_empty(), "unsafe code is allowed in {found:?}; see ARCHITECTURE.md, \"Invariants\"");
}

#[test]
fn every_folder_says_what_belongs_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in rust_files(&root.join("src")).iter().filter(|file| file.ends_with("mod.rs")) {
        let text = fs::read_to_string(file).expect("the file is readable");
        assert!(text.starts_with("//!"), "{} opens with what belongs there", file.display());
    }
}
