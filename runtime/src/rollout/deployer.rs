//! Whoever leads rollouts of a namespace: holds its lock, brings to an end what another left unfinished, leads from the
//! live plan to another one, and back if that doesn't work.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use waldo_compiler::{
    Origin,
    diff::{Diff, Unrelated, diff_with_programs, succession::follow},
    plan::{Plan, ProcessPlan},
};

use super::{
    driver::{Course, Driver, Watcher},
    halt,
    machine::{Bounds, Machine, Outcome, Part, Phase, Reason},
    rehearsal::rehearse,
    step::{Failure, StepName},
    store::{Decision, Intent, Store, StoreError},
};
use crate::{
    cluster,
    control::{Holder, ServerStatus},
    launcher::Role,
    ledger::{self, Account},
    paths::Paths,
    programs::Programs,
    sys::{
        lock::{Lock, Taken},
        process::Identity,
    },
};

/// How many plans and accounts are kept beside the live one.
const KEPT: u64 = 100;

/// How long servers may take to come up before a rollout begins, beside what their processes may take.
const COMES_UP: Duration = Duration::from_secs(10);
/// How long a launcher that was started may take to be there, before another is.
const REVIVE_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why there was no rollout at all.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Another deployer leads a rollout.
    #[error("a rollout of this namespace is under way{}", holder.as_ref().map_or_else(String::new,
        |holder| format!(" (process {}, {})", holder.identity.pid, holder.what)))]
    Locked {
        /// Who.
        holder: Option<Holder>,
    },
    /// Another plan has gone live since the difference was made.
    #[error("plan {live} is live now, not {expected}: the difference was made against what isn't there any more")]
    Stale {
        /// The plan that is live.
        live: u64,
        /// The plan that was thought to be.
        expected: u64,
    },
    /// Nothing was ever live in this namespace.
    #[error("no plan is live")]
    NothingLive,
    /// The plans are of different topologies.
    #[error(transparent)]
    Unrelated(#[from] Unrelated),
    /// This can't be done in one step.
    #[error("this can't be rolled out in one step: {0}")]
    Refused(String),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused something.
    #[error("cannot {doing}: {why}")]
    Io {
        /// What.
        doing: String,
        /// What the system says.
        why: io::Error,
    },
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// The new plan is live.
    Ok,
    /// Nothing has changed: it couldn't be prepared, or a gate didn't close.
    Error,
    /// The old plan is live again, under a newer number.
    RolledBack,
    /// The new plan is live, and something is wrong with it.
    Unhealthy,
    /// A server wasn't idle in time; the old plan goes on.
    IdleTimeout,
    /// A person has asked to stop.
    Cancelled,
    /// Servers are on different plans.
    Mixed,
    /// The new plan is live, but records were lost.
    Lost,
}

/// The account of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this document.
    pub format: u32,
    /// How it ended.
    pub result: Conclusion,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The plan that is live after it.
    pub generation: u64,
    /// The plan that was live before.
    pub from: u64,
    /// The plan that it was to lead to.
    pub to: u64,
    /// When it began: seconds since 1970, for people.
    pub began: u64,
    /// What it was to change, in a few words each.
    pub changes: Vec<String>,
    /// For how long each server held. Milliseconds.
    pub pause_ms: BTreeMap<String, u64>,
    /// What became of each flow's records while it went on.
    pub flows: BTreeMap<String, Account>,
    /// How long each phase took, in order. Milliseconds.
    pub phases: serde_json::Map<String, serde_json::Value>,
    /// Why what became of it couldn't be written down. Then whoever deploys next brings it to its end once more.
    #[serde(skip)]
    pub unwritten: Option<String>,
}

/// A rollout to be led.
pub struct Rollout<'p> {
    /// The plan that is live, by its number.
    pub from: u64,
    /// Its content.
    pub live: &'p Plan,
    /// The plan that it leads to.
    pub next: &'p Plan,
    /// What that was compiled from, if it is known.
    pub origin: Option<&'p Origin>,
    /// Processes whose programs are others than when they were started: server and name.
    pub rebuilt: &'p BTreeSet<(String, String)>,
    /// What it changes, in a few words each.
    pub changes: Vec<String>,
}

/// Whoever leads rollouts of a namespace, for as long as this lives.
pub struct Deployer<'a> {
    paths: &'a Paths,
    store: Store,
    _lock: Lock,
}

impl<'a> Deployer<'a> {
    /// Takes the namespace's lock.
    ///
    /// # Errors
    /// If another deployer has it, or the store can't be used.
    pub fn take(paths: &'a Paths, what: &str) -> Result<Self, DeployError> {
        let store = Store::open(&paths.store())?;
        let failed = |why| DeployError::Io { doing: format!("lock {}", store.lock().display()), why };
        let holder = Holder {
            identity: Identity::own().map_err(failed)?,
            what: what.to_owned(),
            root: Some(paths.root().to_owned()),
        };
        match Lock::take(&store.lock(), &holder).map_err(failed)? {
            Taken::Ours(lock) => Ok(Self { paths, store, _lock: lock }),
            Taken::Held(holder) => Err(DeployError::Locked { holder }),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The plan that is live, and its number.
    ///
    /// # Errors
    /// If there is none, or it can't be read.
    pub fn live(&self) -> Result<(u64, Plan), DeployError> {
        let generation = self.store.live()?.ok_or(DeployError::NothingLive)?;
        let plan = self.store.plan(generation)?.ok_or(DeployError::NothingLive)?;
        Ok((generation, plan))
    }

    /// Brings to an end what deployers have left, if there is anything: forward what was committed, back what wasn't.
    /// Answers the account of the last one. If that can't be brought to an end either ([`Report::is_over`]), nothing else may
    /// be begun.
    ///
    /// # Errors
    /// If the store can't be used.
    pub fn finish_what_was_left(&self, watcher: &mut dyn Watcher) -> Result<Option<Report>, DeployError> {
        let mut last = None;
        // A way back that was given up may leave what it led back from.
        while let Some(report) = self.finish_newest(watcher)? {
            let is_over = report.is_over();
            last = Some(report);
            if !is_over {
                break;
            }
        }
        Ok(last)
    }

    fn finish_newest(&self, watcher: &mut dyn Watcher) -> Result<Option<Report>, DeployError> {
        let Some(intent) = self.store.unfinished()? else { return Ok(None) };
        let (Some(live), Some(next)) = (self.store.plan(intent.from)?, self.store.plan(intent.to)?) else {
            return Ok(None);
        };
        let machine = Machine::resume(
            intent.to,
            self.store.plan_file(intent.to),
            next.digest.clone(),
            intent.parts.clone(),
            bounds(&live, &next),
        );
        let machine = if intent.is_rollback { machine.without_way_back() } else { machine };
        let before = self.statuses();
        let course = self.drive(&intent, machine, watcher);
        let mut report = Report::of(&intent, vec!["goes on with a rollout whose deployer had gone".to_owned()]);
        self.conclude(&intent, (&live, &next), course, &before, &mut report, watcher);
        Ok(Some(report))
    }

    /// Leads a rollout.
    ///
    /// # Errors
    /// If it can't even begin: nothing has changed then.
    pub fn roll_out(&self, rollout: &Rollout<'_>, watcher: &mut dyn Watcher) -> Result<Report, DeployError> {
        let live = self.store.live()?.ok_or(DeployError::NothingLive)?;
        if live != rollout.from {
            return Err(DeployError::Stale { live, expected: rollout.from });
        }
        let to = self.store.newest()? + 1;
        let (next, mut parts) = Self::plan(rollout, to)?;
        self.wait_for_servers(rollout.live, watcher);
        let before = self.statuses();
        if let Some(why) = before.iter().find_map(|status| barred_by_a_pause(status, &parts)) {
            return Err(DeployError::Refused(why));
        }
        // Servers that an earlier rollout didn't reach: nobody knows any more what they would disturb.
        for status in before.iter().filter(|status| status.generation != rollout.from) {
            if let Some(part) = parts.iter_mut().find(|part| part.server == status.server) {
                part.holds = true;
                part.changes = true;
            }
        }
        let intent = Intent { from: rollout.from, to, parts: parts.clone(), is_rollback: false };
        self.store.put_plan(to, &next)?;
        if let Some(origin) = rollout.origin {
            self.store.put_origin(to, origin)?;
        }
        self.keep_programs((rollout.from, rollout.live), (to, &next), rollout.rebuilt)?;
        self.store.put_intent(&intent)?;
        let bounds = bounds(rollout.live, &next);
        let machine = Machine::new(to, self.store.plan_file(to), next.digest.clone(), parts, bounds);
        let mut report = Report::of(&intent, rollout.changes.clone());
        let course = self.drive(&intent, machine, watcher);
        self.conclude(&intent, (rollout.live, &next), course, &before, &mut report, watcher);
        Ok(report)
    }

    /// Waits until everything runs on the servers of the live plan. A launcher that has left, as somebody has asked it to, is followed
    /// by another. If that takes too long, the rollout will say what is wrong.
    fn wait_for_servers(&self, live: &Plan, watcher: &mut dyn Watcher) {
        let until = Instant::now() + COMES_UP + Duration::from_millis(bounds(live, live).switch);
        let mut waits: BTreeMap<&String, Instant> = BTreeMap::new();
        let mut servers: Vec<&String> =
            live.servers.iter().filter(|(_, server)| !server.processes.is_empty()).map(|(name, _)| name).collect();
        loop {
            servers.retain(|server| !cluster::is_flowing(self.paths, server));
            let now = Instant::now();
            if servers.is_empty() || now > until || watcher.wants_to_stop() {
                return;
            }
            for &server in &servers {
                watcher.waits(server, StepName::Prepare, &["everything to run".to_owned()]);
                if waits.get(server).is_none_or(|again| *again <= now) {
                    waits.insert(server, now + REVIVE_AGAIN);
                    // If it can't be, that is told by the rollout.
                    let _ = cluster::revive(self.paths, &self.store, server);
                }
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// What [`Deployer::roll_out`] would ask of whom, in which order. Changes nothing, and needs no lock.
    ///
    /// # Errors
    /// If it could not even begin.
    pub fn rehearse(rollout: &Rollout<'_>) -> Result<Vec<(Phase, Vec<String>)>, DeployError> {
        let to = rollout.from + 1;
        let (next, parts) = Self::plan(rollout, to)?;
        let bounds = bounds(rollout.live, &next);
        Ok(rehearse(Machine::new(to, PathBuf::new(), next.digest, parts, bounds), to))
    }

    /// The plan as it goes live as this generation, and what each server does for it.
    fn plan(rollout: &Rollout<'_>, to: u64) -> Result<(Plan, Vec<Part>), DeployError> {
        let next = follow(rollout.live, rollout.next, to)?;
        let rebuilt = |server: &str, process: &ProcessPlan| {
            !rollout.rebuilt.is_empty() && rollout.rebuilt.contains(&(server.to_owned(), process.name.clone()))
        };
        let diff = diff_with_programs(rollout.live, &next, &rebuilt)?;
        if let Some(refusal) = diff.refusals.first() {
            return Err(DeployError::Refused(refusal.to_string()));
        }
        let parts = parts(rollout.live, &next, &diff, rollout.rebuilt);
        Ok((next, parts))
    }

    /// Keeps from which programs the processes of the new plan are started, or were.
    fn keep_programs(
        &self,
        (from, live): (u64, &Plan),
        (to, next): (u64, &Plan),
        rebuilt: &BTreeSet<(String, String)>,
    ) -> Result<(), DeployError> {
        let root = self.paths.root();
        let programs = match self.store.programs(from)? {
            Some(before) => {
                let rebuilt = |server: &str, process: &ProcessPlan| {
                    !rebuilt.is_empty() && rebuilt.contains(&(server.to_owned(), process.name.clone()))
                };
                let diff = diff_with_programs(live, next, &rebuilt)?;
                before.followed_by(before.now(next, root), &diff)
            }
            None => Programs::of(next, root, std::env::var_os("PATH")),
        };
        Ok(self.store.put_programs(to, &programs)?)
    }

    fn drive(&self, intent: &Intent, machine: Machine, watcher: &mut dyn Watcher) -> Course {
        let servers: Vec<String> = intent.parts.iter().map(|part| part.server.clone()).collect();
        let driver = Driver::new(intent.to, machine, &servers, self.paths, &self.store);
        if intent.is_rollback { driver.run(&mut Unstoppable(watcher)) } else { driver.run(watcher) }
    }

    /// What follows from how a rollout went: the way back, and the account. Nothing that fails here changes what is live: it is
    /// told in the report.
    fn conclude(
        &self,
        intent: &Intent,
        (live, next): (&Plan, &Plan),
        course: Course,
        before: &[ServerStatus],
        report: &mut Report,
        watcher: &mut dyn Watcher,
    ) {
        report.take(&course);
        let mut led = vec![intent.to];
        match course.outcome {
            Outcome::Done => report.generation = intent.to,
            Outcome::Aborted(reason) => report.end(conclusion(&reason), &reason),
            Outcome::Unhealthy(reason) => {
                report.generation = intent.to;
                report.end(Conclusion::Unhealthy, &reason);
            }
            Outcome::Mixed(servers, reason) => {
                report.end(Conclusion::Mixed, &reason);
                let named = servers.join(", ");
                let rest = match self.is_committed(intent.to) {
                    Ok(true) => {
                        report.generation = intent.to;
                        format!(
                            "not on plan {} yet: {named}. The others hold or go on. All are asked again every few seconds; \
                             `waldo deploy` goes on with it too",
                            intent.to
                        )
                    }
                    Ok(false) => format!("it was given up, and this isn't known yet on {named}"),
                    Err(error) => format!("whether it was decided can't be read: {error}"),
                };
                report.add(&rest);
            }
            Outcome::GoBack(reason) => {
                report.generation = intent.to;
                led.extend(self.go_back(intent, (live, next), &reason, report, watcher));
            }
        }
        report.account(before, &self.statuses(), &self.statuses());
        if let Err(error) = self.write_down(report, &led) {
            report.is_unwritten(&error);
        }
        // Of no use any more. What can't be removed now is the next time.
        let _ = self.store.forget_before(report.generation.saturating_sub(KEPT));
    }

    /// Writes down which plan is live, and the account of the rollouts that were led, the last one first: or whoever finds no
    /// account of what failed would go on with that.
    fn write_down(&self, report: &Report, led: &[u64]) -> Result<(), DeployError> {
        if let Some(plan) = self.store.plan(report.generation)? {
            self.store.set_live(report.generation)?;
            self.put_live_plan(&plan)?;
        }
        // What isn't brought to an end has no account: whoever comes next goes on with it.
        if report.result != Conclusion::Mixed {
            for &generation in led.iter().rev() {
                self.store.put_history(generation, report)?;
            }
        }
        Ok(())
    }

    /// Rolls the old plan out on top of one that is in place, held, and doesn't work. Answers the number under which that was
    /// tried, if it could be.
    fn go_back(
        &self,
        failed: &Intent,
        (live, next): (&Plan, &Plan),
        reason: &Reason,
        report: &mut Report,
        watcher: &mut dyn Watcher,
    ) -> Option<u64> {
        let back = match self.way_back(failed, (live, next)) {
            Ok(back) => back,
            Err(barred) => {
                self.go_on_without_way_back(failed, (live, next), reason, &barred, report, watcher);
                return None;
            }
        };
        let WayBack { intent, plan } = back;
        let to = intent.to;
        let (file, parts) = (self.store.plan_file(to), intent.parts.clone());
        let machine = Machine::new(to, file, plan.digest.clone(), parts, bounds(next, &plan)).without_way_back();
        let course = self.drive(&intent, machine, watcher);
        report.take(&course);
        match course.outcome {
            Outcome::Done => {
                report.generation = to;
                let conclusion =
                    if *reason == Reason::Cancelled { Conclusion::Cancelled } else { Conclusion::RolledBack };
                report.end(conclusion, reason);
            }
            Outcome::Aborted(also) => {
                self.go_on_without_way_back(failed, (live, next), reason, &also, report, watcher);
            }
            Outcome::Unhealthy(also) | Outcome::GoBack(also) => {
                report.generation = to;
                report.end(Conclusion::Unhealthy, reason);
                report.add(&format!("and on the way back: {also}"));
            }
            Outcome::Mixed(_, also) => {
                if self.is_committed(to).unwrap_or(false) {
                    report.generation = to;
                }
                report.end(Conclusion::Mixed, reason);
                report.add(&format!("and on the way back: {also}"));
            }
        }
        Some(to)
    }

    /// The old plan under a newer number, written down as what is about to be rolled out.
    fn way_back(&self, failed: &Intent, (live, next): (&Plan, &Plan)) -> Result<WayBack, DeployError> {
        let to = self.store.newest()?.max(failed.to) + 1;
        let plan = follow(next, live, to)?;
        let rebuilt: BTreeSet<(String, String)> = failed
            .parts
            .iter()
            .flat_map(|part| part.rebuilt.iter().map(|process| (part.server.clone(), process.clone())))
            .collect();
        let is_rebuilt = |server: &str, process: &ProcessPlan| {
            !rebuilt.is_empty() && rebuilt.contains(&(server.to_owned(), process.name.clone()))
        };
        let diff = diff_with_programs(next, &plan, &is_rebuilt)?;
        let mut parts = parts(next, &plan, &diff, &rebuilt);
        for part in &mut parts {
            // What holds goes on holding until the old plan is back.
            part.holds |= failed.parts.iter().any(|other| other.server == part.server && other.holds);
        }
        let intent = Intent { from: failed.to, to, parts, is_rollback: true };
        self.store.put_plan(to, &plan)?;
        self.keep_programs((failed.to, next), (to, &plan), &rebuilt)?;
        if let Some(origin) = self.store.origin(failed.from)? {
            self.store.put_origin(to, &origin)?;
        }
        self.store.put_intent(&intent)?;
        Ok(WayBack { intent, plan })
    }

    /// On with the new plan, whatever is wrong with it, as the way back is barred.
    fn go_on_without_way_back(
        &self,
        failed: &Intent,
        (live, next): (&Plan, &Plan),
        reason: &Reason,
        barred: &dyn fmt::Display,
        report: &mut Report,
        watcher: &mut dyn Watcher,
    ) {
        let (file, parts) = (self.store.plan_file(failed.to), failed.parts.clone());
        let machine = Machine::resume(failed.to, file, next.digest.clone(), parts, bounds(live, next));
        let course = self.drive(failed, machine.without_way_back(), watcher);
        report.take(&course);
        let is_mixed = matches!(course.outcome, Outcome::Mixed(..));
        report.end(if is_mixed { Conclusion::Mixed } else { Conclusion::Unhealthy }, reason);
        report.add(&format!("there was no way back: {barred}"));
    }

    fn is_committed(&self, generation: u64) -> Result<bool, DeployError> {
        Ok(self.store.decision(generation)? == Some(Decision::Commit))
    }

    /// What a person and other commands find as the live plan.
    fn put_live_plan(&self, plan: &Plan) -> Result<(), DeployError> {
        let path = self.paths.live_plan();
        let failed = |why| DeployError::Io { doing: format!("write {}", path.display()), why };
        let text = serde_json::to_vec(plan).map_err(|error| failed(error.into()))?;
        let new = path.with_extension("new");
        let write = || std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
        halt::need_room_on_disk().and_then(|()| write()).map_err(failed)
    }

    fn statuses(&self) -> Vec<ServerStatus> {
        cluster::connect(self.paths).iter_mut().filter_map(|client| client.status().ok()).collect()
    }
}

/// From a plan that doesn't work to the one before it.
struct WayBack {
    intent: Intent,
    plan: Plan,
}

/// Follows a rollout that leads back: whoever has asked to stop has been heard, and there is nothing to go back to.
struct Unstoppable<'w>(&'w mut dyn Watcher);

impl Watcher for Unstoppable<'_> {
    fn stands(&mut self, phase: Phase, waiting_for: &[&str]) {
        self.0.stands(phase, waiting_for);
    }

    fn waits(&mut self, server: &str, step: StepName, for_what: &[String]) {
        self.0.waits(server, step, for_what);
    }

    fn wants_to_stop(&mut self) -> bool {
        false
    }
}

/// What each server does in a rollout.
fn parts(live: &Plan, next: &Plan, diff: &Diff<'_>, rebuilt: &BTreeSet<(String, String)>) -> Vec<Part> {
    let servers: BTreeSet<&String> = live.servers.keys().chain(next.servers.keys()).collect();
    let part = |server: &&String| {
        let name = server.as_str();
        let holds = diff.hold.contains_key(name);
        let drains = diff.drain.get(name).into_iter().flatten().map(ToString::to_string).collect();
        let rebuilt = rebuilt.iter().filter(|(on, _)| on == name).map(|(_, process)| process.clone()).collect();
        Part { server: name.to_owned(), holds, changes: !diff.untouched.contains(name), drains, rebuilt }
    };
    servers.iter().map(part).collect()
}

/// How long things may take in a rollout between these plans.
fn bounds(live: &Plan, next: &Plan) -> Bounds {
    let processes = || live.servers.values().chain(next.servers.values()).flat_map(|server| &server.processes);
    let grace = processes().map(|process| process.stop.grace).max().unwrap_or(0);
    let ready = processes().map(|process| process.ready_timeout).max().unwrap_or(0);
    Bounds { idle: live.idle_timeout.max(next.idle_timeout), switch: grace.saturating_add(ready) }
}

/// What must be delivered before a rollout can go on, a person may have paused.
fn barred_by_a_pause(status: &ServerStatus, parts: &[Part]) -> Option<String> {
    let part = parts.iter().find(|part| part.server == status.server && !part.drains.is_empty())?;
    let portal = status.processes.iter().find(|process| process.paused && process.role == Role::Portal)?;
    Some(format!(
        "{server} delivers what it holds of {flows} first, as the new plan doesn't have that there, and {server}/{portal} is \
         paused: `waldo resume` it",
        server = status.server,
        flows = part.drains.join(", "),
        portal = portal.name
    ))
}

fn conclusion(reason: &Reason) -> Conclusion {
    match reason {
        Reason::Failed { failure: Failure::NotIdle(_), .. }
        | Reason::Late { step: StepName::Idle | StepName::Drain | StepName::IdleAgain, .. } => Conclusion::IdleTimeout,
        Reason::Cancelled => Conclusion::Cancelled,
        Reason::Failed { .. } | Reason::Late { .. } | Reason::OtherDecision | Reason::Undecidable(_) => {
            Conclusion::Error
        }
    }
}

impl Report {
    fn of(intent: &Intent, changes: Vec<String>) -> Self {
        Self {
            format: 1,
            result: Conclusion::Ok,
            error: None,
            generation: intent.from,
            from: intent.from,
            to: intent.to,
            began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            changes,
            pause_ms: BTreeMap::new(),
            flows: BTreeMap::new(),
            phases: serde_json::Map::new(),
            unwritten: None,
        }
    }

    /// Whether nothing of it is left to be done by whoever deploys next.
    pub fn is_over(&self) -> bool {
        self.result != Conclusion::Mixed && self.unwritten.is_none()
    }

    fn end(&mut self, result: Conclusion, reason: &Reason) {
        self.result = result;
        self.error = Some(reason.to_string());
    }

    /// Says more of what went wrong.
    fn add(&mut self, what: &str) {
        self.error = Some(self.error.take().map_or_else(|| what.to_owned(), |error| format!("{error}; {what}")));
    }

    /// All was done, but nobody can read so.
    fn is_unwritten(&mut self, why: &DeployError) {
        if matches!(self.result, Conclusion::Ok | Conclusion::Lost) {
            self.result = Conclusion::Unhealthy;
        }
        self.add(&format!(
            "plan {} is live, but what became of this rollout can't be written down: {why}",
            self.generation
        ));
        self.unwritten = Some(why.to_string());
    }

    fn take(&mut self, course: &Course) {
        for (phase, took) in &course.phases {
            let known = self.phases.entry(phase.to_string()).or_insert_with(|| 0.into());
            // On the way back each phase comes a second time.
            *known = (known.as_u64().unwrap_or(0) + took).into();
        }
        for (server, paused) in &course.paused {
            let pause = self.pause_ms.entry(server.clone()).or_default();
            *pause = (*pause).max(*paused);
        }
        for (flow, held) in &course.held {
            self.flows.entry(flow.clone()).or_default().held = *held;
        }
    }

    /// What became of records between the readings of all pages before the rollout and two after it.
    fn account(&mut self, before: &[ServerStatus], after: &[ServerStatus], after_that: &[ServerStatus]) {
        let held: BTreeMap<String, u64> =
            self.flows.iter().map(|(flow, account)| (flow.clone(), account.held)).collect();
        self.flows = ledger::between(before, after, after_that);
        for (flow, account) in &mut self.flows {
            account.held = held.get(flow).copied().unwrap_or(0);
        }
        if self.result == Conclusion::Ok && self.flows.values().any(|account| account.lost > 0) {
            self.result = Conclusion::Lost;
        }
    }
}
