//! Rollouts under load: two servers, four stages and a loop, and changes of many kinds one after the other. What the
//! stages themselves saw, their records numbered and their clocks read at each record, says whether anything was lost,
//! repeated or out of order, and for how long each server that had to hold delivered nothing.

pub mod book;
mod changes;
pub mod full;
mod peer;
pub mod stages;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use comfy_table::{Table, presets};
use serde::Deserialize;
use waldo_runtime::{
    cluster::connect,
    control::{Answer, Client, Command as Ask},
    paths::Paths,
};

use crate::{
    Trouble,
    figure::{Figure, Goal, Subject, median, quantile},
    process::Running,
    programs::{Programs, in_memory},
};
use book::{Account, now};
use changes::{Kind, Topology};

/// Records that the sources make in a second, both together.
const RATE: u64 = 50_000;
/// How long the flotilla runs before it is changed.
const STEADY: Duration = Duration::from_secs(2);
/// How long it is left alone between two changes.
const BETWEEN: Duration = Duration::from_millis(300);
/// How long it may take, after the last record was made, until all have come.
const ARRIVES: Duration = Duration::from_secs(60);
/// How much before and after a rollout its pause is looked for: before, as the command takes a moment to begin. Nanoseconds.
const AROUND: u64 = 100_000_000;
/// One restart of the peer for so many rollouts.
const ROLLOUTS_FOR_A_RESTART: usize = 20;
/// The phases in which a server may hold.
const HOLDING: [&str; 10] =
    ["hold", "idle", "drain", "decide", "adopt", "switch", "flush", "re-guide", "settle", "release"];

/// What `waldo deploy --json` ends with, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Ledger {
    exit: i32,
    #[serde(default)]
    pause_ms: BTreeMap<String, f64>,
    #[serde(default)]
    flows: BTreeMap<String, Flow>,
    #[serde(default)]
    phases: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
struct Flow {
    lost: u64,
    repeated: u64,
}

/// A rollout that was made.
struct Made {
    kind: Kind,
    begun: u64,
    ended: u64,
    ledger: Ledger,
}

/// A time in which a server delivered nothing to one of its stages.
struct Pause {
    kind: Kind,
    milliseconds: f64,
    /// How long its launcher says that it held.
    said: f64,
    phases: BTreeMap<String, f64>,
    what: String,
}

/// So many rollouts, and restarts of the peer.
pub fn measure(programs: &Programs, rollouts: usize) -> Result<Vec<Figure>, Trouble> {
    let restarts = (rollouts / ROLLOUTS_FOR_A_RESTART).max(3);
    let peer = peer::measure(programs, RATE, restarts)?;
    let (directory, memory) =
        (tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))?, in_memory()?);
    // The topology is on a disk, as decisions and plans are synced; the run directory is in memory, as it is anywhere.
    let (topology, run, books) = (directory.path(), memory.path().join("run"), memory.path().join("books"));
    for made in [&run, &books] {
        fs::create_dir(made).map_err(|error| Trouble::io("make a directory", error))?;
    }
    let flotilla = Flotilla { programs, topology, run: &run, books: &books };
    let (made, seconds) = flotilla.run(rollouts)?;
    let account = Account::read(&books).map_err(|error| Trouble::io("read the books", error))?;
    let faults = account.faults("keep");
    if faults.made == 0 {
        return Err(Trouble::Account("no records came through".to_owned()));
    }
    for made in &made {
        let wrong = made.ledger.flows.values().map(|flow| flow.lost + flow.repeated).sum::<u64>();
        if made.ledger.exit != 0 || wrong > 0 {
            return Err(Trouble::Account(format!("{}: {:?}", made.kind.name(), made.ledger)));
        }
    }
    let pauses = pauses(&account, &made);
    eprintln!("{}", by_kind(&pauses));
    if let Some(worst) = pauses.iter().max_by(|a, b| a.milliseconds.total_cmp(&b.milliseconds)) {
        eprintln!("bench: the longest pause, {:.1} ms: {}", worst.milliseconds, worst.what);
    }
    let sorted = |restarts: bool| {
        let mut sorted: Vec<f64> =
            pauses.iter().filter(|pause| pause.kind.restarts() == restarts).map(|pause| pause.milliseconds).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (in_place, restarted) = (sorted(false), sorted(true));
    let lost = peer.as_ref().map(|peer| peer.lost as f64 / peer.count as f64);
    let pause = peer.as_ref().map(|peer| peer.pause);
    let rate = peer.as_ref().map(|peer| peer.rate);
    let figure = |name: String, unit, goal, value: f64, peer: Option<f64>| {
        Subject { name, unit, peer: "supervisorctl restart", goal }.figure(&[value], peer.as_slice())
    };
    let count = made.len();
    Ok(vec![
        figure("load while it is changed".into(), "records/s", Goal::None, faults.made as f64 / seconds, rate),
        figure(
            format!("lost in {count} rollouts (peer: in each)"),
            "records",
            Goal::AtMost(0.0),
            faults.lost as f64,
            lost,
        ),
        figure(format!("repeated in {count} rollouts"), "records", Goal::AtMost(0.0), faults.repeated as f64, None),
        figure(
            format!("out of order in {count} rollouts"),
            "records",
            Goal::AtMost(0.0),
            faults.disordered as f64,
            None,
        ),
        figure("pause, nothing restarted, p50".into(), "ms", Goal::AtMost(20.0), quantile(&in_place, 0.5), pause),
        figure("pause, nothing restarted, p95".into(), "ms", Goal::AtMost(60.0), quantile(&in_place, 0.95), pause),
        figure("pause, a Rust stage restarted, p50".into(), "ms", Goal::AtMost(60.0), quantile(&restarted, 0.5), pause),
        figure("pause, a Rust stage restarted, p95".into(), "ms", Goal::None, quantile(&restarted, 0.95), pause),
        figure(
            "pause, the longest of all".into(),
            "ms",
            Goal::None,
            pauses.iter().map(|it| it.milliseconds).fold(0.0, f64::max),
            pause,
        ),
    ])
}

/// Each kind's pauses, and how long their phases took. Milliseconds.
fn by_kind(pauses: &[Pause]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["change", "pauses", "p50", "longest", "the launchers say", "phases, p50"]);
    let mut kinds: BTreeMap<String, Vec<&Pause>> = BTreeMap::new();
    for pause in pauses {
        kinds.entry(pause.kind.name()).or_default().push(pause);
    }
    for (kind, pauses) in kinds {
        let of = |value: &dyn Fn(&Pause) -> f64| pauses.iter().map(|pause| value(pause)).collect::<Vec<f64>>();
        let seen = of(&|pause| pause.milliseconds);
        let phases = HOLDING.iter().filter_map(|&phase| {
            let took = median(&of(&|pause| pause.phases.get(phase).copied().unwrap_or(0.0)));
            (took > 0.0).then(|| format!("{phase} {took}"))
        });
        table.add_row([
            kind,
            pauses.len().to_string(),
            format!("{:.1}", median(&seen)),
            format!("{:.1}", seen.iter().copied().fold(0.0, f64::max)),
            format!("{:.0}", median(&of(&|pause| pause.said))),
            phases.collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

/// The pauses of the servers that had to hold, each as the stage saw it that waited longest.
fn pauses(account: &Account, made: &[Made]) -> Vec<Pause> {
    let mut pauses = Vec::new();
    for Made { kind, begun, ended, ledger } in made {
        let holding = ledger.phases.iter().filter(|(phase, _)| HOLDING.contains(&phase.as_str()));
        let longest = holding.max_by(|a, b| a.1.total_cmp(b.1)).map_or("-", |(phase, _)| phase);
        for (server, said) in &ledger.pause_ms {
            let seen =
                account.longest_break(server, begun.saturating_sub(AROUND), ended + AROUND, &["enter", "lap", "keep"]);
            let Some((milliseconds, stage)) = seen else { continue };
            let phases: Vec<String> = ledger.phases.iter().map(|(phase, took)| format!("{phase} {took}")).collect();
            let what = format!(
                "{} on {server}, seen by {stage}; the launcher says {said} ms; {longest} took longest ({} ms)",
                kind.name(),
                phases.join(", ")
            );
            pauses.push(Pause { kind: *kind, milliseconds, said: *said, phases: ledger.phases.clone(), what });
        }
    }
    pauses
}

/// What is changed while it runs.
struct Flotilla<'a> {
    programs: &'a Programs,
    topology: &'a Path,
    run: &'a Path,
    books: &'a Path,
}

impl Flotilla<'_> {
    /// Starts it, changes it so many times and ends it. Answers for how many seconds it made records, too.
    fn run(&self, rollouts: usize) -> Result<(Vec<Made>, f64), Trouble> {
        let mut topology = Topology::default();
        self.write(&topology.text(self.programs, self.books, RATE / 2))?;
        self.waldo("up", &["--detach", "--quiet"])?;
        let begun = now();
        let done = self.change(&mut topology, rollouts).and_then(|made| {
            let seconds = (now() - begun) as f64 / 1e9;
            self.end()?;
            Ok((made, seconds))
        });
        // Whatever went wrong: nothing stays.
        let down = self.waldo("down", &[]);
        let done = done?;
        down?;
        Ok(done)
    }

    fn change(&self, topology: &mut Topology, rollouts: usize) -> Result<Vec<Made>, Trouble> {
        sleep(STEADY);
        let mut made = Vec::new();
        for number in 0..rollouts {
            let kind = Kind::of(number);
            topology.change(kind);
            self.write(&topology.text(self.programs, self.books, RATE / 2))?;
            let begun = now();
            let said = self.waldo("deploy", &["--yes", "--json"])?;
            let ended = now();
            let ledger = serde_json::from_str(said.lines().last().unwrap_or_default())?;
            made.push(Made { kind, begun, ended, ledger });
            sleep(BETWEEN);
        }
        Ok(made)
    }

    fn write(&self, text: &str) -> Result<(), Trouble> {
        let path = self.topology.join("waldo.yaml");
        fs::write(&path, text).map_err(|error| Trouble::io(format!("write {}", path.display()), error))
    }

    fn waldo(&self, command: &str, arguments: &[&str]) -> Result<String, Trouble> {
        let mut waldo: Command = self.programs.waldo_in(self.run, command, self.topology);
        Running::start(&format!("waldo {command}"), waldo.args(arguments))?.end()
    }

    /// Lets the sources end, and waits until nothing is on the way any more.
    fn end(&self) -> Result<(), Trouble> {
        fs::write(self.books.join("enough"), "").map_err(|error| Trouble::io("end the sources", error))?;
        sleep(STEADY);
        let paths = Paths::new(self.run, self.topology, "rollouts", "bench");
        let until = Instant::now() + ARRIVES;
        while !is_idle(&mut connect(&paths)) {
            if Instant::now() > until {
                return Err(Trouble::Account("it isn't idle, long after the last record was made".to_owned()));
            }
            sleep(BETWEEN);
        }
        Ok(())
    }
}

/// Whether it can be proved that no record is on the way: first readings of all servers, then second ones.
fn is_idle(servers: &mut [Client]) -> bool {
    let mut firsts = Vec::new();
    for server in servers.iter_mut() {
        let Ok(Answer::Done(first)) = server.call(Ask::ReadDone) else { return false };
        firsts.push(first);
    }
    let mut seconds = servers.iter_mut().zip(firsts).map(|(server, first)| server.call(Ask::ReadSent { first }));
    seconds.all(|answer| matches!(answer, Ok(Answer::Judged(verdict)) if verdict.is_idle()))
}
