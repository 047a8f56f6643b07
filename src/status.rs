//! `waldo status`: what runs in a namespace, and how it is.

mod elsewhere;
mod rollout;

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use waldo_compiler::plan::Plan;
use waldo_runtime::{
    cluster::{self, LauncherSeen},
    control::{Condition, KeptLimits, ProcessStatus, ServerStatus, Stand},
    launcher::{Role, read_plan},
    ledger,
    paths::Paths,
};
use waldo_sdk::page::{Entry, Kind};

use self::rollout::Rollout;
use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
    machines,
    numbers::grouped,
};

/// What to show, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

/// `status --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format: u32,
    topology: &'a str,
    namespace: &'a str,
    generation: Option<u64>,
    digest: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
    servers: BTreeMap<&'a str, Server<'a>>,
}

#[derive(Debug, Serialize)]
struct Server<'a> {
    state: &'a str,
    /// Why nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    queued: u64,
    portals: BTreeMap<&'a str, Portal<'a>>,
    processes: BTreeMap<&'a str, Process<'a>>,
}

#[derive(Debug, Serialize)]
struct Portal<'a> {
    state: String,
    endpoint: &'a str,
    received: u64,
    delivered: u64,
    spooled: u64,
    rate: u64,
}

#[derive(Debug, Serialize)]
struct Process<'a> {
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(rename = "held_ms", skip_serializing_if = "Option::is_none")]
    gated_for: Option<u64>,
    pid: Option<i32>,
    incarnation: u64,
    restarts: u64,
    #[serde(skip_serializing_if = "KeptLimits::is_none")]
    limits: KeptLimits,
    edges: BTreeMap<&'a str, Edge>,
}

#[derive(Debug, Serialize)]
struct Edge {
    sent: u64,
    done: u64,
}

/// Shows it. That nothing runs is no error.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Located { plan, paths } = arguments.target.locate()?;
    let (seen, away) = if machines::are_elsewhere(&plan, &paths) {
        elsewhere::survey(&plan)?
    } else {
        (cluster::survey(&paths), BTreeMap::new())
    };
    let (launchers, statuses): (Vec<LauncherSeen>, Vec<ServerStatus>) =
        seen.into_iter().map(|seen| (seen.launcher, seen.status)).unzip();
    // What was compiled last needn't be what runs.
    let plan = read_plan(&paths.live_plan()).ok().filter(|_| !statuses.is_empty()).unwrap_or(plan);
    let mut report = report(&plan, &statuses, &launchers, &paths);
    report.without(&away);
    if arguments.json {
        let text = serde_json::to_string(&report).map_err(|error| Failure::new(error.to_string()))?;
        println!("{text}");
    } else {
        print(&report);
    }
    Ok(Exit::Ok)
}

fn report<'a>(plan: &'a Plan, statuses: &'a [ServerStatus], launchers: &[LauncherSeen], paths: &Paths) -> Report<'a> {
    let seen = statuses.iter().zip(launchers);
    let mut servers: BTreeMap<&str, Server> = seen
        .map(|(status, &launcher)| {
            let server = server(plan, status);
            let state = without(launcher).unwrap_or(server.state);
            (status.server.as_str(), Server { state, ..server })
        })
        .collect();
    if !statuses.is_empty() {
        for (name, of_plan) in &plan.servers {
            // A drained server has nothing for a launcher to look after.
            let state = if of_plan.processes.is_empty() { "empty" } else { "no launcher" };
            let none = || Server {
                state,
                unreachable: None,
                generation: None,
                queued: 0,
                portals: BTreeMap::new(),
                processes: BTreeMap::new(),
            };
            servers.entry(name).or_insert_with(none);
        }
    }
    let rollout = Rollout::of(statuses, paths);
    // The one that is least far along speaks for all.
    let least = statuses.iter().map(|status| status.phase).min();
    let gates = || statuses.iter().flat_map(|status| &status.processes);
    let amiss = launchers.iter().copied().filter(|&launcher| launcher != LauncherSeen::Answers).max();
    let state = match least {
        None => "stopped",
        Some(_) if amiss.is_some() => amiss.and_then(without).unwrap_or_default(),
        Some(Stand::Flowing) if rollout.is_some() => "rolling out",
        Some(Stand::Flowing) if statuses.iter().any(|status| status.generation != statuses[0].generation) => {
            "mixed plans"
        }
        Some(stand) => paused(stand, gates()).unwrap_or(word(stand)),
    };
    Report {
        format: 1,
        topology: &plan.topology,
        namespace: &plan.namespace,
        generation: statuses.iter().map(|status| status.generation).max(),
        digest: statuses.first().map_or(&plan.digest, |status| &status.digest),
        state,
        rollout,
        servers,
    }
}

impl<'a> Report<'a> {
    /// The same, where nothing is known of these servers: why.
    fn without(&mut self, away: &'a BTreeMap<String, String>) {
        for (name, why) in away {
            let (portals, processes) = (BTreeMap::new(), BTreeMap::new());
            let unreachable = Some(why.as_str());
            let server = Server { state: "unreachable", unreachable, generation: None, queued: 0, portals, processes };
            self.servers.insert(name, server);
        }
        if !away.is_empty() {
            self.state = if away.len() == self.servers.len() { "unreachable" } else { "partly unreachable" };
        }
    }
}

/// What a launcher that doesn't answer makes of a server.
fn without(launcher: LauncherSeen) -> Option<&'static str> {
    match launcher {
        LauncherSeen::Answers => None,
        LauncherSeen::Silent => Some("launcher doesn't answer"),
        LauncherSeen::DeadWithAll => Some("no launcher, nothing runs"),
        LauncherSeen::Dead => Some("running, no launcher"),
    }
}

/// What a person's pause makes of a server, or of all servers, that would flow.
fn paused<'a>(stand: Stand, processes: impl Iterator<Item = &'a ProcessStatus>) -> Option<&'static str> {
    if stand != Stand::Flowing {
        return None;
    }
    let gates: Vec<bool> = processes.filter(|process| process.role != Role::Stage).map(|it| it.paused).collect();
    match (gates.contains(&true), gates.contains(&false)) {
        (true, false) => Some("paused"),
        (true, true) => Some("partly paused"),
        (false, _) => None,
    }
}

fn word(stand: Stand) -> &'static str {
    match stand {
        Stand::Starting => "starting",
        Stand::Standing => "standing",
        Stand::Flowing => "flowing",
        Stand::Draining => "draining",
        Stand::Stopping => "stopping",
        Stand::Holding => "holding",
        Stand::Stopped => "stopped",
    }
}

fn server<'a>(plan: &'a Plan, status: &'a ServerStatus) -> Server<'a> {
    let is_portal = |process: &&ProcessStatus| process.role == Role::Portal;
    // Of those that a rollout has taken away the launcher keeps the counts.
    let is_there = |process: &&ProcessStatus| !process.removed || process.pid.is_some();
    Server {
        state: match status.phase {
            Stand::Flowing if status.holds => "holding",
            Stand::Flowing if status.rollout.is_some() => "rolling out",
            stand => paused(stand, status.processes.iter()).unwrap_or(word(stand)),
        },
        unreachable: None,
        generation: Some(status.generation),
        queued: ledger::queued(status),
        portals: status
            .processes
            .iter()
            .filter(is_portal)
            .filter(is_there)
            .map(|process| (process.name.as_str(), portal(plan, status, process)))
            .collect(),
        processes: status
            .processes
            .iter()
            .filter(is_there)
            .map(|process| {
                let report = Process {
                    state: gated(process).map_or_else(|| process.state.to_string(), str::to_owned),
                    gated_for: process.gated_for,
                    detail: process.detail.as_deref(),
                    pid: process.pid,
                    incarnation: process.incarnation,
                    restarts: process.restarts,
                    limits: process.limits,
                    edges: process.entries.iter().filter(|entry| is_edge(entry)).map(edge).collect(),
                };
                (process.name.as_str(), report)
            })
            .collect(),
    }
}

/// What a closed gate makes of a process that is ready.
fn gated(process: &ProcessStatus) -> Option<&'static str> {
    (process.gate_closed && process.state == Condition::Ready).then_some(if process.paused {
        "paused"
    } else {
        "holding"
    })
}

fn is_edge(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Sent | Kind::Done | Kind::Link | Kind::Spool | Kind::Program)
}

fn edge(entry: &Entry) -> (&str, Edge) {
    (entry.name.as_str(), Edge { sent: entry.sent, done: entry.done })
}

fn portal<'a>(plan: &'a Plan, status: &ServerStatus, process: &ProcessStatus) -> Portal<'a> {
    let endpoints = plan.guide.portals.get(&status.server).and_then(|portals| portals.get(&process.name));
    let received = |entry: &&Entry| entry.kind == Kind::Count && entry.name.starts_with("received ");
    let spools = || process.entries.iter().filter(|entry| entry.kind == Kind::Spool);
    Portal {
        state: gated(process).map_or_else(|| process.state.to_string(), str::to_owned),
        endpoint: endpoints.map_or("", |endpoints| endpoints.clients.as_ref().unwrap_or(&endpoints.links)),
        received: process.entries.iter().filter(received).map(|entry| entry.done).sum(),
        delivered: spools().map(|entry| entry.done).sum(),
        spooled: ledger::spooled(process),
        rate: status.rates.get(&process.name).copied().unwrap_or(0),
    }
}

/// As a person says it. `ms` is in milliseconds.
fn duration(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

fn print(report: &Report) {
    let plan = report.generation.map_or_else(String::new, |number| format!(", plan {number}"));
    println!("{}/{}: {}{plan}", report.topology, report.namespace, report.state);
    for line in report.rollout.iter().flat_map(Rollout::lines) {
        println!("{line}");
    }
    for (name, why) in report.servers.iter().filter_map(|(name, server)| Some((name, server.unreachable?))) {
        println!("{name}: {why}");
    }
    for (name, server) in report.servers.iter().filter(|(_, server)| server.state.contains("launcher")) {
        println!("{name}: {}", server.state);
    }
    if report.servers.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["server", "process", "state", "pid", "restarts", "received", "waiting"]);
    for (name, server) in &report.servers {
        if server.processes.is_empty() {
            table.add_row([name, "", server.state, "", "", "", ""]);
        }
        for (process, status) in &server.processes {
            let portal = server.portals.get(process);
            let state = portal.map_or(&status.state, |portal| &portal.state);
            let held = status.gated_for.map_or_else(String::new, |ms| format!(" for {}", duration(ms)));
            let detail = status.detail.map_or_else(String::new, |detail| format!(", {detail}"));
            let state = format!("{state}{held}{detail}");
            let received: u64 = portal.map_or_else(
                || status.edges.iter().filter(|(name, _)| name.contains('<')).map(|(_, edge)| edge.done).sum(),
                |portal| portal.received,
            );
            let waiting = portal.map_or_else(String::new, |portal| grouped(portal.spooled));
            let pid = status.pid.map_or_else(String::new, |pid| pid.to_string());
            table.add_row([
                (*name).to_owned(),
                (*process).to_owned(),
                state,
                pid,
                status.restarts.to_string(),
                grouped(received),
                waiting,
            ]);
        }
    }
    for column in 3..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{}", table.trim_fmt());
}
