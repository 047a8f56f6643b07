//! How much can be in queues at most, as a table.

use comfy_table::{CellAlignment, Table, presets};
use waldo_compiler::bounds::{Bound, Bounds};

use crate::numbers::grouped;

/// How many servers of a namespace are shown; of more, those with the most.
const SHOWN: usize = 20;

/// Prints the bounds of all namespaces.
pub fn print(bounds: &Bounds) {
    for (namespace, servers) in bounds {
        println!("in queues at most, in namespace {namespace}:");
        let mut rows: Vec<(&String, &Bound)> = servers.iter().collect();
        if rows.len() > SHOWN {
            rows.sort_by_key(|(_, bound)| std::cmp::Reverse((bound.queued_bytes, bound.queued_records)));
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "server", "records", "MiB"]);
        for (server, bound) in rows.iter().take(SHOWN) {
            let mebibytes = bound.queued_bytes.div_ceil(1 << 20);
            table.add_row(["", server.as_str(), &grouped(bound.queued_records), &grouped(mebibytes)]);
        }
        for column in 2..4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{}", table.trim_fmt());
        if rows.len() > SHOWN {
            println!(
                "  and {} servers with no more; `waldo check --json` has all",
                grouped((rows.len() - SHOWN) as u64)
            );
        }
    }
}
