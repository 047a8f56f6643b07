//! W049: a server whose queues could outgrow its memory.

use super::{Rule, overcommitted::bytes};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    plan::Plan,
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W049",
    severity: Severity::Warning,
    title: "queues and spools that could outgrow a server's memory",
    explanation: "\
What can be in the queues of a server's processes at most, every queue full of records of `max_record`, together with what its portals may keep in memory, is more than the
`memory` that the server states. It takes every consumer to stand still and every record to be as large as allowed, so this is a warning. State the `max_record` that
records really have (the default is 1 MiB), make `queue` smaller, or lower `spool: {memory: ...}`.

  warned  flows: {tick: {}}                       # 1,000 records of 1 MiB in each queue
  right   flows: {tick: {max_record: 4KiB}}",
};

/// Looks at the plan that follows from the topology.
pub(crate) fn check(topology: &Topology, plan: &Plan, diagnostics: &mut Diagnostics) {
    for (name, plan) in &plan.servers {
        let Some(has) = topology.servers.get(name).and_then(|server| server.memory.as_ref()) else { continue };
        let queued = plan.queued_bytes;
        let doors = plan.processes.iter().filter_map(|process| process.wiring.portal.as_ref());
        let spooled = doors.fold(0_u64, |total, doors| total.saturating_add(doors.spool.memory));
        if queued.saturating_add(spooled) > has.value {
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    has.place,
                    format!(
                        "server `{name}` has {} of memory; its queues can hold {}, its portals {}",
                        bytes(has.value),
                        bytes(queued),
                        bytes(spooled)
                    ),
                )
                .label("less than what may be queued at worst")
                .help(
                    "state a `max_record` for flows whose records are small, or make `queue` or `spool.memory` smaller",
                ),
            );
        }
    }
}
