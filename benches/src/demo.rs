//! The demo beside one Python process that answers the same question.

use std::time::Instant;

use serde::Deserialize;
use std::{collections::BTreeMap, process::Command};

use crate::{
    Trouble,
    figure::{Figure, Goal, Subject},
    process::Running,
    programs::Programs,
};

/// What `waldo up --until-idle --json` ends with, as far as it is needed here.
#[derive(Deserialize)]
struct Ledger {
    flows: BTreeMap<String, Account>,
}

#[derive(Deserialize)]
struct Account {
    received: u64,
    lost: u64,
    repeated: u64,
}

/// Visits a second, start and proof of the end included, for so many origins (`all`: every package).
pub fn measure(programs: &Programs, origins: &str, runs: usize) -> Result<Figure, Trouble> {
    let topology = programs.topology("topologies/debian")?;
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let mut up = programs.waldo("up", topology.path());
        up.args(["--until-idle", "--json"]).env("ORIGINS", origins);
        let begun = Instant::now();
        let events = Running::start("waldo up", &mut up)?.end()?;
        let took = begun.elapsed().as_secs_f64();
        let ledger: Ledger = serde_json::from_str(events.lines().last().unwrap_or_default())?;
        let visits = ledger.flows.get("visit").map_or(0, |account| account.received);
        if visits == 0 || ledger.flows.values().any(|account| account.lost + account.repeated > 0) {
            return Err(Trouble::Ledger(events.lines().last().unwrap_or_default().to_owned()));
        }
        own.push(visits as f64 / took);

        let mut verify = Command::new(topology.path().join("verify"));
        let begun = Instant::now();
        Running::start("verify", verify.env("ORIGINS", origins))?.end()?;
        peer.push(visits as f64 / begun.elapsed().as_secs_f64());
    }
    let name = format!("demo, {origins} origins, three servers");
    let subject = Subject { name, unit: "visits/s", peer: "one Python process (verify)", goal: Goal::None };
    Ok(subject.figure(&own, &peer))
}
