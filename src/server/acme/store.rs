//! What survives a restart: the account, orders that are under way, certificates with their keys, and when which was asked for in vain.
//!
//! Each authority has a folder of its own below `acme` in the data folder, so that what one of them gave for trying things out is never
//! taken for what another one gives.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::plan::ASKED_S_MAX;
use crate::config::data_folder::{DataFolder, DataFolderError};

const FOLDER: &str = "acme";
const LOCK: &str = "lock";
const ACCOUNT: &str = "account.json";
const ATTEMPTS: &str = "attempts.json";
/// Bytes of one of its files at most.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    /// `acme` itself.
    root: PathBuf,
    path: PathBuf,
    folder: DataFolder,
}

/// An account with what it was made with.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAccount {
    pub(super) email: Option<String>,
    pub(super) credentials: AccountCredentials,
}

/// An order that a certificate may come of yet.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredOrder {
    pub(super) url: String,
    /// The key of the certificate, in PEM.
    pub(super) key: String,
}

/// What came of asking for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// Failures in a row.
    pub(super) failures: u32,
    /// When the last one was, seconds of Unix time.
    pub(super) failed_s: u64,
    /// The authority wants no question before, seconds of Unix time.
    pub(super) wanted_s: u64,
}

impl Attempts {
    /// With nothing in it that a clock which has been set since would make endless.
    pub(super) fn as_of(self, now_s: u64) -> Attempts {
        let (failed_s, wanted_s) = (self.failed_s.min(now_s), self.wanted_s.min(now_s + ASKED_S_MAX));
        Attempts { failed_s, wanted_s, ..self }
    }
}

impl Store {
    pub(super) fn open(data: &Path, directory: &Url) -> Result<Store, DataFolderError> {
        let root = data.join(FOLDER);
        DataFolder::open(&root)?;
        let path = root.join(folder_name(directory));
        let folder = DataFolder::open(&path)?;
        Ok(Store { root, path, folder })
    }

    /// The right to ask for certificates; `None`: another hub has it.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(self.root.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// The file of a certificate and its key, whether it is there or not.
    pub(super) fn certificate_file(&self, name: &str) -> PathBuf {
        self.path.join(certificate(name))
    }

    pub(super) fn keep_certificate(&self, name: &str, pem: &str) -> Result<(), DataFolderError> {
        self.folder.write_text(&certificate(name), pem)?;
        self.forget(&order(name));
        Ok(())
    }

    pub(super) fn account(&self) -> Result<Option<StoredAccount>, DataFolderError> {
        self.read(ACCOUNT)
    }

    pub(super) fn keep_account(&self, account: &StoredAccount) -> Result<(), DataFolderError> {
        self.write(ACCOUNT, account)
    }

    pub(super) fn forget_account(&self) {
        self.forget(ACCOUNT);
    }

    pub(super) fn order(&self, name: &str) -> Result<Option<StoredOrder>, DataFolderError> {
        self.read(&order(name))
    }

    pub(super) fn keep_order(&self, name: &str, stored: &StoredOrder) -> Result<(), DataFolderError> {
        self.write(&order(name), stored)
    }

    pub(super) fn forget_order(&self, name: &str) {
        self.forget(&order(name));
    }

    pub(super) fn attempts(&self) -> Result<BTreeMap<String, Attempts>, DataFolderError> {
        self.read(ATTEMPTS).map(Option::unwrap_or_default)
    }

    pub(super) fn keep_attempts(&self, attempts: &BTreeMap<String, Attempts>) -> Result<(), DataFolderError> {
        self.write(ATTEMPTS, attempts)
    }

    /// What can't be understood is as good as not there.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DataFolderError> {
        let Some(text) = self.folder.read_text(name, FILE_BYTES_MAX)? else {
            return Ok(None);
        };
        let understood = serde_json::from_str(&text).ok();
        if understood.is_none() {
            tracing::warn!(file = %self.path.join(name).display(), "a file of ACME can't be understood and is made anew");
        }
        Ok(understood)
    }

    fn write(&self, name: &str, contents: &impl Serialize) -> Result<(), DataFolderError> {
        let text = serde_json::to_string_pretty(contents).expect("plain data");
        self.folder.write_text(name, &text)
    }

    fn forget(&self, name: &str) {
        // One that is still there is judged again when it is read.
        let _ = fs::remove_file(self.path.join(name));
    }
}

fn certificate(name: &str) -> String {
    format!("{name}.pem")
}

fn order(name: &str) -> String {
    format!("{name}.order")
}

/// The directory's URL as the name of a folder: `acme-v02.api.letsencrypt.org-directory`.
fn folder_name(directory: &Url) -> String {
    let url = directory.as_str().trim_start_matches("https://").trim_end_matches('/');
    let fit = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    url.chars().map(fit).take(200).collect::<String>().trim_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::data_folder::scratch;

    fn store(path: &Path) -> Store {
        Store::open(path, &Url::parse("https://ca.example:14000/dir?x=../..").unwrap()).unwrap()
    }

    #[test]
    fn an_authority_has_a_folder_of_its_own() {
        let name = |url: &str| folder_name(&Url::parse(url).unwrap());
        assert_eq!(name("https://acme-v02.api.letsencrypt.org/directory"), "acme-v02.api.letsencrypt.org-directory");
        assert_eq!(name("https://ca.example:14000/acme/../x/"), "ca.example-14000-x");
        assert_eq!(name("https://[::1]:14000/dir"), "---1--14000-dir");
        assert!(name(&format!("https://a.example/{}", "x".repeat(500))).len() <= 200);
    }

    #[test]
    fn what_is_kept_is_read_again_and_nobody_else_can() {
        let path = scratch("acme-store");
        let kept = store(&path);
        assert!(kept.order("hub.example").unwrap().is_none() && kept.attempts().unwrap().is_empty());
        kept.keep_order("hub.example", &StoredOrder { url: "https://ca.example/1".into(), key: "KEY".into() }).unwrap();
        let attempts = Attempts { failures: 2, failed_s: 7, wanted_s: 9 };
        kept.keep_attempts(&BTreeMap::from([("hub.example".to_owned(), attempts)])).unwrap();
        let again = store(&path);
        assert_eq!(again.order("hub.example").unwrap().unwrap().key, "KEY");
        assert_eq!(again.attempts().unwrap()["hub.example"], attempts);
        assert_eq!(attempts.as_of(5), Attempts { failed_s: 5, ..attempts });
        assert_eq!(Attempts { wanted_s: u64::MAX, ..attempts }.as_of(5).wanted_s, 5 + ASKED_S_MAX);
        again.keep_certificate("hub.example", "PEM").unwrap();
        assert!(again.order("hub.example").unwrap().is_none(), "its order is done");
        let file = again.certificate_file("hub.example");
        assert_eq!(fs::read_to_string(&file).unwrap(), "PEM");
        for (path, mode) in [(file.as_path(), 0o600), (file.parent().unwrap(), 0o700), (&path.join(FOLDER), 0o700)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        fs::write(file.with_file_name(ATTEMPTS), "{broken").unwrap();
        assert!(again.attempts().unwrap().is_empty());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn one_hub_at_a_time_asks() {
        let path = scratch("acme-lock");
        let (one, other) = (store(&path), store(&path));
        let held = one.lock().unwrap();
        assert!(held.is_some() && other.lock().unwrap().is_none());
        drop(held);
        assert!(other.lock().unwrap().is_some());
        fs::remove_dir_all(&path).unwrap();
    }
}
