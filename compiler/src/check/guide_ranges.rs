//! W018: ranges leave no key out.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::{Guide, Topology},
};

pub(crate) static RULE: Rule = Rule {
    code: "W018",
    severity: Severity::Error,
    title: "ranges that leave keys without a server",
    explanation: "\
In a guide by `ranges` a key lives on the server of the greatest start that isn't above it, in order of bytes. So the
first start must be the empty text `\"\"`: keys below the first start would have no server.

  wrong   guide: {ranges: {\"0\": s1, \"5\": s2}}
  right   guide: {ranges: {\"\": s1, \"5\": s2}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for (name, flow) in &topology.flows {
        let Some(guide) = &flow.guide else { continue };
        let Guide::Ranges(ranges) = &guide.value else { continue };
        let least = ranges.iter().min_by(|(a, _), (b, _)| a.value.as_bytes().cmp(b.value.as_bytes()));
        match least {
            Some((start, _)) if start.value.is_empty() => {}
            Some((start, server)) => diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    start.place,
                    format!("the ranges of flow `{name}` leave a gap: keys below `{}` have no server", start.value),
                )
                .label("the lowest start")
                .help(format!("add a range from the empty key, for example `\"\": {}`", server.value)),
            ),
            None => diagnostics.push(
                Diagnostic::new(&RULE, guide.place, format!("the ranges of flow `{name}` are empty"))
                    .label("no key has a server")
                    .help("add a range from the empty key: `\"\":` and a server"),
            ),
        }
    }
}
