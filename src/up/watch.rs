//! `waldo up --watch`: each save of one of the topology's files is checked, compared with what runs, and rolled out. What is
//! wrong with it is shown, and leaves what runs as it is.

use std::time::Instant;

use signal_hook::iterator::Signals;
use waldo_compiler::{PortChoice, diff::diff_with_programs, plan::ProcessPlan, source::Recorded};
use waldo_runtime::{
    paths::Paths,
    rollout::{Conclusion, DeployError, Deployer, Report, Rollout, StepName, Watcher, machine::Phase},
};

use super::{progress::Progress, saves::Saves};
use crate::{
    compile, deploy,
    diff::{self, drift},
    exit::Failure,
    located::Target,
    topology_file::TopologyFile,
};

/// Who holds the lock of rollouts then.
const COMMAND: &str = "waldo up --watch";

/// Watches a topology.
pub struct Watch {
    target: Target,
    ports: Option<u16>,
    paths: Paths,
    saves: Option<Saves>,
    /// What the files said when they were looked at last.
    seen: Option<Recorded>,
    /// Why they couldn't be read then: told once.
    unread: Option<String>,
    /// Whether a save waits for another's rollout to end.
    waits: bool,
    /// The plan that the last rollout has made live.
    rolled_out: Option<u64>,
}

/// What has come of a save.
enum Taken {
    /// Nothing that is to be told.
    Nothing,
    /// It says the same as what runs.
    Same,
    /// Another rollout is under way.
    Later,
    /// A rollout.
    Rolled(Box<Report>),
}

impl Watch {
    /// Of the topology that runs.
    pub fn new(target: &Target, ports: Option<u16>, paths: &Paths) -> Self {
        let (target, paths) = (target.clone(), paths.clone());
        Self { target, ports, paths, saves: None, seen: None, unread: None, waits: false, rolled_out: None }
    }

    /// The plan that the last rollout has made live, if there was one.
    pub fn rolled_out(&self) -> Option<u64> {
        self.rolled_out
    }

    /// Rolls out what has been saved, if anything has. Answers whether a signal came meanwhile.
    pub fn tend(&mut self, signals: &mut Signals, progress: &mut Progress) -> bool {
        let has_come = self.saves.as_mut().is_none_or(|saves| saves.have_come(Instant::now()));
        if !has_come && !self.waits {
            return false;
        }
        let mut rolling = Rolling { signals, progress, phase: None, stop: false };
        match self.take_in(&mut rolling) {
            Ok(Taken::Nothing) => {}
            Ok(Taken::Same) => rolling.progress.say("saved: it says what runs already"),
            Ok(Taken::Later) => {
                if !self.waits {
                    rolling.progress.say("saved: waits for a rollout that another command leads");
                }
                self.waits = true;
                return rolling.stop;
            }
            Ok(Taken::Rolled(report)) => {
                self.rolled_out = Some(report.generation);
                rolling.progress.rolled_out(&report);
            }
            Err(failure) => rolling.progress.fail(&failure),
        }
        self.waits = false;
        rolling.stop
    }

    fn take_in(&mut self, rolling: &mut Rolling<'_>) -> Result<Taken, Failure> {
        let file = match TopologyFile::read(&self.target.topologies) {
            Ok(file) => file,
            // An editor may be about to put it back.
            Err(failure) if self.unread.as_ref() == Some(&failure.message) => return Ok(Taken::Nothing),
            Err(failure) => {
                self.unread = Some(failure.message.clone());
                return Err(failure);
            }
        };
        let names = || file.sources.files().iter().map(|source| source.name.as_str());
        match &mut self.saves {
            Some(saves) => saves.follow(names()),
            None => self.saves = Some(Saves::of(names())),
        }
        let is_first = self.seen.is_none();
        if self.seen.as_ref() == Some(&file.recorded) && !self.waits && self.unread.is_none() {
            return Ok(Taken::Nothing);
        }
        self.unread = None;
        let deployer = match Deployer::take(&self.paths, COMMAND) {
            Ok(deployer) => deployer,
            Err(DeployError::Locked { .. }) => return Ok(Taken::Later),
            Err(error) => return Err(deploy::failed(&error)),
        };
        self.seen = Some(file.recorded);
        let left = deployer.finish_what_was_left(rolling).map_err(|error| deploy::failed(&error))?;
        if let Some(left) = left.filter(|left| !left.is_over()) {
            return Ok(Taken::Rolled(Box::new(left)));
        }
        let (from, live) = deployer.live().map_err(|error| deploy::failed(&error))?;
        rolling.progress.clear();
        let ports = PortChoice { base: self.ports, live: Some(&live) };
        let compiled = compile::local_onto(&self.target, ports)?;
        let next = compiled.plan();
        if (&next.topology, &next.namespace) != (&live.topology, &live.namespace) {
            return Err(Failure::new(format!("it is {}/{} now", next.topology, next.namespace))
                .hint("end this run and start that one"));
        }
        let rebuilt = drift::look(&live, &self.paths).rebuilt;
        let is_rebuilt = |server: &str, process: &ProcessPlan| {
            !rebuilt.is_empty() && rebuilt.contains(&(server.to_owned(), process.name.clone()))
        };
        let diff = diff_with_programs(&live, next, &is_rebuilt).map_err(|error| Failure::new(error.to_string()))?;
        if let Some(refused) = diff::refused(&diff) {
            return Err(refused);
        }
        if diff.is_empty() {
            return Ok(if is_first { Taken::Nothing } else { Taken::Same });
        }
        let changes = deploy::summary(&diff);
        rolling.progress.say(&format!("saved: {}", changes.join(", ")));
        let origin = Some(compiled.origin());
        let rollout = Rollout { from, live: &live, next, origin, rebuilt: &rebuilt, changes };
        let report = deployer.roll_out(&rollout, rolling).map_err(|error| deploy::failed(&error))?;
        Ok(Taken::Rolled(Box::new(report)))
    }
}

/// A rollout that is shown, and given up when a signal comes.
struct Rolling<'a> {
    signals: &'a mut Signals,
    progress: &'a mut Progress,
    phase: Option<Phase>,
    stop: bool,
}

impl Watcher for Rolling<'_> {
    fn stands(&mut self, phase: Phase, waiting_for: &[&str]) {
        if self.phase.replace(phase) != Some(phase) && phase != Phase::Over {
            self.progress.step(&format!("rolling out: {phase}  {}", waiting_for.join(" ")));
        }
    }

    fn waits(&mut self, server: &str, step: StepName, for_what: &[String]) {
        self.progress.step(&format!("rolling out: {step}  {server}: {}", for_what.join(", ")));
    }

    fn wants_to_stop(&mut self) -> bool {
        self.stop |= self.signals.pending().next().is_some();
        self.stop
    }
}

/// What a rollout has come to, in a line.
pub fn line(report: &Report) -> String {
    let pauses: Vec<String> = report.pause_ms.iter().map(|(server, ms)| format!("{server} {ms} ms")).collect();
    let held = if pauses.is_empty() { "no server held".to_owned() } else { format!("held: {}", pauses.join(", ")) };
    let lost: u64 = report.flows.values().map(|account| account.lost).sum();
    let lost = if lost > 0 { format!("; at most {lost} records were lost") } else { String::new() };
    let why = report.error.as_ref().map_or_else(String::new, |why| format!("; {why}"));
    let what = match report.result {
        Conclusion::Ok | Conclusion::Lost => format!("plan {} is live", report.generation),
        Conclusion::RolledBack => {
            format!("rolled back: what ran before goes on as plan {}", report.generation)
        }
        Conclusion::Unhealthy => format!("plan {} is live, and something is wrong with it", report.generation),
        Conclusion::Error | Conclusion::IdleTimeout | Conclusion::Cancelled => {
            format!("nothing has changed: plan {} goes on", report.generation)
        }
        Conclusion::Mixed => "servers are on different plans: `waldo status` shows which".to_owned(),
    };
    format!("{what}; {held}{lost}{why}")
}
