//! W057: a record can count all the loops that it may go round.

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W057",
    severity: Severity::Error,
    title: "more loops than a record can count",
    explanation: "\
A record carries how often it went round each loop, for all loops of the stages that it can come back to, and has room for
255 of them. Cycles through the same flow need only one loop, which begins with that flow: let loops share their first
flow's count by declaring one of them, or divide the stages into groups that don't send back to each other.

  wrong   loops: {r1: {flows: [task], ...}, r2: {flows: [task], ...}, ...}      # 300 of them
  right   loops: {round: {flows: [task], passes: 16}}     # one for all cycles through `task`",
};

/// A message has one byte for their number.
const MOST: usize = 255;

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for loops in whole.counts.by_tangle() {
        let Some((_, declared)) = loops.get(MOST) else { continue };
        diagnostics.push(
            Diagnostic::new(
                &RULE,
                declared.place,
                format!("a record would have to count {} loops, and can count {MOST}", loops.len()),
            )
            .label("the first that is too many, by name")
            .note("records can come from each of these loops to every other")
            .help("cycles through one flow need only one loop, which begins with it: declare fewer"),
        );
    }
}
