//! Reads within which limits weights may be changed.

use super::fields::{Fields, Reader};
use crate::{
    plan::Rebalance,
    topology::{
        language::{self, names},
        literal, near,
    },
};

/// How far apart two changes that nobody asked for are at least. Milliseconds.
const EVERY: u64 = 600_000;
/// The same, at its least: what a change does to rates must show before the next. Milliseconds.
const LEAST_EVERY: u64 = 5_000;
/// As many slots as there are.
const SLOTS: u64 = waldo_sdk::guide::SLOTS as u64;

impl Reader<'_> {
    pub fn rebalance(&mut self, top: &Fields<'_>) -> Option<Rebalance> {
        let (node, what) = top.get("rebalance")?;
        let place = top.entry("rebalance")?.key_place;
        let fields = self.fields(node, what, place, &names(language::REBALANCE))?;
        let auto = self.choice(fields.get("auto"), &[("true", true), ("false", false)]);
        let every = |text: &str| {
            literal::duration(text)
                .ok()
                .filter(|&every| every >= LEAST_EVERY)
                .ok_or("a duration of at least `5s`, such as `10m` or `1h`")
        };
        let every = self.near(fields.get("every"), every, near::duration);
        let slots = self.count(fields.get("slots"), 1, SLOTS);
        let above = |least: u64, expected: &'static str| {
            move |text: &str| literal::millionths(text).ok().filter(|&weight| weight >= least).ok_or(expected)
        };
        let lowest = above(1, "a decimal number above 0, such as `0.25`");
        let lowest = self.near(fields.get("lowest"), lowest, near::decimal).map(|lowest| lowest.value);
        let highest = above(lowest.unwrap_or(1), "a decimal number that isn't below `lowest`, such as `4`");
        let highest = self.near(fields.get("highest"), highest, near::decimal);
        Some(Rebalance {
            auto: auto.is_some_and(|auto| auto.value),
            every: every.map_or(EVERY, |every| every.value),
            slots: slots.map(|slots| slots.value),
            lowest,
            highest: highest.map(|highest| highest.value),
        })
    }
}
