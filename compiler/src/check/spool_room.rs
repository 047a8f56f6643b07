//! W030: a spool has room.

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W030",
    severity: Severity::Error,
    title: "a spool without any room",
    explanation: "\
A portal keeps what it can't deliver at once in its spool: first in memory, then on disk. Without any room it could
neither hold during a rollout nor break the cycle of a loop. Give it memory, disk, or both; what isn't written is 64MiB
and 10GiB.

  wrong   portals: {relay: {flows: [suspect], spool: {memory: 0, disk: 0}}}
  right   portals: {relay: {flows: [suspect], spool: {memory: 64MiB, disk: 0}}}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for (name, portal) in &topology.portals {
        if let (Some(memory), Some(disk)) = (&portal.spool.memory, &portal.spool.disk)
            && memory.value == 0
            && disk.value == 0
        {
            diagnostics.push(
                Diagnostic::new(&RULE, memory.place, format!("the spool of portal `{name}` has no room"))
                    .label("nothing in memory")
                    .also(disk.place, "nothing on disk")
                    .help("give it some, for example `spool: {memory: 64MiB, disk: 10GiB}`"),
            );
        }
    }
}
