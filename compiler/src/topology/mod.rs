//! The topology of one namespace as typed values, each of which knows its place in the file.

pub mod language;
pub mod literal;
pub mod merge;
pub mod name;
pub mod near;
mod read;

use std::collections::BTreeMap;

pub use read::{FileOutline, outline, read};
use waldo_sdk::wiring::{KeyRule, Spread};

use self::literal::Weight;
use crate::{
    plan::{Alive, Rebalance, RestartPolicy, Speaks},
    source::{Located, Place},
};

/// A topology with a namespace's changes merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Its name.
    pub name: Located<String>,
    /// The namespace that it is of.
    pub namespace: Namespace,
    /// Its flows by name.
    pub flows: BTreeMap<String, Flow>,
    /// Its stages by name.
    pub stages: BTreeMap<String, Stage>,
    /// Its loops by name.
    pub loops: BTreeMap<String, Loop>,
    /// The portals that it states, by name.
    pub portals: BTreeMap<String, Portal>,
    /// Its servers by name.
    pub servers: BTreeMap<String, Server>,
    /// How long a server may take to become idle. Milliseconds.
    pub idle_timeout: u64,
    /// Within which limits weights may be changed by what is measured.
    pub rebalance: Option<Rebalance>,
    /// What a deployment ships: patterns of files.
    pub files: Option<Located<Vec<Located<String>>>>,
    /// How data between servers is protected.
    pub security: Option<Place>,
    /// Whether something that could not be read leaves a hole, so that what is said about the whole may be wrong.
    pub has_holes: bool,
    /// Who sends and receives each flow, looked up from the stages.
    ends: Ends,
    /// What of it was removed by a later file or by the namespace.
    pub removed: merge::Removed,
}

/// Flow → names of stages, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ends {
    producers: BTreeMap<String, Vec<String>>,
    consumers: BTreeMap<String, Vec<String>>,
}

impl Ends {
    fn of(stages: &BTreeMap<String, Stage>) -> Self {
        let mut ends = Self::default();
        for (name, stage) in stages {
            let join = |ends: &mut BTreeMap<String, Vec<String>>, flow: &str| {
                let stages = ends.entry(flow.to_owned()).or_default();
                if stages.last() != Some(name) {
                    stages.push(name.clone());
                }
            };
            stage.outputs.iter().for_each(|output| join(&mut ends.producers, &output.value));
            stage.inputs.iter().for_each(|input| join(&mut ends.consumers, &input.flow.value));
        }
        ends
    }
}

/// What the only namespace is called where a file declares none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A named copy of a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Where it is declared; without a declaration, where the topology is named.
    pub place: Place,
    /// Whether every server is on this machine.
    pub local: bool,
    /// The first of its ports.
    pub ports: Option<Located<u16>>,
}

/// A kind of datum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where it is declared.
    pub place: Place,
    /// Where its key is found.
    pub key: Option<Located<KeyRule>>,
    /// Key → server; a flow with one is keyed.
    pub guide: Option<Located<Guide>>,
    /// Where it is said that clients send it.
    pub from_clients: Option<Place>,
    /// Records with a longer key and payload together are refused. Bytes.
    pub max_record: u64,
    /// Where it leaves the topology.
    pub to: Option<Egress>,
}

/// How a flow leaves the topology: by a process of waldo's own, which is a consumer as stages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Where it is said.
    pub place: Place,
    /// Whether it binds the endpoint, rather than connecting to it.
    pub binds: bool,
    /// `tcp://HOST:PORT`.
    pub endpoint: Located<String>,
    /// The servers or labels that it leaves from; `None` for all.
    pub on: Option<Located<Vec<Located<String>>>>,
    /// How many records wait for it at most.
    pub queue: u64,
}

impl Egress {
    /// The name of the stage that hands a flow's records on.
    pub fn stage(flow: &str) -> String {
        format!("{flow}-out")
    }

    /// The port that it binds, if it does.
    pub fn port(&self) -> Option<u32> {
        let port = self.endpoint.value.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.filter(|_| self.binds)
    }
}

/// A guide as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guide {
    /// By slots over all servers that can own keys.
    Hash,
    /// By ranges: start → server, in the order of the file.
    Ranges(Vec<(Located<String>, Located<String>)>),
    /// By name.
    Table {
        /// Key → server, in the order of the file.
        keys: Vec<(Located<String>, Located<String>)>,
        /// Where all other keys go.
        default: Option<Located<TableDefault>>,
    },
}

/// Where keys go that a table doesn't name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableDefault {
    /// By slots over all servers that can own keys.
    Hash,
    /// To this server.
    Server(String),
}

/// A program, run as one or more instances on each server that it is placed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Where it is declared.
    pub place: Place,
    /// The program and its arguments.
    pub run: Located<Vec<String>>,
    /// What it receives.
    pub inputs: Vec<Input>,
    /// What it sends.
    pub outputs: Vec<Located<String>>,
    /// How many run on each server.
    pub instances: Located<u32>,
    /// The servers or labels that it runs on; `None` for all.
    pub on: Option<Located<Vec<Located<String>>>>,
    /// Variables added to the environment.
    pub env: BTreeMap<String, Located<String>>,
    /// When it is started again.
    pub restart: Restart,
    /// How long its heartbeat may stand still.
    pub alive: Option<Located<Alive>>,
    /// How it is stopped.
    pub stop: Stop,
    /// How long it may take to get ready. Milliseconds.
    pub ready_timeout: u64,
    /// How many records an instance's inbox holds.
    pub queue: u64,
    /// What it may use.
    pub limits: Limits,
    /// Whom it runs as.
    pub user: Option<Located<String>>,
    /// Where it runs.
    pub cwd: String,
    /// How it speaks.
    pub speaks: Located<Speaks>,
}

/// One flow that a stage receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The flow.
    pub flow: Located<String>,
    /// How its records are spread among the instances.
    pub spread: Located<Spread>,
}

/// When a process is started again; what isn't stated is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restart {
    /// After which ends.
    pub policy: Option<RestartPolicy>,
    /// The greatest pause before a start. Milliseconds.
    pub backoff: Option<u64>,
    /// How many starts are allowed within the window.
    pub max: Option<u32>,
    /// Milliseconds.
    pub window: Option<u64>,
}

/// How a stage is stopped; what isn't stated is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stop {
    /// The signal's name without `SIG`.
    pub signal: Option<String>,
    /// How long it may take. Milliseconds.
    pub grace: Option<u64>,
}

/// What a stage's processes may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open files.
    pub nofile: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<Located<u64>>,
    /// Processors in millionths.
    pub cpu: Option<Located<u64>>,
}

/// A declared cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// Where it is declared.
    pub place: Place,
    /// The cycle's flows in order; sending on the first is a pass.
    pub flows: Vec<Located<String>>,
    /// How often a record may go round.
    pub passes: Option<u16>,
}

/// A portal as the topology states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// Where it is declared.
    pub place: Place,
    /// The flows that it carries; `None` if not stated.
    pub flows: Option<Vec<Located<String>>>,
    /// Its port: for clients if it takes any, else for links.
    pub port: Option<Located<u16>>,
    /// Its port for links if it takes clients.
    pub link: Option<Located<u16>>,
    /// How much it may keep.
    pub spool: Spool,
}

/// How much a portal may keep; what isn't stated is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spool {
    /// In memory. Bytes.
    pub memory: Option<Located<u64>>,
    /// On disk. Bytes.
    pub disk: Option<Located<u64>>,
    /// When it is synced to disk.
    pub sync: Option<Place>,
}

/// A named place to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is declared.
    pub place: Place,
    /// Where others reach it.
    pub address: Option<Located<String>>,
    /// What its portals bind, if not the address.
    pub listen: Option<Located<String>>,
    /// How to log in to it.
    pub ssh: Option<Located<String>>,
    /// How many keys it owns, against the others.
    pub weight: Weight,
    /// Where the weight is stated.
    pub weight_place: Option<Place>,
    /// Names that stages may be placed on.
    pub labels: Vec<Located<String>>,
    /// How much memory it has. Bytes.
    pub memory: Option<Located<u64>>,
    /// How many processors it has, in millionths.
    pub cpu: Option<Located<u64>>,
    /// Where it is said to be out of action.
    pub drained: Option<Place>,
}

impl Flow {
    /// Whether it crosses servers, through portals.
    pub fn is_keyed(&self) -> bool {
        self.guide.is_some()
    }

    /// Where its key is found.
    pub fn key_rule(&self) -> KeyRule {
        self.key.as_ref().map_or(KeyRule::Sender, |key| key.value.clone())
    }
}

impl Stage {
    /// Whether it receives nothing.
    pub fn is_source(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Whether it receives a flow.
    pub fn receives(&self, flow: &str) -> bool {
        self.inputs.iter().any(|input| input.flow.value == flow)
    }

    /// Whether it sends a flow.
    pub fn sends(&self, flow: &str) -> bool {
        self.outputs.iter().any(|output| output.value == flow)
    }
}

impl Topology {
    /// The stages that receive a flow, by name.
    pub fn consumers(&self, flow: &str) -> impl Iterator<Item = (&String, &Stage)> {
        self.stages_named(self.ends.consumers.get(flow))
    }

    /// The stages that send a flow, by name.
    pub fn producers(&self, flow: &str) -> impl Iterator<Item = (&String, &Stage)> {
        self.stages_named(self.ends.producers.get(flow))
    }

    fn stages_named<'t>(&'t self, names: Option<&'t Vec<String>>) -> impl Iterator<Item = (&'t String, &'t Stage)> {
        names.into_iter().flatten().filter_map(|name| self.stages.get_key_value(name))
    }

    /// Whether a server runs processes.
    pub fn is_active(&self, server: &str) -> bool {
        self.servers.get(server).is_some_and(|server| server.drained.is_none())
    }

    /// The servers that a name stands for: the one of that name, or those with that label.
    pub fn servers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        let is_server = self.servers.contains_key(name);
        self.servers
            .iter()
            .filter(move |(server, declared)| {
                *server == name || (!is_server && declared.labels.iter().any(|label| label.value == name))
            })
            .map(|(server, _)| server)
    }
}
