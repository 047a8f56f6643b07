//! Leading a cluster through its run: wait until all is ready, let it flow, prove it idle, finish, stop, take stock.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use waldo_compiler::plan::{Plan, Program, Speaks};
use waldo_runtime::{
    cluster::{
        Cluster, ClusterError, membership,
        outlook::{self, Movement, Trouble},
        stop_takes,
    },
    control::{Command, Keeper, ServerStatus, Stand},
    idle::Verdict,
    paths::Paths,
};
use waldo_sdk::page::{Entry, Kind};

use super::{Ready, progress::Progress, watch::Watch};
use crate::numbers::grouped;

/// How often servers are asked how they are.
const ASK: Duration = Duration::from_millis(50);
/// The first pause between two tries to prove that all is idle; it doubles up to [`ASK`].
const PROVE: Duration = Duration::from_millis(2);
/// How often servers are asked while the only thing to do is to wait for processes.
const ASK_OFTEN: Duration = Duration::from_millis(5);
/// How many times as long as an answer took is waited before the next question, so that asking many processes how they
/// are doesn't keep them from their work: while something is expected, and while nothing is.
const SPARING: u32 = 20;
const SPARING_QUIET: u32 = 200;
/// The longest pause between two questions.
const ASK_AT_LAST: Duration = Duration::from_secs(1);
/// How long nothing must have moved when clients are the only ones who send: they aren't ours to ask.
const CLIENTS_QUIET: Duration = Duration::from_secs(1);
/// The same before any record has come: clients must find out first that they can send.
const CLIENTS_BEGIN: Duration = Duration::from_secs(30);
/// How long pages may say that more was done than sent before that is believed.
const MISCOUNTED: Duration = Duration::from_secs(1);
/// How many times `idle_timeout` a `lines` program may take to end once its input has ended.
const FINISH_FACTOR: u64 = 10;
/// How long what has been killed may take to be gone.
const KILLS: Duration = Duration::from_secs(15);

/// Why a run didn't come to its end.
#[derive(Debug)]
pub enum Broken {
    /// A launcher failed.
    Cluster(ClusterError),
    /// A process keeps it from ending well.
    Trouble(Trouble),
    /// A signal asked for it.
    Interrupted,
    /// Another command stopped the servers.
    StoppedByAnother,
    /// It can't be proved idle.
    Unprovable(String),
}

impl From<ClusterError> for Broken {
    fn from(error: ClusterError) -> Self {
        if error.is_orderly() { Self::StoppedByAnother } else { Self::Cluster(error) }
    }
}

/// A cluster with the command that leads it.
pub struct Lead<'a> {
    plan: Plan,
    generation: u64,
    paths: &'a Paths,
    watch: Option<Watch>,
    cluster: Cluster,
    signals: Signals,
    progress: &'a mut Progress,
    movement: Movement,
    began: Instant,
    asked: Option<Instant>,
    /// How long the last answer of all servers took.
    answer_took: Duration,
    last: Vec<ServerStatus>,
    paused: BTreeSet<String>,
    phase: &'static str,
    phase_began: Instant,
    /// Whether the stop was cut short, and what was left was killed.
    pub killed: bool,
    /// How long each phase took, in milliseconds.
    pub phases: Vec<(&'static str, u64)>,
}

/// The signals that end a run, from now on.
pub fn catch_signals() -> std::io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP])
}

impl<'a> Lead<'a> {
    /// Leads launchers that listen.
    pub fn new(ready: &'a Ready, cluster: Cluster, signals: Signals, progress: &'a mut Progress) -> Self {
        let now = Instant::now();
        Self {
            plan: ready.plan.clone(),
            generation: ready.generation,
            paths: &ready.paths,
            watch: None,
            cluster,
            signals,
            progress,
            movement: Movement::default(),
            began: now,
            asked: None,
            answer_took: Duration::ZERO,
            last: Vec::new(),
            paused: BTreeSet::new(),
            phase: "start",
            phase_began: now,
            killed: false,
            phases: Vec::new(),
        }
    }

    /// Rolls out each save of the topology from now on.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// The number of the plan that is live.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The launchers.
    pub fn into_cluster(self) -> Cluster {
        self.cluster
    }

    /// Waits until everything but the sources is ready on every server, then starts the sources.
    pub fn start(&mut self) -> Result<(), Broken> {
        loop {
            let still = self.observe()?;
            if outlook::is_leaving(&self.last) {
                return Err(Broken::StoppedByAnother);
            }
            if let Some(trouble) = self.trouble(still) {
                return Err(Broken::Trouble(trouble));
            }
            if outlook::is_standing(&self.last) {
                break;
            }
            sleep(ASK_OFTEN);
            if self.cluster.stands()?.iter().all(|&stand| stand >= Stand::Standing) {
                self.asked = None;
            }
        }
        for (portal, flow, count) in self.resumed() {
            let count = grouped(count);
            self.progress.say(&format!(
                "{portal} goes on with {count} records of {flow} that an earlier run left (`waldo up --fresh` drops them)"
            ));
        }
        let unlimited = self.unlimited();
        if !unlimited.is_empty() {
            self.progress.say(&format!(
                "limits.cpu of {} isn't enforced here: waldo may not make control groups for it on this machine",
                unlimited.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        self.cluster.tell(&Command::StartSources)?;
        self.begin_phase("flow");
        Ok(())
    }

    /// What an earlier run has left in the portals' spools: portal, flow, how many records.
    fn resumed(&self) -> Vec<(String, String, u64)> {
        let processes =
            self.last.iter().flat_map(|server| server.processes.iter().map(move |process| (server, process)));
        let counts =
            processes.flat_map(|(server, process)| process.entries.iter().map(move |entry| (server, process, entry)));
        counts
            .filter(|(_, _, entry)| entry.kind == Kind::Count)
            .filter_map(|(server, process, entry)| {
                let flow = entry.name.strip_prefix("resumed ")?;
                Some((format!("{}/{}", server.server, process.name), flow.to_owned(), entry.done))
            })
            .collect()
    }

    /// The stages that nothing keeps to their limit of processors.
    fn unlimited(&self) -> BTreeSet<String> {
        let processes = self.last.iter().flat_map(|server| &server.processes);
        processes.filter(|it| it.limits.cpu == Some(Keeper::Nothing)).map(|it| it.stage.clone()).collect()
    }

    /// Goes on until a signal or another command ends it.
    pub fn flow(&mut self) -> Broken {
        loop {
            match self.observe() {
                Err(broken) => return broken,
                Ok(_) if outlook::is_leaving(&self.last) => return Broken::StoppedByAnother,
                Ok(_) => sleep(self.pause_at_least(ASK, SPARING_QUIET)),
            }
        }
    }

    /// Goes on until all sources have finished, or clients have, and no record is left anywhere; then lets `lines`
    /// stages finish, one after the other in the order of the plan.
    pub fn flow_until_idle(&mut self) -> Result<(), Broken> {
        self.until_idle()?;
        // From here on a save would come to stages that have ended.
        self.watch = None;
        let stages: Vec<String> = self.plan.order.iter().filter(|stage| self.is_filter(stage)).cloned().collect();
        if !stages.is_empty() {
            self.begin_phase("finish");
        }
        stages.iter().try_for_each(|stage| self.finish(stage))
    }

    fn processes(&self) -> impl Iterator<Item = &waldo_compiler::plan::ProcessPlan> {
        self.plan.servers.values().flat_map(|server| &server.processes)
    }

    /// Whether it is a `lines` stage that gets input.
    fn is_filter(&self, stage: &str) -> bool {
        self.processes().any(|process| {
            process.wiring.stage == stage
                && !process.is_source()
                && matches!(&process.program, Program::Stage(program) if program.speaks == Speaks::Lines)
        })
    }

    fn until_idle(&mut self) -> Result<(), Broken> {
        let mut pause = PROVE;
        let mut miscounted: Option<Instant> = None;
        loop {
            let still = self.observe()?;
            if outlook::is_leaving(&self.last) {
                return Err(Broken::StoppedByAnother);
            }
            if let Some(trouble) = self.trouble(still) {
                return Err(Broken::Trouble(trouble));
            }
            let only_clients = !self.processes().any(waldo_compiler::plan::ProcessPlan::is_source);
            if outlook::sources_finished(&self.last) && (!only_clients || still >= self.quiet_enough()) {
                let generation = self.generation;
                match self.cluster.prove_idle()? {
                    Verdict::Idle => {
                        // A rollout that was under way may have brought servers that nobody has asked.
                        self.ask()?;
                        self.tell_pauses();
                        if self.generation == generation && !self.is_rolling_out() {
                            return Ok(());
                        }
                        miscounted = None;
                    }
                    verdict @ Verdict::Miscounted { .. } => {
                        let since = *miscounted.get_or_insert_with(Instant::now);
                        if since.elapsed() > MISCOUNTED {
                            return Err(Broken::Unprovable(verdict.to_string()));
                        }
                    }
                    Verdict::Busy { .. } | Verdict::Changed { .. } => miscounted = None,
                }
            }
            sleep(pause);
            pause = (pause * 2).min(ASK);
        }
    }

    /// How long nothing must have moved before clients, whom nobody can ask, count as done.
    fn quiet_enough(&self) -> Duration {
        let has_come = |entry: &Entry| {
            entry.done > 0
                && entry.kind == Kind::Count
                && ["clients ", "rejected", "resumed "].iter().any(|count| entry.name.starts_with(count))
        };
        let mut entries = self.last.iter().flat_map(|server| &server.processes).flat_map(|process| &process.entries);
        if entries.any(has_come) { CLIENTS_QUIET } else { CLIENTS_BEGIN }
    }

    fn finish(&mut self, stage: &str) -> Result<(), Broken> {
        self.cluster.tell(&Command::Finish { stage: stage.to_owned() })?;
        let until = Instant::now() + Duration::from_millis(self.plan.idle_timeout.saturating_mul(FINISH_FACTOR));
        loop {
            let still = self.observe()?;
            if outlook::has_finished(&self.last, stage) {
                break;
            }
            if let Some(trouble) = self.trouble(still) {
                return Err(Broken::Trouble(trouble));
            }
            if outlook::is_leaving(&self.last) {
                return Err(Broken::StoppedByAnother);
            }
            if Instant::now() > until {
                let seconds = self.plan.idle_timeout.saturating_mul(FINISH_FACTOR) / 1_000;
                let what = format!("stage {stage} has not ended {seconds} s after its input did");
                let processes = self.last.iter().flat_map(|server| &server.processes);
                let mut logs = processes.filter(|process| process.stage == stage && !process.finish_done);
                let (log, log_from) = logs.next().map(|it| (it.log.clone(), it.log_from)).unwrap_or_default();
                return Err(Broken::Trouble(Trouble { what, log, log_from }));
            }
            sleep(self.pause_at_least(ASK_OFTEN, SPARING));
            self.asked = None;
        }
        // What it sent at its end goes its way before the next stage's input ends.
        self.until_idle()
    }

    /// Looks for signals and, if it is time to, asks how the servers are. Answers for how long nothing has moved.
    fn observe(&mut self) -> Result<Duration, Broken> {
        if self.signals.pending().next().is_some() {
            return Err(Broken::Interrupted);
        }
        if let Some(watch) = &mut self.watch
            && watch.tend(&mut self.signals, self.progress)
        {
            return Err(Broken::Interrupted);
        }
        self.ask_if_due()?;
        self.tell_pauses();
        Ok(self.movement.observe(&self.last, self.began.elapsed()))
    }

    /// Whether a rollout is under way, whoever leads it.
    fn is_rolling_out(&self) -> bool {
        self.last.iter().any(|server| server.rollout.is_some())
    }

    /// What keeps the run from ending well. What fails in a rollout is for that to put right.
    fn trouble(&self, still: Duration) -> Option<Trouble> {
        if self.is_rolling_out() { None } else { outlook::trouble(&self.last, still) }
    }

    /// Goes by the plan that a rollout has made live, whoever led it.
    fn follow(&mut self) {
        let newest = self.last.iter().map(|server| server.generation).max().unwrap_or(0);
        let is_known = |name: &String| self.last.iter().any(|server| server.server == *name);
        let mut wanted = self.plan.servers.iter().filter(|(_, server)| !server.processes.is_empty());
        if newest <= self.generation && wanted.all(|(name, _)| is_known(name)) {
            return;
        }
        // What can't be read now is looked at again the next time.
        let Ok(Some((generation, plan))) = membership::live(self.paths) else { return };
        // What this command has rolled out itself it has told.
        let is_own = self.watch.as_ref().and_then(Watch::rolled_out) == Some(generation);
        if generation > self.generation && !is_own {
            self.progress.say(&format!("plan {generation} is live"));
        }
        (self.generation, self.plan) = (generation, plan);
        self.cluster.follow();
    }

    fn ask_if_due(&mut self) -> Result<(), ClusterError> {
        if self.asked.is_none_or(|at| at.elapsed() >= self.pause_at_least(ASK, SPARING)) { self.ask() } else { Ok(()) }
    }

    fn ask(&mut self) -> Result<(), ClusterError> {
        let now = Instant::now();
        self.asked = Some(now);
        self.last = self.cluster.status()?;
        self.answer_took = now.elapsed();
        for server in self.cluster.take_news() {
            self.progress.say(&format!("the launcher of {server} had died; another one has taken over"));
        }
        self.progress.observe(&self.last);
        self.follow();
        Ok(())
    }

    /// How long to wait before the next question, at least `shortest`.
    fn pause_at_least(&self, shortest: Duration, sparing: u32) -> Duration {
        (self.answer_took * sparing).clamp(shortest, ASK_AT_LAST)
    }

    /// Says what a person has paused or resumed meanwhile: a run that waits for that must not seem to hang.
    fn tell_pauses(&mut self) {
        let processes =
            self.last.iter().flat_map(|server| server.processes.iter().map(move |process| (server, process)));
        let paused = processes.filter(|(_, process)| process.paused);
        let paused: BTreeSet<String> =
            paused.map(|(server, process)| format!("{}/{}", server.server, process.name)).collect();
        if paused == self.paused {
            return;
        }
        if paused.is_empty() {
            self.progress.say("nothing is paused any more");
        } else {
            let names = paused.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.progress.say(&format!("paused until `waldo resume`: {names}"));
        }
        self.paused = paused;
    }

    /// Stops everything cleanly: sources, then stages, then portals. A signal meanwhile, or too long a time, and what is
    /// left is killed. Answers how the servers were when no stage ran any more, for the account.
    ///
    /// # Errors
    /// If a launcher fails, or doesn't end.
    pub fn stop(&mut self) -> Result<Vec<ServerStatus>, ClusterError> {
        let patience = stop_takes(&self.plan);
        self.begin_phase("stop");
        if let Err(error) = self.cluster.tell(&Command::StopStages)
            && !error.is_orderly()
        {
            return Err(error);
        }
        let are_holding = |lead: &mut Self| {
            let holding = lead.cluster.stands()?.iter().all(|&stand| stand >= Stand::Holding);
            if holding { lead.ask() } else { lead.ask_if_due() }.map(|()| holding)
        };
        self.wait_for(patience, |lead| match are_holding(lead) {
            Ok(holding) => Ok(holding),
            // Killed meanwhile, or stopped by another command: what was known last has to do.
            Err(error) if error.is_orderly() => Ok(true),
            Err(error) => Err(error),
        })?;
        let last = self.last.clone();
        if let Err(error) = self.cluster.tell(&Command::Stop { now: false })
            && !error.is_orderly()
        {
            return Err(error);
        }
        self.wait_for(patience, |lead| lead.cluster.has_stopped())?;
        self.begin_phase("end");
        Ok(last)
    }

    /// Waits until it holds. What a signal or the end of patience finds left is killed, and then has to end.
    fn wait_for(
        &mut self,
        patience: Duration,
        mut holds: impl FnMut(&mut Self) -> Result<bool, ClusterError>,
    ) -> Result<(), ClusterError> {
        let mut until = Instant::now() + patience;
        let mut killed = false;
        while !holds(self)? {
            let late = Instant::now() > until;
            if late && killed {
                return Ok(());
            }
            if !killed && (late || self.signals.pending().next().is_some()) {
                killed = true;
                self.killed = true;
                until = Instant::now() + KILLS;
                self.progress.say("killing what is left");
                if let Err(error) = self.cluster.tell(&Command::Stop { now: true })
                    && !error.is_orderly()
                {
                    return Err(error);
                }
            }
            sleep(ASK_OFTEN);
        }
        Ok(())
    }

    fn begin_phase(&mut self, name: &'static str) {
        self.phases.push((self.phase, self.phase_began.elapsed().as_millis() as u64));
        self.phase = name;
        self.phase_began = Instant::now();
    }
}
