//! What must be there before a process starts, or adopts another plan: directories, guide, wiring, counters pages.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use waldo_compiler::plan::{Plan, ProcessPlan, ServerPlan};
use waldo_sdk::{
    page::Page,
    wiring::{self, Place, Placed},
};

use super::{
    LaunchError,
    owners::{self, Owners},
};
use crate::{paths::ServerPaths, portal::Transition};

/// The least number of slots of a counters page. Rollouts wire a process anew, and its page must last.
const LEAST_SLOTS: usize = 4096;
/// How many times the slots that the wiring asks for a page has: it must not fill up, and is sparse.
const SLOTS_TO_SPARE: usize = 4;
/// Counts for people (`received`, `resumed`, `clients`, `rejected`, `dead`) that a flow may have.
const COUNTS: usize = 8;

/// Makes a directory that only this user and the namespace's group may enter.
pub fn directory(path: &Path) -> Result<(), LaunchError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(LaunchError::io(format!("make the directory {}", path.display())))
}

/// A plan as it is put into a server's run directory.
pub struct Installation<'a> {
    /// The number of the plan.
    pub generation: u64,
    /// The whole plan.
    pub plan: &'a Plan,
    /// The server's name.
    pub server: &'a str,
    /// Its places.
    pub places: &'a ServerPaths,
    /// Where the plan's guide is put.
    pub guide: PathBuf,
}

impl Installation<'_> {
    /// Puts the plan's guide in place.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn put_guide(&self) -> Result<(), LaunchError> {
        write(&self.guide, &self.plan.guide)?;
        match Owners::of(self.plan, self.places)? {
            Some(owners) => owners.guide(&self.guide),
            None => Ok(()),
        }
    }

    /// Makes a process's directories and its counters page; an earlier page, with all that it counts, stays.
    ///
    /// # Errors
    /// If the disk refuses, or an earlier page is too small.
    pub fn make_room(&self, process: &ProcessPlan) -> Result<Page, LaunchError> {
        let Self { plan, places, .. } = self;
        directory(&places.process(&process.name))?;
        directory(&places.state(&process.name))?;
        if process.wiring.portal.is_some() {
            directory(&places.spool(&process.name))?;
        }
        let senders: usize = plan.servers.values().map(|server| server.processes.len()).sum();
        let page = places.page(&process.name);
        Page::create(&page, capacity(process, plan.servers.len(), senders))
            .map_err(LaunchError::io(format!("make the counters page {}", page.display())))
    }

    /// Puts in place what a process lives by, once there is room for it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn put(&self, process: &ProcessPlan) -> Result<(), LaunchError> {
        let Self { plan, places, .. } = self;
        let place = Place {
            topology: plan.topology.clone(),
            namespace: plan.namespace.clone(),
            server: self.server.to_owned(),
            process: process.name.clone(),
            generation: self.generation,
            run: places.run.clone(),
            guide: self.guide.clone(),
            state: places.state(&process.name),
            spool: places.spool(&process.name),
        };
        write(
            &places.wiring(&process.name),
            &Placed { format: wiring::FORMAT, place, wiring: process.wiring.clone() },
        )?;
        match Owners::of(plan, places)? {
            Some(owners) => owners.process(process),
            None => Ok(()),
        }
    }
}

/// Sets a server's run directory up; answers the counters pages, in the order of the plan's processes.
pub fn prepare(installation: &Installation<'_>, server: &ServerPlan) -> Result<Vec<Page>, LaunchError> {
    directory(&installation.places.logs())?;
    owners::check(server)?;
    installation.put_guide()?;
    let mut pages = Vec::new();
    for process in &server.processes {
        if process.wiring.portal.is_some() {
            // Of a rollout that was under way when everything was stopped: it has nothing to do with this start.
            let spool = installation.places.spool(&process.name);
            Transition::remove(&spool).map_err(LaunchError::io(format!("clear {}", spool.display())))?;
        }
        pages.push(installation.make_room(process)?);
        installation.put(process)?;
    }
    Ok(pages)
}

/// Keeps the plan of a generation for the next launcher: the file that it was read from may be changed.
///
/// # Errors
/// If the disk refuses.
pub fn put_plan(places: &ServerPaths, generation: u64, plan: &Plan) -> Result<(), LaunchError> {
    write(&places.plan_of(generation), plan)
}

/// How many slots a process's page has. `servers` and `senders` are how many servers and processes there are in all.
fn capacity(process: &ProcessPlan, servers: usize, senders: usize) -> usize {
    let wiring = &process.wiring;
    let received: usize = wiring.inputs.iter().map(|input| input.from.len()).sum();
    let sent: usize = wiring.outputs.iter().flat_map(|output| &output.consumers).map(|to| to.receivers.len()).sum();
    let carried = wiring.portal.as_ref().map_or(0, |doors| {
        let delivered: usize =
            doors.flows.iter().flat_map(|carried| &carried.consumers).map(|to| to.receivers.len() + 1).sum();
        // Each sender's last number, and for each flow: what it took from whom, and what it passes on to whom.
        delivered + senders + doors.flows.len() * (senders + 2 * servers)
    });
    let flows: BTreeSet<&str> = wiring
        .inputs
        .iter()
        .map(|input| input.flow.as_str())
        .chain(wiring.outputs.iter().map(|output| output.flow.as_str()))
        .chain(wiring.portal.iter().flat_map(|doors| &doors.flows).map(|carried| carried.flow.as_str()))
        .collect();
    let needed = received + sent + carried + wiring.outputs.len() * servers + flows.len() * COUNTS;
    LEAST_SLOTS.max(SLOTS_TO_SPARE * needed)
}

/// Removes what [`prepare`] and the processes have put into the run directory; the lock's file stays.
pub fn remove(places: &ServerPaths) {
    // First, so that nobody goes on with a part of it.
    let _ = fs::remove_file(places.launcher());
    let Ok(entries) = fs::read_dir(&places.run) else { return };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths.iter().filter(|path| **path != places.lock()) {
        // What can't be removed now is cleared by the next launcher.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

fn write(path: &Path, value: &impl serde::Serialize) -> Result<(), LaunchError> {
    let doing = || format!("write {}", path.display());
    let text = serde_json::to_vec(value).map_err(LaunchError::io(doing()))?;
    // Whoever reads it meanwhile finds the old one or the new one, never a part.
    let new = path.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(LaunchError::io(doing()))
}
