//! What a server remembers when its machine is started again, and nothing of its run directory is left: which plan is live,
//! and how often its processes were started.
//!
//! Only for a launcher that nobody leads, as systemd starts it: the others come back to servers that haven't stopped. These
//! know its processes as senders by name and incarnation, and drop what they have had from one already. So incarnations go
//! on: a second process with the same one would be taken for the first, and what it sends for what the first had sent.
//!
//! Both files are on the disk before anything relies on them.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;
use waldo_compiler::plan::Plan;

use super::LaunchError;
use crate::paths::ServerPaths;

/// The version of the file of the live plan.
const FORMAT: u32 = 1;

/// The plan that is live on a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LivePlan {
    format: u32,
    /// Its number.
    pub generation: u64,
    /// The digest of the plan that the launcher was first started with: that file is the unit's, and stays while rollouts lead
    /// on. Another digest in it means that a person has put another plan there.
    pub begun_with: String,
    /// Its content.
    pub plan: Plan,
}

impl LivePlan {
    /// The plan of this number, on a server that was begun with the one of this digest.
    pub fn new(generation: u64, begun_with: &str, plan: &Plan) -> Self {
        Self { format: FORMAT, generation, begun_with: begun_with.to_owned(), plan: plan.clone() }
    }

    /// What the server remembers, if anything.
    ///
    /// # Errors
    /// If it can't be read, or another version of waldo has written it.
    pub fn read(places: &ServerPaths) -> Result<Option<Self>, LaunchError> {
        let path = places.live_plan();
        let read: Option<Self> = read(&path)?;
        match read {
            Some(live) if live.format != FORMAT => {
                let why = format!("it has format {}, this program reads {FORMAT}", live.format);
                Err(LaunchError::Plan { path, why })
            }
            read => Ok(read),
        }
    }

    /// Remembers it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, places: &ServerPaths) -> Result<(), LaunchError> {
        write(&places.live_plan(), self)
    }
}

/// The highest incarnation that any process of a server was started with, and is remembered.
#[derive(Debug)]
pub struct Incarnations {
    path: PathBuf,
    highest: u64,
}

impl Incarnations {
    /// What the server remembers.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(places: &ServerPaths) -> Result<Self, LaunchError> {
        let path = places.incarnation();
        let highest = read(&path)?.unwrap_or(0);
        Ok(Self { path, highest })
    }

    /// The highest one.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Remembers this one, before a process is started with it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remember(&mut self, incarnation: u64) -> Result<(), LaunchError> {
        if incarnation > self.highest {
            write(&self.path, &incarnation)?;
            self.highest = incarnation;
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LaunchError> {
    let doing = || format!("read {}", path.display());
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(LaunchError::io(doing())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LaunchError::io(doing())(error)),
    }
}

/// Whoever reads it after a loss of power finds the old one or the new one, never a part.
fn write(path: &Path, value: &impl Serialize) -> Result<(), LaunchError> {
    let write = || -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(LaunchError::io(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;

    #[test]
    fn the_highest_incarnation_is_remembered_and_a_lower_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let places = Paths::new(directory.path(), directory.path(), "t", "n").server("s");
        std::fs::create_dir_all(places.incarnation().parent().unwrap()).unwrap();
        let mut incarnations = Incarnations::read(&places).unwrap();
        assert_eq!(incarnations.highest(), 0);
        incarnations.remember(3).unwrap();
        incarnations.remember(2).unwrap();
        assert_eq!(Incarnations::read(&places).unwrap().highest(), 3);
    }

    #[test]
    fn a_live_plan_of_another_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let places = Paths::new(directory.path(), directory.path(), "t", "n").server("s");
        std::fs::create_dir_all(places.live_plan().parent().unwrap()).unwrap();
        assert_eq!(LivePlan::read(&places).unwrap(), None);
        let sources = waldo_compiler::Sources::of("t.yaml", "topology: t\nstages: {a: {run: echo}}\n");
        let plan = waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan;
        let live = LivePlan::new(7, "digest", &plan);
        live.write(&places).unwrap();
        assert_eq!(LivePlan::read(&places).unwrap(), Some(live.clone()));
        LivePlan { format: 2, ..live }.write(&places).unwrap();
        assert!(LivePlan::read(&places).unwrap_err().to_string().contains("format 2"));
    }
}
