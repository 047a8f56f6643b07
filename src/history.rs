//! `waldo history`: the rollouts of a namespace, and the account of each.

use std::path::PathBuf;

use comfy_table::{CellAlignment, Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;
use waldo_runtime::rollout::{Report, Store};

use crate::{
    deploy::{self, exit_of},
    exit::{Exit, Failure},
    located::{Located, Target},
    numbers::grouped,
};

/// Which rollouts to show.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only the rollout that led to this plan, with its whole account.
    #[arg(value_name = "GENERATION")]
    generation: Option<u64>,
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

/// Shows them, the newest last.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let target =
        Target { topologies: arguments.topology.iter().cloned().collect(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    let unreadable = |error: waldo_runtime::rollout::StoreError| Failure::new(error.to_string());
    let store = Store::open(&paths.store()).map_err(unreadable)?;
    let mut reports: Vec<(u64, Report)> = store.history().map_err(unreadable)?;
    let name = format!("{}/{}", plan.topology, plan.namespace);
    if let Some(generation) = arguments.generation {
        // The way back of a rollout has the same account.
        let found =
            reports.iter().find(|(to, _)| *to == generation).ok_or_else(|| unknown(generation, &name, &reports));
        let (_, report) = found?;
        let exit = exit_of(report.result);
        deploy::print_report(report, exit, arguments.json)?;
        return Ok(Exit::Ok);
    }
    reports.retain(|(to, report)| *to == report.to);
    if arguments.json {
        let documents: Result<Vec<_>, _> =
            reports.iter().map(|(_, report)| deploy::document(report, exit_of(report.result))).collect();
        let live = store.live().map_err(unreadable)?;
        let document = json!({"format": 1, "topology": plan.topology, "namespace": plan.namespace, "live": live,
            "rollouts": documents?});
        println!("{document}");
        return Ok(Exit::Ok);
    }
    if reports.is_empty() {
        println!("{name}: no rollouts yet");
        return Ok(Exit::Ok);
    }
    println!("{}", table(&reports).trim_fmt());
    Ok(Exit::Ok)
}

fn unknown(generation: u64, name: &str, reports: &[(u64, Report)]) -> Failure {
    let hint = match (reports.first(), reports.last()) {
        (Some((first, _)), Some((last, _))) => format!("those from plan {first} to plan {last} are kept"),
        _ => "there hasn't been any".to_owned(),
    };
    Failure::new(format!("{name} has no account of a rollout to plan {generation}")).hint(hint)
}

fn table(reports: &[(u64, Report)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["plan", "when", "result", "held for", "held", "re-guided", "lost", "repeated", "changes"]);
    for (to, report) in reports {
        let sum = |count: fn(&waldo_runtime::ledger::Account) -> u64| report.flows.values().map(count).sum::<u64>();
        let pauses = report.pause_ms.iter().map(|(server, ms)| format!("{server} {ms} ms")).collect::<Vec<_>>();
        let lost = sum(|account| account.lost);
        table.add_row([
            to.to_string(),
            when(report.began),
            exit_of(report.result).word().to_owned(),
            if pauses.is_empty() { "nobody".to_owned() } else { pauses.join(", ") },
            grouped(sum(|account| account.held)),
            grouped(sum(|account| account.reguided)),
            if lost > 0 { format!("≤ {}", grouped(lost)) } else { "0".to_owned() },
            grouped(sum(|account| account.repeated)),
            report.changes.join(", "),
        ]);
    }
    for column in [0, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A moment as clocks here show it. `seconds` since 1970.
fn when(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    moment.map_or_else(String::new, |moment| moment.to_zoned_datetime(TimeZone::system()).strftime("%F %T").to_string())
}
