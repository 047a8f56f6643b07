//! W053: topologies that lie beside each other can run beside each other.

use super::{
    Rule,
    port_clash::{both, free_base, shared},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::{Place, Sources},
    workspace::Placed,
};

pub(crate) static RULE: Rule = Rule {
    code: "W053",
    severity: Severity::Error,
    title: "two topologies of a workspace that can't run beside each other",
    explanation: "\
A directory without a `waldo.yaml` whose subdirectories have one is a workspace: `waldo check DIR` checks all of its topologies, and
looks for what they would take from each other where they share a machine. Two things are one on each machine. A topology's name with its namespace names
the run directory, the units and the root on a server: so no two topologies may have the same of both. And a port can be bound once: give
the namespaces of one topology a block of ports of their own.

  wrong   a/waldo.yaml: topology: calls      b/waldo.yaml: topology: calls
  right   a/waldo.yaml: topology: calls      b/waldo.yaml: topology: bills      # and `ports: 8000`",
};

/// A topology of a workspace, in its namespaces.
pub(crate) struct Member<'w> {
    /// Its files.
    pub sources: &'w Sources,
    /// What its namespaces take.
    pub placed: &'w [Placed],
}

/// Says what the later of two topologies would take from the earlier; places are in the later one's files.
pub(crate) fn check(earlier: &Member<'_>, later: &Member<'_>, diagnostics: &mut Diagnostics) {
    let elsewhere = |place: Place| {
        let source = earlier.sources.file(place);
        let position = source.position(place.start);
        format!("{}:{}:{}", source.name, position.line, position.column)
    };
    for second in later.placed {
        for first in earlier.placed {
            let Some(address) = first.addresses.intersection(&second.addresses).next() else { continue };
            let namespace = &second.namespace;
            if first.topology.value == second.topology.value && first.namespace.name == namespace.name {
                let name = format!("{}/{}", second.topology.value, namespace.name);
                diagnostics.push(
                    Diagnostic::new(&RULE, second.topology.place, format!("two topologies are `{name}` on {address}"))
                        .label("named as another is")
                        .note(format!("the other one is named at {}", elsewhere(first.topology.place)))
                        .help(
                            "give one of them another name: it stands in the names of directories, units and sockets",
                        ),
                );
            } else if let Some((binding, other)) = shared(first, second) {
                let place = namespace.ports.as_ref().map_or(namespace.place, |ports| ports.place);
                let text = format!(
                    "`{}/{}` and `{}/{}` share port {} on {}: {}",
                    first.topology.value,
                    first.namespace.name,
                    second.topology.value,
                    namespace.name,
                    binding.port,
                    binding.address,
                    both(other, binding)
                );
                let other = first.namespace.ports.as_ref().map_or(first.namespace.place, |ports| ports.place);
                diagnostics.push(
                    Diagnostic::new(&RULE, place, text)
                        .label("both can't run at the same time")
                        .note(format!("the other one takes its ports at {}", elsewhere(other)))
                        .help(format!(
                            "give namespace `{}` here a block of ports of its own: {}",
                            namespace.name,
                            free_base(first, second)
                        )),
                );
            }
        }
    }
}
