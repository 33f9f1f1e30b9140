//! The deny list: handed to every shard when it changes, and kept in the data folder so that it survives a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use tokio::sync::Mutex;

use crate::admin::{DENY_LIST_BYTES_MAX, Reply, denials_from_text, denials_to_text};
use crate::config::data_folder::DataFolder;
use crate::hub::{DenialError, Denials};
use crate::server::admin::Order;
use crate::server::inbox::{Inbox, Message};

/// Its file.
const DENY_LIST_FILE: &str = "denied.json";

/// The list can't be read. Who starts without it lets in whom somebody has kept out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deny list {} can't be read: {why}; repair it, or delete it to keep nobody out", path.display())]
pub struct DenyListFileError {
    path: PathBuf,
    why: String,
}

/// See the module.
pub(crate) struct DenyList {
    folder: Option<PathBuf>,
    current: RwLock<Arc<Denials>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl DenyList {
    /// Reads what the last run has left, if there is a data folder.
    ///
    /// # Errors
    /// When there is a list that can't be read.
    pub(crate) fn open(folder: Option<&Path>, now_ms: u64) -> Result<DenyList, DenyListFileError> {
        let mut denials = Denials::default();
        if let Some(folder) = folder {
            let failed = |why: String| DenyListFileError { path: folder.join(DENY_LIST_FILE), why };
            let opened = DataFolder::open(folder).map_err(|why| failed(why.to_string()))?;
            let text = opened.read_text(DENY_LIST_FILE, DENY_LIST_BYTES_MAX).map_err(|why| failed(why.to_string()))?;
            if let Some(text) = text {
                denials = denials_from_text(&text, now_ms).map_err(|why| failed(why.to_string()))?;
            }
        }
        let current = RwLock::new(Arc::new(denials));
        Ok(DenyList { folder: folder.map(Path::to_owned), current, changing: Mutex::new(()) })
    }

    pub(crate) fn current(&self) -> Arc<Denials> {
        self.current.read().expect("nobody panics with this lock").clone()
    }

    /// Changes the list: shards first, then the file. The inner error says why it could not be written; it holds all the
    /// same until the hub stops.
    pub(crate) async fn change<T>(
        &self,
        now_ms: u64,
        shards: &[Inbox],
        change: impl FnOnce(&mut Denials) -> Result<T, DenialError>,
    ) -> Result<Result<(), String>, Reply> {
        let _alone = self.changing.lock().await;
        let mut denials = Denials::clone(&self.current());
        denials.forget_ended(now_ms);
        change(&mut denials).map_err(|why| Reply::problem(409, "Conflict", &why.to_string()))?;
        let denials = Arc::new(denials);
        *self.current.write().expect("nobody panics with this lock") = denials.clone();
        let told = shards.iter().map(|inbox| inbox.offer(Message::Admin(Order::Deny(denials.clone()))));
        let told: Vec<bool> = told.collect();
        let written = match self.folder.clone() {
            None => Ok(()),
            Some(folder) => {
                let write = move || DataFolder::open(&folder)?.write_text(DENY_LIST_FILE, &denials_to_text(&denials));
                let written = tokio::task::spawn_blocking(write).await;
                written.map_err(|why| why.to_string()).and_then(|written| written.map_err(|why| why.to_string()))
            }
        };
        match told.iter().position(|told| !told) {
            None => Ok(written),
            Some(shard) => Err(super::unavailable(&format!("shard {shard} is stuck and hasn't heard of it"))),
        }
    }
}
