//! The plan: what the compiler makes of a topology and a namespace. Complete and deterministic; nothing in it depends
//! on who compiled it where. Durations are in milliseconds, sizes in bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use waldo_sdk::{guide::Guide, wiring::Wiring};

/// The version of `plan.json` that this program reads and writes.
pub const FORMAT: u32 = 1;

/// A topology compiled for one namespace: `plan.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The topology's name.
    pub topology: String,
    /// The namespace's name.
    pub namespace: String,
    /// Whether every server runs on this machine.
    pub local: bool,
    /// `xxh3_128` of the rest of the plan as compact JSON with this field empty and all guide versions 1, in hex.
    pub digest: String,
    /// The base that the ports of all portals are taken from, in one block; without one, written ports are kept, and the others
    /// are taken from [`crate::place::ports::BASE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_base: Option<u16>,
    /// How long a server may take to become idle. Milliseconds.
    pub idle_timeout: u64,
    /// Within which limits weights may be changed by what is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
    /// What a deployment ships into the namespace's root on each server: patterns of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The flows.
    pub flows: BTreeMap<String, FlowPlan>,
    /// The stages' names, each after those that it receives from, as far as loops allow.
    pub order: Vec<String>,
    /// Key → server for every keyed flow, and where each portal is reached.
    pub guide: Guide,
    /// The servers.
    pub servers: BTreeMap<String, ServerPlan>,
}

/// Within which limits weights may be changed by what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// Whether that is done without being asked for.
    pub auto: bool,
    /// How far apart it is done at least. Milliseconds.
    pub every: u64,
    /// How many slots of a flow may move at once; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u64>,
    /// The lowest weight. Millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<u64>,
    /// The highest weight. Millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<u64>,
}

/// What a plan says of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPlan {
    /// Whether it has a guide and crosses servers.
    pub keyed: bool,
    /// Whether clients may send it.
    pub from_clients: bool,
    /// The stages that receive it.
    pub consumers: Vec<String>,
    /// The stages that send it.
    pub producers: Vec<String>,
}

/// What a plan says of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPlan {
    /// Where others reach it: an IP or a host name.
    pub address: String,
    /// How a deployment logs in to it; `None` for its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// How much memory it is said to have. Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How many processors it is said to have. Millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
    /// How many records can be in queues on it, at most, portals' spools aside.
    pub queued_records: u64,
    /// How many bytes those can be, at most.
    pub queued_bytes: u64,
    /// The processes in the order in which they are started: portals, then stages, sinks before sources.
    pub processes: Vec<ProcessPlan>,
}

/// What a plan says of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// `<stage>.<n>`, or the portal's name.
    pub name: String,
    /// What runs.
    pub program: Program,
    /// When it is started again after it has ended.
    pub restart: Restart,
    /// How it is stopped.
    pub stop: Stop,
    /// How long it may take to get ready. Milliseconds.
    pub ready_timeout: u64,
    /// How long it may go without progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive: Option<Alive>,
    /// Whom it talks to.
    pub wiring: Wiring,
}

/// What a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// Waldo's own portal.
    Portal,
    /// A program of the user's.
    Stage(StageProgram),
}

/// A program of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgram {
    /// The program and its arguments. A program with a slash that isn't absolute is looked up from the namespace's
    /// root (for a `local` namespace: the topology's directory), one without in `PATH`.
    pub argv: Vec<String>,
    /// How it speaks.
    pub speaks: Speaks,
    /// Variables added to the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs, from the namespace's root.
    pub cwd: String,
    /// Whom it runs as; `None` for whoever runs the launcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How many files it may have open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nofile: Option<u64>,
    /// How much memory it may have written to. Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How much of the processors it is meant to use. Millionths of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
}

/// How long a process may go without progress, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// For how long its heartbeat may stand still. Milliseconds.
    pub within: u64,
    /// What happens then.
    pub then: Stalled,
}

/// What happens to a process that makes no progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stalled {
    /// It is said.
    #[default]
    Report,
    /// It is killed, and started again by its restart policy.
    Restart,
}

/// How a stage program speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// Over waldo's SDK.
    #[default]
    Sdk,
    /// Lines on stdin and stdout, each answered by an empty line.
    Ack,
    /// Plain lines in and out.
    Lines,
    /// No program: waldo itself hands records on to an endpoint outside, as three frames; its
    /// wiring says where. `argv` is empty.
    Egress,
}

/// When a process is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// The greatest pause before a start; pauses grow from nothing by doubling from 50 ms. Milliseconds.
    pub backoff: u64,
    /// How many starts are allowed within `window`; `None` without a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Milliseconds.
    pub window: u64,
}

/// After which ends a process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After any.
    Always,
    /// After a signal or a status other than 0; status 0 means finished.
    OnFailure,
    /// After none.
    Never,
}

/// How a process is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal's name without `SIG`.
    pub signal: String,
    /// How long it may take before it is killed. Milliseconds.
    pub grace: u64,
}

impl StageProgram {
    /// Whether waldo itself is what runs.
    pub fn is_own(&self) -> bool {
        self.speaks == Speaks::Egress
    }
}

impl ProcessPlan {
    /// Whether this is a source: a stage's process without input.
    pub fn is_source(&self) -> bool {
        matches!(self.program, Program::Stage(_)) && self.wiring.inputs.is_empty()
    }
}
