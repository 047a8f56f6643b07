//! Drift: what runs otherwise than it was deployed. Only what can be known from here is told: what the launchers say, and
//! what the system says of the files that processes were started from.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde::Serialize;
use waldo_compiler::{
    plan::{Plan, ProcessPlan, Program, Speaks, StageProgram},
    verify_digest,
};
use waldo_runtime::{
    cluster,
    control::{Condition, ProcessStatus, ServerStatus, Stand},
    launcher::resolve_program,
    paths::Paths,
    programs::Programs,
    rollout::Store,
};

/// One thing that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// On which server; `null` for the namespace as a whole.
    pub server: Option<String>,
    /// Which process; `null` for the server as a whole.
    pub process: Option<String>,
    /// What is otherwise.
    pub what: String,
}

/// How a namespace really is.
#[derive(Debug, Default)]
pub struct Found {
    /// What isn't as it was deployed.
    pub drift: Vec<Drift>,
    /// The stages' processes whose programs are others than those that they were started from: server and process.
    pub rebuilt: BTreeSet<(String, String)>,
}

impl Found {
    fn tell(&mut self, server: Option<&str>, process: Option<&str>, what: impl Into<String>) {
        let owned = |name: Option<&str>| name.map(str::to_owned);
        self.drift.push(Drift { server: owned(server), process: owned(process), what: what.into() });
    }
}

/// Asks the launchers of a namespace.
pub fn look(live: &Plan, paths: &Paths) -> Found {
    let mut found = Found::default();
    if !verify_digest(live) {
        found.tell(None, None, format!("{} has been changed since it was written", paths.live_plan().display()));
    }
    let programs = Known::of(live, paths);
    let mut clients = cluster::connect(paths);
    let statuses: Vec<ServerStatus> = clients.iter_mut().filter_map(|client| client.status().ok()).collect();
    for (server, plan) in &live.servers {
        let Some(status) = statuses.iter().find(|status| status.server == *server) else {
            // A launcher without processes has nothing to do, and ends.
            if !plan.processes.is_empty() {
                found.tell(Some(server), None, "its launcher doesn't answer");
            }
            continue;
        };
        if status.digest != live.digest {
            found.tell(Some(server), None, format!("it runs plan {}, not {}", status.digest, live.digest));
        }
        if status.phase >= Stand::Draining {
            found.tell(Some(server), None, format!("it is {}", status.phase));
        }
        for process in &status.processes {
            let Some(plan) = plan.processes.iter().find(|plan| plan.name == process.name) else {
                found.tell(Some(server), Some(&process.name), "it isn't in the plan");
                continue;
            };
            if let Some(what) = trouble(process) {
                found.tell(Some(server), Some(&process.name), what);
            }
            let is_stage = matches!(plan.program, Program::Stage(_));
            let is_other = if is_stage && programs.know(server, &process.name) {
                programs.is_other(server, &process.name)
            } else {
                process.state == Condition::Ready && is_replaced(process, plan, paths.root()) == Some(true)
            };
            if is_other {
                found.tell(
                    Some(server),
                    Some(&process.name),
                    "its program has been replaced on disk since it was started",
                );
                if is_stage {
                    found.rebuilt.insert((server.clone(), process.name.clone()));
                }
            }
        }
    }
    for status in statuses.iter().filter(|status| !live.servers.contains_key(&status.server)) {
        found.tell(Some(&status.server), None, "it isn't in the plan");
    }
    found
}

/// What is known of the programs that processes were started from.
#[derive(Default)]
struct Known {
    programs: Option<Programs>,
    rebuilt: BTreeSet<(String, String)>,
}

impl Known {
    fn of(live: &Plan, paths: &Paths) -> Self {
        let kept = Store::open(&paths.store()).and_then(|store| match store.live()? {
            Some(generation) => store.programs(generation),
            None => Ok(None),
        });
        // What can't be read isn't known: the system is asked instead.
        let Ok(Some(programs)) = kept else { return Self::default() };
        let rebuilt = programs.rebuilt(&programs.now(live, paths.root()));
        Self { programs: Some(programs), rebuilt }
    }

    fn know(&self, server: &str, process: &str) -> bool {
        self.programs.as_ref().is_some_and(|programs| programs.knows(server, process))
    }

    fn is_other(&self, server: &str, process: &str) -> bool {
        !self.rebuilt.is_empty() && self.rebuilt.contains(&(server.to_owned(), process.to_owned()))
    }
}

fn trouble(process: &ProcessStatus) -> Option<String> {
    let ended = process.ended.as_ref().map_or_else(String::new, |ended| format!(": {ended}"));
    match process.state {
        Condition::GivenUp => Some(format!("it was given up{ended}")),
        Condition::BackingOff => Some(format!("it has ended, and will be started again after a pause{ended}")),
        Condition::Stopped | Condition::Leaving => Some("it has been asked to leave".to_owned()),
        Condition::Waiting | Condition::Starting | Condition::Ready | Condition::Finished | Condition::Ended => None,
    }
}

/// Whether the file of a process's program isn't the one that it was started from, where its bytes aren't known. `None` if that can't be known either: scripts
/// are run by an interpreter, programs behind a bridge are the bridge's, and other users' processes can't be looked at.
fn is_replaced(process: &ProcessStatus, plan: &ProcessPlan, root: &Path) -> Option<bool> {
    let running = fs::metadata(format!("/proc/{}/exe", process.pid?)).ok()?;
    let file = match &plan.program {
        // Waldo's own, whichever file that was.
        Program::Portal => {
            let image = fs::read_link(format!("/proc/{}/exe", process.pid?)).ok()?;
            return Some(image.to_string_lossy().ends_with(" (deleted)"));
        }
        Program::Stage(program) if program.speaks == Speaks::Sdk => program_file(program, root)?,
        Program::Stage(_) => return None,
    };
    if is_script(&file)? {
        return None;
    }
    let on_disk = fs::metadata(&file).ok()?;
    Some((running.dev(), running.ino()) != (on_disk.dev(), on_disk.ino()))
}

fn program_file(program: &StageProgram, root: &Path) -> Option<std::path::PathBuf> {
    let path = program.env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
    resolve_program(root, program.argv.first()?, path.as_ref())
}

/// Whether the system starts an interpreter for it.
fn is_script(file: &Path) -> Option<bool> {
    let mut start = [0; 2];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).ok()?;
    Some(&start == b"#!")
}
