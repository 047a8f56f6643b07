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
    /// Where the programs of the namespace are on a server.
    root: String,
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
    /// As in the topology.
    argv: &'p [String],
    /// With the program as an absolute path, if it isn't looked up in `PATH`.
    absolute_argv: Vec<String>,
    cwd: String,
    env: Vec<Variable<'p>>,
    sends: Vec<Sent<'p>>,
    /// Empty for the launcher's own.
    user: &'p str,
    /// 0 where there is no limit.
    nofile: u64,
    memory: u64,
    cpu_percent: u64,
    stop_signal: &'p str,
    stop_seconds: u64,
}

/// A flow that a process sends, and the inboxes on its server that it comes to; none for a flow that goes through portals.
#[derive(Serialize)]
struct Sent<'p> {
    flow: &'p str,
    to: Vec<String>,
}

#[derive(Serialize)]
struct Variable<'p> {
    name: &'p str,
    value: &'p str,
    /// `name=value`, one word.
    assignment: String,
}

/// The variables for one server.
pub fn of(
    plan: &Plan,
    name: &str,
    server: &ServerPlan,
    users: bool,
    with_processes: bool,
) -> Result<Value, serde_json::Error> {
    let seconds = |milliseconds: u64| milliseconds.div_ceil(1_000);
    let longest = |of: fn(&ProcessPlan) -> u64| seconds(server.processes.iter().map(of).max().unwrap_or(0));
    let root = format!("/opt/waldo/{}/{}", plan.topology, plan.namespace);
    let run = format!("/run/waldo/{}/{}/{name}", plan.topology, plan.namespace);
    let processes = server.processes.iter().filter(|_| with_processes).map(|it| process(it, &root, &run)).collect();
    serde_json::to_value(Values {
        topology: &plan.topology,
        namespace: &plan.namespace,
        server: name,
        address: &server.address,
        digest: &plan.digest,
        local: plan.local,
        users,
        // Portals, then stages; in a stop sources, stages, portals.
        start_seconds: 2 * longest(|process| process.ready_timeout) + START_BESIDE,
        stop_seconds: seconds(plan.idle_timeout) + 3 * longest(|process| process.stop.grace) + STOP_BESIDE,
        processes,
        root,
    })
}

/// Whether any stage of a plan runs as another user than its launcher.
pub fn has_users(plan: &Plan) -> bool {
    let mut processes = plan.servers.values().flat_map(|server| &server.processes);
    processes.any(|process| matches!(&process.program, Program::Stage(program) if program.user.is_some()))
}

fn process<'p>(process: &'p ProcessPlan, root: &str, run: &str) -> Process<'p> {
    let program = match &process.program {
        Program::Portal => None,
        Program::Stage(program) => Some(program),
    };
    let argv: &[String] = program.map_or(&[], |program| &program.argv);
    let mut absolute_argv = argv.to_vec();
    if let Some(first) = absolute_argv.first_mut().filter(|first| first.contains('/')) {
        *first = below(root, first);
    }
    let sends = process.wiring.outputs.iter().map(|output| {
        let receivers = output.consumers.iter().flat_map(|consumer| &consumer.receivers);
        Sent { flow: &output.flow, to: receivers.map(|receiver| format!("{run}/{}/in", receiver.process)).collect() }
    });
    let env = program.into_iter().flat_map(|program| &program.env);
    Process {
        name: &process.name,
        stage: &process.wiring.stage,
        instance: process.wiring.instance,
        is_portal: program.is_none(),
        is_source: process.is_source(),
        argv,
        absolute_argv,
        cwd: program.map_or_else(|| root.to_owned(), |program| below(root, &program.cwd)),
        env: env.map(|(name, value)| Variable { name, value, assignment: format!("{name}={value}") }).collect(),
        sends: sends.collect(),
        user: program.and_then(|program| program.user.as_deref()).unwrap_or_default(),
        nofile: program.and_then(|program| program.nofile).unwrap_or(0),
        memory: program.and_then(|program| program.memory).unwrap_or(0),
        // Millionths of a processor; systemd knows no less than a hundredth.
        cpu_percent: program.and_then(|program| program.cpu).map_or(0, |cpu| cpu.div_ceil(10_000)),
        stop_signal: &process.stop.signal,
        stop_seconds: process.stop.grace.div_ceil(1_000),
    }
}

/// A path that is seen from a directory, as an absolute one.
fn below(directory: &str, path: &str) -> String {
    let mut whole = if path.starts_with('/') { String::new() } else { directory.to_owned() };
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        whole.push('/');
        whole.push_str(part);
    }
    if whole.is_empty() { "/".to_owned() } else { whole }
}
