//! The launcher's rim in a rollout: plans are read and put in place, idleness is proved, and a deployer that has vanished
//! is noticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command as Program, Stdio},
};

use waldo_compiler::plan::{Plan, ProcessPlan};
use waldo_sdk::page::{Kind, Page};

use super::Driver;
use crate::{
    control::Answer,
    idle::Verdict,
    launcher::{
        LaunchError, LivePlan,
        kept::{KeptNext, KeptRollout},
        machine::{
            Event,
            change::{Asked, Change, Order},
        },
        prepare::{self, Installation},
        read_plan, rollout,
        state::{Moment, Phase, ProcessIndex, Role},
    },
    paths::ServerPaths,
    rollout::{Decision, Failure, Progress, Stage, Step, StepName, Store},
};

/// A deployer that hasn't been heard of for so long has vanished. Milliseconds.
const LEASE: u64 = 5_000;

/// What the launcher keeps of the rollout that is under way.
#[derive(Default)]
pub struct Rollout {
    next: Option<Next>,
    /// Those before that aren't over here, the last one last: if the one after it is given up, it goes on.
    before: Vec<Next>,
    /// When its deployer was heard last.
    pub led_at: Moment,
    idle_until: Moment,
    /// Each process's heartbeat since the proof was wanted, and when it moved last.
    beats: Vec<(u64, Moment)>,
    holds_since: Option<Moment>,
    paused: u64,
    held: BTreeMap<String, u64>,
}

struct Next {
    generation: u64,
    plan: Plan,
    has_guide: bool,
    /// The pages of processes that the plan before didn't have.
    pages: BTreeMap<String, Page>,
}

impl Next {
    fn keep(&self) -> KeptNext {
        let new = self.pages.keys().cloned().collect();
        KeptNext { generation: self.generation, has_guide: self.has_guide, new }
    }
}

impl Rollout {
    /// What the next launcher must know of it.
    pub fn keep(&self) -> KeptRollout {
        KeptRollout {
            next: self.next.as_ref().map(Next::keep),
            before: self.before.iter().map(Next::keep).collect(),
            idle_until: self.idle_until,
            holds_since: self.holds_since,
            paused: self.paused,
            held: self.held.clone(),
        }
    }

    /// The rollout that another launcher had under way. Its deployer has all its time to be heard again.
    ///
    /// # Errors
    /// If what was kept of it can't be read.
    pub fn restore(kept: &KeptRollout, places: &ServerPaths, now: Moment) -> Result<Self, LaunchError> {
        let open = |name: &String| {
            let path = places.page(name);
            let page = Page::open(&path).map_err(LaunchError::io(format!("open {}", path.display())))?;
            Ok::<_, LaunchError>((name.clone(), page))
        };
        let next = |kept: &KeptNext| {
            let plan = read_plan(&places.plan_of(kept.generation))?;
            let pages = kept.new.iter().map(open).collect::<Result<_, LaunchError>>()?;
            Ok::<_, LaunchError>(Next { generation: kept.generation, plan, has_guide: kept.has_guide, pages })
        };
        Ok(Self {
            next: kept.next.as_ref().map(next).transpose()?,
            before: kept.before.iter().map(next).collect::<Result<_, _>>()?,
            led_at: now,
            idle_until: kept.idle_until,
            beats: Vec::new(),
            holds_since: kept.holds_since,
            paused: kept.paused,
            held: kept.held.clone(),
        })
    }

    /// The plan that processes are started by, if it isn't the live one.
    pub fn plan_in_place(&self) -> Option<&Plan> {
        self.next.as_ref().filter(|next| next.has_guide).map(|next| &next.plan)
    }
}

impl Driver {
    /// How the rollout stands.
    pub(super) fn progress(&self) -> Option<Progress> {
        let progress = self.machine.progress()?;
        let since = self.rollout.holds_since.map(|since| self.now().saturating_sub(since));
        Some(Progress { paused: since.unwrap_or(self.rollout.paused), held: self.rollout.held.clone(), ..progress })
    }

    /// Does what a deployer asks for, as far as it can be done at once.
    pub(super) fn asked_for_step(&mut self, generation: u64, step: Step) -> Answer {
        self.rollout.led_at = self.now();
        let name = step.name();
        let of = |state| {
            Answer::Progress(Some(Progress { generation, step: name, state, paused: 0, held: BTreeMap::new() }))
        };
        let mut asked = self.machine.asked(generation, name);
        if let (Asked::Former(_), Some(later)) = (&asked, self.given_up()) {
            self.take_step(later, StepName::Abort, Step::Abort);
            asked = self.machine.asked(generation, name);
        }
        if let Asked::Known(stage) | Asked::Former(stage) = asked {
            return match self.progress() {
                // How it went besides is known, too.
                Some(over)
                    if self.machine.change().is_none() && over.generation == generation && stage == Stage::Done =>
                {
                    Answer::Progress(Some(Progress { step: name, ..over }))
                }
                _ => of(stage),
            };
        }
        if let Step::Prepare { plan, digest, rebuilt } = step {
            return match self.prepare_rollout(generation, &plan, &digest, &rebuilt.into_iter().collect()) {
                Ok(change) => {
                    self.note(&format!("rollout to plan {generation}: prepared"));
                    self.take_in(Event::Prepared(change));
                    of(Stage::Done)
                }
                Err(why) => {
                    self.note(&format!("rollout to plan {generation}: {why}"));
                    of(Stage::Failed(Failure::Other(why)))
                }
            };
        }
        self.take_step(generation, name, step);
        let goes_on = self.progress().filter(|progress| progress.generation == generation);
        // Given up, and what it was to lead back from goes on.
        goes_on.map_or_else(|| of(Stage::Done), |progress| Answer::Progress(Some(progress)))
    }

    /// The rollout that is under way, if the store says that it was given up.
    fn given_up(&self) -> Option<u64> {
        let generation = self.machine.change()?.generation;
        let decision = Store::open(&self.paths.store()).and_then(|store| store.decision(generation));
        matches!(decision, Ok(Some(Decision::Abort))).then_some(generation)
    }

    fn take_step(&mut self, generation: u64, name: StepName, step: Step) {
        self.note(&format!("rollout to plan {generation}: {name}"));
        let now = self.now();
        match name {
            StepName::Hold => {
                self.rollout.holds_since.get_or_insert(now);
            }
            StepName::Idle | StepName::IdleAgain => {
                self.rollout.idle_until = now.saturating_add(self.plan.idle_timeout);
                self.rollout.beats = self.pages.iter().map(|page| (page.heartbeat(), now)).collect();
            }
            StepName::Release => {
                self.end_pause();
                self.rollout.held = self.held();
                // Their plans' files go now.
                self.rollout.before.clear();
            }
            StepName::Abort => {
                self.end_pause();
                self.rollout.next = self.rollout.before.pop();
            }
            _ => {}
        }
        let but = if let Step::Drain { flows } = step { flows } else { Vec::new() };
        self.take_in(Event::Step { step: name, but });
        if name == StepName::Release {
            self.lives_by_next();
        }
    }

    fn end_pause(&mut self) {
        if let Some(since) = self.rollout.holds_since.take() {
            self.rollout.paused = self.now().saturating_sub(since);
        }
    }

    fn prepare_rollout(
        &mut self,
        generation: u64,
        plan: &Path,
        digest: &str,
        rebuilt: &BTreeSet<String>,
    ) -> Result<Change, String> {
        if self.machine.phase() != Phase::Flowing && !self.plans.is_empty() {
            return Err("not everything has been started yet, or it is being stopped".to_owned());
        }
        // What failed after its decision is what this one leads back from.
        let leads_back = self.machine.change().is_some_and(Change::is_decided);
        let before = self.rollout.next.as_ref().filter(|_| leads_back).map_or(&self.plan, |next| &next.plan);
        let plan = rollout::read(plan, digest, before)?;
        let parts = rollout::parts(before, &plan, &self.server, rebuilt)?;
        rollout::verify(before, &plan, &self.server, &parts, &self.paths)?;
        prepare::put_plan(&self.places, generation, &plan).map_err(|error| error.to_string())?;
        let mut next = Next { generation, plan, has_guide: false, pages: BTreeMap::new() };
        for (name, part) in &parts {
            let is_new = self.plans.iter().all(|known| known.name != *name);
            if let Some(process) = part.plan.as_ref().filter(|_| is_new && part.order == Order::Start) {
                let page = self.installation(&next).make_room(process).map_err(|error| error.to_string())?;
                next.pages.insert(name.clone(), page);
            }
        }
        if leads_back {
            self.lives_by_next();
        }
        if self.machine.change().is_some() {
            self.rollout.before.extend(self.rollout.next.take());
        }
        self.rollout.next = Some(next);
        self.rollout.paused = 0;
        self.rollout.held.clear();
        Ok(Change::new(generation, parts))
    }

    fn installation<'a>(&'a self, next: &'a Next) -> Installation<'a> {
        Installation {
            generation: next.generation,
            plan: &next.plan,
            server: &self.server,
            places: &self.places,
            guide: self.places.guide_of(next.generation),
        }
    }

    /// Gives those processes a place that the machine has taken in. Answers whether there are any.
    pub(super) fn give_room(&mut self) -> bool {
        let before = self.plans.len();
        while self.plans.len() < self.machine.processes().len() {
            let name = self.machine.processes()[self.plans.len()].name.clone();
            let plan = self.machine.change().and_then(|change| change.parts.get(&name)?.plan.clone());
            let page = self.rollout.next.as_mut().and_then(|next| next.pages.remove(&name));
            // Prepared together with the change that brings it.
            let (Some(plan), Some(page)) = (plan, page) else { break };
            self.idle.watch(&name, page.clone());
            self.log_from.push(super::length(&self.places.log(&name)));
            self.received.push(0);
            self.rates.push(0);
            self.pages.push(page);
            self.plans.push(plan);
        }
        self.plans.len() > before
    }

    /// Puts in place what a process lives by under the new plan.
    pub(super) fn install(&mut self, process: ProcessIndex) -> Option<Event> {
        self.put_in_place(process).err().map(|why| Event::NotInstalled { process, why })
    }

    fn put_in_place(&mut self, process: ProcessIndex) -> Result<(), String> {
        let Some(mut next) = self.rollout.next.take() else { return Ok(()) };
        let put = self.put_of(&mut next, process);
        self.rollout.next = Some(next);
        put
    }

    fn put_of(&mut self, next: &mut Next, process: ProcessIndex) -> Result<(), String> {
        let known = &self.machine.processes()[process.0];
        let part = self.machine.change().and_then(|change| change.parts.get(&known.name));
        let plan = part.and_then(|part| part.plan.clone());
        let plan = plan.unwrap_or_else(|| rollout::leaving(&self.plans[process.0]));
        if known.role == Role::Portal {
            rollout::put_transition(&self.plan, &self.server, &known.name, next.generation, &self.places)
                .map_err(|error| format!("cannot write down what the plan before was: {error}"))?;
        }
        if !next.has_guide {
            self.installation(next).put_guide().map_err(|error| error.to_string())?;
            self.spawner.follow(&next.plan, &rollout::server_of(&next.plan, &self.server));
            next.has_guide = true;
        }
        self.installation(next).put(&plan).map_err(|error| error.to_string())?;
        self.plans[process.0] = plan;
        Ok(())
    }

    /// The new plan is the one that is live here.
    fn lives_by_next(&mut self) {
        let Some(next) = &self.rollout.next else { return };
        // Settings that no process has to adopt.
        let mut plans: BTreeMap<String, ProcessPlan> = rollout::server_of(&next.plan, &self.server)
            .processes
            .into_iter()
            .map(|plan| (plan.name.clone(), plan))
            .collect();
        for known in &mut self.plans {
            if let Some(plan) = plans.remove(&known.name) {
                *known = plan;
            }
        }
        self.plan = next.plan.clone();
        let begun_with = self.remembered.as_ref().map(|remembered| remembered.begun_with.as_str());
        let remember = begun_with.map(|begun| LivePlan::new(next.generation, begun, &next.plan).write(&self.places));
        if let Some(Err(error)) = remember {
            // It lives by the plan all the same; only after the machine's next start it wouldn't.
            self.note(&format!("the next start of this machine will come back with an older plan: {error}"));
        }
        self.note(&format!("lives by plan {}", next.generation));
        self.forget_guides();
    }

    /// Removes guides that no process lives by any more, and plans that aren't live any more.
    fn forget_guides(&self) {
        let used: BTreeSet<u64> = self
            .machine
            .processes()
            .iter()
            .flat_map(|process| [process.installed, process.lives_by])
            .chain([self.machine.generation()])
            .collect();
        for entry in std::fs::read_dir(&self.places.run).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let generation = |kind| name.to_str()?.strip_prefix(kind)?.strip_suffix(".json")?.parse::<u64>().ok();
            let has_passed = generation("guide-").is_some_and(|generation| !used.contains(&generation))
                || generation("plan-").is_some_and(|generation| generation < self.machine.generation());
            if has_passed {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// How many records of each flow the portals hold.
    fn held(&self) -> BTreeMap<String, u64> {
        let portals =
            self.machine.processes().iter().zip(&self.pages).filter(|(process, _)| process.role == Role::Portal);
        let spools = portals.flat_map(|(_, page)| page.entries()).filter(|entry| entry.kind == Kind::Spool);
        let mut held = BTreeMap::new();
        for entry in spools {
            let count = entry.sent.saturating_sub(entry.done + entry.written_off);
            if let Some((flow, _)) = entry.name.split_once('@').filter(|_| count > 0) {
                *held.entry(flow.to_owned()).or_default() += count;
            }
        }
        held
    }

    /// What a rollout needs while nobody says anything.
    pub(super) fn tend_rollout(&mut self) {
        if self.machine.change().is_none() {
            self.rollout.next = None;
            self.rollout.before.clear();
            // It was started to join a rollout, and nobody has asked it to: that was given up before.
            let waited = self.now().saturating_sub(self.rollout.led_at);
            if self.joining && self.machine.processes().is_empty() && waited >= LEASE {
                self.note("nobody has asked it to join a rollout");
                self.take_in(Event::Stop { now: false });
            }
            return;
        }
        if self.machine.wants_idle_proof() {
            self.listen_to_heartbeats();
            let left_out = self.machine.left_out();
            let verdict = self.idle.prove_without(&left_out);
            if verdict.is_idle() {
                if !left_out.is_empty() {
                    let names = left_out.into_iter().collect::<Vec<_>>().join(", ");
                    self.note(&format!("idle, but for what waits for a stage that is down, at {names}"));
                }
                self.take_in(Event::JudgedIdle(None));
            } else if self.now() >= self.rollout.idle_until {
                let why = self.busy(&verdict);
                self.note(&format!("not idle in time: {why}"));
                self.take_in(Event::JudgedIdle(Some(Failure::NotIdle(why))));
            }
        } else if self.now() >= self.rollout.idle_until
            && self.machine.change().is_some_and(|change| matches!(change.step(), StepName::Idle | StepName::IdleAgain))
            && matches!(self.progress().map(|progress| progress.state), Some(Stage::Working(_)))
        {
            let why = "a portal or source hasn't closed its gate".to_owned();
            self.take_in(Event::JudgedIdle(Some(Failure::NotIdle(why))));
        }
        if self.now().saturating_sub(self.rollout.led_at) >= LEASE {
            self.rollout.led_at = self.now();
            self.deployer_has_vanished();
        }
    }

    /// Which edges still have records, and for how long whoever has them has been at it.
    fn busy(&self, verdict: &Verdict) -> String {
        let Verdict::Busy { edges } = verdict else { return verdict.to_string() };
        let described = edges.iter().take(3).map(|edge| {
            let at_it = self.is_down(&edge.who).unwrap_or_else(|| {
                let at_it = self.at_it(&edge.who);
                at_it.map_or_else(String::new, |ms| format!(", at it for {:.1} s at least", ms as f64 / 1e3))
            });
            format!("{} has {} of {} to do{at_it}", edge.who, edge.records, edge.edge)
        });
        let more = edges.len().saturating_sub(3);
        let more = if more == 0 { String::new() } else { format!("; and {more} more edges") };
        described.collect::<Vec<_>>().join("; ") + &more
    }

    /// That a process of this server doesn't run, so that what waits for it can't be worked off, and what can be done.
    fn is_down(&self, who: &str) -> Option<String> {
        let name = who.rsplit('/').next()?;
        let process = self.machine.processes().iter().find(|process| process.name == name && !process.is_alive())?;
        let detail = process.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
        Some(format!(
            ", and doesn't run: {}{detail}; deploy a fix of it alone first, which needn't wait for it",
            process.condition()
        ))
    }

    fn listen_to_heartbeats(&mut self) {
        let now = self.now();
        for (page, (beat, moved)) in self.pages.iter().zip(&mut self.rollout.beats) {
            let current = page.heartbeat();
            if current != *beat {
                (*beat, *moved) = (current, now);
            }
        }
    }

    /// For how long at least a process of this server has made no progress. Milliseconds.
    fn at_it(&self, who: &str) -> Option<u64> {
        let name = who.rsplit('/').next()?;
        let place = self.plans.iter().position(|plan| plan.name == name)?;
        let (_, moved) = self.rollout.beats.get(place)?;
        Some(self.now().saturating_sub(*moved))
    }

    /// Without a deployer the rollout is given up, unless it has been decided: then another deployer goes on with it.
    fn deployer_has_vanished(&mut self) {
        let Some(change) = self.machine.change() else { return };
        let generation = change.generation;
        let store = Store::open(&self.paths.store());
        let decision = if change.is_decided() {
            Ok(Decision::Commit)
        } else {
            store.and_then(|store| store.decide(generation, Decision::Abort))
        };
        match decision {
            Ok(Decision::Abort) => {
                self.note(&format!("rollout to plan {generation}: its deployer has vanished; given up"));
                self.take_step(generation, StepName::Abort, Step::Abort);
            }
            Ok(Decision::Commit) => {
                self.note(&format!("rollout to plan {generation}: its deployer has vanished; another one goes on"));
                if let Err(error) = self.start_command("__resume") {
                    self.note(&format!("cannot start a deployer: {error}"));
                }
            }
            // Opening the gates now could mean two owners.
            Err(error) => self.note(&format!("its deployer has vanished, and {error}: holding on")),
        }
    }

    /// Starts one of waldo's own commands about this namespace, and doesn't wait for it.
    pub(super) fn start_command(&self, command: &str) -> std::io::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.places.log("launcher"))?;
        let mut program = Program::new(std::env::current_exe()?);
        program
            .arg(command)
            .arg("--root")
            .arg(self.paths.root())
            .args(["--topology", &self.plan.topology, "--namespace", &self.plan.namespace])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut program, 0);
        // Reaped with all other children.
        program.spawn().map(drop)
    }
}
