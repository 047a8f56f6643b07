//! What a person has paused on a server: portals don't deliver and sources don't send until they are resumed. It outlives
//! them, the launcher and every rollout, so it is kept in a file, by the names of portals and stages.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Process, Role, state::ProcessIndex};

/// A set of portals and sources: those that are named, or all but those.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Whether it is all but the named, also those that a later plan brings.
    pub all_but: bool,
    /// Portals, and stages that are sources.
    pub names: BTreeSet<String>,
}

impl Paused {
    /// What the file says; nothing is paused if there is none.
    ///
    /// # Errors
    /// If it can't be read: then nobody knows, and nothing may be delivered by mistake.
    pub fn read(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps it; no file is kept if nothing is paused.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        if *self == Self::default() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let written: PathBuf = file.with_extension("new");
        let file_of = fs::File::create(&written)?;
        serde_json::to_writer(&file_of, self)?;
        file_of.sync_all()?;
        fs::rename(&written, file)
    }

    /// The same with these paused or resumed besides; `None` is all of them.
    #[must_use]
    pub fn with(&self, names: Option<&[String]>, paused: bool) -> Self {
        let mut next = self.clone();
        match names {
            None => next = Self { all_but: paused, names: BTreeSet::new() },
            Some(names) if paused == self.all_but => next.names.retain(|name| !names.contains(name)),
            Some(names) => next.names.extend(names.iter().cloned()),
        }
        next
    }

    /// Whether this portal or source is paused.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name) != self.all_but
    }

    /// Which of these processes are paused.
    pub fn among(&self, processes: &[Process]) -> Vec<ProcessIndex> {
        let places = processes.iter().enumerate();
        places
            .filter(|(_, process)| process.role != Role::Stage && self.has(&process.stage))
            .map(|(place, _)| ProcessIndex(place))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_paused_stays_so_until_it_is_resumed_whichever_way_it_was_said() {
        let some = Paused::default().with(Some(&names(&["intake", "relay"])), true);
        assert!(some.has("intake") && some.has("relay") && !some.has("feed"));
        let one = some.with(Some(&names(&["intake"])), false);
        assert!(!one.has("intake") && one.has("relay"));
        assert_eq!(one.with(None, false), Paused::default());
        let all = one.with(None, true);
        assert!(all.has("intake") && all.has("whatever a later plan brings"));
        let all_but = all.with(Some(&names(&["feed"])), false);
        assert!(!all_but.has("feed") && all_but.has("relay"));
        assert_eq!(all_but.with(Some(&names(&["feed"])), true), all);
        assert_eq!(all.with(None, false), Paused::default());
    }

    #[test]
    fn what_is_paused_is_kept_in_a_file_and_no_file_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("paused.json");
        assert_eq!(Paused::read(&file).unwrap(), Paused::default());
        let paused = Paused::default().with(Some(&names(&["relay"])), true);
        paused.write(&file).unwrap();
        assert_eq!(Paused::read(&file).unwrap(), paused);
        paused.with(None, false).write(&file).unwrap();
        assert!(!file.exists());
        Paused::default().write(&file).unwrap();
        fs::write(&file, "{").unwrap();
        assert!(Paused::read(&file).is_err(), "what can't be understood is not taken for nothing");
    }
}
