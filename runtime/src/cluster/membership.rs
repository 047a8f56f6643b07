//! Servers come and go by rollouts, whoever leads those: the command that leads the namespace follows.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use waldo_compiler::plan::Plan;

use super::{Cluster, Launcher, is_running, last_status, revive, revive::Revivals};
use crate::{
    control::ServerStatus,
    launcher::Kept,
    paths::Paths,
    rollout::{Store, StoreError},
};

/// The plan that is live, and its number.
///
/// # Errors
/// If it can't be read.
pub fn live(paths: &Paths) -> Result<Option<(u64, Plan)>, StoreError> {
    let store = Store::open(&paths.store())?;
    let Some(generation) = store.live()? else { return Ok(None) };
    Ok(store.plan(generation)?.map(|plan| (generation, plan)))
}

/// How a launcher has ended that is nobody's child here: well if it has cleared up behind it. `None` while it lives.
pub fn ended_elsewhere(paths: &Paths, server: &str) -> Option<ExitStatus> {
    if is_running(paths, server).map_or(true, |holder| holder.is_some()) {
        return None;
    }
    let is_killed = Kept::read(&paths.server(server)).is_some();
    Some(ExitStatus::from_raw(if is_killed { nix::sys::signal::Signal::SIGKILL as i32 } else { 0 }))
}

impl Cluster {
    /// Forgets launchers whose servers a rollout has taken out, also if another has brought them back since. Answers whether there were any.
    pub(super) fn let_go_who_left(&mut self) -> bool {
        let Ok(Some((_, plan))) = live(&self.paths) else { return false };
        let before = self.launchers.len();
        let Self { launchers, paths, gone, .. } = self;
        launchers.retain_mut(|launcher| {
            let is_wanted = plan.servers.get(&launcher.server).is_some_and(|server| !server.processes.is_empty());
            let has_ended = launcher.has_ended(paths) && launcher.ended.is_some_and(|status| status.success());
            // It has been brought back already: by another launcher, which will be found.
            let is_followed = || is_running(paths, &launcher.server).is_ok_and(|holder| holder.is_some());
            let has_left = has_ended && (!is_wanted || is_followed());
            if has_left {
                gone.extend(last_status(paths, &launcher.server));
            }
            !has_left
        });
        self.launchers.len() < before
    }

    /// Takes in the servers that rollouts have brought, and lets go of those that they have taken out.
    pub fn follow(&mut self) {
        self.let_go_who_left();
        for server in self.paths.servers_running() {
            let is_known = self.launchers.iter().any(|launcher| launcher.server == server);
            if is_known || !is_running(&self.paths, &server).is_ok_and(|holder| holder.is_some()) {
                continue;
            }
            // One that doesn't answer yet is found the next time.
            let places = self.paths.server(&server);
            if let Ok(client) = revive::connected(&server, &places) {
                let log = places.log("launcher");
                let log_from = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
                let revivals = Revivals::default();
                self.launchers.push(Launcher { server, child: None, ended: None, client, log, log_from, revivals });
            }
        }
        self.launchers.sort_by(|one, other| one.server.cmp(&other.server));
    }

    /// How the servers were when they left that rollouts have taken out while this was led: what they counted still counts.
    pub fn gone(&self) -> &[ServerStatus] {
        &self.gone
    }
}
