//! Where the files are.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// More than any file of facts has.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The folder that stands for `/`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// A folder with `proc`, `sys` and `etc` in it.
    pub fn new(folder: impl Into<PathBuf>) -> Root {
        Root(folder.into())
    }

    /// This machine's.
    pub fn machine() -> Root {
        Root::new("/")
    }

    /// A file's text, as far as it is a reasonable one. The path has no `/` in front.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        debug_assert!(!path.starts_with('/'), "{path} is below the root");
        let mut text = String::new();
        File::open(self.0.join(path)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The number that is all a file says.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    /// The paths of a folder's entries.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(format!("{path}/{}", entry.file_name().to_str()?))).collect()
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder with files of the kernel's, gone in the end.
    pub(crate) struct Files {
        folder: PathBuf,
        pub(crate) root: Root,
    }

    impl Files {
        pub(crate) fn new() -> Files {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("cinnabar-kernel-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            // One of a killed run, whose number comes again.
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            Files { root: Root::new(&folder), folder }
        }

        pub(crate) fn put(&self, path: &str, text: &str) {
            let path = self.folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn what_is_not_there_says_nothing() {
        let files = Files::new();
        files.put("proc/number", " 12\n");
        files.put("proc/word", "max\n");
        let numbers = ["proc/number", "proc/word", "proc/none", "proc"].map(|path| files.root.number(path));
        assert_eq!(numbers, [Some(12), None, None, None]);
        assert!(files.root.has("proc/word") && !files.root.has("proc/none") && files.root.list("none").is_empty());
    }
}
