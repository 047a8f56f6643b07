//! Reads where flows leave the topology, and makes a stage of it: whatever holds for a consumer holds for it, too.

use std::collections::BTreeMap;

use waldo_sdk::wiring::Spread;

use super::{
    fields::Reader,
    stage::{LONGEST_QUEUE, QUEUE, READY_TIMEOUT},
};
use crate::{
    check::{bad_literal, name_clash},
    plan::Speaks,
    source::{Located, Place, node::Node},
    topology::{
        Egress, Flow, Input, Limits, Restart, Stage, Stop,
        language::{self, names},
        literal,
    },
};

/// How long one may go on handing on what it has when it is to stop. Milliseconds.
const GRACE: u64 = 30_000;
const FORMS: &str = "`{connect: tcp://HOST:PORT}` or `{bind: tcp://ADDRESS:PORT}`";

impl Reader<'_> {
    pub(super) fn egress(&mut self, node: &Node, what: String, place: Place) -> Option<Egress> {
        let fields = self.fields(node, what, place, &names(language::TO))?;
        let binds = match (fields.entry("connect"), fields.entry("bind")) {
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(_), Some(_)) => {
                self.report_hole(bad_literal::literal(&fields.owner, "connect and bind at once", place, FORMS));
                return None;
            }
            (None, None) => {
                self.required(&fields, "connect", "connect: tcp://HOST:PORT");
                self.has_holes = true;
                return None;
            }
        };
        let endpoint = if binds {
            self.literal(fields.get("bind"), literal::endpoint_to_bind)
        } else {
            self.literal(fields.get("connect"), literal::endpoint_to_connect)
        };
        let Some(endpoint) = endpoint else {
            self.has_holes = true;
            return None;
        };
        Some(Egress {
            place,
            binds,
            endpoint,
            on: self.on(&fields),
            queue: self.count(fields.get("queue"), 1, LONGEST_QUEUE).map_or(QUEUE, |queue| queue.value),
        })
    }

    /// Adds the stages by which flows leave.
    pub(super) fn add_egress(&mut self, flows: &BTreeMap<String, Flow>, stages: &mut BTreeMap<String, Stage>) {
        for (flow, egress) in flows.iter().filter_map(|(flow, declared)| Some((flow, declared.to.as_ref()?))) {
            let name = Egress::stage(flow);
            if let Some(stage) = stages.get(&name) {
                self.report_hole(name_clash::egress(&name, flow, stage.place, egress.place));
                continue;
            }
            stages.insert(name, stage(flow, egress));
        }
    }
}

fn stage(flow: &str, egress: &Egress) -> Stage {
    let place = egress.place;
    let flow = Located::new(flow.to_owned(), place);
    Stage {
        place,
        // It is no program.
        run: Located::new(Vec::new(), place),
        inputs: vec![Input { flow, spread: Located::new(Spread::Any, place) }],
        outputs: Vec::new(),
        instances: Located::new(1, place),
        on: egress.on.clone(),
        env: BTreeMap::new(),
        restart: Restart::default(),
        alive: None,
        stop: Stop { signal: None, grace: Some(GRACE) },
        ready_timeout: READY_TIMEOUT,
        queue: egress.queue,
        limits: Limits::default(),
        user: None,
        cwd: ".".to_owned(),
        speaks: Located::new(Speaks::Egress, place),
    }
}
