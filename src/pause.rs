//! `waldo pause` and `waldo resume`: portals go on receiving and stop delivering, sources stop sending, until a person
//! resumes them. The launchers keep it, through restarts and rollouts.

mod names;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::Serialize;
use waldo_runtime::{
    cluster,
    control::{Client, Command, Condition, ProcessStatus, ServerStatus},
    launcher::Role,
    ledger,
};

use self::names::{Chosen, Server};
use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
    numbers::grouped,
};

/// How long gates may take to close or open. One that takes longer belongs to a process that is stopped or hangs.
const GATES: Duration = Duration::from_secs(10);
/// How often they are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What to pause or resume.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
  waldo pause                  everything: all portals hold, all sources stop sending
  waldo pause s1               all portals and sources of the server s1
  waldo pause intake           the portal intake on all servers; a source by its stage's name
  waldo pause s1/intake        that portal on that server

What is paused stays so, whatever restarts and whatever is deployed, until `waldo resume`, or `waldo down`. Portals go on
receiving into their spools; once these are full, whoever sends waits.")]
pub struct Arguments {
    /// Servers, portals, stages that are sources, or one of these on one server. By default everything.
    #[arg(value_name = "SERVER|PORTAL|SERVER/PORTAL")]
    names: Vec<String>,
    /// The topology: its file, or the directory that it is in. By default this directory.
    #[arg(short, long, value_name = "FILE|DIR")]
    topology: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// Say what is paused now as one JSON document.
    #[arg(long)]
    json: bool,
}

/// `pause --json` and `resume --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format: u32,
    topology: &'a str,
    namespace: &'a str,
    servers: BTreeMap<&'a str, Gates<'a>>,
}

/// The gates of a server.
#[derive(Debug, Default, Serialize)]
struct Gates<'a> {
    portals: BTreeMap<&'a str, Gate>,
    sources: BTreeMap<&'a str, Gate>,
}

#[derive(Debug, Serialize)]
struct Gate {
    paused: bool,
    /// Whether it is closed, for whatever reason.
    closed: bool,
    /// Records that the portal keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<u64>,
}

/// Pauses.
pub fn pause(arguments: &Arguments) -> Result<Exit, Failure> {
    run(arguments, true)
}

/// Resumes.
pub fn resume(arguments: &Arguments) -> Result<Exit, Failure> {
    run(arguments, false)
}

fn run(arguments: &Arguments, paused: bool) -> Result<Exit, Failure> {
    let target =
        Target { topologies: arguments.topology.iter().cloned().collect(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    let name = format!("{}/{}", plan.topology, plan.namespace);
    let mut clients = cluster::connect(&paths);
    let statuses = ask_all(&mut clients)?;
    if statuses.is_empty() {
        return Err(Failure::new(format!("nothing runs in {name}")).hint("start it with `waldo up`"));
    }
    let mut servers: Vec<Server> = statuses.iter().map(server).collect();
    let deaf = paths.servers_running().into_iter().filter(|server| !statuses.iter().any(|it| it.server == *server));
    servers.extend(deaf.map(|name| Server { name, gates: BTreeSet::new(), answers: false }));
    for (server, chosen) in names::choose(&arguments.names, &servers)? {
        let Some(client) = clients.iter_mut().find(|client| client.server() == server) else { continue };
        let names = match chosen {
            Chosen::All => None,
            Chosen::Named(names) => Some(names.into_iter().collect()),
        };
        let command = if paused { Command::Pause { names } } else { Command::Resume { names } };
        client.call(command).map_err(|error| Failure::new(error.to_string()))?;
    }
    let statuses = await_gates(&mut clients)?;
    let report = report(&plan.topology, &plan.namespace, &statuses);
    if arguments.json {
        let text = serde_json::to_string(&report).map_err(|error| Failure::new(error.to_string()))?;
        println!("{text}");
    } else {
        print(&name, &report);
    }
    late(&statuses)
}

fn ask_all(clients: &mut [Client]) -> Result<Vec<ServerStatus>, Failure> {
    let statuses = clients.iter_mut().map(Client::status);
    statuses.collect::<Result<_, _>>().map_err(|error| Failure::new(error.to_string()))
}

fn has_gate(process: &ProcessStatus) -> bool {
    process.role != Role::Stage
}

fn server(status: &ServerStatus) -> Server {
    let gates = status.processes.iter().filter(|process| has_gate(process)).map(|process| process.stage.clone());
    Server { name: status.server.clone(), gates: gates.collect(), answers: true }
}

/// Whether a process's gate still has to become what it is to be. One that isn't ready begins with it. What isn't paused
/// may be closed for other reasons, and those are as good.
fn is_pending(process: &ProcessStatus) -> bool {
    has_gate(process)
        && process.state == Condition::Ready
        && process.paused
        && !(process.gate_closed && process.gate_known)
}

fn await_gates(clients: &mut [Client]) -> Result<Vec<ServerStatus>, Failure> {
    let until = Instant::now() + GATES;
    loop {
        let statuses = ask_all(clients)?;
        let pending = statuses.iter().flat_map(|server| &server.processes).any(is_pending);
        if !pending || Instant::now() > until {
            return Ok(statuses);
        }
        sleep(LOOK_AGAIN);
    }
}

fn late(statuses: &[ServerStatus]) -> Result<Exit, Failure> {
    let processes = statuses.iter().flat_map(|server| server.processes.iter().map(move |it| (server, it)));
    let late: Vec<String> = processes
        .filter(|(_, it)| is_pending(it))
        .map(|(server, it)| format!("{}/{}", server.server, it.name))
        .collect();
    if late.is_empty() {
        return Ok(Exit::Ok);
    }
    let seconds = GATES.as_secs();
    Err(Failure::new(format!("{} not said within {seconds} s that it holds", has(&late)))
        .hint("it does as soon as it hears of it; `waldo status` shows when"))
}

fn has(late: &[String]) -> String {
    format!("{} {}", late.join(", "), if late.len() == 1 { "has" } else { "have" })
}

fn report<'a>(topology: &'a str, namespace: &'a str, statuses: &'a [ServerStatus]) -> Report<'a> {
    let servers = statuses.iter().map(|status| {
        let mut gates = Gates::default();
        for process in status.processes.iter().filter(|process| has_gate(process)) {
            let is_portal = process.role == Role::Portal;
            let held = is_portal.then(|| ledger::spooled(process));
            let gate = Gate { paused: process.paused, closed: process.gate_closed, held };
            if is_portal { &mut gates.portals } else { &mut gates.sources }.insert(&process.name, gate);
        }
        (status.server.as_str(), gates)
    });
    Report { format: 1, topology, namespace, servers: servers.collect() }
}

fn print(name: &str, report: &Report) {
    let mut lines = Vec::new();
    for (server, gates) in &report.servers {
        let paused = |gates: &BTreeMap<&str, Gate>| {
            let paused = gates.iter().filter(|(_, gate)| gate.paused);
            paused.map(|(process, gate)| (format!("{server}/{process}"), gate.held)).collect::<Vec<_>>()
        };
        lines.extend(paused(&gates.portals).into_iter().map(|(portal, held)| {
            let held = held.unwrap_or(0);
            format!("  {portal} holds {} record{}", grouped(held), if held == 1 { "" } else { "s" })
        }));
        lines.extend(paused(&gates.sources).into_iter().map(|(source, _)| format!("  {source} sends nothing")));
    }
    if lines.is_empty() {
        println!("{name}: nothing is paused");
    } else {
        println!("{name}: paused\n{}", lines.join("\n"));
    }
}
