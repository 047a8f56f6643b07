//! What a launcher begins with: a server of which nothing runs, or what another launcher has left.

use std::time::Instant;

use waldo_compiler::plan::{Plan, ProcessPlan, ServerPlan};
use waldo_sdk::page::Page;

use super::{length, rollout::Rollout};
use crate::{
    launcher::{
        LaunchError, Options,
        kept::{self, Keeper},
        machine::Machine,
        state::{Ended, Moment, Process, ProcessIndex},
        takeover::Left,
    },
    paths::ServerPaths,
    sys::pidfd::Watched,
};

/// Where a launcher begins.
pub struct Beginning {
    /// When its clock was 0.
    pub began: Instant,
    /// The same for the next launcher.
    pub kept_clock: i64,
    /// What it knows.
    pub machine: Machine,
    /// What the processes live by, in the machine's order.
    pub plans: Vec<ProcessPlan>,
    /// Their pages.
    pub pages: Vec<Page>,
    /// How long each log was at the beginning.
    pub log_from: Vec<u64>,
    /// Those that live, as another launcher's children.
    pub living: Vec<(ProcessIndex, Watched)>,
    /// Those that have ended while there was no launcher; `None` where there was none before this one.
    pub ended: Option<Vec<(ProcessIndex, Ended)>>,
    /// The rollout that is under way.
    pub rollout: Rollout,
    /// What the file says, and is to say.
    pub keeper: Keeper,
}

impl Beginning {
    /// With nothing that runs.
    pub fn fresh(options: &Options, plan: &Plan, server: &ServerPlan, pages: Vec<Page>, places: &ServerPaths) -> Self {
        let of_all_servers = plan.servers.values().flat_map(|server| &server.processes);
        let longest_grace = of_all_servers.map(|process| process.stop.grace).max().unwrap_or(0);
        let processes = server.processes.iter().map(Process::new).collect();
        let began = Instant::now();
        Self {
            began,
            kept_clock: kept::began(began),
            machine: Machine::new(options.generation, processes, plan.idle_timeout, longest_grace),
            plans: server.processes.clone(),
            log_from: server.processes.iter().map(|process| length(&places.log(&process.name))).collect(),
            pages,
            living: Vec::new(),
            ended: None,
            rollout: Rollout::default(),
            keeper: Keeper::new(places, None),
        }
    }

    /// With what another launcher has left.
    ///
    /// # Errors
    /// If what it kept of a rollout can't be read.
    pub fn taken_over(left: Left, places: &ServerPaths) -> Result<Self, LaunchError> {
        let Left { kept, plans, pages, living, ended } = left;
        let began = kept.clock();
        let now = began.elapsed().as_millis() as Moment;
        Ok(Self {
            began,
            kept_clock: kept.began,
            rollout: Rollout::restore(&kept.rollout, places, now)?,
            machine: kept.machine.clone(),
            plans,
            pages,
            log_from: kept.log_from.clone(),
            living,
            ended: Some(ended),
            keeper: Keeper::new(places, Some(kept)),
        })
    }
}
