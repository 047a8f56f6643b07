//! The portal beside the relay that one would write today: `zmq_proxy(PULL, PUSH)` with a record in each message.
//!
//! ```text
//! peer    sender ──tcp──▶ zmq_proxy ──ipc──▶ receiver
//! waldo   source ──link──▶ portal ──ipc──▶ sink         (benches/portal)
//! waldo   sender ──tcp──▶ portal ──ipc──▶ sink          (benches/client: three frames)
//! ```
//!
//! Every box is a process of its own. Both are measured at the receiver, in turn.

use std::{path::Path, process::Command};

use crate::{
    Trouble,
    figure::{Figure, Goal, Subject},
    process::{Running, wait_for_file},
    programs::Programs,
    roles::{ACCOUNT, Account, Load},
    rubbish::Rubbish,
};

/// Flat out. Records.
const MANY: u64 = 1_000_000;
/// Flat out, for three frames. Records.
const FEWER: u64 = 500_000;
/// Records a second for latency, and how long.
const RATE: u64 = 10_000;
const SECONDS: u64 = 3;
const SIZE: usize = 200;

const FLAT_OUT: Load = Load { records: MANY, size: SIZE, rate: 0 };
const FLAT_OUT_FRAMES: Load = Load { records: FEWER, size: SIZE, rate: 0 };
const PACED: Load = Load { records: RATE * SECONDS, size: SIZE, rate: RATE };

/// Records a second and latency, from a stage through a portal to a stage.
pub fn measure_links(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    let (mut own, mut peer) = (Runs::default(), Runs::default());
    for _ in 0..runs {
        peer.add(&proxy(programs, 1, FLAT_OUT)?);
        own.add(&portal(programs, FLAT_OUT)?);
    }
    let (mut own_paced, mut peer_paced) = (Runs::default(), Runs::default());
    for _ in 0..runs {
        peer_paced.add(&proxy(programs, 1, PACED)?);
        own_paced.add(&portal(programs, PACED)?);
    }
    let subject = |name: &str, unit, goal| Subject {
        name: name.to_owned(),
        unit,
        peer: "zmq_proxy, a record in each message",
        goal,
    };
    Ok(vec![
        subject("portal, stage to stage, 200 B", "records/s", Goal::AtLeastPeer(6.0)).figure(&own.rates, &peer.rates),
        subject("portal, latency p50 at 10,000/s", "µs", Goal::AtMostPeer(1.2)).figure(&own_paced.p50, &peer_paced.p50),
        subject("portal, latency p99 at 10,000/s", "µs", Goal::AtMostPeer(1.2)).figure(&own_paced.p99, &peer_paced.p99),
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
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Runs {
    fn add(&mut self, account: &Account) {
        self.rates.push(account.per_second);
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
    let account = serde_json::from_str(&receiver.end()?)?;
    sender.end()?;
    proxy.stop()?;
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

/// From stage to stage.
fn portal(programs: &Programs, load: Load) -> Result<Account, Trouble> {
    let topology = programs.topology("benches/portal")?;
    Running::start("waldo up", up(programs, topology.path(), load).arg("--until-idle"))?.end()?;
    account(topology.path())
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
