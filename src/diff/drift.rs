//! Drift: what runs otherwise than it was deployed.

use serde::Serialize;
use waldo_compiler::plan::{Plan, Program, Speaks};
use waldo_runtime::{
    cluster,
    control::{Condition, ProcessStatus, ServerStatus},
    paths::Paths,
};

/// One thing that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// On which server.
    pub server: String,
    /// Which process; `null` for the server as a whole.
    pub process: Option<String>,
    /// What is otherwise.
    pub what: String,
}

/// Asks the launchers of a namespace how it really is.
pub fn look(live: &Plan, paths: &Paths) -> Vec<Drift> {
    let mut drift = Vec::new();
    let mut clients = cluster::connect(paths);
    let statuses: Vec<ServerStatus> = clients.iter_mut().filter_map(|client| client.status().ok()).collect();
    for server in live.servers.keys() {
        let mut found = |process: Option<&str>, what: String| {
            drift.push(Drift { server: server.clone(), process: process.map(str::to_owned), what });
        };
        let Some(status) = statuses.iter().find(|status| status.server == *server) else {
            found(None, "its launcher doesn't answer".to_owned());
            continue;
        };
        if status.digest != live.digest {
            found(None, format!("it runs plan {}, not {}", status.digest, live.digest));
        }
        for process in &status.processes {
            if let Some(what) = of_process(process, live, server) {
                found(Some(&process.name), what);
            }
        }
    }
    drift
}

fn of_process(process: &ProcessStatus, live: &Plan, server: &str) -> Option<String> {
    match process.state {
        Condition::GivenUp => {
            let how = process.ended.as_ref().map_or_else(String::new, |ended| format!(": {ended}"));
            Some(format!("given up{how}"))
        }
        Condition::BackingOff => Some("it ends again and again, and is started again after a pause".to_owned()),
        Condition::Stopped | Condition::Leaving => Some("it has been asked to leave".to_owned()),
        Condition::Ready => {
            let plan = live.servers.get(server)?.processes.iter().find(|plan| plan.name == process.name)?;
            let runs_itself = match &plan.program {
                Program::Portal => true,
                Program::Stage(program) => program.speaks == Speaks::Sdk,
            };
            let image = std::fs::read_link(format!("/proc/{}/exe", process.pid?)).ok()?;
            let is_replaced = runs_itself && image.to_string_lossy().ends_with(" (deleted)");
            is_replaced.then(|| "its program has been replaced on disk since it was started".to_owned())
        }
        Condition::Waiting | Condition::Starting | Condition::Finished => None,
    }
}
