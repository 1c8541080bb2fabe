//! A file that survives a restart: read once, and replaced as a whole.
//!
//! A new content is on the disk before it replaces the former one. Must not know what is in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const LARGEST: u64 = 64 * 1024;

/// A state file that no other process uses.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
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
        Ok(Self { path, _lock: lock })
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
        let new = beside(&self.path, "new");
        // One of a write that was interrupted.
        let _none_left = fs::remove_file(&new);
        let written = (|| {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        })();
        if written.is_err() {
            let _none_left = fs::remove_file(&new);
        }
        written?;
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
