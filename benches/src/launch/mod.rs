//! Many processes: how long they take to start beside a bare loop over `posix_spawn`, how soon a killed one is replaced, how
//! soon all is gone at the end, and what the launcher costs while nothing happens. Peers that the machine has (supervisord,
//! runit, s6) do the same in the same run; nothing is installed for it.
//!
//! The processes are `sleep`: they say nothing to waldo, so they stay "starting", and all that is measured is waldo's own.
//! Everybody's files are in memory where the machine has `/dev/shm`: deleting and making thousands of files in turn on a disk
//! measures the disk.

mod bare;
mod supervisors;
mod watch;

use std::{collections::BTreeMap, path::Path, process::Command, thread::sleep, time::Duration};

use nix::sys::prctl;
use waldo_runtime::{cluster::is_running, paths::Paths, sys::process::end_descendants};

use crate::{
    Trouble,
    figure::{Figure, Goal, Subject, median},
    process::Running,
    programs::{Programs, in_memory},
};
use supervisors::Supervisor;

/// How many processes are started.
const MANY: usize = 1_000;
/// How many are watched while they are quiet.
const QUIET: usize = 200;
/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(5);
/// How long supervisors have to come to rest.
const REST: Duration = Duration::from_secs(1);
/// How long what is left of a peer may take to be gone.
const SWEEP: Duration = Duration::from_secs(10);

/// What starting, killing and stopping took, of all runs. Milliseconds.
#[derive(Default)]
struct Times {
    up: Vec<f64>,
    /// The middle of each run's kills.
    replaced: Vec<f64>,
    /// The worst of each run's kills.
    worst: Vec<f64>,
    /// From the end of the last process to the end of who started it.
    gone: Vec<f64>,
}

impl Times {
    fn add(&mut self, up: f64, replaced: &[f64], gone: f64) {
        self.up.push(up);
        self.replaced.push(median(replaced));
        self.worst.push(replaced.iter().copied().fold(0.0, f64::max));
        self.gone.push(gone);
    }
}

/// All figures of launching.
pub fn measure(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    // What peers leave behind falls to this process, which ends it.
    prctl::set_child_subreaper(true).map_err(|error| Trouble::io("become the reaper of orphans", error.into()))?;
    watch::allow_many_files()?;
    let (mut own, mut bare) = (Times::default(), Times::default());
    let mut peers: BTreeMap<&str, Times> = BTreeMap::new();
    for _ in 0..runs {
        let directory = in_memory()?;
        bare::measure(MANY, &mut bare)?;
        run(Supervisor::waldo(programs, directory.path(), MANY)?, MANY, &mut own)?;
        for peer in supervisors::peers() {
            let directory = in_memory()?;
            let times = peers.entry(peer.name).or_default();
            match (peer.prepare)(directory.path(), MANY).and_then(|supervisor| run(supervisor, MANY, times)) {
                Err(Trouble::Interrupted) => return Err(Trouble::Interrupted),
                Err(trouble) => eprintln!("bench: {} is left out of this run: {trouble}", peer.name),
                Ok(()) => {}
            }
        }
    }
    let subject = |name: &str, peer: &'static str, goal| Subject { name: name.to_owned(), unit: "ms", peer, goal };
    let loop_ = "bare posix_spawn loop";
    let up = format!("start of {MANY} processes");
    let replaced = format!("kill -9 to replacement, one of {MANY}, p50");
    let worst = format!("kill -9 to replacement, one of {MANY}, worst of {}", watch::KILLS);
    let gone = format!("stop of {MANY} processes, from the last one's end");
    let mut figures = vec![
        subject(&up, loop_, Goal::AtMostPeer(1.5)).figure(&own.up, &bare.up),
        subject(&replaced, loop_, Goal::AtMost(5.0)).figure(&own.replaced, &bare.replaced),
        subject(&worst, loop_, Goal::None).figure(&own.worst, &bare.worst),
        subject(&gone, loop_, Goal::AtMost(200.0)).figure(&own.gone, &bare.gone),
    ];
    for (peer, times) in peers.iter().filter(|(_, times)| !times.up.is_empty()) {
        figures.push(subject(&up, peer, Goal::None).figure(&own.up, &times.up));
        figures.push(subject(&replaced, peer, Goal::None).figure(&own.replaced, &times.replaced));
    }
    figures.extend(quiet(programs, runs)?);
    Ok(figures)
}

/// One start, some kills and one stop under somebody who supervises.
fn run(supervisor: Supervisor, processes: usize, times: &mut Times) -> Result<(), Trouble> {
    let mut supervisor = supervisor.start()?;
    let done = watch::start(&mut supervisor, processes).and_then(|(up, mut pids)| {
        sleep(REST);
        let replaced = watch::kill_some(&mut supervisor.running, &mut pids)?;
        Ok((up, replaced, pids))
    });
    let done = done.and_then(|(up, replaced, pids)| Ok((up, replaced, supervisor.stop(&pids)?)));
    let swept = end_descendants(SWEEP);
    let (up, replaced, gone) = done?;
    swept.map_err(|pids| Trouble::Undead { pids })?;
    times.add(up, &replaced, gone);
    Ok(())
}

/// What the launcher costs with processes that wait for input, beside supervisord with as many that sleep.
fn quiet(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    let (mut own, mut peer) = (Costs::default(), Costs::default());
    for _ in 0..runs {
        let directory = in_memory()?;
        own.add(quiet_launcher(programs, directory.path())?);
        if let Some(supervisord) = supervisors::peers().into_iter().find(|peer| peer.name == "supervisord") {
            let directory = in_memory()?;
            let mut supervisor = (supervisord.prepare)(directory.path(), QUIET)?.start()?;
            let cost = watch::start(&mut supervisor, QUIET).and_then(|_| {
                sleep(REST);
                watch::cost(supervisor.running.pid(), WATCHED)
            });
            let stopped = supervisor.running.stop();
            end_descendants(SWEEP).map_err(|pids| Trouble::Undead { pids })?;
            peer.add(stopped.and(cost)?);
        }
    }
    let subject = |name: String, unit, goal| Subject { name, unit, peer: "supervisord", goal };
    Ok(vec![
        subject(format!("launcher with {QUIET} quiet processes, time"), "% of a core", Goal::AtMost(0.2))
            .figure(&own.share, &peer.share),
        subject(format!("launcher with {QUIET} quiet processes, memory"), "MB", Goal::AtMost(30.0))
            .figure(&own.memory, &peer.memory),
    ])
}

#[derive(Default)]
struct Costs {
    share: Vec<f64>,
    memory: Vec<f64>,
}

impl Costs {
    fn add(&mut self, cost: watch::Cost) {
        self.share.push(cost.share);
        self.memory.push(cost.memory);
    }
}

/// Stages over the SDK, all connected to the launcher and ready, and a source that has finished.
fn quiet_launcher(programs: &Programs, directory: &Path) -> Result<watch::Cost, Trouble> {
    let text = format!(
        "topology: quiet\nflows: {{call: {{}}}}\nstages:\n  \
         source: {{run: [{program}, role, source-stage], out: [call], env: {{BENCH_RECORDS: 0}}}}\n  \
         sink: {{run: [{program}, role, sink-stage], in: [call], instances: {QUIET}, env: {{BENCH_RECORDS: 1}}}}\n\
         namespaces: {{bench: {{local: true, ports: {port}}}}}\n",
        program = programs.own.display(),
        port = programs.port
    );
    let (topology, run) = supervisors::write_topology(directory, &text)?;
    let waldo = |command: &str, argument: &[&str]| {
        let mut waldo: Command = programs.waldo_in(&run, command, &topology);
        Running::start("waldo", waldo.args(argument))?.end()
    };
    waldo("up", &["--detach", "--quiet"])?;
    let paths = Paths::new(&run, &topology, "quiet", "bench");
    let launcher = is_running(&paths, "here").ok().flatten().flatten();
    let cost = launcher.ok_or_else(|| Trouble::Answer(serde::de::Error::custom("no launcher")));
    let cost = cost.and_then(|launcher| {
        sleep(REST);
        watch::cost(nix::unistd::Pid::from_raw(launcher.identity.pid), WATCHED)
    });
    waldo("down", &[])?;
    cost
}
