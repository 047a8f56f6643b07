//! Where everything of a namespace lives on this machine.
//!
//! ```text
//! <run>/<topology>/<namespace>/           as long as it runs
//!     up.lock                             held by the command that leads
//!     <server>/
//!         launcher.lock  launcher.sock  processes.sock  launcher.json  plan-<generation>.json  guide.json
//!         guide-<generation>.json
//!         <process>/{in, page, rates, wiring.json, identity.json}
//! <root>/.waldo/                          beside the topology, and stays
//!     build/<namespace>/                  what was compiled
//!     <namespace>/live.json          the plan that is live, or was last
//!     <namespace>/store/             plans, decisions and accounts of rollouts
//!     <namespace>/<server>/{state/<process>/, spool/<portal>/, log/<process>.log, paused.json, live.json, incarnation}
//! ```
//!
//! `<run>` is `$WALDO_RUN_DIR`, else `/run/waldo` for root, else `$XDG_RUNTIME_DIR/waldo`, else `/tmp/waldo-<uid>`.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::sys::process::Marks;

/// The longest path of a Unix socket that Linux takes. Bytes.
pub const MAX_SOCKET_PATH: usize = 107;

/// Why a place can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A directory can't be made or entered.
    #[error("cannot use {} as {purpose}: {why}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What for.
        purpose: &'static str,
        /// What the system says.
        why: io::Error,
    },
    /// The run directory is another user's.
    #[error("the run directory {} belongs to another user (uid {owner})", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// A socket's path is longer than the system takes.
    #[error(
        "the socket path {} has {} bytes, {} more than the {MAX_SOCKET_PATH} that Linux takes", path.display(),
        path.as_os_str().len(), path.as_os_str().len() - MAX_SOCKET_PATH
    )]
    TooLong {
        /// Which.
        path: PathBuf,
    },
}

impl Unusable {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { purpose: RUN, .. } | Self::Foreign { .. } => {
                "set WALDO_RUN_DIR to a directory that you may write".to_owned()
            }
            Self::Directory { path, .. } => {
                format!("make {} writable for you, or free room on its disk", path.display())
            }
            Self::TooLong { .. } => "set WALDO_RUN_DIR to a shorter path, or shorten the names in it".to_owned(),
        }
    }
}

const RUN: &str = "run directory";
const KEPT: &str = "a directory for state, spools and logs";

/// The places of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    run: PathBuf,
    root: PathBuf,
    kept: PathBuf,
    namespace: String,
}

/// The places of one server of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPaths {
    /// Its run directory.
    pub run: PathBuf,
    /// The directory of what its processes remember.
    pub states: PathBuf,
    kept: PathBuf,
}

/// The directory of all run directories, as the environment says.
pub fn run_root() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = set("WALDO_RUN_DIR") {
        return std::path::absolute(&directory).unwrap_or(directory);
    }
    let user = geteuid();
    if user.is_root() {
        return PathBuf::from("/run/waldo");
    }
    match set("XDG_RUNTIME_DIR") {
        Some(directory) => directory.join("waldo"),
        None => PathBuf::from(format!("/tmp/waldo-{user}")),
    }
}

impl Paths {
    /// The places of this namespace of the topology in the directory `root`.
    pub fn new(run_root: &Path, root: &Path, topology: &str, namespace: &str) -> Self {
        Self {
            run: run_root.join(topology).join(namespace),
            root: root.to_owned(),
            kept: root.join(".waldo").join(namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// The places of a namespace on a server of its own, as units have them.
    pub fn installed(topology: &str, namespace: &str) -> Self {
        let below = |directory: &str| Path::new(directory).join(topology).join(namespace);
        Self::new(Path::new("/run/waldo"), &below("/opt/waldo"), topology, namespace).keeping(&below("/var/lib/waldo"))
    }

    /// The same, with what stays in another directory.
    #[must_use]
    pub fn keeping(self, kept: &Path) -> Self {
        Self { kept: kept.to_owned(), ..self }
    }

    /// The topology's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of all run directories.
    pub fn run_root(&self) -> &Path {
        // Two levels up, by how it was made.
        self.run.parent().and_then(Path::parent).unwrap_or(&self.run)
    }

    /// The namespace's run directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The lock of the command that leads the namespace.
    pub fn lock(&self) -> PathBuf {
        self.run.join("up.lock")
    }

    /// Where the compiled plan lives.
    pub fn build(&self) -> PathBuf {
        self.root.join(".waldo/build").join(&self.namespace)
    }

    /// The plan that is live, or was live last.
    pub fn live_plan(&self) -> PathBuf {
        self.kept.join("live.json")
    }

    /// Plans, decisions and accounts of rollouts.
    pub fn store(&self) -> PathBuf {
        self.kept.join("store")
    }

    /// The places of a server.
    pub fn server(&self, server: &str) -> ServerPaths {
        let kept = self.kept.join(server);
        ServerPaths { run: self.run.join(server), states: kept.join("state"), kept }
    }

    /// Where a server's launcher says, when it leaves, how all ended. Not on the disk whose being full may be the matter.
    pub fn last_status(&self, server: &str) -> PathBuf {
        self.run.join(format!("{server}.json"))
    }

    /// Removes what portals have kept in their spools, on all servers that ever ran here.
    pub fn remove_spools(&self) -> Result<(), Unusable> {
        let Ok(servers) = fs::read_dir(&self.kept) else { return Ok(()) };
        for server in servers.flatten() {
            let path = server.path().join("spool");
            if !path.is_dir() {
                continue;
            }
            match fs::remove_dir_all(&path) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(Unusable::Directory { path, purpose: KEPT, why });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets what a person has paused, and which plan was live, on all servers that ever ran here: with what runs that ends,
    /// too.
    pub fn forget_pauses_and_plans(&self) {
        for server in fs::read_dir(&self.kept).into_iter().flatten().flatten() {
            // What isn't there needs no forgetting.
            for forgotten in ["paused.json", "live.json"] {
                let _ = fs::remove_file(server.path().join(forgotten));
            }
        }
    }

    /// The servers that have a run directory now, in order of their names.
    pub fn servers_running(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.run) else { return Vec::new() };
        let mut servers: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        servers.sort();
        servers
    }

    /// Makes the namespace's run directory.
    ///
    /// # Errors
    /// If it can't be made or written, or isn't ours.
    pub fn make_run(&self, run_root: &Path) -> Result<(), Unusable> {
        make(run_root, 0o755, RUN)?;
        // In a shared directory such as /tmp anybody could have made it before us and then swap what is in it.
        let owner = fs::symlink_metadata(run_root).map_or(u32::MAX, |metadata| metadata.uid());
        if owner != geteuid().as_raw() && owner != 0 {
            return Err(Unusable::Foreign { path: run_root.to_owned(), owner });
        }
        make(&self.run, 0o750, RUN)?;
        writable(&self.run, RUN)
    }

    /// Makes the directory for what stays.
    ///
    /// # Errors
    /// If it can't be made or written.
    pub fn make_kept(&self) -> Result<(), Unusable> {
        make(&self.kept, 0o755, KEPT)?;
        writable(&self.kept, KEPT)
    }

    /// Removes the namespace's run directory and those above it that have become empty.
    pub fn remove_run(&self) {
        // Another namespace may live beside this one: then its parents aren't empty, and stay.
        let _ = fs::remove_dir_all(&self.run);
        if let Some(topology) = self.run.parent() {
            let _ = fs::remove_dir(topology);
        }
    }
}

impl ServerPaths {
    /// The kernel lock of the server's launcher.
    pub fn lock(&self) -> PathBuf {
        self.run.join("launcher.lock")
    }

    /// The kernel lock of what is kept: run directories may differ (`WALDO_RUN_DIR`, a session without
    /// `XDG_RUNTIME_DIR`), but state and spools are the same.
    pub fn kept_lock(&self) -> PathBuf {
        self.kept.join("lock")
    }

    /// What the launcher keeps for the next one.
    pub fn launcher(&self) -> PathBuf {
        self.run.join("launcher.json")
    }

    /// The plan of this generation, as it is live: the file that it was read from may be changed.
    pub fn plan_of(&self, generation: u64) -> PathBuf {
        self.run.join(format!("plan-{generation}.json"))
    }

    /// Where the launcher takes commands.
    pub fn commands(&self) -> PathBuf {
        self.run.join("launcher.sock")
    }

    /// Where the launcher talks to its processes.
    pub fn processes(&self) -> PathBuf {
        self.run.join("processes.sock")
    }

    /// The guide that the server's processes share.
    pub fn guide(&self) -> PathBuf {
        self.run.join("guide.json")
    }

    /// The guide that processes share which have adopted this generation.
    pub fn guide_of(&self, generation: u64) -> PathBuf {
        self.run.join(format!("guide-{generation}.json"))
    }

    /// The run directory of a process.
    pub fn process(&self, process: &str) -> PathBuf {
        self.run.join(process)
    }

    /// The counters page of a process.
    pub fn page(&self, process: &str) -> PathBuf {
        self.process(process).join("page")
    }

    /// What a portal has measured.
    pub fn rates(&self, portal: &str) -> PathBuf {
        self.process(portal).join(crate::rates::page::FILE)
    }

    /// The inbox of a process.
    pub fn inbox(&self, process: &str) -> PathBuf {
        self.process(process).join("in")
    }

    /// The wiring of a process.
    pub fn wiring(&self, process: &str) -> PathBuf {
        self.process(process).join("wiring.json")
    }

    /// Which process of the system it is.
    pub fn identity(&self, process: &str) -> PathBuf {
        self.process(process).join("identity.json")
    }

    /// Where a process keeps what it remembers.
    pub fn state(&self, process: &str) -> PathBuf {
        self.states.join(process)
    }

    /// What a process of this server is known by, whoever started it.
    pub fn marks(&self) -> Marks<'_> {
        Marks { run: &self.run, state: &self.states }
    }

    /// Which plan is live, for when the machine is started again.
    pub fn live_plan(&self) -> PathBuf {
        self.kept.join("live.json")
    }

    /// The highest incarnation of its processes, for when the machine is started again.
    pub fn incarnation(&self) -> PathBuf {
        self.kept.join("incarnation")
    }

    /// What a person has paused.
    pub fn paused(&self) -> PathBuf {
        self.kept.join("paused.json")
    }

    /// Where a portal keeps its spool.
    pub fn spool(&self, portal: &str) -> PathBuf {
        self.kept.join("spool").join(portal)
    }

    /// Where logs are kept.
    pub fn logs(&self) -> PathBuf {
        self.kept.join("log")
    }

    /// The log of a process; of the launcher itself it is `launcher`.
    pub fn log(&self, process: &str) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    /// Checks that the sockets of the launcher and of these processes have paths that Linux takes.
    ///
    /// # Errors
    /// The longest one that is too long.
    pub fn check_socket_paths<'a>(&self, processes: impl Iterator<Item = &'a str>) -> Result<(), Unusable> {
        let longest = processes
            .map(|process| self.inbox(process))
            .chain([self.commands(), self.processes()])
            .max_by_key(|path| path.as_os_str().len());
        match longest {
            Some(path) if path.as_os_str().len() > MAX_SOCKET_PATH => Err(Unusable::TooLong { path }),
            _ => Ok(()),
        }
    }
}

fn make(directory: &Path, mode: u32, purpose: &'static str) -> Result<(), Unusable> {
    DirBuilder::new().recursive(true).mode(mode).create(directory).map_err(|why| Unusable::Directory {
        path: directory.to_owned(),
        purpose,
        why,
    })
}

/// Writes, syncs and removes a small file: rights, a read-only mount and a full disk all show.
fn writable(directory: &Path, purpose: &'static str) -> Result<(), Unusable> {
    let probe = directory.join(format!(".writable-{}", std::process::id()));
    let written = fs::write(&probe, [b'w'; 4096]).and_then(|()| fs::File::open(&probe)?.sync_all());
    let removed = fs::remove_file(&probe);
    written.and(removed).map_err(|why| Unusable::Directory { path: directory.to_owned(), purpose, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_that_is_too_long_is_named_with_the_number_of_bytes_over() {
        let root = format!("/{}", "r".repeat(90));
        let paths = Paths::new(Path::new(&root), Path::new("/t"), "calls", "dev");
        let server = paths.server("s1");
        // /rrr…/calls/dev/s1/score.0/in: 91 + 6 + 4 + 3 + 8 + 3 bytes, 8 over; but processes.sock makes 119, 12 over.
        let error = server.check_socket_paths(["score.0"].into_iter()).unwrap_err();
        assert!(error.to_string().contains(" 119 bytes, 12 more than the 107"), "{error}");
        assert!(error.hint().contains("WALDO_RUN_DIR"));
        let paths = Paths::new(Path::new("/run/waldo"), Path::new("/t"), "calls", "dev");
        paths.server("s1").check_socket_paths(["score.0"].into_iter()).unwrap();
    }

    #[test]
    fn a_run_directory_that_cannot_be_made_is_an_error_that_says_what_to_set() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Paths::new(&file, directory.path(), "t", "n").make_run(&file).unwrap_err();
        assert!(error.to_string().contains("run directory"), "{error}");
        assert!(error.hint().contains("WALDO_RUN_DIR"));
    }

    #[test]
    fn the_run_directory_goes_and_another_namespaces_stays() {
        let directory = tempfile::tempdir().unwrap();
        let of = |namespace| Paths::new(directory.path(), directory.path(), "t", namespace);
        of("one").make_run(directory.path()).unwrap();
        of("two").make_run(directory.path()).unwrap();
        of("one").remove_run();
        assert!(!of("one").run().exists());
        assert!(of("two").run().exists());
        of("two").remove_run();
        assert!(!directory.path().join("t").exists());
    }
}
