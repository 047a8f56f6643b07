//! W038: a spool with less disk than memory.

use super::{Rule, overcommitted::bytes};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    place::portals::{SPOOL_DISK, SPOOL_MEMORY},
    topology::Topology,
};

pub(crate) static RULE: Rule = Rule {
    code: "W038",
    severity: Severity::Warning,
    title: "a spool's `disk` is smaller than its `memory`",
    explanation: "\
A spool fills its memory first and then its disk. Disk is usually the larger of the two, by far: a smaller one is often a
slip in the unit. `disk: 0` is taken as meant.

  warned  spool: {memory: 512MiB, disk: 10MiB}
  right   spool: {memory: 512MiB, disk: 10GiB}",
};

pub(super) fn check(topology: &Topology, diagnostics: &mut Diagnostics) {
    for (name, portal) in &topology.portals {
        let memory = portal.spool.memory.as_ref();
        let disk = portal.spool.disk.as_ref();
        let size = |size: Option<&crate::source::Located<u64>>, default| size.map_or(default, |size| size.value);
        let (memory_bytes, disk_bytes) = (size(memory, SPOOL_MEMORY), size(disk, SPOOL_DISK));
        if let Some(stated) = disk.or(memory)
            && disk_bytes != 0
            && disk_bytes < memory_bytes
        {
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    stated.place,
                    format!(
                        "the spool of portal `{name}` has {} on disk and {} in memory",
                        bytes(disk_bytes),
                        bytes(memory_bytes)
                    ),
                )
                .label("disk is smaller than memory")
                .help("look at the units: disk is usually the larger of the two"),
            );
        }
    }
}
