//! What `waldo rebalance` says.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use waldo_compiler::{
    guide::rebalance::{Hot, Judgement, Proposal, ServerLoad, Verdict},
    plan::Plan,
};
use waldo_runtime::rates::read::{Measured, Queue};

use crate::numbers::grouped;

/// How much of a hot key is shown. Characters.
const SHOWN: usize = 40;

/// Prints it. `written` are the files that now have the weights.
pub fn print(live: &Plan, rates: &Measured, judgement: &Judgement, written: Option<&[String]>, json: bool) {
    if json {
        println!("{}", document(live, rates, judgement, written));
        return;
    }
    print!("{}", text(live, rates, judgement));
}

fn text(live: &Plan, rates: &Measured, judgement: &Judgement) -> String {
    let mut text = format!("{}/{}, by the last {:.0} s\n\n", live.topology, live.namespace, rates.seconds);
    let proposal = match &judgement.verdict {
        Verdict::Better(proposal) => Some(proposal),
        _ => None,
    };
    let _ = writeln!(text, "{}\n", table(rates, judgement, proposal).trim_fmt());
    for hot in &judgement.hot {
        let _ = writeln!(text, "{}", said_of(hot));
    }
    if let Some(hot) = judgement.hot.first() {
        let _ = writeln!(
            text,
            "  no guide can split a key; `guide: {{table: {{KEY: SERVER}}, default: hash}}` of {} can give it a server by name\n",
            hot.flow
        );
    }
    let _ = writeln!(text, "{}", verdict(judgement));
    text
}

fn verdict(judgement: &Judgement) -> String {
    let now = peak(&judgement.before);
    match &judgement.verdict {
        Verdict::Unmeasured => "no records came: there is nothing to judge by".to_owned(),
        Verdict::NoChoice => "no flow goes by the weights of two servers: there is nothing to change".to_owned(),
        Verdict::Quiet => "nobody is busy: nothing to gain".to_owned(),
        Verdict::Balanced => format!(
            "nothing to gain that is worth a rollout: the highest load is {}, and {} with the best weights found",
            load(now, judgement),
            load(judgement.best, judgement)
        ),
        Verdict::Better(proposal) => format!(
            "{} slots move, of which {} must for servers to have so many; the highest load goes from {} to {}",
            grouped(proposal.moved as u64),
            grouped(proposal.least as u64),
            load(now, judgement),
            load(peak(&proposal.after), judgement)
        ),
    }
}

fn table(rates: &Measured, judgement: &Judgement, proposal: Option<&Proposal>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["server", "weight", "slots", "load", "held", "growing by"]);
    for (place, before) in judgement.before.iter().enumerate() {
        let after = proposal.and_then(|proposal| proposal.after.get(place));
        let change = |of: &dyn Fn(&ServerLoad) -> String| match after.map(of) {
            Some(after) if after != of(before) => format!("{} -> {after}", of(before)),
            _ => of(before),
        };
        let Queue { held, growth } = rates.queues.get(&before.server).copied().unwrap_or_default();
        table.add_row([
            before.server.clone(),
            change(&|server| server.weight.to_string()),
            change(&|server| grouped(server.slots as u64)),
            change(&|server| load(server.load, judgement)),
            grouped(held),
            if growth.abs() < 0.5 { "-".to_owned() } else { format!("{growth:.0}/s") },
        ]);
    }
    for column in 4..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn peak(servers: &[ServerLoad]) -> f64 {
    servers.iter().map(|server| server.load).fold(0.0, f64::max)
}

/// 1.67 is `167 %`; in records a second it is `2/s`.
fn load(load: f64, judgement: &Judgement) -> String {
    if judgement.in_records { format!("{load:.0}/s") } else { format!("{:.0} %", load * 100.0) }
}

fn said_of(hot: &Hot) -> String {
    let mut said = format!("key {} alone is {:.0} % of flow {}", key(hot), hot.share * 100.0, hot.flow);
    if let Some(load) = hot.load {
        let _ = write!(said, ", and keeps the fastest server {:.0} % busy", load * 100.0);
    }
    said
}

/// A key as text, with what isn't shown as such escaped.
fn key(hot: &Hot) -> String {
    let text = String::from_utf8_lossy(&hot.key.key);
    let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let is_cut = text.chars().count() > SHOWN || hot.key.key.len() < hot.key.length;
    format!("\"{shown}{}\"", if is_cut { "…" } else { "" })
}

fn document(live: &Plan, rates: &Measured, judgement: &Judgement, written: Option<&[String]>) -> Value {
    let word = match &judgement.verdict {
        Verdict::Unmeasured => "unmeasured",
        Verdict::NoChoice => "no-choice",
        Verdict::Quiet => "quiet",
        Verdict::Balanced => "balanced",
        Verdict::Better(_) => "better",
    };
    let after = |place: usize| match &judgement.verdict {
        Verdict::Better(proposal) => proposal.after.get(place),
        _ => judgement.before.get(place),
    };
    let decimal = |weight: &str| weight.parse::<f64>().unwrap_or_default();
    let servers = judgement.before.iter().enumerate().map(|(place, before)| {
        let Queue { held, growth } = rates.queues.get(&before.server).copied().unwrap_or_default();
        let of = |server: &ServerLoad| {
            json!({"weight": decimal(&server.weight.to_string()), "slots": server.slots, "load": server.load})
        };
        (before.server.clone(), json!({"before": of(before), "after": after(place).map(of), "held": held, "growth": growth}))
    });
    let servers: serde_json::Map<String, Value> = servers.collect();
    let hot = judgement.hot.iter().map(|hot| {
        json!({"flow": hot.flow, "key": String::from_utf8_lossy(&hot.key.key), "length": hot.key.length,
            "rate": hot.key.records, "share": hot.share, "load": hot.load})
    });
    let (moved, least) = match &judgement.verdict {
        Verdict::Better(proposal) => (proposal.moved, proposal.least),
        _ => (0, 0),
    };
    json!({"format": 1, "topology": live.topology, "namespace": live.namespace, "seconds": rates.seconds, "verdict": word,
        "unit": if judgement.in_records { "records" } else { "busy" }, "best": judgement.best, "moved": moved, "least": least,
        "servers": servers, "hot": hot.collect::<Vec<_>>(), "written": written})
}
