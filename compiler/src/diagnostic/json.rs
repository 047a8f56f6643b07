//! Diagnostics as scripts read them: `check --json`.

use serde::Serialize;

use super::{Diagnostics, Severity};
use crate::{bounds::Bounds, source::Sources};

/// The version of the report.
pub const FORMAT: u32 = 1;

/// What `check --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    format: u32,
    diagnostics: Vec<Finding>,
    /// How many findings there are besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
    bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    code: &'static str,
    severity: &'static str,
    message: String,
    file: String,
    line: usize,
    column: usize,
    help: Option<String>,
}

impl Report {
    /// The report on a topology.
    pub fn new(sources: &Sources, diagnostics: &Diagnostics, bounds: Bounds) -> Self {
        let more = Some(diagnostics.more()).filter(|&more| more > 0);
        let diagnostics = diagnostics
            .iter()
            .map(|diagnostic| {
                let source = sources.file(diagnostic.place);
                let position = source.position(diagnostic.place.start);
                let message = if diagnostic.notes.is_empty() {
                    diagnostic.message.clone()
                } else {
                    format!("{} ({})", diagnostic.message, diagnostic.notes.join("; "))
                };
                Finding {
                    code: diagnostic.rule.code,
                    severity: match diagnostic.rule.severity {
                        Severity::Error => "error",
                        Severity::Warning => "warning",
                    },
                    message,
                    file: source.name.clone(),
                    line: position.line,
                    column: position.column,
                    help: diagnostic.help.clone(),
                }
            })
            .collect();
        Self { format: FORMAT, diagnostics, more, bounds }
    }
}
