//! Where a namespace's lock, decisions, plans and history are kept.
//!
//! On one machine it is a directory:
//!
//! ```text
//! store/
//!     lock                  kernel lock: who leads a rollout
//!     live                  the number of the live plan
//!     plans/<generation>.json
//!     origins/<generation>.json     what it was compiled from, if that is known
//!     programs/<generation>.json    which bytes its processes were started from
//!     rollouts/<generation>.json    what it leads from and to; written before anything holds
//!     decisions/<generation>        `commit` or `abort`: made by link(2), so the first wins
//!     history/<generation>.json     the ledger
//! ```
//!
//! Every file is written beside its place, synced, and put into place by one rename or link; then the directory is synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;
use waldo_compiler::{Origin, plan::Plan};

use super::{halt, machine::Part};
use crate::programs::Programs;

/// The directories in a store.
const PARTS: [&str; 6] = ["plans", "origins", "programs", "rollouts", "decisions", "history"];

/// What was decided about a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Every server goes on to the new plan.
    Commit,
    /// Every server goes back to the old one.
    Abort,
}

/// What a rollout is, as it is written down before anything is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The generation that was live.
    pub from: u64,
    /// The generation that it leads to.
    pub to: u64,
    /// What each server does in it.
    pub parts: Vec<Part>,
    /// Whether it takes back an earlier one that failed.
    pub is_rollback: bool,
}

/// Why the store can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {why}")]
pub struct StoreError {
    doing: String,
    why: io::Error,
}

impl StoreError {
    fn at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let doing = format!("{doing} {}", path.display());
        move |why| Self { doing, why }
    }
}

/// The store of a namespace on this machine.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store in this directory, which is made if need be.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        for part in PARTS {
            let path = directory.join(part);
            fs::create_dir_all(&path).map_err(StoreError::at("make the directory", &path))?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The kernel lock of whoever leads a rollout.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Where the plan of a generation is.
    pub fn plan_file(&self, generation: u64) -> PathBuf {
        self.directory.join("plans").join(format!("{generation}.json"))
    }

    /// The generation that is live, if there has been any.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn live(&self) -> Result<Option<u64>, StoreError> {
        read(&self.directory.join("live"))
    }

    /// Says which generation is live.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn set_live(&self, generation: u64) -> Result<(), StoreError> {
        put(&self.directory.join("live"), &generation)
    }

    /// The highest generation that anything was ever written for; 0 if there is none.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn newest(&self) -> Result<u64, StoreError> {
        let newest = numbers(&self.directory.join("plans"))?.into_iter().max();
        Ok(newest.unwrap_or(0).max(self.live()?.unwrap_or(0)))
    }

    /// Makes a plan the live one at once, where nothing runs. Answers its generation.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn begin(&self, plan: &Plan) -> Result<u64, StoreError> {
        let generation = self.newest()? + 1;
        self.put_plan(generation, plan)?;
        self.set_live(generation)?;
        Ok(generation)
    }

    /// Keeps the plan of a generation.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put_plan(&self, generation: u64, plan: &Plan) -> Result<(), StoreError> {
        put(&self.plan_file(generation), plan)
    }

    /// The plan of a generation.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn plan(&self, generation: u64) -> Result<Option<Plan>, StoreError> {
        read(&self.plan_file(generation))
    }

    /// The generations whose plans are kept, in order.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn generations(&self) -> Result<Vec<u64>, StoreError> {
        let mut generations = numbers(&self.directory.join("plans"))?;
        generations.sort_unstable();
        Ok(generations)
    }

    /// Whether a generation's plan was ever live, and not only on the way to one that was put in its place because it didn't
    /// work.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn was_live(&self, generation: u64) -> Result<bool, StoreError> {
        /// Of an account of a rollout, which generation was live after it.
        #[derive(Deserialize)]
        struct After {
            generation: u64,
        }
        if !self.plan_file(generation).exists() {
            return Ok(false);
        }
        if self.intent(generation)?.is_some() && self.decision(generation)? != Some(Decision::Commit) {
            return Ok(false);
        }
        let after: Option<After> = read(&self.account_file(generation))?;
        Ok(after.is_none_or(|after| after.generation == generation))
    }

    /// Keeps what the plan of a generation was compiled from.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put_origin(&self, generation: u64, origin: &Origin) -> Result<(), StoreError> {
        put(&self.origin_file(generation), origin)
    }

    /// What the plan of a generation was compiled from; `None` for one that was deployed without it.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn origin(&self, generation: u64) -> Result<Option<Origin>, StoreError> {
        read(&self.origin_file(generation))
    }

    /// Keeps which programs the processes of a generation are started from.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put_programs(&self, generation: u64, programs: &Programs) -> Result<(), StoreError> {
        put(&self.programs_file(generation), programs)
    }

    /// Which programs the processes of a generation were started from, if that is known.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn programs(&self, generation: u64) -> Result<Option<Programs>, StoreError> {
        read(&self.programs_file(generation))
    }

    /// Writes down what a rollout is about to do.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        put(&self.intent_file(intent.to), intent)
    }

    /// What the rollout to this generation is.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn intent(&self, generation: u64) -> Result<Option<Intent>, StoreError> {
        read(&self.intent_file(generation))
    }

    /// The newest rollout that nobody has brought to an end: its account isn't there. One that leads to a plan before the
    /// live one is over, whatever became of who led it.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn unfinished(&self) -> Result<Option<Intent>, StoreError> {
        let live = self.live()?.unwrap_or(0);
        let mut begun = numbers(&self.directory.join("rollouts"))?;
        begun.retain(|&generation| generation >= live && !self.account_file(generation).exists());
        begun.into_iter().max().map_or(Ok(None), |newest| self.intent(newest))
    }

    /// Forgets all about generations before this one.
    ///
    /// # Errors
    /// If something can't be removed.
    pub fn forget_before(&self, generation: u64) -> Result<(), StoreError> {
        for part in PARTS {
            let directory = self.directory.join(part);
            for number in numbers(&directory)?.into_iter().filter(|number| *number < generation) {
                let name = if part == "decisions" { number.to_string() } else { format!("{number}.json") };
                let path = directory.join(name);
                fs::remove_file(&path).map_err(StoreError::at("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Decides, unless it is decided already; answers what holds now.
    ///
    /// # Errors
    /// If it can't be written: then nobody knows, and whoever asked has to ask again.
    pub fn decide(&self, generation: u64, decision: Decision) -> Result<Decision, StoreError> {
        self.ready(generation, decision)?.take(self)
    }

    /// Writes a decision down beside its place, so that little remains to be done when it is taken.
    ///
    /// # Errors
    /// If it can't be written: nothing is decided.
    pub fn ready(&self, generation: u64, decision: Decision) -> Result<Ready, StoreError> {
        let path = self.decision_file(generation);
        let written = written(&path, &decision).map_err(StoreError::at("write", &path))?;
        Ok(Ready { generation, decision, written })
    }

    /// What was decided, if it is.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn decision(&self, generation: u64) -> Result<Option<Decision>, StoreError> {
        read(&self.decision_file(generation))
    }

    /// Keeps the account of a rollout.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put_history(&self, generation: u64, account: &impl Serialize) -> Result<(), StoreError> {
        put(&self.account_file(generation), account)
    }

    /// The accounts of all rollouts, by generation.
    ///
    /// # Errors
    /// If one can't be read.
    pub fn history<T: DeserializeOwned>(&self) -> Result<Vec<(u64, T)>, StoreError> {
        let directory = self.directory.join("history");
        let entries = fs::read_dir(&directory).map_err(StoreError::at("read", &directory))?;
        let mut all = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(generation), Some(account)) = (stem, read(&path)?) {
                all.push((generation, account));
            }
        }
        all.sort_by_key(|(generation, _)| *generation);
        Ok(all)
    }

    fn origin_file(&self, generation: u64) -> PathBuf {
        self.directory.join("origins").join(format!("{generation}.json"))
    }

    fn programs_file(&self, generation: u64) -> PathBuf {
        self.directory.join("programs").join(format!("{generation}.json"))
    }

    fn account_file(&self, generation: u64) -> PathBuf {
        self.directory.join("history").join(format!("{generation}.json"))
    }

    fn intent_file(&self, generation: u64) -> PathBuf {
        self.directory.join("rollouts").join(format!("{generation}.json"))
    }

    fn decision_file(&self, generation: u64) -> PathBuf {
        self.directory.join("decisions").join(generation.to_string())
    }
}

fn put(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let put = || {
        written(path, value)?.persist(path)?;
        sync_directory_of(path)
    };
    put().map_err(StoreError::at("write", path))
}

/// The generations that have a file in a directory.
fn numbers(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = fs::read_dir(directory).map_err(StoreError::at("read", directory))?;
    let numbers = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".json").unwrap_or(&name).parse::<u64>().ok()
    });
    Ok(numbers.collect())
}

/// A decision that stands on the disk already, but not in its place.
#[derive(Debug)]
pub struct Ready {
    generation: u64,
    decision: Decision,
    written: NamedTempFile,
}

impl Ready {
    /// Decides so, unless it is decided already; answers what holds now.
    ///
    /// # Errors
    /// As [`Store::decide`].
    pub fn take(self, store: &Store) -> Result<Decision, StoreError> {
        let path = store.decision_file(self.generation);
        halt::need_room_on_disk().map_err(StoreError::at("write", &path))?;
        let holds = match self.written.persist_noclobber(&path) {
            Ok(_) => self.decision,
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => {
                let found = store.decision(self.generation)?;
                found.ok_or_else(|| StoreError::at("read", &path)(io::ErrorKind::NotFound.into()))?
            }
            Err(failed) => return Err(StoreError::at("write", &path)(failed.error)),
        };
        // Also if another made it, who may not have come to syncing it.
        sync_directory_of(&path).map_err(StoreError::at("sync the directory of", &path))?;
        Ok(holds)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read(path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(StoreError::at("understand", path)(error.into())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::at("read", path)(error)),
    }
}

/// A synced file beside this place, to be put into it.
fn written(place: &Path, value: &impl Serialize) -> io::Result<NamedTempFile> {
    halt::need_room_on_disk()?;
    let mut file = NamedTempFile::new_in(place.parent().unwrap_or(Path::new(".")))?;
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_commit_and_abort_the_first_wins_and_both_are_told_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.decision(2).unwrap(), None);
        assert_eq!(store.decide(2, Decision::Abort).unwrap(), Decision::Abort);
        assert_eq!(store.decide(2, Decision::Commit).unwrap(), Decision::Abort);
        assert_eq!(store.decision(2).unwrap(), Some(Decision::Abort));
        assert_eq!(store.decide(3, Decision::Commit).unwrap(), Decision::Commit);
    }

    #[test]
    fn what_has_no_account_and_is_not_behind_the_live_plan_is_to_be_brought_to_an_end_the_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let unfinished = || store.unfinished().unwrap().map(|intent| intent.to);
        store.set_live(1).unwrap();
        assert_eq!(unfinished(), None);
        for (from, to) in [(1, 2), (2, 3)] {
            store.put_intent(&Intent { from, to, parts: Vec::new(), is_rollback: to == 3 }).unwrap();
        }
        assert_eq!(unfinished(), Some(3), "the way back, first");
        store.put_history(3, &0).unwrap();
        assert_eq!(unfinished(), Some(2), "there was no way back: what it led back from is still held");
        store.set_live(2).unwrap();
        assert_eq!(unfinished(), Some(2), "it is live, and not all servers may have been released");
        store.set_live(3).unwrap();
        assert_eq!(unfinished(), None);
    }

    #[test]
    fn many_who_decide_at_once_are_told_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for generation in 0..50 {
            let both = std::thread::scope(|scope| {
                [Decision::Commit, Decision::Abort]
                    .map(|wish| {
                        let directory = directory.path();
                        scope.spawn(move || Store::open(directory).unwrap().decide(generation, wish).unwrap())
                    })
                    .map(|thread| thread.join().unwrap())
            });
            assert_eq!(both[0], both[1]);
            assert_eq!(store.decision(generation).unwrap(), Some(both[0]));
        }
    }

    #[test]
    fn the_newest_generation_is_found_also_if_it_never_went_live() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.newest().unwrap(), 0);
        store.set_live(4).unwrap();
        assert_eq!((store.newest().unwrap(), store.live().unwrap()), (4, Some(4)));
        fs::write(store.plan_file(7), "{}").unwrap();
        assert_eq!(store.newest().unwrap(), 7);
    }
}
