//! A file that survives a restart: read once, and replaced as a whole.
//!
//! A new content is on the disk before it replaces the former one, but for the last one. Must not know what is in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const LARGEST: u64 = 64 * 1024;

/// A state file that no other process uses.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// The last content is there. Locked while a content replaces the former one.
    closed: Mutex<bool>,
    /// Held as long as the program runs; `None` where the folder cannot be written.
    _lock: Option<File>,
}

/// Refuses what is at the path of a state file but no regular file: a device, a pipe or a link would be replaced by a file.
pub(crate) fn check(path: &Path) -> Result<(), &'static str> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err("is not a regular file"),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl StateFile {
    /// Fails if it is no regular file, or another process uses it.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let refused = |what: &str| io::Error::other(format!("the state file {} {what}", path.display()));
        let lock_path = beside(&path, "lock");
        for path in [&path, &lock_path] {
            check(path).map_err(refused)?;
        }
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path);
        let lock = match opened.map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => return Err(refused("is in use by another exporter")),
            Ok((Ok(()), file)) => Some(file),
            // The first write tells what is wrong with the folder.
            Ok((Err(TryLockError::Error(_)), _)) | Err(_) => None,
        };
        Ok(Self { path, closed: Mutex::new(false), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The content; `None` if there is no file. Fails if it is larger than any that was written.
    pub(crate) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut content = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LARGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(content)) }
    }

    /// Renames a file that cannot be used, and returns its new name.
    pub(crate) fn set_aside(&self) -> Option<PathBuf> {
        let aside = beside(&self.path, "broken");
        fs::rename(&self.path, &aside).is_ok().then_some(aside)
    }

    /// Replaces the content. If that fails, the former one stays.
    pub(crate) fn write(&self, content: &[u8]) -> io::Result<()> {
        self.replace("new", content, false)?;
        self.sync_folder()
    }

    /// Replaces the content for the last time: a write that another thread has begun no longer does. The next process finds it
    /// even if the disk is slow; a crash of the machine may leave the former content, or none.
    pub(crate) fn write_last(&self, content: &[u8]) -> io::Result<()> {
        self.replace("last", content, true)?.sync_all()?;
        self.sync_folder()
    }

    fn replace(&self, ending: &str, content: &[u8], last: bool) -> io::Result<File> {
        let new = beside(&self.path, ending);
        let replaced = Self::create(&new, content).and_then(|file| {
            if !last {
                file.sync_all()?;
            }
            self.rename(&new, last)?;
            Ok(file)
        });
        if replaced.is_err() {
            let _none_left = fs::remove_file(&new);
        }
        replaced
    }

    fn create(new: &Path, content: &[u8]) -> io::Result<File> {
        // One of a write that was interrupted.
        let _none_left = fs::remove_file(new);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(new)?;
        file.write_all(content)?;
        Ok(file)
    }

    fn rename(&self, new: &Path, last: bool) -> io::Result<()> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return fs::remove_file(new);
        }
        fs::rename(new, &self.path)?;
        *closed = last;
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_content_stays_although_an_earlier_write_ends_later() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = StateFile::open(folder.path().join("state.json")).expect("it can be opened");
        file.write(b"first").expect("it can be written");
        let slow = beside(file.path(), "new");
        StateFile::create(&slow, b"before the stop").expect("it can be written");

        file.write_last(b"stopped").expect("it can be written");
        file.rename(&slow, false).expect("it is given up");

        assert_eq!(file.read().expect("it can be read").as_deref(), Some(b"stopped".as_slice()));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "the file and its lock");
    }
}
