//! Several topologies that lie beside each other, and may run on the same machines at the same time.

use std::collections::BTreeSet;

use crate::{
    Checked,
    check::{Whole, shared_machine},
    check_namespaces,
    diagnostic::Diagnostics,
    place::ports::{self, Binding},
    source::{Located, Sources},
    topology::{Namespace, Topology},
};

/// A namespace of a topology, and what of machines it takes.
pub(crate) struct Placed {
    /// The topology's name.
    pub topology: Located<String>,
    /// The namespace.
    pub namespace: Namespace,
    /// The ports of its portals.
    pub bindings: Vec<Binding>,
    /// Where it runs anything.
    pub addresses: BTreeSet<String>,
}

impl Placed {
    /// What a topology takes in its namespace.
    pub fn of(whole: Whole<'_>) -> Self {
        let addresses = whole.placement.used_servers().map(|server| ports::address(whole.topology, server).to_owned());
        Self {
            topology: whole.topology.name.clone(),
            namespace: whole.topology.namespace.clone(),
            addresses: addresses.collect(),
            bindings: whole.bindings,
        }
    }
}

/// Checks each of several topologies, in one or every one of its namespaces, adds what another has to say of each, and finds
/// what they would take from each other. The answers are in the order of the topologies, each with places in its own
/// files; a topology without the namespace is passed over.
pub fn check(
    workspace: &[Sources],
    namespace: Option<&str>,
    mut also: impl FnMut(usize, &Topology) -> Diagnostics,
) -> Vec<Checked> {
    let wanted = |name: &str| namespace.is_none_or(|wanted| wanted == name);
    let (mut checked, placed): (Vec<_>, Vec<_>) = workspace
        .iter()
        .enumerate()
        .map(|(index, sources)| check_namespaces(sources, wanted, &mut |topology| also(index, topology)))
        .unzip();
    for (later, checked) in checked.iter_mut().enumerate() {
        let mut found = Diagnostics::default();
        for earlier in 0..later {
            let of = |index: usize| shared_machine::Member { sources: &workspace[index], placed: &placed[index] };
            shared_machine::check(&of(earlier), &of(later), &mut found);
        }
        checked.diagnostics.extend(found);
        checked.diagnostics.sort();
    }
    checked
}
