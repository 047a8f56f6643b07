//! How a rollout ended: for people in words and a table, for scripts as one JSON document.

use comfy_table::{CellAlignment, Table, presets};
use waldo_runtime::{
    paths::Paths,
    rollout::{Report, Store, machine::Phase},
};

use crate::{
    exit::{Exit, Failure},
    numbers::grouped,
};

/// What to do about a rollout of which nothing could be written down.
const UNWRITTEN: &str = "make room, or mend the rights, and `waldo deploy` again: it brings this one to its end first";

/// Prints the account of a rollout.
pub fn print(report: &Report, exit: Exit, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", document(report, exit)?);
        return Ok(());
    }
    if let Some(error) = &report.error {
        let hint = match exit {
            _ if report.unwritten.is_some() => Some(UNWRITTEN.to_owned()),
            Exit::RolledBack => Some(format!("the old plan is live again, as plan {}", report.generation)),
            Exit::NotIdle | Exit::Cancelled | Exit::Error => {
                Some(format!("nothing has changed: plan {} goes on", report.generation))
            }
            Exit::Mixed => Some("`waldo status` shows which server is where".to_owned()),
            _ => None,
        };
        Failure { message: error.clone(), hint, exit }.print();
    }
    if !report.flows.is_empty() {
        println!("{}", table(report).trim_fmt());
    }
    let pauses = report.pause_ms.iter().map(|(server, ms)| format!("{server} {ms} ms"));
    let pauses = pauses.collect::<Vec<_>>().join(", ");
    let pauses = if pauses.is_empty() { "no server held".to_owned() } else { format!("held: {pauses}") };
    println!("plan {} is live; {pauses}", report.generation);
    let phases: Vec<String> = report.phases.iter().map(|(phase, ms)| format!("{phase} {ms}")).collect();
    println!("{}: {} ms", exit.word(), phases.join(", "));
    Ok(())
}

/// The account as a JSON document.
pub fn document(report: &Report, exit: Exit) -> Result<serde_json::Value, Failure> {
    let unwritable = |error: serde_json::Error| Failure::new(error.to_string());
    let mut document = serde_json::to_value(report).map_err(unwritable)?;
    document["exit"] = exit.code().into();
    document["result"] = exit.word().into();
    Ok(document)
}

/// What became of the records of each flow while it went on.
pub fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let has_rejected = report.flows.values().any(|account| account.rejected > 0);
    let mut header = vec!["flow", "sent", "received", "held", "re-guided", "lost", "repeated"];
    if has_rejected {
        header.push("rejected");
    }
    table.set_header(&header);
    for (flow, account) in &report.flows {
        let lost = if account.lost > 0 { format!("≤ {}", grouped(account.lost)) } else { "0".to_owned() };
        let mut row = vec![
            flow.clone(),
            grouped(account.sent),
            grouped(account.received),
            grouped(account.held),
            grouped(account.reguided),
            lost,
            grouped(account.repeated),
        ];
        if has_rejected {
            row.push(grouped(account.rejected));
        }
        table.add_row(row);
    }
    for column in 1..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints what would be asked of whom.
pub fn print_rehearsal(phases: &[(Phase, Vec<String>)], generation: u64, json: bool) {
    if json {
        let phases: Vec<_> = phases
            .iter()
            .map(|(phase, servers)| serde_json::json!({"phase": phase.to_string(), "servers": servers}))
            .collect();
        let document = serde_json::json!({"format": 1, "result": "ok", "exit": 0, "dry_run": true, "generation": generation, "would": phases});
        println!("{document}");
        return;
    }
    println!("\nnothing was done; as plan {generation} it would go so:");
    for (phase, servers) in phases {
        println!("  {:<10}  {}", phase.to_string(), servers.join(" "));
    }
}

/// There is no difference.
pub fn print_nothing(paths: &Paths) -> Result<(), Failure> {
    let live = Store::open(&paths.store()).and_then(|store| store.live());
    let generation = live.map_err(|error| Failure::new(error.to_string()))?;
    println!(
        "{}",
        serde_json::json!({"format": 1, "result": "ok", "exit": 0, "generation": generation, "changes": [], "pause_ms": {},
            "flows": {}, "phases": {}})
    );
    Ok(())
}

/// There was no rollout.
pub fn print_failure(failure: &Failure) {
    let (result, exit) = (failure.exit.word(), failure.exit.code());
    println!("{}", serde_json::json!({"format": 1, "result": result, "exit": exit, "error": failure.message}));
}
