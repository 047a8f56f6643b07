//! A checked topology → its plan.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, BufWriter, Write},
};

use serde::Serialize;
use serde_json::error::Error as JsonError;
use waldo_sdk::guide::Guide;
use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    bounds,
    check::Whole,
    graph, guide,
    place::ports,
    plan::{
        FORMAT, FlowPlan, Plan, ProcessPlan, Program, Rebalance, Restart, RestartPolicy, ServerPlan, StageProgram, Stop,
    },
    topology::Stage,
    wiring,
};

const BACKOFF: u64 = 10_000;
const WINDOW: u64 = 60_000;
const GRACE: u64 = 5_000;
const PORTAL_GRACE: u64 = 10_000;
const PORTAL_READY: u64 = 10_000;
const SIGNAL: &str = "TERM";

/// The plan of a topology that keeps all rules.
pub fn plan(whole: &Whole<'_>) -> Plan {
    let mut plan = undigested(whole);
    // A plan holds nothing that JSON can't, so there is always a digest.
    plan.digest = digest(&plan).unwrap_or_default();
    plan
}

/// The same without its digest, for those who only look at it.
pub fn undigested(whole: &Whole<'_>) -> Plan {
    let topology = whole.topology;
    let order: Vec<String> = graph::order(topology, &whole.graph).into_iter().map(str::to_owned).collect();
    let names = |stages: &mut dyn Iterator<Item = (&String, &Stage)>| stages.map(|(name, _)| name.clone()).collect();
    let flow = |(name, flow): (&String, &crate::topology::Flow)| {
        let plan = FlowPlan {
            keyed: flow.is_keyed(),
            from_clients: flow.from_clients.is_some(),
            consumers: names(&mut topology.consumers(name)),
            producers: names(&mut topology.producers(name)),
        };
        (name.clone(), plan)
    };
    Plan {
        format: FORMAT,
        topology: topology.name.value.clone(),
        namespace: topology.namespace.name.clone(),
        local: topology.namespace.local,
        digest: String::new(),
        port_base: whole.port_base,
        idle_timeout: topology.idle_timeout,
        rebalance: topology.rebalance,
        files: topology.files.iter().flat_map(|files| &files.value).map(|pattern| pattern.value.clone()).collect(),
        flows: topology.flows.iter().map(flow).collect(),
        guide: guide::build(whole),
        servers: topology.servers.keys().map(|name| (name.clone(), server(whole, name, &order))).collect(),
        order,
    }
}

/// The digest that a plan should carry. Versions of guides are left out: they are given when a plan goes live, so the same
/// plan has the same digest whatever was live before it.
pub fn digest(plan: &Plan) -> Result<String, JsonError> {
    let mut hasher = Hasher(Xxh3Default::new());
    serde_json::to_writer(BufWriter::with_capacity(64 * 1024, &mut hasher), &Bare::of(plan))?;
    Ok(format!("{:032x}", hasher.0.digest128()))
}

/// A plan as its digest is taken: with an empty one, and all guides in their first version.
#[derive(Serialize)]
struct Bare<'p> {
    format: u32,
    topology: &'p str,
    namespace: &'p str,
    local: bool,
    digest: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port_base: Option<u16>,
    idle_timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebalance: Option<Rebalance>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    files: &'p [String],
    flows: &'p BTreeMap<String, FlowPlan>,
    order: &'p [String],
    guide: Cow<'p, Guide>,
    servers: &'p BTreeMap<String, ServerPlan>,
}

impl<'p> Bare<'p> {
    fn of(plan: &'p Plan) -> Self {
        // Taken apart by name, so that no field can be forgotten.
        let Plan {
            format,
            topology,
            namespace,
            local,
            digest: _,
            port_base,
            idle_timeout,
            rebalance,
            files,
            flows,
            order,
            guide,
            servers,
        } = plan;
        let mut guide = Cow::Borrowed(guide);
        if guide.flows.values().any(|flow| flow.version != guide::FIRST) {
            guide.to_mut().flows.values_mut().for_each(|flow| flow.version = guide::FIRST);
        }
        Self {
            format: *format,
            topology,
            namespace,
            local: *local,
            digest: "",
            port_base: *port_base,
            idle_timeout: *idle_timeout,
            rebalance: *rebalance,
            files,
            flows,
            order,
            guide,
            servers,
        }
    }
}

/// Takes bytes into a hash.
struct Hasher(Xxh3Default);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a plan carries the digest of what it says: whether it is as it was written.
pub fn verify_digest(plan: &Plan) -> bool {
    digest(plan).is_ok_and(|digest| digest == plan.digest)
}

fn server(whole: &Whole<'_>, name: &str, order: &[String]) -> ServerPlan {
    let mut processes = Vec::new();
    if whole.placement.is_used(name) {
        processes.extend(whole.carriers.iter().map(|(portal, carrier)| ProcessPlan {
            name: portal.to_owned(),
            program: Program::Portal,
            restart: Restart { policy: RestartPolicy::Always, backoff: BACKOFF, max: None, window: WINDOW },
            stop: Stop { signal: SIGNAL.to_owned(), grace: PORTAL_GRACE },
            ready_timeout: PORTAL_READY,
            alive: None,
            wiring: wiring::portal(whole, name, portal, carrier),
        }));
    }
    // Those that receive are started before those that send.
    for stage in order.iter().rev().filter(|stage| whole.placement.runs(stage, name)) {
        let declared = &whole.topology.stages[stage];
        processes.extend((0..declared.instances.value).map(|instance| process(whole, name, stage, declared, instance)));
    }
    let bound = bounds::of_processes(&processes);
    let declared = whole.topology.servers.get(name);
    ServerPlan {
        address: ports::address(whole.topology, name).to_owned(),
        ssh: declared.and_then(|server| server.ssh.as_ref()).map(|ssh| ssh.value.clone()),
        memory: declared.and_then(|server| server.memory.as_ref()).map(|memory| memory.value),
        cpu: declared.and_then(|server| server.cpu.as_ref()).map(|cpu| cpu.value),
        queued_records: bound.queued_records,
        queued_bytes: bound.queued_bytes,
        processes,
    }
}

fn process(whole: &Whole<'_>, server: &str, name: &str, stage: &Stage, instance: u32) -> ProcessPlan {
    let policy = if stage.is_source() { RestartPolicy::OnFailure } else { RestartPolicy::Always };
    let env: BTreeMap<String, String> =
        stage.env.iter().map(|(variable, value)| (variable.clone(), value.value.clone())).collect();
    ProcessPlan {
        name: wiring::process(name, instance),
        program: Program::Stage(StageProgram {
            argv: stage.run.value.clone(),
            speaks: stage.speaks.value,
            env,
            cwd: stage.cwd.clone(),
            user: stage.user.as_ref().map(|user| user.value.clone()),
            nofile: stage.limits.nofile,
            memory: stage.limits.memory.as_ref().map(|memory| memory.value),
            cpu: stage.limits.cpu.as_ref().map(|cpu| cpu.value),
        }),
        restart: Restart {
            policy: stage.restart.policy.unwrap_or(policy),
            backoff: stage.restart.backoff.unwrap_or(BACKOFF),
            max: stage.restart.max,
            window: stage.restart.window.unwrap_or(WINDOW),
        },
        stop: Stop {
            signal: stage.stop.signal.clone().unwrap_or_else(|| SIGNAL.to_owned()),
            grace: stage.stop.grace.unwrap_or(GRACE),
        },
        ready_timeout: stage.ready_timeout,
        alive: stage.alive.as_ref().map(|alive| alive.value),
        wiring: wiring::stage(whole, server, name, stage, instance),
    }
}
