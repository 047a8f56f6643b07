//! The launcher: one process for each server, which starts that server's processes, watches them and ends them.
//!
//! `machine` decides, `driver` does; `prepare` sets the run directory up, `spawn` starts one process, `pause` is what a person
//! holds, `logs` keeps logs small, `lines` reads and writes the sockets. What a launcher must leave to the next one is in
//! `kept`; `takeover` goes on with it, with processes that are `adopted`; `leftovers` clears what can't be gone on with.

mod adopted;
mod driver;
mod kept;
mod leftovers;
mod limits;
mod lines;
mod logs;
mod machine;
mod owners;
mod pause;
mod prepare;
mod remembered;
mod rollout;
mod spawn;
mod state;
mod status;
mod takeover;

use std::{io, path::PathBuf, time::Duration};

use waldo_compiler::plan::{Plan, ServerPlan};

pub use kept::{Kept, Recorded};
pub use leftovers::{Leftovers, clear as clear_leftovers};
pub use limits::Limits;
pub use logs::last_lines;
pub use machine::{Effect, Event, Machine, change};
pub use pause::Paused;
pub use remembered::{Incarnations, LivePlan};
pub use spawn::resolve_program;
pub use state::{Ended, Finish, Overdue, Phase, Process, ProcessIndex, Role, State, Step};
pub use status::unlaunched;

use self::{
    driver::{Beginning, Driver},
    prepare::Installation,
};
use crate::{
    control::Holder,
    paths::{Paths, ServerPaths, Unusable},
    sys::{
        self,
        lock::{Lock, Taken},
        process::{self, Identity},
    },
};

/// How long what is left at the end may take to be gone.
const SWEEP: Duration = Duration::from_secs(5);

/// What a launcher is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The plan's file.
    pub plan: PathBuf,
    /// Which server it is for.
    pub server: String,
    /// The topology's directory.
    pub root: PathBuf,
    /// The directory of all run directories.
    pub run_root: PathBuf,
    /// The number of the plan.
    pub generation: u64,
    /// Where what stays is kept; `None` for `.waldo/NAMESPACE` in the root.
    pub kept: Option<PathBuf>,
    /// Whether nobody leads: the sources are started as soon as everything else on this server is ready.
    pub alone: bool,
    /// Whether the plan needn't have the server: a rollout is about to bring it in.
    pub joining: bool,
    /// Whether to stop when stdin ends: its other end is held by the command that started this launcher.
    pub attached: bool,
}

impl Options {
    /// Whether it goes on where it was when the machine is started again: no command will say so.
    fn remembers(&self) -> bool {
        self.alone || self.joining
    }
}

/// Why a launcher could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The plan can't be read.
    #[error("cannot read the plan {}: {why}", path.display())]
    Plan {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The plan has no such server.
    #[error("the plan has no server named {0}")]
    NoServer(String),
    /// A place can't be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Another launcher runs this server.
    #[error("server {server} is run by another launcher{}", holder.as_ref().map_or_else(String::new,
        |holder| format!(" (process {})", holder.identity.pid)))]
    Held {
        /// Which.
        server: String,
        /// By whom.
        holder: Option<Holder>,
    },
    /// A stage is to run as a user that this machine doesn't know.
    #[error("{process} is to run as {user}, whom this machine doesn't know")]
    NoUser {
        /// Which process.
        process: String,
        /// As whom.
        user: String,
    },
    /// A stage is to run as another user, and this launcher isn't root.
    #[error("{process} is to run as {user}, and only root may run programs as other users")]
    NotRoot {
        /// Which process.
        process: String,
        /// As whom.
        user: String,
    },
    /// Processes of an earlier launcher can't be ended.
    #[error("processes of an earlier launcher don't end: {0:?}")]
    Leftovers(Vec<i32>),
    /// What an earlier launcher has left can't be gone on with.
    #[error("the earlier launcher has left a process {0} and no plan of it")]
    Forgotten(String),
    /// The system refused something.
    #[error("cannot {doing}: {why}")]
    Io {
        /// What.
        doing: String,
        /// What the system says.
        why: io::Error,
    },
    /// Some processes are still there at the end.
    #[error("these processes don't end, even killed: {0:?}")]
    Strays(Vec<i32>),
}

impl LaunchError {
    fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |why| Self::Io { doing, why: why.into() }
    }
}

/// A server on which nothing runs.
fn nothing_yet() -> ServerPlan {
    ServerPlan {
        address: String::new(),
        ssh: None,
        memory: None,
        cpu: None,
        queued_records: 0,
        queued_bytes: 0,
        processes: Vec::new(),
    }
}

/// Reads a plan's file.
///
/// # Errors
/// If it can't be read or is of another version.
pub fn read_plan(path: &std::path::Path) -> Result<Plan, LaunchError> {
    let wrong = |why: String| LaunchError::Plan { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if plan.format != waldo_compiler::plan::FORMAT {
        let format = waldo_compiler::plan::FORMAT;
        return Err(wrong(format!("it has format {}, this program reads {format}", plan.format)));
    }
    Ok(plan)
}

/// Runs a server until it is told to stop, by a command, by SIGTERM, or, if attached, by the end of stdin.
/// Nothing that descends from this process is left then.
///
/// # Errors
/// If the server can't be set up, or something can't be ended.
pub fn run(options: &Options) -> Result<(), LaunchError> {
    // Out of reach of the terminal: it is for the command to decide what Ctrl-C means. Fails if this process leads a
    // group already, and then it is out of reach as well.
    let _ = nix::unistd::setsid();
    sys::ignore_no_signals().map_err(LaunchError::io("reset signals"))?;
    process::become_subreaper().map_err(LaunchError::io("become the reaper of orphans"))?;
    let plan = read_plan(&options.plan)?;
    let server = match plan.servers.get(&options.server) {
        Some(server) => server.clone(),
        None if options.joining => nothing_yet(),
        None => return Err(LaunchError::NoServer(options.server.clone())),
    };
    let mut paths = Paths::new(&options.run_root, &options.root, &plan.topology, &plan.namespace);
    if let Some(kept) = &options.kept {
        paths = paths.keeping(kept);
    }
    paths.make_run(&options.run_root)?;
    let places = paths.server(&options.server);
    places.check_socket_paths(server.processes.iter().map(|process| process.name.as_str()))?;
    prepare::directory(&places.run)?;
    let identity = Identity::own().map_err(LaunchError::io("read /proc"))?;
    let holder = Holder { identity, what: "launcher".to_owned(), root: Some(options.root.clone()) };
    let lock = match Lock::take(&places.lock(), &holder).map_err(LaunchError::io("lock the run directory"))? {
        Taken::Ours(lock) => lock,
        Taken::Held(holder) => return Err(LaunchError::Held { server: options.server.clone(), holder }),
    };
    std::fs::create_dir_all(&places.states).map_err(LaunchError::io(format!("make {}", places.states.display())))?;
    let kept_lock = match Lock::take(&places.kept_lock(), &holder).map_err(LaunchError::io("lock what is kept"))? {
        Taken::Ours(lock) => lock,
        Taken::Held(holder) => return Err(LaunchError::Held { server: options.server.clone(), holder }),
    };
    let last_status = paths.last_status(&options.server);
    let behind = if options.remembers() {
        last_incarnation(&last_status).max(Incarnations::read(&places)?.highest())
    } else {
        0
    };
    let _ = std::fs::remove_file(&last_status);
    let begun = match takeover::find(options, &places) {
        // Where this fails what runs is left as it is, for the next try or for `waldo down`.
        Some((kept, plan)) => Ok(go_on(options, kept, &plan, &paths)?),
        None if options.remembers() => {
            let (options, plan) = where_it_was(options, plan, &places)?;
            begin(&options, &plan, &rollout::server_of(&plan, &options.server), &paths, behind)
        }
        None => begin(options, &plan, &server, &paths, behind),
    };
    let outcome = begun.and_then(Driver::run).and_then(|status| {
        let said =
            serde_json::to_vec(&status).map_err(io::Error::from).and_then(|text| std::fs::write(&last_status, text));
        said.map_err(LaunchError::io(format!("write {}", last_status.display())))
    });
    let swept = process::end_descendants(SWEEP).map_err(LaunchError::Strays);
    // What another launcher has started doesn't descend from this one.
    let swept = swept.and(leftovers::end_processes(&places).map_err(LaunchError::Leftovers));
    prepare::remove(&places);
    let _ = kept_lock.remove();
    // Last, so that whoever gets the lock next finds nothing of ours.
    let _ = lock.remove();
    let _ = std::fs::remove_dir(&places.run);
    outcome.and(swept.map(drop))
}

/// The highest incarnation on a server that has left and comes back; 0 if it is new. What others remember of its processes
/// mustn't be taken for those that are started now.
fn last_incarnation(last_status: &std::path::Path) -> u64 {
    let said = std::fs::read(last_status).ok();
    let status = said.and_then(|text| serde_json::from_slice::<crate::control::ServerStatus>(&text).ok());
    status.and_then(|status| status.processes.iter().map(|process| process.incarnation).max()).unwrap_or(0)
}

/// The plan that was live when the machine stopped, instead of the one that the launcher is started with, unless that has been
/// replaced since. What it begins with is remembered.
fn where_it_was(options: &Options, plan: Plan, places: &ServerPaths) -> Result<(Options, Plan), LaunchError> {
    // Who is brought in by a rollout is told where it stands, whatever it was when it left.
    let remembered = if options.joining { None } else { LivePlan::read(places)? };
    let (generation, begun_with, plan) = match remembered {
        Some(live) if live.begun_with == plan.digest => (live.generation, live.begun_with, live.plan),
        Some(live) => (live.generation + 1, plan.digest.clone(), plan),
        None => (options.generation, plan.digest.clone(), plan),
    };
    LivePlan::new(generation, &begun_with, &plan).write(places)?;
    Ok((Options { generation, ..options.clone() }, plan))
}

fn begin(
    options: &Options,
    plan: &Plan,
    server: &ServerPlan,
    paths: &Paths,
    behind: u64,
) -> Result<Driver, LaunchError> {
    let places = paths.server(&options.server);
    clear_leftovers(&places, true).map_err(LaunchError::Leftovers)?;
    let installation = Installation {
        generation: options.generation,
        plan,
        server: &options.server,
        places: &places,
        guide: places.guide(),
    };
    let pages = prepare::prepare(&installation, server)?;
    prepare::put_plan(&places, options.generation, plan)?;
    let mut beginning = Beginning::fresh(options, plan, server, pages, &places);
    beginning.machine = beginning.machine.behind(behind);
    Driver::new(options, plan, server, paths, beginning)
}

/// Goes on with the plan that is live here, whichever this launcher was started with.
fn go_on(options: &Options, kept: Kept, plan: &Plan, paths: &Paths) -> Result<Driver, LaunchError> {
    let places = paths.server(&options.server);
    let server = rollout::server_of(plan, &options.server);
    // Nobody listens there any more.
    for socket in [places.commands(), places.processes()] {
        let _ = std::fs::remove_file(socket);
    }
    let options = kept.options(options.attached);
    let left = takeover::take_over(kept, &server, &places)?;
    Driver::new(&options, plan, &server, paths, Beginning::taken_over(left, &places)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(program: &str) -> Plan {
        let text = format!("topology: t\nstages: {{a: {{run: {program}}}}}\n");
        let sources = waldo_compiler::Sources::of("t.yaml", &text);
        waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan
    }

    #[test]
    fn a_server_comes_back_with_the_plan_that_was_live_unless_a_person_has_put_another_one_there() {
        let directory = tempfile::tempdir().unwrap();
        let places = Paths::new(directory.path(), directory.path(), "t", "n").server("here");
        std::fs::create_dir_all(places.live_plan().parent().unwrap()).unwrap();
        let options = Options {
            plan: PathBuf::new(),
            server: "here".to_owned(),
            root: PathBuf::new(),
            run_root: PathBuf::new(),
            generation: 1,
            kept: None,
            alone: true,
            joining: false,
            attached: false,
        };
        let starts_with = |put_there: &Plan| {
            let (options, plan) = where_it_was(&options, put_there.clone(), &places).unwrap();
            (options.generation, plan.digest)
        };
        let (first, second, third) = (plan("one"), plan("two"), plan("three"));
        assert_eq!(starts_with(&first), (1, first.digest.clone()));
        LivePlan::new(5, &first.digest, &second).write(&places).unwrap();
        assert_eq!(starts_with(&first), (5, second.digest.clone()));
        assert_eq!(starts_with(&first), (5, second.digest.clone()), "as often as it is started");
        assert_eq!(starts_with(&third), (6, third.digest.clone()));
        assert_eq!(starts_with(&third), (6, third.digest.clone()));
    }
}
