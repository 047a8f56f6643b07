//! What must be there before the first process starts: directories, guide, wiring, counters pages.

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

use super::{LaunchError, Options, owners};
use crate::paths::ServerPaths;

/// The least number of slots of a counters page.
const LEAST_SLOTS: usize = 256;
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

/// Sets a server's run directory up; answers the counters pages, in the order of the plan's processes.
pub fn prepare(
    options: &Options,
    plan: &Plan,
    server: &ServerPlan,
    places: &ServerPaths,
) -> Result<Vec<Page>, LaunchError> {
    directory(&places.logs())?;
    write(&places.guide(), &plan.guide)?;
    let senders: usize = plan.servers.values().map(|server| server.processes.len()).sum();
    let mut pages = Vec::new();
    for process in &server.processes {
        directory(&places.process(&process.name))?;
        directory(&places.state(&process.name))?;
        if process.wiring.portal.is_some() {
            directory(&places.spool(&process.name))?;
        }
        let place = Place {
            topology: plan.topology.clone(),
            namespace: plan.namespace.clone(),
            server: options.server.clone(),
            process: process.name.clone(),
            generation: options.generation,
            run: places.run.clone(),
            guide: places.guide(),
            state: places.state(&process.name),
            spool: places.spool(&process.name),
        };
        write(
            &places.wiring(&process.name),
            &Placed { format: wiring::FORMAT, place, wiring: process.wiring.clone() },
        )?;
        let page = places.page(&process.name);
        let page = Page::create(&page, capacity(process, plan.servers.len(), senders))
            .map_err(LaunchError::io(format!("make the counters page {}", page.display())))?;
        pages.push(page);
    }
    owners::hand_over(plan, server, places)?;
    Ok(pages)
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
    fs::write(path, text).map_err(LaunchError::io(doing()))
}
