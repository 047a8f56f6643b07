//! What templates can say of a server: their variables. `docs/templates.md` lists them.

use serde::Serialize;
use serde_json::Value;

use crate::plan::{Plan, ProcessPlan, Program, ServerPlan};

/// How long a launcher may take to have its processes ready, besides their own time. Seconds.
const START_BESIDE: u64 = 30;
/// How long it may take to stop, besides draining and the graces of its processes. Seconds.
const STOP_BESIDE: u64 = 60;

#[derive(Serialize)]
struct Values<'p> {
    topology: &'p str,
    namespace: &'p str,
    server: &'p str,
    address: &'p str,
    digest: &'p str,
    /// Whether every server of the namespace is on one machine.
    local: bool,
    /// Whether any stage runs as another user than its launcher.
    users: bool,
    /// How long the server may take to become ready, and to stop.
    start_seconds: u64,
    stop_seconds: u64,
    processes: Vec<Process<'p>>,
}

#[derive(Serialize)]
struct Process<'p> {
    name: &'p str,
    stage: &'p str,
    instance: u32,
    is_portal: bool,
    is_source: bool,
    argv: &'p [String],
    cwd: &'p str,
    env: Vec<Variable<'p>>,
    /// Empty for the launcher's own.
    user: &'p str,
    /// 0 where there is no limit.
    nofile: u64,
    memory: u64,
    stop_signal: &'p str,
    stop_seconds: u64,
}

#[derive(Serialize)]
struct Variable<'p> {
    name: &'p str,
    value: &'p str,
    /// `name=value`, one word.
    assignment: String,
}

/// The variables for one server.
pub fn of(plan: &Plan, name: &str, server: &ServerPlan, with_processes: bool) -> Result<Value, serde_json::Error> {
    let seconds = |milliseconds: u64| milliseconds.div_ceil(1_000);
    let longest = |of: fn(&ProcessPlan) -> u64| seconds(server.processes.iter().map(of).max().unwrap_or(0));
    let has_user =
        |process: &ProcessPlan| matches!(&process.program, Program::Stage(program) if program.user.is_some());
    serde_json::to_value(Values {
        topology: &plan.topology,
        namespace: &plan.namespace,
        server: name,
        address: &server.address,
        digest: &plan.digest,
        local: plan.local,
        users: plan.servers.values().flat_map(|server| &server.processes).any(has_user),
        // Portals, then stages; in a stop sources, stages, portals.
        start_seconds: 2 * longest(|process| process.ready_timeout) + START_BESIDE,
        stop_seconds: seconds(plan.idle_timeout) + 3 * longest(|process| process.stop.grace) + STOP_BESIDE,
        processes: if with_processes { server.processes.iter().map(process).collect() } else { Vec::new() },
    })
}

fn process(process: &ProcessPlan) -> Process<'_> {
    let program = match &process.program {
        Program::Portal => None,
        Program::Stage(program) => Some(program),
    };
    let env = program.into_iter().flat_map(|program| &program.env);
    Process {
        name: &process.name,
        stage: &process.wiring.stage,
        instance: process.wiring.instance,
        is_portal: program.is_none(),
        is_source: process.is_source(),
        argv: program.map_or(&[], |program| &program.argv),
        cwd: program.map_or(".", |program| &program.cwd),
        env: env.map(|(name, value)| Variable { name, value, assignment: format!("{name}={value}") }).collect(),
        user: program.and_then(|program| program.user.as_deref()).unwrap_or_default(),
        nofile: program.and_then(|program| program.nofile).unwrap_or(0),
        memory: program.and_then(|program| program.memory).unwrap_or(0),
        stop_signal: &process.stop.signal,
        stop_seconds: process.stop.grace.div_ceil(1_000),
    }
}
