//! W061: each launcher on a machine has a unit name of its own.

use std::collections::BTreeMap;

use super::Rule;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    place::ports,
    topology::{Namespace, Topology},
};

pub(crate) static RULE: Rule = Rule {
    code: "W061",
    severity: Severity::Error,
    title: "two launchers with one unit name",
    explanation: "\
Under systemd the launcher of a server is called `waldo-<topology>-<namespace>-<server>.service`. As names may have hyphens in
them, server `b-c` of namespace `a` and server `c` of namespace `a-b` would be one unit where both are on one machine, and
only one of them could run. Rename one of them. (Waldo can't see other topologies: `calls` with namespace `old-prod` and
`calls-old` with namespace `prod` clash in the same way.)

  wrong   namespaces: {a: {}, a-b: {}}    servers: {b-c: {...}, c: {...}}      # on one machine
  right   namespaces: {a: {}, a-b: {}}    servers: {east: {...}, west: {...}}",
};

/// A namespace, and its servers that are on some machine: server → address.
pub(crate) type Machines<'n> = (&'n Namespace, BTreeMap<String, String>);

/// The servers of a namespace and where they are.
pub(crate) fn machines<'n>(namespace: &'n Namespace, topology: &Topology) -> Machines<'n> {
    let address = |name: &String| (name.clone(), ports::address(topology, name).to_owned());
    (namespace, topology.servers.keys().map(address).collect())
}

/// Finds units of the same name on the same machine.
pub(crate) fn across(namespaces: &[Machines<'_>], diagnostics: &mut Diagnostics) {
    for (short, ours) in namespaces {
        for (long, theirs) in namespaces {
            let Some(beyond) = long.name.strip_prefix(&short.name).and_then(|rest| rest.strip_prefix('-')) else {
                continue;
            };
            let clash = theirs.iter().find_map(|(server, address)| {
                let (other, other_address) = ours.get_key_value(&format!("{beyond}-{server}"))?;
                (other_address == address).then_some((server, other, address))
            });
            let Some((server, other, address)) = clash else { continue };
            diagnostics.push(
                Diagnostic::new(
                    &RULE,
                    long.place,
                    format!(
                        "server `{server}` of namespace `{}` and server `{other}` of namespace `{}` would be one systemd unit on {address}",
                        long.name, short.name
                    ),
                )
                .label(format!("`…-{}-{server}.service`", long.name))
                .also(short.place, format!("`…-{}-{other}.service`", short.name))
                .help("rename one of the namespaces or servers"),
            );
        }
    }
}
