//! What the file engine asks of a folder: the seam at which tests put a folder that forgets what was not synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of files.
pub trait Storage: std::fmt::Debug + Send + Sync + 'static {
    /// One of its files.
    type File: StorageFile;

    /// The names in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Makes a file, or empties the one that has the name.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in place of whatever has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes durable which names there are.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file of a [`Storage`].
pub trait StorageFile: std::fmt::Debug + Send + Sync + 'static {
    /// Reads up to so many bytes from a place; fewer only at the end of the file.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of the bytes to a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// How long it is, bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts it.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Makes durable what is in it and how long it is.
    fn sync(&self) -> io::Result<()>;
}

/// A folder on a disk.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    writes: bool,
}

impl Disk {
    /// The folder, made with mode 0700 if it isn't there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path) -> io::Result<Disk> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Disk { folder: folder.to_owned(), writes: true })
    }

    /// A folder that is only looked at: another process may be writing to it.
    pub fn look(folder: &Path) -> Disk {
        Disk { folder: folder.to_owned(), writes: false }
    }

    /// Takes the folder for this process, as long as the file lives. `None`: another process has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.path(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a process has the folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_in_use(&self) -> io::Result<bool> {
        let file = match File::open(self.path(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The file that is locked by whoever has the folder.
const LOCK: &str = "lock";

impl Storage for Disk {
    type File = File;

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?;
        // Names that are no text are none of ours.
        entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(self.writes).open(self.path(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(self.path(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

impl StorageFile for File {
    fn read_at(&self, mut bytes: &mut [u8], mut at: u64) -> io::Result<usize> {
        let mut read = 0;
        while !bytes.is_empty() {
            match FileExt::read_at(self, bytes, at) {
                Ok(0) => break,
                Ok(count) => {
                    read += count;
                    at += count as u64;
                    bytes = &mut bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
