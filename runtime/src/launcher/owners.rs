//! Who owns what is in the run directory, where stages run as other users.
//!
//! The namespace has a group of its own: a number made from its name, which no user has unless the launcher gives it.
//! Directories belong to it, with the setgid bit, so that what processes make in them does too: members may enter, look at
//! each other's counters pages and send to each other's inboxes; strangers stay out. Each process's own directory, page and
//! state belong to its user. Nothing of this is done where no stage has a `user`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use nix::unistd::{User, geteuid};
use waldo_compiler::plan::{Plan, ProcessPlan, Program, ServerPlan};
use xxhash_rust::xxh3::xxh3_64;

use super::LaunchError;
use crate::paths::ServerPaths;

/// Groups of namespaces have numbers from here: far above those that systems give out.
const FIRST_GROUP: u32 = 1_500_000_000;
/// How many there are.
const GROUPS: u64 = 500_000_000;

/// The number of the namespace's group, if any of its stages runs as another user.
pub fn group(plan: &Plan) -> Option<u32> {
    let mut processes = plan.servers.values().flat_map(|server| &server.processes);
    let has_users = processes.any(|process| user(&process.program).is_some());
    let hash = xxh3_64(format!("{}/{}", plan.topology, plan.namespace).as_bytes());
    has_users.then(|| FIRST_GROUP + (hash % GROUPS) as u32)
}

fn user(program: &Program) -> Option<&str> {
    match program {
        Program::Portal => None,
        Program::Stage(program) => program.user.as_deref(),
    }
}

/// Checks that this launcher may start the processes as the users that they have.
///
/// # Errors
/// Whom it doesn't know, or may not become.
pub fn check(server: &ServerPlan) -> Result<(), LaunchError> {
    for process in &server.processes {
        let Some(name) = user(&process.program) else { continue };
        let user = User::from_name(name)
            .ok()
            .flatten()
            .ok_or_else(|| LaunchError::NoUser { process: process.name.clone(), user: name.to_owned() })?;
        if user.uid != geteuid() && !geteuid().is_root() {
            return Err(LaunchError::NotRoot { process: process.name.clone(), user: name.to_owned() });
        }
    }
    Ok(())
}

/// Who gets what. `None` where all run as this very user: then there is nobody to hand anything over to.
pub struct Owners<'a> {
    group: u32,
    places: &'a ServerPaths,
}

impl<'a> Owners<'a> {
    /// Opens the run directory to the namespace's group.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn of(plan: &Plan, places: &'a ServerPaths) -> Result<Option<Self>, LaunchError> {
        let Some(group) = group(plan).filter(|_| geteuid().is_root()) else { return Ok(None) };
        let mut above = places.run.parent();
        for mode in [0o750, 0o755] {
            // The namespace's directory, and the topology's, which others have to pass through.
            if let Some(directory) = above {
                let gid = if mode == 0o750 { Some(group) } else { None };
                let _ = chown(directory, None, gid);
                let _ = fs::set_permissions(directory, fs::Permissions::from_mode(mode));
                above = directory.parent();
            }
        }
        let owners = Self { group, places };
        owners.own(&places.run, None, 0o2750)?;
        Ok(Some(owners))
    }

    /// Lets all processes read a guide.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn guide(&self, path: &Path) -> Result<(), LaunchError> {
        self.own(path, None, 0o640)
    }

    /// Gives a process what is its own.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn process(&self, process: &ProcessPlan) -> Result<(), LaunchError> {
        let Self { places, .. } = self;
        let user = user(&process.program).and_then(|name| User::from_name(name).ok().flatten());
        let uid = user.map(|user| user.uid.as_raw());
        self.own(&places.process(&process.name), uid, 0o2750)?;
        self.own(&places.wiring(&process.name), None, 0o640)?;
        self.own(&places.page(&process.name), uid, 0o660)?;
        if uid.is_some() {
            let state = places.state(&process.name);
            chown(&state, uid, None).map_err(LaunchError::io(format!("give {} to its user", state.display())))?;
        }
        Ok(())
    }

    fn own(&self, path: &Path, uid: Option<u32>, mode: u32) -> Result<(), LaunchError> {
        let owned = chown(path, uid, Some(self.group))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
        owned.map_err(LaunchError::io(format!("give {} to the namespace's group", path.display())))
    }
}

/// Lets the namespace's processes, whoever they run as, reach the launcher.
pub fn open_to_group(plan: &Plan, socket: &Path) -> std::io::Result<()> {
    let Some(group) = group(plan).filter(|_| geteuid().is_root()) else { return Ok(()) };
    chown(socket, None, Some(group))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_a_group_of_its_own_only_if_a_stage_has_a_user() {
        let plan = |text: &str| {
            let sources = waldo_compiler::Sources::of("t.yaml", text);
            waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan
        };
        let plain = "topology: a\nstages: {greet: {run: echo}}\n";
        assert_eq!(group(&plan(plain)), None);
        let first = group(&plan(&plain.replace("echo", "echo, user: nobody"))).unwrap();
        let second = group(&plan(&plain.replace("echo", "echo, user: nobody").replace(": a\n", ": b\n"))).unwrap();
        assert!(first >= FIRST_GROUP && second >= FIRST_GROUP && first != second);
    }
}
