//! What a plan was compiled from, so that a change to it can be compiled when the topology's files say other things by now:
//! a server taken out of action, or back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Choice, Compiled, PortChoice, Refusal, compile_onto,
    guide::weights::{self, Rewritten},
    outline,
    plan::Plan,
    source::{Recorded, Source, Sources},
    topology::literal::Weight,
};

/// A topology as it was read, the namespace that was chosen, and what was changed in it since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    topology: Recorded,
    namespace: Chosen,
    /// The base of the portals' ports that was said besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<u16>,
    /// Servers whose state was set, whatever the files say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<String, State>,
    /// Servers whose weight was set, whatever the files say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    weights: BTreeMap<String, Weight>,
}

/// [`Choice`], kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Chosen {
    Only,
    Named(String),
    Local(String),
}

/// Whether a server takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Active,
    /// It runs nothing and owns no keys.
    Drained,
}

impl State {
    /// As the topology says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drained => "drained",
        }
    }
}

impl Origin {
    /// Of a topology that is compiled as it was read.
    pub fn new(topology: Recorded, choice: Choice<'_>, ports: Option<u16>) -> Self {
        let namespace = match choice {
            Choice::Only => Chosen::Only,
            Choice::Named(name) => Chosen::Named(name.to_owned()),
            Choice::Local(name) => Chosen::Local(name.to_owned()),
        };
        Self { topology, namespace, ports, states: BTreeMap::new(), weights: BTreeMap::new() }
    }

    /// The same with a server's state set.
    #[must_use]
    pub fn with_state(mut self, server: &str, state: State) -> Self {
        self.states.insert(server.to_owned(), state);
        self
    }

    /// The same with a server's state as the files have it.
    #[must_use]
    pub fn without_state(mut self, server: &str) -> Self {
        self.states.remove(server);
        self
    }

    /// The same with these servers' weights set.
    #[must_use]
    pub fn with_weights(mut self, weights: &BTreeMap<String, Weight>) -> Self {
        self.weights.extend(weights.iter().map(|(server, weight)| (server.clone(), *weight)));
        self
    }

    /// The weights that servers have.
    ///
    /// # Errors
    /// As [`weights::written`].
    pub fn weights(&self) -> Result<BTreeMap<String, Weight>, Refusal> {
        weights::written(&self.sources(), self.choice())
    }

    /// The files with these weights in them, where that can be done by changing plain values.
    pub fn rewrite(&self, weights: &BTreeMap<String, Weight>) -> Option<Rewritten> {
        weights::rewrite(&self.topology, self.choice(), weights)
    }

    /// What says in a topology's file that servers have these weights.
    pub fn weights_as_written(&self, weights: &BTreeMap<String, Weight>) -> String {
        weights::as_written(&self.sources(), self.choice(), weights)
    }

    /// The same, read from these files in place of its own.
    #[must_use]
    pub fn reading(self, topology: Recorded) -> Self {
        Self { topology, ..self }
    }

    fn choice(&self) -> Choice<'_> {
        match &self.namespace {
            Chosen::Only => Choice::Only,
            Chosen::Named(name) => Choice::Named(name),
            Chosen::Local(name) => Choice::Local(name),
        }
    }

    /// The states that were set.
    pub fn states(&self) -> &BTreeMap<String, State> {
        &self.states
    }

    /// What says in a topology's file which states and weights were set: a namespace's own word goes before that of the topology.
    pub fn states_as_written(&self) -> Option<String> {
        let mut fields: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (server, state) in &self.states {
            fields.entry(server).or_default().push(format!("state: {}", state.word()));
        }
        for (server, weight) in &self.weights {
            fields.entry(server).or_default().push(format!("weight: {weight}"));
        }
        let states: Vec<String> =
            fields.iter().map(|(server, fields)| format!("{server}: {{{}}}", fields.join(", "))).collect();
        if states.is_empty() {
            return None;
        }
        let servers = format!("servers: {{{}}}", states.join(", "));
        let outline = outline(&self.topology.again([]))?;
        let namespace = match &self.namespace {
            _ if !outline.declares_namespaces() => None,
            Chosen::Only => outline.namespaces().next().map(|only| only.name.clone()),
            Chosen::Named(name) => Some(name.clone()),
            Chosen::Local(_) => None,
        };
        Some(match namespace {
            Some(namespace) => format!("namespaces: {{{namespace}: {{{servers}}}}}"),
            None => servers,
        })
    }

    /// The topology with the states and weights that were set.
    pub fn sources(&self) -> Sources {
        let later = self.states_as_written().map(|text| {
            Source::new(
                if self.weights.is_empty() { "what was set by `waldo drain`" } else { "what was set while it ran" },
                &text,
            )
        });
        self.topology.again(later)
    }

    /// Compiles it, to take the place of the plan that is live, if there is one.
    ///
    /// # Errors
    /// As [`compile_onto`]; places are in [`Origin::sources`].
    pub fn compile(&self, sources: &Sources, live: Option<&Plan>) -> Result<Compiled, Refusal> {
        compile_onto(sources, self.choice(), PortChoice { base: self.ports, live })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Unaided;

    const STAGES: &str = "topology: t
flows: {x: {guide: hash}}
stages: {a: {run: make, out: [x]}, b: {run: sink, in: [x]}}
servers: {s1: {address: 127.0.0.1}, s2: {address: 127.0.0.2}}
";

    fn origin(text: &str, choice: Choice<'_>) -> Origin {
        Origin::new(Recorded::read(vec![Source::new("waldo.yaml", text)], &Unaided).1, choice, None)
    }

    fn running(plan: &Plan) -> Vec<&str> {
        let servers = plan.servers.iter().filter(|(_, server)| !server.processes.is_empty());
        servers.map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_server_is_taken_out_of_action_and_back_as_if_the_file_had_said_so() {
        for (namespaces, choice) in [
            ("", Choice::Only),
            ("namespaces: {prod: {servers: {s2: {state: active}}}, test: {}}", Choice::Named("prod")),
            ("namespaces: {prod: {}}", Choice::Only),
            ("namespaces: {prod: {}}", Choice::Local("mine")),
        ] {
            let text = format!("{STAGES}{namespaces}\n");
            let origin = origin(&text, choice);
            let first = origin.compile(&origin.sources(), None).expect("a plan").plan;
            assert_eq!(running(&first), ["s1", "s2"], "{namespaces}");
            let drained = origin.clone().with_state("s2", State::Drained);
            let second = drained.compile(&drained.sources(), Some(&first)).expect("a plan").plan;
            assert_eq!(running(&second), ["s1"], "{namespaces}");
            let back = drained.with_state("s2", State::Active);
            let third = back.compile(&back.sources(), Some(&second)).expect("a plan").plan;
            assert_eq!(third, first, "{namespaces}");
        }
    }

    #[test]
    fn a_server_without_which_nobody_owns_a_flow_stays() {
        let text = STAGES.replace("in: [x]", "in: [x], \"on\": [s2]");
        let origin = origin(&text, Choice::Only).with_state("s2", State::Drained);
        let sources = origin.sources();
        let Err(Refusal::Errors(found)) = origin.compile(&sources, None) else { panic!("no errors") };
        let shown = crate::diagnostic::render::render(&sources, &found, crate::diagnostic::render::Colour::Plain);
        assert!(shown.contains("waldo drain"), "{shown}");
    }

    #[test]
    fn what_to_write_into_the_file_names_the_namespace_where_there_are_some() {
        let written = |text: &str, choice| origin(text, choice).with_state("s2", State::Drained).states_as_written();
        assert_eq!(written(STAGES, Choice::Only).as_deref(), Some("servers: {s2: {state: drained}}"));
        let prod = format!("{STAGES}namespaces: {{prod: {{}}}}\n");
        let expected = Some("namespaces: {prod: {servers: {s2: {state: drained}}}}");
        assert_eq!(written(&prod, Choice::Named("prod")).as_deref(), expected);
        assert_eq!(origin(STAGES, Choice::Only).states_as_written(), None);
    }
}
