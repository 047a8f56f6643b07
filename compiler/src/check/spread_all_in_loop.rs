//! W037: copies to all instances inside a loop.

use waldo_sdk::wiring::Spread;

use super::{Rule, Whole};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(crate) static RULE: Rule = Rule {
    code: "W037",
    severity: Severity::Warning,
    title: "`spread: all` in a loop",
    explanation: "\
With `spread: all` every instance gets a copy of each record. In a loop each copy may go round again and be copied again:
with two instances, ten passes make a thousand records of one. Use `any` or `key` inside loops unless the stage stops the
copies itself.

  warned  visit: {run: ./visit, in: [{flow: page, spread: all}], out: [page], instances: 2}
  right   visit: {run: ./visit, in: [{flow: page, spread: key}], out: [page], instances: 2}",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    for (name, declared) in &whole.topology.loops {
        for (stage, input) in whole
            .topology
            .stages
            .iter()
            .flat_map(|(stage, declared)| declared.inputs.iter().map(move |input| (stage, input)))
            .filter(|(_, input)| input.spread.value == Spread::All)
            .filter(|(_, input)| declared.flows.iter().any(|flow| flow.value == input.flow.value))
        {
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    input.spread.place,
                    format!("stage `{stage}` copies flow `{}` to all instances inside loop `{name}`", input.flow.value),
                )
                .label("each copy may be copied again")
                .help("use `spread: any` or `spread: key`"),
            );
        }
    }
}
