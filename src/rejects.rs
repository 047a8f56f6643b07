//! `waldo rejects`: what portals have rejected, and samples of it.

use std::{collections::BTreeMap, path::PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use waldo_compiler::{
    diagnostic::render::printable,
    plan::{Plan, Program},
};
use waldo_runtime::{
    cluster,
    control::ServerStatus,
    launcher::Role,
    ledger::NO_FLOW,
    paths::Paths,
    portal::quarantine::{Sample, samples},
};
use waldo_sdk::page::Kind;

use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
    numbers::grouped,
};

/// How many samples are shown unless more are asked for.
const LAST: usize = 20;
/// How much of a sample is shown in a table. Characters.
const SHOWN: usize = 60;

/// Whose rejects to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Portals count all that they reject, and keep samples: the beginning of a message, a few a second of each kind, the newest MiB.
They are kept until `waldo up --fresh`. What is rejected is gone; it never stops a portal.")]
pub struct Arguments {
    /// Only of this flow; `-` for what was for none, such as what isn't ZeroMQ.
    flow: Option<String>,
    /// Only of this server's portals.
    #[arg(long)]
    server: Option<String>,
    /// How many samples, the newest.
    #[arg(long, value_name = "N", default_value_t = LAST)]
    last: usize,
    /// The topology: its file, or the directory that it is in. By default this directory.
    #[arg(short, long, value_name = "FILE|DIR")]
    topology: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

/// `rejects --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format: u32,
    topology: &'a str,
    namespace: &'a str,
    /// Flow → how many; `None` while nothing runs, as counts live with what runs.
    counts: Option<BTreeMap<String, u64>>,
    samples: Vec<Shown>,
}

/// A sample, and where it is.
#[derive(Debug, Serialize)]
struct Shown {
    server: String,
    portal: String,
    #[serde(flatten)]
    sample: Sample,
}

/// Shows them, the newest last.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let target =
        Target { topologies: arguments.topology.iter().cloned().collect(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    check_names(&plan, arguments)?;
    let flow = arguments.flow.as_deref();
    let mut samples = samples_of(&plan, &paths, arguments.server.as_deref());
    samples.retain(|shown| flow.is_none_or(|flow| shown.sample.flow.as_deref().unwrap_or("-") == flow));
    samples.sort_by_key(|shown| shown.sample.at);
    let more = samples.len().saturating_sub(arguments.last);
    samples.drain(..more);
    let statuses: Vec<ServerStatus> = cluster::survey(&paths).into_iter().map(|seen| seen.status).collect();
    let is_meant = |server: &str| arguments.server.as_deref().is_none_or(|meant| meant == server);
    let counts = (!statuses.is_empty()).then(|| counts(statuses.iter().filter(|it| is_meant(&it.server)), flow));
    let (topology, namespace) = (plan.topology.as_str(), plan.namespace.as_str());
    let report = Report { format: 1, topology, namespace, counts, samples };
    if arguments.json {
        println!("{}", serde_json::to_string(&report).map_err(|error| Failure::new(error.to_string()))?);
    } else {
        print(&report, more);
    }
    Ok(Exit::Ok)
}

fn check_names(plan: &Plan, arguments: &Arguments) -> Result<(), Failure> {
    let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(", ");
    if let Some(flow) = arguments.flow.as_ref().filter(|&flow| flow != "-" && !plan.flows.contains_key(flow)) {
        let hint = format!("there are: {}; and `-` for what was for none", names(&mut plan.flows.keys()));
        return Err(Failure::new(format!("no flow named {flow}")).hint(hint));
    }
    if let Some(server) = arguments.server.as_ref().filter(|&server| !plan.servers.contains_key(server)) {
        let hint = format!("there are: {}", names(&mut plan.servers.keys()));
        return Err(Failure::new(format!("no server named {server}")).hint(hint));
    }
    Ok(())
}

fn samples_of(plan: &Plan, paths: &Paths, only: Option<&str>) -> Vec<Shown> {
    let servers = plan.servers.iter().filter(|(server, _)| only.is_none_or(|only| only == *server));
    let portals = servers.flat_map(|(server, of_server)| {
        let portals = of_server.processes.iter().filter(|process| matches!(process.program, Program::Portal));
        portals.map(move |portal| (server.clone(), portal.name.clone()))
    });
    let shown = |(server, portal): (String, String)| {
        let samples = samples(&paths.server(&server).spool(&portal));
        samples.into_iter().map(move |sample| Shown { server: server.clone(), portal: portal.clone(), sample })
    };
    portals.flat_map(shown).collect()
}

fn counts<'a>(servers: impl Iterator<Item = &'a ServerStatus>, only: Option<&str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let portals = servers.flat_map(|server| &server.processes).filter(|process| process.role == Role::Portal);
    for entry in portals.flat_map(|portal| &portal.entries).filter(|entry| entry.kind == Kind::Count && entry.done > 0)
    {
        let flow = match entry.name.split_once(' ') {
            Some(("rejected", flow)) => flow,
            None if entry.name == "rejected" => NO_FLOW,
            _ => continue,
        };
        if only.is_none_or(|only| only == flow || (only == "-" && flow == NO_FLOW)) {
            *counts.entry(flow.to_owned()).or_default() += entry.done;
        }
    }
    counts
}

fn print(report: &Report<'_>, more: usize) {
    let Report { topology, namespace, counts, samples, .. } = report;
    match counts {
        None => println!("{topology}/{namespace} is stopped; what was kept:"),
        Some(counts) if counts.is_empty() => println!("{topology}/{namespace}: nothing was rejected since it started"),
        Some(counts) => {
            let counts = counts.iter().map(|(flow, count)| format!("{flow} {}", grouped(*count)));
            println!("{topology}/{namespace} rejected: {}", counts.collect::<Vec<_>>().join(", "));
        }
    }
    if samples.is_empty() {
        println!("no samples");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["when", "where", "flow", "from", "bytes", "reason", "sample"]);
    for Shown { server, portal, sample } in samples {
        let from = sample.sender.as_ref().or(sample.peer.as_ref());
        table.add_row([
            when(sample.at),
            format!("{server}/{portal}"),
            sample.flow.clone().unwrap_or_else(|| "-".to_owned()),
            from.map_or_else(|| "-".to_owned(), |from| printable(from)),
            grouped(sample.bytes),
            printable(&sample.reason),
            beginning(sample),
        ]);
    }
    if let Some(column) = table.column_mut(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{}", table.trim_fmt());
    if more > 0 {
        println!("{} older ones are kept as well: --last {}", grouped(more as u64), more + samples.len());
    }
}

/// The beginning of a sample, in one line.
fn beginning(sample: &Sample) -> String {
    let whole = match (&sample.text, &sample.hex) {
        (Some(text), _) => text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r"),
        (None, Some(hex)) => format!("hex {hex}"),
        (None, None) => String::new(),
    };
    let mut beginning: String = whole.chars().take(SHOWN).collect();
    if beginning.len() < whole.len() {
        beginning.push('…');
    }
    printable(&beginning)
}

/// A moment as clocks here show it. `milliseconds` since 1970.
fn when(milliseconds: u64) -> String {
    let moment = i64::try_from(milliseconds).ok().and_then(|it| Timestamp::from_millisecond(it).ok());
    let moment = moment.map(|moment| moment.to_zoned_datetime(TimeZone::system()).strftime("%F %T").to_string());
    moment.unwrap_or_default()
}
