//! The portal beside the relay that one would write today: `zmq_proxy(PULL, PUSH)` with a record in each message.
//!
//! ```text
//! peer    sender ──tcp──▶ zmq_proxy ──ipc──▶ receiver
//! waldo   source ──link──▶ portal ──ipc──▶ sink         (benches/portal)
//! waldo   sender ──tcp──▶ portal ──ipc──▶ sink          (benches/client: three frames)
//! ```
//!
//! Every box is a process of its own. All are measured at the receiver, in turn. `floor.rs` is what the bytes alone take.

use std::{path::Path, process::Command};

use crate::{
    Trouble,
    cost::Used,
    figure::{Figure, Goal, Subject},
    process::{Running, wait_for_file},
    programs::Programs,
    roles::{ACCOUNT, Account, Load},
    rubbish::Rubbish,
};

/// Flat out. Records.
const MANY: u64 = 5_000_000;
/// Flat out, for what is several times as slow. Records.
const FEWER: u64 = 1_000_000;
/// Records a second for latency, and how long.
const RATE: u64 = 10_000;
const SECONDS: u64 = 3;
const SIZE: usize = 200;
const STAGE_TO_STAGE: &str = "portal, stage to stage, 200 B";

const FLAT_OUT: Load = Load { records: MANY, size: SIZE, rate: 0 };
const FLAT_OUT_SINGLE: Load = Load { records: FEWER, size: SIZE, rate: 0 };
const FLAT_OUT_FRAMES: Load = Load { records: FEWER / 2, size: SIZE, rate: 0 };
const PACED: Load = Load { records: RATE * SECONDS, size: SIZE, rate: RATE };
/// The spool's limit of memory in these topologies, and a MiB for each of 100 links. MiB.
const PEAK: f64 = 64.0 + 100.0;
/// In `benches/crowd`.
const SENDERS: u64 = 100;
const FROM_EACH: Load = Load { records: MANY / SENDERS, size: SIZE, rate: 0 };

/// Records a second, a portal's time and memory, and latency, from stages through a portal to stages.
pub fn measure_links(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    let [mut own, mut by_key, mut crowd, mut peer, mut bytes, mut splice] = std::array::from_fn(|_| Runs::default());
    for _ in 0..runs {
        peer.add(&proxy(programs, 1, FLAT_OUT_SINGLE)?);
        own.add(&portal(programs, "benches/portal", FLAT_OUT)?);
        by_key.add(&portal(programs, "benches/spread", FLAT_OUT)?);
        crowd.add(&portal(programs, "benches/crowd", FROM_EACH)?);
        bytes.add(&floor(programs, false, FLAT_OUT)?);
        splice.add(&floor(programs, true, FLAT_OUT)?);
    }
    let (mut own_paced, mut peer_paced) = (Runs::default(), Runs::default());
    for _ in 0..runs {
        peer_paced.add(&proxy(programs, 1, PACED)?);
        own_paced.add(&portal(programs, "benches/portal", PACED)?);
    }
    let beside = |peer, name: &str, unit, goal| Subject { name: name.to_owned(), unit, peer, goal };
    let subject = |name, unit, goal| beside("zmq_proxy, a record in each message", name, unit, goal);
    let rate = "records/s";
    let at_least = Goal::AtLeastPeer;
    let at_most = Goal::AtMostPeer;
    let memory = Goal::AtMost(PEAK);
    Ok(vec![
        subject(STAGE_TO_STAGE, rate, at_least(6.0)).figure(&own.rates, &peer.rates),
        beside("the bytes, read and written", STAGE_TO_STAGE, rate, at_least(0.5)).figure(&own.rates, &bytes.rates),
        beside("the bytes, spliced", STAGE_TO_STAGE, rate, Goal::None).figure(&own.rates, &splice.rates),
        subject("portal's time for a record", "µs", at_most(0.25)).figure(&own.relay, &peer.relay),
        subject("portal, by key to 4 instances", rate, at_least(3.0)).figure(&by_key.rates, &peer.rates),
        beside("1 sender, flow and instance", "portal, 100 senders, 20 flows, 50 instances", rate, at_least(0.7))
            .figure(&crowd.rates, &own.rates),
        beside("with 1 sender, flow and instance", "portal's memory at most, of the same", "MiB", memory)
            .figure(&crowd.peak, &own.peak),
        subject("portal, latency p50 at 10,000/s", "µs", at_most(1.2)).figure(&own_paced.p50, &peer_paced.p50),
        subject("portal, latency p99 at 10,000/s", "µs", at_most(1.2)).figure(&own_paced.p99, &peer_paced.p99),
    ])
}

/// Records a second from a client without waldo, in three frames.
pub fn measure_clients(programs: &Programs, runs: usize) -> Result<Figure, Trouble> {
    let (mut own, mut peer) = (Runs::default(), Runs::default());
    for _ in 0..runs {
        peer.add(&proxy(programs, 3, FLAT_OUT_FRAMES)?);
        own.add(&portal_for_clients(programs, FLAT_OUT_FRAMES)?);
    }
    let subject = Subject {
        name: "portal, three-frame client, 200 B".to_owned(),
        unit: "records/s",
        peer: "zmq_proxy, three frames",
        goal: Goal::AtLeastPeer(0.9),
    };
    Ok(subject.figure(&own.rates, &peer.rates))
}

/// The same with rubbish at the portal's door, beside the same without.
pub fn measure_beside_rubbish(programs: &Programs, runs: usize) -> Result<Figure, Trouble> {
    let (mut own, mut peer) = (Runs::default(), Runs::default());
    for _ in 0..runs {
        peer.add(&portal_for_clients(programs, FLAT_OUT_FRAMES)?);
        own.add(&portal_beside(programs, FLAT_OUT_FRAMES, || Some(Rubbish::to(programs.port)))?);
    }
    let subject = Subject {
        name: "portal, three-frame client, rubbish at the door".to_owned(),
        unit: "records/s",
        peer: "the same without rubbish",
        goal: Goal::AtLeastPeer(0.9),
    };
    Ok(subject.figure(&own.rates, &peer.rates))
}

#[derive(Default)]
struct Runs {
    rates: Vec<f64>,
    /// Microseconds a record of the process in the middle.
    relay: Vec<f64>,
    /// Its memory at most. MiB.
    peak: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Runs {
    fn add(&mut self, account: &Account) {
        let seconds = account.last.saturating_sub(account.first) as f64 / 1e9;
        self.rates.push(account.received.saturating_sub(1) as f64 / seconds.max(1e-9));
        self.relay.push(account.relay_seconds / account.received.max(1) as f64 * 1e6);
        self.peak.push(account.relay_peak);
        self.p50.push(account.p50);
        self.p99.push(account.p99);
    }
}

/// A role of this program's, with what it is to do.
pub fn role(programs: &Programs, arguments: &[&str], load: Option<Load>) -> Command {
    let mut command = Command::new(&programs.own);
    command.arg("role").args(arguments);
    if let Some(load) = load {
        command.args(load.arguments());
    }
    command
}

/// The peer.
fn proxy(programs: &Programs, frames: u8, load: Load) -> Result<Account, Trouble> {
    let directory = tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))?;
    let inbox = format!("ipc://{}/in", directory.path().display());
    let mut receiver = Running::start("the receiver", &mut role(programs, &["receive", "--at", &inbox], Some(load)))?;
    receiver.line()?;
    let mut proxy = Running::start("zmq_proxy", &mut role(programs, &["proxy", "--to", &inbox], None))?;
    let door = proxy.line()?;
    let frames = frames.to_string();
    let send = ["send", "--to", &door, "--frames", &frames];
    let sender = Running::start("the sender", &mut role(programs, &send, Some(load)))?;
    let account: Account = serde_json::from_str(&receiver.end()?)?;
    let used = Used::by_process(proxy.pid().as_raw());
    sender.end()?;
    proxy.stop()?;
    Ok(used.map_or(account, |used| Account { relay_seconds: used.seconds, relay_peak: used.peak, ..account }))
}

/// The floor.
fn floor(programs: &Programs, splice: bool, load: Load) -> Result<Account, Trouble> {
    let directory = tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))?;
    let inbox = directory.path().join("in").to_string_lossy().into_owned();
    let receive = role(programs, &["receive-bytes", "--at", &inbox], Some(load));
    let mut receiver = Running::start("the receiver", &mut { receive })?;
    receiver.line()?;
    let pass = ["pass-bytes", "--to", &inbox, "--splice"];
    let pass = if splice { &pass[..] } else { &pass[..3] };
    let mut relay = Running::start("the relay", &mut role(programs, pass, None))?;
    let door = relay.line()?;
    let sender = Running::start("the sender", &mut role(programs, &["send-bytes", "--to", &door], Some(load)))?;
    let account = serde_json::from_str(&receiver.end()?)?;
    sender.end()?;
    relay.end()?;
    Ok(account)
}

fn up(programs: &Programs, topology: &Path, load: Load) -> Command {
    let mut command = programs.waldo("up", topology);
    command.envs(load.environment());
    command
}

/// What the sink has seen.
pub fn account(topology: &Path) -> Result<Account, Trouble> {
    let path = topology.join(".waldo/bench/here/state/sink.0").join(ACCOUNT);
    let text = std::fs::read(&path).map_err(|error| Trouble::io(format!("read {}", path.display()), error))?;
    Ok(serde_json::from_slice(&text)?)
}

/// From stages to stages.
fn portal(programs: &Programs, topology: &str, load: Load) -> Result<Account, Trouble> {
    let topology = programs.topology(topology)?;
    Running::start("waldo up", up(programs, topology.path(), load).arg("--until-idle"))?.end()?;
    together(topology.path())
}

/// What all instances of the sink saw.
fn together(topology: &Path) -> Result<Account, Trouble> {
    let states = topology.join(".waldo/bench/here/state");
    let failed = |error| Trouble::io(format!("read {}", states.display()), error);
    let mut sum = Account { first: u64::MAX, ..Account::default() };
    for state in std::fs::read_dir(&states).map_err(failed)? {
        let state = state.map_err(failed)?;
        if !state.file_name().to_string_lossy().starts_with("sink.") {
            continue;
        }
        let text = std::fs::read(state.path().join(ACCOUNT)).map_err(failed)?;
        let account: Account = serde_json::from_slice(&text)?;
        if account.received > 0 {
            sum = Account {
                received: sum.received + account.received,
                first: sum.first.min(account.first),
                last: sum.last.max(account.last),
                relay_seconds: sum.relay_seconds.max(account.relay_seconds),
                relay_peak: sum.relay_peak.max(account.relay_peak),
                ..account
            };
        }
    }
    Ok(sum)
}

/// From a client to a stage.
fn portal_for_clients(programs: &Programs, load: Load) -> Result<Account, Trouble> {
    portal_beside(programs, load, || None)
}

/// From a client to a stage, while something else goes on.
fn portal_beside(programs: &Programs, load: Load, begin: impl FnOnce() -> Option<Rubbish>) -> Result<Account, Trouble> {
    let topology = programs.topology("benches/client")?;
    let mut waldo = Running::start("waldo up", &mut up(programs, topology.path(), load))?;
    let door = format!("tcp://127.0.0.1:{}", programs.port);
    let send = ["send", "--to", &door, "--frames", "3"];
    let beside = begin();
    let sender = Running::start("the client", &mut role(programs, &send, Some(load)))?;
    wait_for_file(&topology.path().join(".waldo/bench/here/state/sink.0").join(ACCOUNT), &mut waldo)?;
    sender.end()?;
    drop(beside);
    waldo.stop()?;
    account(topology.path())
}
