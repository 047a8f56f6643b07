//! Records that a bridge refuses: counted as `rejected` of their flow, and told in the log.

use std::fmt::Display;

use waldo_sdk::{
    Error, Result, Stage,
    page::{Kind, Page, Slot},
};

/// How many refusals are told one by one.
const TOLD: u64 = 10;
/// Of those after them, each so-manieth is told.
const TOLD_EACH: u64 = 1_000;

/// What a bridge has refused since it was started.
#[derive(Default)]
pub struct Refused {
    counts: Vec<(String, Slot)>,
    total: u64,
}

impl Refused {
    /// Counts a record of this flow, and says why it is refused, unless that has been said often enough.
    pub fn count(&mut self, page: &Page, flow: &str, why: &dyn Display) -> Result<()> {
        let known = self.counts.iter().position(|(known, _)| known == flow);
        let index = known.unwrap_or(self.counts.len());
        if known.is_none() {
            let name = format!("rejected {flow}");
            let slot =
                page.slot(Kind::Count, &name).map_err(|source| Error::Io { doing: format!("count {name}"), source });
            self.counts.push((flow.to_owned(), slot?));
        }
        self.counts[index].1.add_done(1);
        self.total += 1;
        if self.total <= TOLD || self.total.is_multiple_of(TOLD_EACH) {
            eprintln!("waldo: refused record {}: {why}", self.total);
        }
        Ok(())
    }

    /// Sends a record of the program; one that the flow doesn't take is refused.
    pub fn or_send(&mut self, stage: &mut Stage, flow: &str, key: &[u8], payload: &[u8]) -> Result<()> {
        match stage.send(flow, key, payload) {
            Err(error @ (Error::RecordTooLarge { .. } | Error::NoKey { .. } | Error::KeyTooLong { .. })) => {
                self.count(stage.page(), flow, &error)
            }
            outcome => outcome,
        }
    }
}
