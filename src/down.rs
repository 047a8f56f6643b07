//! `waldo down`: ends everything that runs in a namespace, also what a launcher that was killed left behind.

mod elsewhere;
mod rollout;

use std::time::Duration;

use waldo_runtime::{
    cluster::{self, Ended},
    control::Holder,
    sys::{lock, process::Identity},
};

use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
    machines,
};

/// How long a command that leads the namespace may take to see that it was ended.
const LEADER_LEAVES: Duration = Duration::from_secs(10);

/// What to end, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Kill at once; what is queued or in work is lost.
    #[arg(long)]
    now: bool,
    /// Say as JSON what was ended.
    #[arg(long)]
    json: bool,
}

/// Ends it and says what that was. That nothing ran is no error.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Located { plan, paths } = arguments.target.locate()?;
    if machines::are_elsewhere(&plan, &paths) {
        return elsewhere::end(&plan, arguments.now, arguments.json);
    }
    let leader = lock::holder::<Holder>(&paths.lock()).ok().flatten().flatten();
    // Until the end of this: nobody else begins a rollout either.
    let rollouts = rollout::end(&paths, arguments.now)?;
    let ended = cluster::end(&paths, arguments.now, cluster::stop_takes(&plan))
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut last: Vec<_> = ended.stopped.iter().filter_map(|server| cluster::last_status(&paths, server)).collect();
    let failed = cluster::write_off(&paths, &mut last);
    if let Some(leader) = leader {
        await_leader(leader.identity)?;
    }
    paths.forget_pauses_and_plans();
    paths.remove_run();
    if arguments.json {
        let cleared: serde_json::Map<_, _> =
            ended.cleared.iter().map(|(server, count)| (server.clone(), (*count).into())).collect();
        let report = serde_json::json!({"format": 1, "topology": plan.topology, "namespace": plan.namespace,
            "stopped": ended.stopped, "killed": ended.killed, "cleared": cleared,
            "rollout": rollouts.ended.map(|by| serde_json::json!({"pid": by.identity.pid, "command": by.what}))});
        println!("{report}");
    } else {
        let mut said: Vec<String> = rollouts.ended.iter().map(rollout_ended).collect();
        if said.is_empty() || !ended.is_nothing() {
            said.push(words(&ended));
        }
        println!("{}/{}: {}", plan.topology, plan.namespace, said.join("; "));
    }
    let Some((first, others)) = failed.split_first() else { return Ok(Exit::Ok) };
    for other in others {
        crate::up::portal_failed(other).print();
    }
    Err(crate::up::portal_failed(first))
}

/// Waits for a `waldo up` whose launchers were just ended: it has to write its account.
fn await_leader(leader: Identity) -> Result<(), Failure> {
    let until = std::time::Instant::now() + LEADER_LEAVES;
    while leader.lives() {
        if std::time::Instant::now() > until {
            return Err(Failure::new(format!("process {} (waldo up) doesn't end", leader.pid)).hint("kill it"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn rollout_ended(by: &Holder) -> String {
    format!("ended the rollout that process {} ({}) led", by.identity.pid, by.what)
}

fn words(ended: &Ended) -> String {
    if ended.is_nothing() {
        return "nothing was running".to_owned();
    }
    let mut said = Vec::new();
    if !ended.stopped.is_empty() {
        said.push(format!("stopped {}", ended.stopped.join(", ")));
    }
    if !ended.killed.is_empty() {
        said.push(format!("killed {}", ended.killed.join(", ")));
    }
    said.extend(ended.cleared.iter().map(|(server, count)| {
        format!("cleared what a launcher that is gone had left of {server} ({count} processes)")
    }));
    said.join("; ")
}
