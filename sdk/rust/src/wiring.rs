//! Wiring: whom a process receives from and sends to.
//!
//! The compiler writes one [`Wiring`] for each process into the plan. The launcher adds what is known only on
//! the machine ([`Place`]) and leaves both as `wiring.json` in the process's run directory, where
//! `WALDO_WIRING` points.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of `wiring.json` that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// Everything a process needs to find its peers: `wiring.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// [`FORMAT`].
    pub format: u32,
    /// Where the process runs.
    pub place: Place,
    /// Whom it talks to.
    pub wiring: Wiring,
}

/// Where a process runs: the half of its wiring that is known only on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The topology's name.
    pub topology: String,
    /// The namespace's name.
    pub namespace: String,
    /// The server's name.
    pub server: String,
    /// The process's name on that server: `<stage>.<n>`, or the portal's name.
    pub process: String,
    /// The number of the plan that is live.
    pub generation: u64,
    /// The server's run directory; each process has a subdirectory of its name with `in` (inbox) and `page`.
    pub run: PathBuf,
    /// The guide, a JSON file shared by all processes of the server.
    pub guide: PathBuf,
    /// Where the process may keep what it remembers.
    pub state: PathBuf,
    /// Where a portal's spool lives on disk.
    pub spool: PathBuf,
}

/// Whom a process receives from and sends to, as the plan says it. Names of processes without a slash are on the
/// same server; `server/process` may be anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiring {
    /// The stage's name, or the portal's.
    pub stage: String,
    /// Which of the stage's instances on this server this is, from 0.
    pub instance: u32,
    /// Flows that arrive in the inbox. Empty for a source: it has no inbox.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Flows that this process sends.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// The doors, for a portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal: Option<Doors>,
    /// Where records leave the topology, for a process that hands them on to strangers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// Where records leave the topology, as three frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// To whoever is bound there: `tcp://host:port`.
    Connect(String),
    /// To whoever connects.
    Bind(String),
}

impl Egress {
    /// The endpoint.
    pub fn endpoint(&self) -> &str {
        match self {
            Self::Connect(endpoint) | Self::Bind(endpoint) => endpoint,
        }
    }
}

/// One flow that arrives in a process's inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The flow's name.
    pub flow: String,
    /// The processes on this server that put it into the inbox: stages' instances for an unkeyed flow, the portal
    /// for a keyed one.
    pub from: Vec<String>,
}

/// One flow that a process sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The flow's name.
    pub flow: String,
    /// Where the key of a keyed flow comes from; `None` for an unkeyed flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRule>,
    /// Records with a longer key and payload together are refused. Bytes.
    pub max_record: u64,
    /// The loops that this flow belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loops: Vec<LoopStep>,
    /// Stages on this server that get a copy each. Empty for a keyed flow: the guide names the portal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<Consumer>,
}

/// A stage that gets its own copy of each record of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// The stage's name.
    pub stage: String,
    /// How records are spread among its instances.
    pub spread: Spread,
    /// Its instances on this server.
    pub receivers: Vec<Receiver>,
}

/// One instance's inbox, as a sender sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// The process's name on this server.
    pub process: String,
    /// How many records of one flow this sender may have under way to it: the inbox's `queue` divided among its
    /// senders and flows, at least 1.
    pub share: u64,
}

/// How records are spread among the instances of a consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// To the instance that has the least under way.
    #[default]
    Any,
    /// Equal keys to the same instance.
    Key,
    /// To every instance.
    All,
}

/// Where the key of a record is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyRule {
    /// The sender states it.
    Sender,
    /// At this JSON pointer (RFC 6901) in the payload; a string's text, or the JSON text of a number or boolean.
    Json(String),
    /// In this column of the payload.
    Column {
        /// The column's number, from 1.
        number: u32,
        /// What stands between columns.
        separator: String,
    },
    /// These bytes of the payload, half-open, from 0.
    Bytes {
        /// The first byte.
        from: u64,
        /// The byte after the last.
        to: u64,
    },
}

/// A flow's part in a loop that its records count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopStep {
    /// The loop's name.
    pub name: String,
    /// What stands for the loop in a record on the wire: the low 16 bits of `xxh3_64(name)`.
    pub id: u16,
    /// How often a record may be sent on the loop's first flow.
    pub passes: u16,
    /// Whether this flow is the loop's first: sending on it is a pass.
    pub first: bool,
    /// Whether the loop lists this flow. Else its records carry the count because they can come back to the loop.
    pub listed: bool,
}

/// A portal's doors: what it binds, takes in and hands out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doors {
    /// Where links (senders inside the topology) connect: `tcp://address:port`, as bound.
    pub links: String,
    /// Where clients push three frames; `None` if no flow of this portal comes from clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<String>,
    /// The flows that it carries.
    pub flows: Vec<Carried>,
    /// How much it may keep.
    pub spool: SpoolLimits,
}

/// One flow that a portal carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The flow's name.
    pub flow: String,
    /// Where its key is found.
    pub key: KeyRule,
    /// Records with a longer key and payload together are refused. Bytes.
    pub max_record: u64,
    /// Whether clients may send it.
    pub from_clients: bool,
    /// Stages on this server that get a copy each.
    pub consumers: Vec<Consumer>,
}

/// How much a portal may keep, over all its flows. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolLimits {
    /// In memory.
    pub memory: u64,
    /// On disk.
    pub disk: u64,
}

impl Place {
    /// The run directory of a process on this server.
    pub fn directory(&self, process: &str) -> PathBuf {
        self.run.join(process)
    }

    /// The inbox of a process on this server, as ZeroMQ names it.
    pub fn inbox(&self, process: &str) -> String {
        format!("ipc://{}/in", self.directory(process).display())
    }

    /// The counters page of a process on this server.
    pub fn page(&self, process: &str) -> PathBuf {
        self.directory(process).join("page")
    }

    /// The wiring of the process.
    pub fn wiring(&self) -> PathBuf {
        self.directory(&self.process).join("wiring.json")
    }

    /// The launcher's control socket for processes.
    pub fn control(&self) -> PathBuf {
        self.run.join("processes.sock")
    }
}

/// What stands for a loop in a record on the wire.
pub fn loop_id(name: &str) -> u16 {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) & 0xffff) as u16
}
