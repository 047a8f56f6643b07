//! W048: what stages are limited to fits into what their server has.

use super::{Rule, Whole};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::Located,
    topology::{Server, Stage},
};

pub(crate) static RULE: Rule = Rule {
    code: "W048",
    severity: Severity::Error,
    title: "more memory or processors promised than a server has",
    explanation: "\
A server that says how much `memory` or how many processors (`cpu`) it has must have room for the limits of all instances that are placed on it: `limits` is
a promise to each of them. Stages without a limit aren't counted. Lower the limits or the number of instances, place stages elsewhere, or state
what the server really has.

  wrong   stages: {score: {run: ./score, limits: {memory: 4GiB}, instances: 8}}
          servers: {s1: {address: 10.0.0.1, memory: 16GiB}}
  right   stages: {score: {run: ./score, limits: {memory: 2GiB}, instances: 8}}  # the same",
};

pub(super) fn check(whole: &Whole<'_>, diagnostics: &mut Diagnostics) {
    let kinds: [Kind; 2] = [
        (
            |stage| stage.limits.memory.as_ref(),
            |server| server.memory.as_ref(),
            |size| format!("{} of memory", bytes(size)),
        ),
        (|stage| stage.limits.cpu.as_ref(), |server| server.cpu.as_ref(), processors),
    ];
    for server in whole.placement.used_servers() {
        let Some(declared) = whole.topology.servers.get(server) else { continue };
        for (limit, has, words) in kinds {
            let Some(has) = has(declared) else { continue };
            let limits = whole.topology.stages.iter().filter(|(name, _)| whole.placement.runs(name, server));
            let promised: Vec<(u64, &Located<u64>)> = limits
                .filter_map(|(_, stage)| {
                    let limit = limit(stage)?;
                    Some((limit.value.saturating_mul(u64::from(stage.instances.value)), limit))
                })
                .collect();
            let total = promised.iter().fold(0_u64, |total, (promised, _)| total.saturating_add(*promised));
            if total <= has.value {
                continue;
            }
            let mut diagnostic = Diagnostic::new(
                &RULE,
                has.place,
                format!(
                    "server `{server}` has {}, and the stages on it are promised {}",
                    words(has.value),
                    words(total)
                ),
            )
            .label("what it has");
            for (promised, limit) in &promised {
                diagnostic = diagnostic.also(limit.place, format!("{} for all instances here", words(*promised)));
            }
            diagnostics.push(diagnostic.help("lower a limit or the number of instances, or place a stage elsewhere"));
        }
    }
}

type Kind = (fn(&Stage) -> Option<&Located<u64>>, fn(&Server) -> Option<&Located<u64>>, fn(u64) -> String);

/// A size as people write it.
pub(super) fn bytes(size: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, factor) in UNITS {
        if size >= factor {
            let tenths = (u128::from(size) * 10 / u128::from(factor)) as u64;
            return if tenths.is_multiple_of(10) {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{size} bytes")
}

fn processors(millionths: u64) -> String {
    let thousandths = millionths / 1_000;
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    let number = text.trim_end_matches('0').trim_end_matches('.');
    format!("{number} {}", if number == "1" { "processor" } else { "processors" })
}

#[cfg(test)]
mod tests {
    use super::{bytes, processors};

    #[test]
    fn numbers_are_said_as_people_write_them() {
        assert_eq!([512, 1 << 20, 3 << 29, 16 << 30].map(bytes), ["512 bytes", "1 MiB", "1.5 GiB", "16 GiB"]);
        assert_eq!(
            [500_000, 8_000_000, 1_250_000].map(processors),
            ["0.5 processors", "8 processors", "1.25 processors"]
        );
    }
}
