//! The data folder: what must survive a restart and nobody else may read.

use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of each key kept in the folder.
pub const KEY_BYTES: usize = 32;

/// As they stand in the file: people can read, compare and paste them.
const HEX_DIGITS: usize = KEY_BYTES * 2;

/// The bits of a mode that let group or others in.
const OTHERS: u32 = 0o077;

/// A folder that is ours alone.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
}

/// Why the folder or a file in it can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataFolderError {
    /// Group or others may enter.
    #[error(
        "the data folder {} holds keys and other users can enter it (mode {mode:03o}): run `chmod 700 {}`, or use \
         another folder", path.display(), path.display()
    )]
    FolderOpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Group or others may read a key.
    #[error(
        "{} is a key and other users can read it (mode {mode:03o}): delete it, as they may have, and a new one is made; or \
         run `chmod 600 {}` if you know they haven't", path.display(), path.display()
    )]
    KeyOpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what we wrote.
    #[error("{} isn't a key of {HEX_DIGITS} hexadecimal digits: delete it and a new one is made", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// Something else stands in its place.
    #[error("the data folder {} isn't a folder: name another with `--data`", path.display())]
    NotAFolder {
        /// What stands there.
        path: PathBuf,
    },
    /// The system said no.
    #[error("the data folder can't be used: {}: {why}", path.display())]
    Io {
        /// What was being touched.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

impl DataFolder {
    /// Opens the folder, or makes it with mode 0700.
    ///
    /// # Errors
    /// When others can enter it, or it can't be made.
    pub fn open(path: &Path) -> Result<DataFolder, DataFolderError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        match made {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
                return Err(DataFolderError::NotAFolder { path: path.to_owned() });
            }
            made => made.map_err(|why| io_error(path, &why))?,
        }
        let mode = fs::metadata(path).map_err(|why| io_error(path, &why))?.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(DataFolderError::FolderOpenToOthers { path: path.to_owned(), mode });
        }
        Ok(DataFolder { path: path.to_owned() })
    }

    /// The folder if it is there; commands that only look make none.
    ///
    /// # Errors
    /// When others can enter it, or it can't be looked at.
    pub fn existing(path: &Path) -> Result<Option<DataFolder>, DataFolderError> {
        if path.try_exists().map_err(|why| io_error(path, &why))? { DataFolder::open(path).map(Some) } else { Ok(None) }
    }

    /// The key of this name if it is there.
    ///
    /// # Errors
    /// When others can read it, or it isn't a key.
    pub fn existing_key(&self, name: &str) -> Result<Option<[u8; KEY_BYTES]>, DataFolderError> {
        match read_key(&self.path.join(name)) {
            Err(KeyError::Missing) => Ok(None),
            Err(KeyError::Refused(why)) => Err(why),
            Ok(key) => Ok(Some(key)),
        }
    }

    /// The key of this name, made at random the first time.
    ///
    /// # Errors
    /// When others can read it, it isn't a key, or the folder can't be written.
    pub fn key(&self, name: &str) -> Result<[u8; KEY_BYTES], DataFolderError> {
        let path = self.path.join(name);
        if let Some(key) = self.existing_key(name)? {
            return Ok(key);
        }
        self.write_key(&path)?;
        // Read back, since another process may have been first.
        self.existing_key(name)?.ok_or_else(|| io_error(&path, &io::ErrorKind::NotFound.into()))
    }

    /// The text of this name if it is there.
    ///
    /// # Errors
    /// When it can't be read, is longer than `bytes_max`, or isn't UTF-8.
    pub fn read_text(&self, name: &str, bytes_max: usize) -> Result<Option<String>, DataFolderError> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|why| io_error(&path, &why))?,
        };
        let mut text = String::new();
        file.take(bytes_max as u64 + 1).read_to_string(&mut text).map_err(|why| io_error(&path, &why))?;
        if text.len() > bytes_max {
            return Err(io_error(&path, &io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Some(text))
    }

    /// Puts a text in the place of the one of this name, whole or not at all, and durably.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write_text(&self, name: &str, text: &str) -> Result<(), DataFolderError> {
        let path = self.path.join(name);
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let written = write_draft(&draft, text).and_then(|()| fs::rename(&draft, &path));
        written.map_err(|why| io_error(&path, &why))?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(|why| io_error(&self.path, &why))
    }

    /// Writes a new key whole or not at all: a crash must not leave half a key under its name.
    fn write_key(&self, path: &Path) -> Result<(), DataFolderError> {
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let named = write_draft(&draft, &format!("{}\n", to_hex(&random_key()))).and_then(|()| {
            // Not `rename`: of two processes that start at once the first must win for both. Filesystems without
            // links are left with it.
            match fs::hard_link(&draft, path) {
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&draft),
                Err(_) => fs::rename(&draft, path),
                Ok(()) => fs::remove_file(&draft),
            }
        });
        named.map_err(|why| io_error(path, &why))?;
        // Make the name itself durable.
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(|why| io_error(&self.path, &why))
    }
}

fn write_draft(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The key in lower-case hexadecimal digits.
pub fn to_hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.strip_suffix('\n').unwrap_or(text);
    if digits.len() != HEX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(key)
}

enum KeyError {
    Missing,
    Refused(DataFolderError),
}

fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let refused = |why: &io::Error| KeyError::Refused(io_error(path, why));
    let file = match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Err(KeyError::Missing),
        opened => opened.map_err(|why| refused(&why))?,
    };
    let metadata = file.metadata().map_err(|why| refused(&why))?;
    let mode = metadata.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyError::Refused(DataFolderError::KeyOpenToOthers { path: path.to_owned(), mode }));
    }
    let mut bytes = Vec::new();
    file.take(HEX_DIGITS as u64 + 2).read_to_end(&mut bytes).map_err(|why| refused(&why))?;
    let key = std::str::from_utf8(&bytes).ok().and_then(from_hex);
    key.ok_or_else(|| KeyError::Refused(DataFolderError::NotAKey { path: path.to_owned() }))
}

/// A key nobody has seen.
///
/// # Panics
/// When the system has no randomness: nothing safe can be done then.
#[allow(clippy::disallowed_methods, reason = "configuration belongs to the I/O shell and makes the keys")]
pub fn random_key() -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).expect("the system gives random bytes");
    key
}

fn io_error(path: &Path, why: &io::Error) -> DataFolderError {
    DataFolderError::Io { path: path.to_owned(), why: why.to_string() }
}

/// A fresh path below the system's folder for temporary files, for tests.
#[cfg(test)]
pub(crate) fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("cinnabar-{name}-{}", to_hex(&random_key()[..8])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_and_its_keys_are_ours_alone() {
        let path = scratch("new").join("below");
        assert!(DataFolder::existing(&path).unwrap().is_none());
        assert!(!path.exists(), "looking makes nothing");
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(folder.existing_key("id.key"), Ok(None));
        let key = folder.key("id.key").unwrap();
        assert_eq!(folder.existing_key("id.key"), Ok(Some(key)));
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("id.key")), 0o600);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "the draft is gone");
        assert_eq!(DataFolder::open(&path).unwrap().key("id.key").unwrap(), key, "the same key next time");
        assert_ne!(folder.key("other.key").unwrap(), key);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_text_is_replaced_whole_and_bounded_when_read() {
        let path = scratch("text");
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(folder.read_text("denied.json", 10), Ok(None));
        folder.write_text("denied.json", "a longer one").unwrap();
        folder.write_text("denied.json", "short").unwrap();
        assert_eq!(folder.read_text("denied.json", 5), Ok(Some("short".to_owned())));
        assert!(folder.read_text("denied.json", 4).is_err());
        assert_eq!(mode(&path.join("denied.json")), 0o600);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "the draft is gone");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_folder_others_can_enter_is_refused() {
        let path = scratch("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let why = DataFolder::open(&path).unwrap_err();
        assert_eq!(why, DataFolderError::FolderOpenToOthers { path: path.clone(), mode: 0o755 });
        assert!(why.to_string().contains(&format!("run `chmod 700 {}`", path.display())), "{why}");
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_key_others_can_read_is_refused() {
        let path = scratch("readable");
        let folder = DataFolder::open(&path).unwrap();
        folder.key("id.key").unwrap();
        fs::set_permissions(path.join("id.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let why = folder.key("id.key").unwrap_err();
        assert_eq!(why, DataFolderError::KeyOpenToOthers { path: path.join("id.key"), mode: 0o644 });
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn keys_are_hexadecimal_digits_on_disk() {
        assert_eq!(from_hex(&to_hex(&[0xab; 32])), Some([0xab; 32]));
        assert_eq!(from_hex(&format!("{}\n", "0f".repeat(32))), Some([0x0f; 32]));
        for text in ["", "0f", &"0g".repeat(32), &"+f".repeat(32), &"é".repeat(32), &"0f".repeat(33)] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_key_or_no_folder_is_refused() {
        let path = scratch("odd");
        let folder = DataFolder::open(&path).unwrap();
        write_draft(&path.join("id.key"), "short").unwrap();
        assert_eq!(folder.key("id.key"), Err(DataFolderError::NotAKey { path: path.join("id.key") }));
        let file = path.join("id.key");
        assert_eq!(DataFolder::open(&file).unwrap_err(), DataFolderError::NotAFolder { path: file });
        fs::remove_dir_all(&path).unwrap();
    }
}
