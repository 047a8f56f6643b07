//! Notices that one of a topology's files has been saved: each is looked at again and again, as that works on every file
//! system and with editors that put a new file in the place of the old one.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// For how long nothing must have changed: a save may take several steps.
const SETTLES: Duration = Duration::from_millis(50);

/// What tells one state of a file from another, without reading it. `None` if it isn't there.
type Mark = Option<(SystemTime, u64, u64)>;

/// Watches files.
pub struct Saves {
    /// The files, and the directories that they are in: a pattern may come to name others.
    watched: Vec<PathBuf>,
    marks: Vec<Mark>,
    looked: Instant,
    /// When a change was seen last that nobody has been told of.
    changed: Option<Instant>,
}

impl Saves {
    /// Watches these files, which have been read: a save may have come since.
    pub fn of<'f>(files: impl Iterator<Item = &'f str>) -> Self {
        let watched = watched(files);
        let marks = marks(&watched);
        Self { watched, marks, looked: Instant::now(), changed: Some(Instant::now()) }
    }

    /// Whether a file has been saved since the last time that it was said so, and no save goes on.
    pub fn have_come(&mut self, now: Instant) -> bool {
        if now.duration_since(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        let marks = marks(&self.watched);
        if marks != self.marks {
            self.marks = marks;
            self.changed = Some(now);
        }
        if self.changed.is_some_and(|at| now.duration_since(at) >= SETTLES) {
            self.changed = None;
            return true;
        }
        false
    }

    /// Watches these from now on. What has changed since they were looked at last counts as a save of those that were watched.
    pub fn follow<'f>(&mut self, files: impl Iterator<Item = &'f str>) {
        let next = watched(files);
        if next == self.watched {
            return;
        }
        self.marks = next
            .iter()
            .map(|path| {
                let known = self.watched.iter().position(|known| known == path);
                known.map_or_else(|| mark(path), |at| self.marks[at])
            })
            .collect();
        self.watched = next;
    }
}

fn watched<'f>(files: impl Iterator<Item = &'f str>) -> Vec<PathBuf> {
    let mut watched = BTreeSet::new();
    for file in files.map(Path::new) {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watched.insert(directory.to_owned());
        watched.insert(file.to_owned());
    }
    watched.into_iter().collect()
}

fn marks(watched: &[PathBuf]) -> Vec<Mark> {
    watched.iter().map(|path| mark(path)).collect()
}

fn mark(path: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    // Of a directory the time alone counts: what is in it changes with that.
    let (size, inode) = if metadata.is_dir() { (0, 0) } else { (metadata.len(), metadata.ino()) };
    Some((metadata.modified().ok()?, size, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until a save is told, or for a second.
    fn is_told(saves: &mut Saves) -> bool {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            if saves.have_come(Instant::now()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    #[test]
    fn each_way_of_saving_a_file_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("waldo.yaml");
        fs::write(&file, "a").unwrap();
        let mut saves = Saves::of([file.to_str().unwrap()].into_iter());
        assert!(is_told(&mut saves), "nobody knows what has come since it was read");
        assert!(!is_told(&mut saves), "nothing was saved");
        fs::write(&file, "bb").unwrap();
        assert!(is_told(&mut saves), "written in place");
        fs::write(directory.path().join("waldo.yaml~"), "cc").unwrap();
        fs::rename(directory.path().join("waldo.yaml~"), &file).unwrap();
        assert!(is_told(&mut saves), "another file in its place");
        fs::remove_file(&file).unwrap();
        assert!(is_told(&mut saves), "removed");
        fs::write(&file, "cc").unwrap();
        assert!(is_told(&mut saves), "there again");
        fs::write(directory.path().join("other.yaml"), "").unwrap();
        assert!(is_told(&mut saves), "a file that a pattern may name");
        assert!(!is_told(&mut saves));
    }

    #[test]
    fn a_file_that_is_watched_from_now_on_is_told_of_too() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one.yaml", "parts.yaml"].map(|name| directory.path().join(name));
        fs::write(&one, "a").unwrap();
        fs::write(&other, "a").unwrap();
        let mut saves = Saves::of([one.to_str().unwrap()].into_iter());
        saves.follow([&one, &other].map(|path| path.to_str().unwrap()).into_iter());
        assert!(is_told(&mut saves));
        assert!(!is_told(&mut saves));
        fs::write(&other, "bb").unwrap();
        assert!(is_told(&mut saves));
    }
}
