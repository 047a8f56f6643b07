//! The rules: each has a code, a file here, and an explanation (`waldo explain CODE`).
//!
//! Reading a file reports what is wrong with single values. Then names are looked up; only if all of them are known do
//! the rules about the whole run, as what they said of half a topology would be noise.

pub(crate) mod bad_literal;
pub(crate) mod bad_name;
pub(crate) mod consumer_elsewhere;
pub(crate) mod deadlock;
pub(crate) mod duplicate_key;
pub(crate) mod empty_portal;
pub(crate) mod environment;
pub(crate) mod flow_in_two_portals;
pub(crate) mod full_queues;
pub(crate) mod guide_ranges;
pub(crate) mod guide_server;
pub(crate) mod idle_server;
pub(crate) mod include;
pub mod ipc_path;
pub(crate) mod key_without_guide;
pub(crate) mod lines_in_loop;
pub(crate) mod lines_outputs;
pub(crate) mod loop_numbers;
pub(crate) mod loop_without_passes;
pub(crate) mod many_loops;
pub(crate) mod many_namespaces;
pub(crate) mod many_portals;
pub(crate) mod missing_field;
pub(crate) mod name_clash;
pub(crate) mod no_consumer;
pub(crate) mod no_owner;
pub(crate) mod no_producer;
pub(crate) mod not_a_cycle;
pub(crate) mod not_supported;
pub(crate) mod not_text;
pub mod nothing_shipped;
pub(crate) mod nowhere;
pub(crate) mod overcommitted;
pub(crate) mod port_clash;
pub(crate) mod port_room;
pub mod program;
pub(crate) mod shared_machine;
pub(crate) mod shipped_files;
pub(crate) mod small_disk;
pub(crate) mod spool_room;
pub(crate) mod spread_all_in_loop;
pub(crate) mod stalled_filter;
pub(crate) mod substitution;
pub(crate) mod syntax;
pub(crate) mod undeclared_cycle;
pub(crate) mod unit_clash;
pub(crate) mod unknown_field;
pub(crate) mod unknown_name;
pub(crate) mod unreachable_instances;
pub(crate) mod unreachable_stage;
pub(crate) mod unset_variable;
pub(crate) mod unused_label;
pub mod user;
pub(crate) mod variable_in_key;
pub(crate) mod wrong_kind;

use std::collections::HashMap;

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    graph::{Counts, Edge, Graph},
    place::{
        Placement,
        portals::Carriers,
        ports::{self, Binding, Door, PortChoice},
    },
    source::Place,
    topology::Topology,
};

/// What is said of a rule, whatever the topology.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its code.
    pub code: &'static str,
    /// Whether breaking it is an error.
    pub severity: Severity,
    /// The rule in one line.
    pub title: &'static str,
    /// Why it is one, and how to mend what breaks it.
    pub explanation: &'static str,
}

/// All rules in the order of their codes.
pub const RULES: [&Rule; 55] = [
    &syntax::RULE,
    &unknown_field::RULE,
    &missing_field::RULE,
    &wrong_kind::RULE,
    &duplicate_key::RULE,
    &bad_name::RULE,
    &unknown_name::RULE,
    &name_clash::RULE,
    &bad_literal::RULE,
    &not_supported::RULE,
    &environment::RULE,
    &key_without_guide::RULE,
    &no_producer::RULE,
    &no_consumer::RULE,
    &consumer_elsewhere::RULE,
    &unreachable_stage::RULE,
    &nowhere::RULE,
    &guide_ranges::RULE,
    &guide_server::RULE,
    &no_owner::RULE,
    &undeclared_cycle::RULE,
    &not_a_cycle::RULE,
    &loop_without_passes::RULE,
    &deadlock::RULE,
    &port_clash::RULE,
    &port_room::RULE,
    &ipc_path::RULE,
    &empty_portal::RULE,
    &flow_in_two_portals::RULE,
    &spool_room::RULE,
    &lines_outputs::RULE,
    &loop_numbers::RULE,
    &program::RULE,
    &unreachable_instances::RULE,
    &idle_server::RULE,
    &unused_label::RULE,
    &spread_all_in_loop::RULE,
    &small_disk::RULE,
    &many_portals::RULE,
    &lines_in_loop::RULE,
    &include::RULE,
    &not_text::RULE,
    &variable_in_key::RULE,
    &substitution::RULE,
    &unset_variable::RULE,
    &many_namespaces::RULE,
    &stalled_filter::RULE,
    &overcommitted::RULE,
    &full_queues::RULE,
    &user::RULE,
    &shipped_files::RULE,
    &nothing_shipped::RULE,
    &shared_machine::RULE,
    &many_loops::RULE,
    &unit_clash::RULE,
];

/// The rule of a code, however it is capitalised.
pub fn rule(code: &str) -> Option<&'static Rule> {
    RULES.into_iter().find(|rule| rule.code.eq_ignore_ascii_case(code))
}

/// A topology and what follows from it.
pub struct Whole<'t> {
    /// The topology.
    pub topology: &'t Topology,
    /// Which stage runs where.
    pub placement: Placement,
    /// Which portal carries which flow.
    pub carriers: Carriers,
    /// The base of the block that all ports are in, if it is stated.
    pub port_base: Option<u16>,
    /// The ports of portals.
    pub bindings: Vec<Binding>,
    /// The same by server and portal: its `port`, and its `link`.
    pub doors: HashMap<(String, String), (Option<u32>, Option<u32>)>,
    /// Who sends to whom.
    pub graph: Graph<'t>,
    /// Which loops a record counts on which flow.
    pub counts: Counts<'t>,
}

impl<'t> Whole<'t> {
    /// Works out what follows from a topology whose names are all known.
    pub fn of(topology: &'t Topology, ports: PortChoice<'_>) -> Self {
        let placement = Placement::of(topology);
        let carriers = Carriers::of(topology);
        let bindings = ports::assign(topology, &placement, &carriers, ports);
        let port_base = ports::stated_base(topology, ports);
        let graph = Graph::of(topology, &placement);
        let mut doors: HashMap<(String, String), (Option<u32>, Option<u32>)> = HashMap::new();
        for binding in &bindings {
            if binding.door == Door::Egress {
                continue;
            }
            let (port, link) = doors.entry((binding.server.clone(), binding.portal.clone())).or_default();
            *if binding.door == Door::Port { port } else { link } = Some(binding.port);
        }
        Self { topology, placement, carriers, port_base, bindings, doors, counts: Counts::of(topology, &graph), graph }
    }

    /// Whether a flow has a guide.
    pub(crate) fn is_keyed(&self, flow: &str) -> bool {
        self.topology.flows.get(flow).is_some_and(crate::topology::Flow::is_keyed)
    }
}

/// Rules that look at single things and the names in them.
const PARTS: [fn(&Topology, &mut Diagnostics); 13] = [
    unknown_name::check,
    name_clash::check,
    missing_field::check,
    not_supported::check,
    key_without_guide::check,
    guide_ranges::check,
    flow_in_two_portals::check,
    spool_room::check,
    lines_outputs::check,
    loop_numbers::check,
    small_disk::check,
    stalled_filter::check,
    shipped_files::check,
];

/// Rules that look at the whole.
const WHOLE: [fn(&Whole<'_>, &mut Diagnostics); 16] = [
    no_producer::check,
    no_consumer::check,
    nowhere::check,
    consumer_elsewhere::check,
    unreachable_stage::check,
    guide_server::check,
    no_owner::check,
    not_a_cycle::check,
    many_loops::check,
    undeclared_cycle::check,
    deadlock::check,
    port_clash::check,
    port_room::check,
    ipc_path::check,
    empty_portal::check,
    overcommitted::check,
];

/// Rules whose warnings help only where there are no errors.
const REFINEMENTS: [fn(&Whole<'_>, &mut Diagnostics); 6] = [
    unreachable_instances::check,
    idle_server::check,
    unused_label::check,
    spread_all_in_loop::check,
    many_portals::check,
    lines_in_loop::check,
];

/// Checks one namespace's topology. What follows from it comes back if it was looked at as a whole.
pub fn check<'t>(topology: &'t Topology, ports: PortChoice<'_>, diagnostics: &mut Diagnostics) -> Option<Whole<'t>> {
    for part in PARTS {
        part(topology, diagnostics);
    }
    let leaves_holes = [&unknown_name::RULE, &key_without_guide::RULE, &guide_ranges::RULE];
    if topology.has_holes
        || topology.stages.is_empty()
        || diagnostics.iter().any(|found| leaves_holes.contains(&found.rule))
    {
        return None;
    }
    let whole = Whole::of(topology, ports);
    for rule in WHOLE {
        rule(&whole, diagnostics);
    }
    if diagnostics.errors() == 0 {
        for rule in REFINEMENTS {
            rule(&whole, diagnostics);
        }
    }
    Some(whole)
}

/// Where a stage names the flow that makes an edge.
pub(crate) fn output_place(topology: &Topology, edge: &Edge<'_>) -> Place {
    let stage = topology.stages.get(edge.from);
    let output = stage.and_then(|stage| stage.outputs.iter().find(|output| output.value == edge.flow));
    output.map(|output| output.place).or(stage.map(|stage| stage.place)).unwrap_or_default()
}

/// How many edges of a cycle are shown.
const MOST_SHOWN: usize = 24;

/// Points at every edge of a cycle, where the stage names the flow that it sends.
pub(crate) fn cycle_labels(
    topology: &Topology,
    diagnostic: Diagnostic,
    cycle: &[Edge<'_>],
    first: &str,
    others: impl Fn(&Edge<'_>) -> String,
) -> Diagnostic {
    let mut diagnostic = diagnostic.label(first);
    for edge in cycle.iter().take(MOST_SHOWN).skip(1) {
        diagnostic = diagnostic.also(output_place(topology, edge), others(edge));
    }
    match cycle.len().saturating_sub(MOST_SHOWN) {
        0 => diagnostic,
        more => diagnostic.note(format!("the cycle has {more} more stages")),
    }
}

/// Names in words: "`a`", "`a` and `b`", "`a`, `b` and `c`".
pub(crate) fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order_and_every_rule_is_explained() {
        assert!(RULES.is_sorted_by(|a, b| a.code < b.code));
        for rule in RULES {
            assert!(rule.explanation.len() > 80 && !rule.title.ends_with('.'), "{}", rule.code);
            let examples: Vec<_> = rule.explanation.lines().filter(|line| line.starts_with("  ")).collect();
            let first = if rule.severity == Severity::Error { "  wrong   " } else { "  warned  " };
            assert!(examples.first().is_some_and(|line| line.starts_with(first)), "{}", rule.code);
            assert!(examples.iter().any(|line| line.starts_with("  right   ")), "{}", rule.code);
            assert!(examples.iter().all(|line| line.chars().count() <= 100), "{}", rule.code);
        }
        assert_eq!(rule("w001"), Some(&syntax::RULE));
        assert_eq!(rule("W999"), None);
    }
}
