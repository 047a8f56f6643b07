//! What else waldo runs on this machine: by what its launchers keep in the directory of all run directories.

use std::path::{Path, PathBuf};

use waldo_sdk::{stage::read_placed, wiring::Place};

use crate::{control::Holder, paths::Paths, sys::lock};

/// The process whose portal has this port, if it is one of waldo's that this user can see.
pub fn listener(run_root: &Path, port: u16) -> Option<Place> {
    // <run>/TOPOLOGY/NAMESPACE/SERVER/PROCESS/wiring.json
    let servers =
        below(run_root).into_iter().flat_map(|topology| below(&topology)).flat_map(|namespace| below(&namespace));
    let living = servers.filter(|server| holder(&server.join("launcher.lock")).is_some());
    let mut processes = living.flat_map(|server| below(&server));
    processes.find_map(|process| {
        let placed = read_placed(&process.join("wiring.json")).ok()?;
        let doors = placed.wiring.portal?;
        let binds = |endpoint: &String| endpoint.rsplit_once(':').is_some_and(|(_, bound)| bound == port.to_string());
        [Some(&doors.links), doors.clients.as_ref()].into_iter().flatten().any(binds).then_some(placed.place)
    })
}

/// The directory of another topology that has the same name, and runs in a namespace of the same name.
pub fn namesake(paths: &Paths) -> Option<PathBuf> {
    let launchers = paths.servers_running().into_iter().map(|server| paths.server(&server).lock());
    let mut holders = std::iter::once(paths.lock()).chain(launchers).filter_map(|lock| holder(&lock));
    holders.find_map(|holder| holder.root.filter(|root| root != paths.root()))
}

fn holder(lock: &Path) -> Option<Holder> {
    lock::holder::<Holder>(lock).ok().flatten().flatten()
}

/// The directories in a directory, in order.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}
