//! What is inside a `lines` program: records of each flow that have gone in, and what has become of them.

use waldo_sdk::{
    Error, Result,
    page::{Kind, Page, Slot},
};

/// The `Program` slots of a bridge, by flow.
pub struct Inside(Vec<(String, Slot)>);

impl Inside {
    /// Finds or adds the slots. What was in a program that has died with its bridge is written off.
    pub fn open<'a>(page: &Page, flows: impl Iterator<Item = &'a str>) -> Result<Self> {
        let slots: Result<Vec<_>> = flows.map(|flow| Ok((flow.to_owned(), slot(page, flow)?))).collect();
        let inside = Self(slots?);
        inside.write_off();
        Ok(inside)
    }

    /// A record of this flow goes in; a flow that a rollout has brought has its slot from then on.
    pub fn enter(&mut self, page: &Page, flow: &str) -> Result<()> {
        let known = self.0.iter().position(|(known, _)| known == flow);
        let index = if let Some(index) = known {
            index
        } else {
            self.0.push((flow.to_owned(), slot(page, flow)?));
            self.0.len() - 1
        };
        self.0[index].1.add_sent(1);
        Ok(())
    }

    /// All that is in it is judged done.
    pub fn settle(&self) {
        for (_, slot) in &self.0 {
            slot.set_done(slot.sent() - slot.written_off());
        }
    }

    /// All that is in it is lost; answers how many records that are.
    pub fn write_off(&self) -> u64 {
        let lost = self.0.iter().map(|(_, slot)| {
            let lost = slot.under_way();
            slot.add_written_off(lost);
            lost
        });
        lost.sum()
    }
}

fn slot(page: &Page, flow: &str) -> Result<Slot> {
    let failed = |source| Error::Io { doing: "add the program's counters".to_owned(), source };
    page.slot(Kind::Program, flow).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_a_program_that_died_is_written_off_by_the_next_and_what_was_done_stays_done() {
        let directory = tempfile::tempdir().unwrap();
        let page = Page::create(&directory.path().join("page"), 4).unwrap();
        let mut inside = Inside::open(&page, ["visit", "tick"].into_iter()).unwrap();
        inside.enter(&page, "visit").unwrap();
        inside.enter(&page, "tick").unwrap();
        inside.settle();
        inside.enter(&page, "visit").unwrap();
        inside.enter(&page, "visit").unwrap();
        Inside::open(&page, ["visit", "tick"].into_iter()).unwrap().settle();
        let counts = |flow| {
            let slot = page.find(Kind::Program, flow).unwrap();
            (slot.sent(), slot.done(), slot.written_off())
        };
        assert_eq!(counts("visit"), (3, 1, 2));
        assert_eq!(counts("tick"), (1, 1, 0));
    }

    #[test]
    fn a_flow_that_a_rollout_brings_is_counted_too() {
        let directory = tempfile::tempdir().unwrap();
        let page = Page::create(&directory.path().join("page"), 4).unwrap();
        let mut inside = Inside::open(&page, ["visit"].into_iter()).unwrap();
        inside.enter(&page, "tick").unwrap();
        assert_eq!(page.find(Kind::Program, "tick").unwrap().under_way(), 1, "it isn't idle");
        inside.settle();
        assert_eq!(page.find(Kind::Program, "tick").unwrap().under_way(), 0);
    }
}
