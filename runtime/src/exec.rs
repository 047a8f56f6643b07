//! The exec shim: user, limits, working directory and signals of a process, set in the process itself before it becomes
//! the program. Doing this between fork and exec (`pre_exec`) would make each start from a large launcher slow. Processes
//! for which none of this is asked are started without it.

use std::{
    ffi::{CString, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::SigSet,
    },
    unistd::{self, AccessFlags, Gid, User, access},
};

use crate::sys;

/// How a process is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Whom it runs as; `None` for whoever starts it.
    pub user: Option<String>,
    /// The number of the group that all processes of the namespace have, besides those of their users.
    pub group: Option<u32>,
    /// How many files it may have open.
    pub nofile: Option<u64>,
    /// How much memory it may have written to, where no control group sees to that: `RLIMIT_DATA`. Bytes.
    pub memory: Option<u64>,
    /// The control groups that it joins.
    pub cgroups: Vec<PathBuf>,
    /// Where it runs.
    pub cwd: Option<PathBuf>,
    /// The program and its arguments; not empty.
    pub argv: Vec<OsString>,
}

impl Setup {
    /// Whether only a working directory is asked for, which whoever starts a process can give it: no shim is needed then.
    pub fn is_plain(&self) -> bool {
        let Self { user, group, nofile, memory, cgroups, cwd: _, argv: _ } = self;
        user.is_none() && group.is_none() && nofile.is_none() && memory.is_none() && cgroups.is_empty()
    }
}

/// Why a process could not become its program.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// No program was named.
    #[error("no program to run")]
    Nothing,
    /// The limit could not be set.
    #[error("cannot allow {wanted} open files (limits.nofile): the hard limit here is {hard}")]
    Files {
        /// What the topology asks for.
        wanted: u64,
        /// What the system allows.
        hard: u64,
    },
    /// The limit of memory could not be set.
    #[error("cannot limit memory to {wanted} bytes (limits.memory): {why}")]
    Memory {
        /// What the topology asks for. Bytes.
        wanted: u64,
        /// What the system says.
        why: nix::Error,
    },
    /// A control group can't be joined.
    #[error("cannot join the control group {why}")]
    Group {
        /// Which, and what the system says.
        why: std::io::Error,
    },
    /// There is no such user.
    #[error("cannot run as {0}: this machine has no such user")]
    NoUser(String),
    /// The user can't be switched to.
    #[error("cannot run as {user}: {why}; only root may run programs as other users")]
    User {
        /// Whom.
        user: String,
        /// What the system says.
        why: nix::Error,
    },
    /// The working directory can't be entered.
    #[error("cannot run in {}: {why}{}", path.display(), closed(path))]
    Directory {
        /// Where it was to run.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The signal mask can't be set.
    #[error("cannot reset signals: {0}")]
    Signals(nix::Error),
    /// The program can't be run.
    #[error("cannot run {}: {why}{}", program.display(), closed(Path::new(program)))]
    Program {
        /// What was to run.
        program: OsString,
        /// What the system says.
        why: std::io::Error,
    },
}

/// Words for the first directory on the way to a path that this user may not enter, if there is one.
fn closed(path: &Path) -> String {
    let may_not_enter = |directory: &&Path| access(*directory, AccessFlags::X_OK) == Err(Errno::EACCES);
    let mut way: Vec<&Path> = path.ancestors().filter(|directory| directory.is_absolute()).collect();
    way.reverse();
    let user = User::from_uid(unistd::getuid()).ok().flatten().map_or_else(|| "this user".to_owned(), |user| user.name);
    way.iter()
        .find(|directory| may_not_enter(directory))
        .map_or_else(String::new, |directory| format!("; {user} may not enter or run {}", directory.display()))
}

/// Sets the process up and becomes the program. Comes back only with the reason why that failed.
pub fn become_program(setup: &Setup) -> NotStarted {
    match set_up(setup) {
        Err(why) => why,
        Ok(program) => {
            let why = Command::new(program).args(&setup.argv[1..]).exec();
            NotStarted::Program { program: program.clone(), why }
        }
    }
}

/// Takes on user and groups, and gives up the way back. Before the working directory is entered: the user must be able to.
fn become_user(setup: &Setup) -> Result<(), NotStarted> {
    let Some(name) = &setup.user else {
        if let Some(group) = setup.group {
            // The namespace's directories need it only of those who aren't root.
            let mut groups = unistd::getgroups().unwrap_or_default();
            groups.push(Gid::from_raw(group));
            let _ = unistd::setgroups(&groups);
        }
        return Ok(());
    };
    let user = User::from_name(name).ok().flatten().ok_or_else(|| NotStarted::NoUser(name.clone()))?;
    if user.uid == unistd::geteuid() {
        return Ok(());
    }
    let switch = || {
        let mut groups = match CString::new(name.as_str()) {
            Ok(name) => unistd::getgrouplist(&name, user.gid)?,
            Err(_) => vec![user.gid],
        };
        groups.extend(setup.group.map(Gid::from_raw));
        unistd::setgroups(&groups)?;
        unistd::setgid(user.gid)?;
        unistd::setuid(user.uid)?;
        prctl::set_no_new_privs()
    };
    switch().map_err(|why| NotStarted::User { user: name.clone(), why })
}

fn set_up(setup: &Setup) -> Result<&OsString, NotStarted> {
    let program = setup.argv.first().ok_or(NotStarted::Nothing)?;
    if let Some(wanted) = setup.nofile {
        let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
        if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_err() {
            return Err(NotStarted::Files { wanted, hard });
        }
    }
    if let Some(wanted) = setup.memory {
        setrlimit(Resource::RLIMIT_DATA, wanted, wanted).map_err(|why| NotStarted::Memory { wanted, why })?;
    }
    // While whoever started this still has the right to.
    for group in &setup.cgroups {
        sys::cgroup::join(group).map_err(|why| NotStarted::Group { why })?;
    }
    become_user(setup)?;
    if let Some(path) = &setup.cwd {
        std::env::set_current_dir(path).map_err(|why| NotStarted::Directory { path: path.clone(), why })?;
    }
    sys::default_signals().map_err(NotStarted::Signals)?;
    SigSet::all().thread_unblock().map_err(NotStarted::Signals)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_needs_the_shim_as_soon_as_more_than_a_directory_is_asked_for() {
        let plain = Setup { cwd: Some(PathBuf::from("/")), argv: vec!["true".into()], ..Setup::default() };
        assert!(plain.is_plain());
        let more = [
            Setup { user: Some("nobody".into()), ..plain.clone() },
            Setup { group: Some(7), ..plain.clone() },
            Setup { nofile: Some(64), ..plain.clone() },
            Setup { memory: Some(1 << 20), ..plain.clone() },
            Setup { cgroups: vec!["/sys/fs/cgroup/a".into()], ..plain },
        ];
        assert!(more.iter().all(|setup| !setup.is_plain()), "{more:?}");
    }
}
