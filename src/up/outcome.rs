//! How a run ended, for scripts as one JSON document, for people as a table.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use waldo_runtime::ledger::Account;

use crate::{exit::Exit, numbers::grouped};

/// The result of `waldo up`: the ledger.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The version of this document.
    pub format: u32,
    /// The word for `exit`.
    pub result: &'static str,
    /// The exit code.
    pub exit: u8,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The number of the plan.
    pub generation: u64,
    /// For how long each server was held; none is when a namespace starts from nothing.
    pub pause_ms: BTreeMap<String, u64>,
    /// What became of each flow's records.
    pub flows: BTreeMap<String, Account>,
    /// How long each phase took. Milliseconds.
    pub phases: serde_json::Map<String, serde_json::Value>,
}

impl Outcome {
    /// An outcome without an account yet.
    pub fn new(exit: Exit, generation: u64) -> Self {
        Self {
            format: 1,
            result: exit.word(),
            exit: exit.code(),
            error: None,
            generation,
            pause_ms: BTreeMap::new(),
            flows: BTreeMap::new(),
            phases: serde_json::Map::new(),
        }
    }

    /// Whether a record was lost.
    pub fn has_losses(&self) -> bool {
        self.flows.values().any(|account| account.lost > 0)
    }

    /// Writes it to stdout.
    pub fn print(&self, json: bool) {
        if json {
            // A map with text keys and numbers can't fail to be written as JSON.
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        if self.flows.is_empty() {
            return;
        }
        println!("{}", self.table().trim_fmt());
        if self.has_losses() {
            println!("lost is an upper bound: so many records at most were not handled");
        }
        let phases: Vec<String> = self.phases.iter().map(|(phase, ms)| format!("{phase} {ms} ms")).collect();
        println!("plan {}: {} ({})", self.generation, self.result, phases.join(", "));
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let resumed = self.flows.values().any(|account| account.resumed > 0);
        let mut header = vec!["flow", "sent", "received", "held", "lost", "repeated", "dead", "rejected"];
        if resumed {
            header.insert(2, "resumed");
        }
        table.set_header(&header);
        for (flow, account) in &self.flows {
            let lost = if account.lost > 0 { format!("≤ {}", grouped(account.lost)) } else { "0".to_owned() };
            let mut row = vec![
                flow.clone(),
                grouped(account.sent),
                grouped(account.received),
                grouped(account.held),
                lost,
                grouped(account.repeated),
                grouped(account.dead),
                grouped(account.rejected),
            ];
            if resumed {
                row.insert(2, grouped(account.resumed));
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
}
