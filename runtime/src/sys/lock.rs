//! A kernel lock on a file, which names its holder and dies with him.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

/// Tries before giving up on a lock file that others keep replacing.
const TRIES: u32 = 100;
/// How often, and how long each time, a lock that is held is waited for: [`holder`] holds it for a moment.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(2);

/// A held lock; let go when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum Taken<T> {
    /// It is ours.
    Ours(Lock),
    /// Another process holds it, and says this of itself if it has got that far.
    Held(Option<T>),
}

impl Lock {
    /// Takes the lock if it is free and writes into it who holds it. Waits no longer than somebody who only looks who that
    /// is may take.
    ///
    /// # Errors
    /// If the file can't be made, locked or written.
    pub fn take<T: Serialize + DeserializeOwned>(path: &Path, holder: &T) -> io::Result<Taken<T>> {
        let mut looked_at = 0;
        for _ in 0..TRIES {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if looked_at < LOOKS => {
                    looked_at += 1;
                    std::thread::sleep(LOOK);
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Ok(Taken::Held(read_holder(&file))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The holder before us may have removed the file between our opening and locking it.
            if !still_at(&file, path) {
                continue;
            }
            let mut lock = Self { file, path: path.to_owned() };
            lock.say(holder)?;
            return Ok(Taken::Ours(lock));
        }
        Err(io::Error::other("the lock file keeps being replaced"))
    }

    /// Writes who holds the lock.
    pub fn say<T: Serialize>(&mut self, holder: &T) -> io::Result<()> {
        let text = serde_json::to_vec(holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }

    /// Lets go of the lock and removes its file.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Who holds the lock: `None` if nobody does, `Some(None)` if somebody does who hasn't said who he is.
pub fn holder<T: DeserializeOwned>(path: &Path) -> io::Result<Option<Option<T>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_holder<T: DeserializeOwned>(mut file: &File) -> Option<T> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn still_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(ours), Ok(theirs)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    identity(ours) == identity(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert!(holder::<String>(&path).unwrap().is_none());
        let Taken::Ours(lock) = Lock::take(&path, &"first".to_owned()).unwrap() else { panic!("free") };
        let Taken::Held(by) = Lock::take(&path, &"second".to_owned()).unwrap() else { panic!("held") };
        assert_eq!(by.as_deref(), Some("first"));
        assert_eq!(holder::<String>(&path).unwrap(), Some(Some("first".to_owned())));
        lock.remove().unwrap();
        assert!(matches!(Lock::take(&path, &"third".to_owned()).unwrap(), Taken::Ours(_)));
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_not_taken_for_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let Taken::Ours(old) = Lock::take(&path, &1_u32).unwrap() else { panic!("free") };
        std::fs::remove_file(&path).unwrap();
        let Taken::Ours(_new) = Lock::take(&path, &2_u32).unwrap() else { panic!("another file") };
        assert!(!still_at(&old.file, &path));
    }
}
