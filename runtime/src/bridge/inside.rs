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
        let slots = flows.map(|flow| Ok((flow.to_owned(), page.slot(Kind::Program, flow)?)));
        let slots: std::io::Result<Vec<_>> = slots.collect();
        let inside =
            Self(slots.map_err(|source| Error::Io { doing: "add the program's counters".to_owned(), source })?);
        inside.write_off();
        Ok(inside)
    }

    /// A record of this flow goes in.
    pub fn enter(&self, flow: &str) {
        if let Some((_, slot)) = self.0.iter().find(|(known, _)| known == flow) {
            slot.add_sent(1);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_a_program_that_died_is_written_off_by_the_next_and_what_was_done_stays_done() {
        let directory = tempfile::tempdir().unwrap();
        let page = Page::create(&directory.path().join("page"), 4).unwrap();
        let inside = Inside::open(&page, ["visit", "tick"].into_iter()).unwrap();
        inside.enter("visit");
        inside.enter("tick");
        inside.settle();
        inside.enter("visit");
        inside.enter("visit");
        Inside::open(&page, ["visit", "tick"].into_iter()).unwrap().settle();
        let counts = |flow| {
            let slot = page.find(Kind::Program, flow).unwrap();
            (slot.sent(), slot.done(), slot.written_off())
        };
        assert_eq!(counts("visit"), (3, 1, 2));
        assert_eq!(counts("tick"), (1, 1, 0));
    }
}
