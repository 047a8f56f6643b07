//! What launcher and processes say to each other: JSON lines on the launcher's Unix socket.
//!
//! Control has its own socket and its own thread in every process, so that it never waits behind data. Every message
//! carries the process's incarnation; a stale one is ignored. What is said of a rollout names its generation besides: a
//! process hears nothing of one that is older than the plan that it lives by.

use serde::{Deserialize, Serialize};

/// A message with the incarnation that it is meant for or comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The generation of the plan that the sender of this message lives by: of a process, the one adopted last.
    pub generation: u64,
    /// The process's incarnation.
    pub incarnation: u64,
    /// What is said.
    pub message: T,
}

/// What the launcher says to a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum ToProcess {
    /// Close or open the gate: a source stops sending, a portal delivering. Answered by [`FromProcess::Gate`].
    Gate {
        /// Whether to close it.
        closed: bool,
        /// What a portal goes on delivering behind a closed gate, until it has delivered it: flows, and flows for one of
        /// their consumers alone ([`one_consumer`]). Answered by [`FromProcess::Drained`], besides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        but: Vec<String>,
    },
    /// No more input will come (a `lines` program gets EOF). Answered by [`FromProcess::Finished`].
    Finish,
    /// End as soon as nothing is in hand any more.
    Stop,
    /// Read the wiring, and the guide that it names, anew, and live by them. Answered by [`FromProcess::Adopted`] or
    /// [`FromProcess::Refused`], and then by [`FromProcess::Flushed`].
    Adopt {
        /// The generation that the wiring has.
        generation: u64,
    },
    /// Nothing that was sent by an older guide can come any more: a portal hands on what it doesn't own. Answered by
    /// [`FromProcess::HandedOver`].
    HandOver {
        /// The generation of the rollout.
        generation: u64,
    },
    /// Nothing will be handed over any more: a portal puts what it has set aside where it belongs. Answered by
    /// [`FromProcess::Settled`].
    Settle {
        /// The generation of the rollout.
        generation: u64,
    },
}

/// How a flow is named of which one consumer alone is meant. Names have no `@`.
pub fn one_consumer(flow: &str, stage: &str) -> String {
    format!("{flow}@{stage}")
}

impl ToProcess {
    /// Close or open the gate for all flows.
    pub const fn gate(closed: bool) -> Self {
        Self::Gate { closed, but: Vec::new() }
    }
}

/// What a process says to its launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum FromProcess {
    /// The first message on a connection; its envelope has the generation that the process lives by.
    Hello {
        /// The process's name on its server.
        process: String,
        /// Its process id.
        pid: i32,
        /// Whether it has been ready before: [`FromProcess::Ready`] follows.
        #[serde(default)]
        ready: bool,
    },
    /// The inbox is bound and the wiring connected.
    Ready,
    /// The gate is as it was asked to be, and nothing more will be sent while it is closed.
    Gate {
        /// Whether it is closed.
        closed: bool,
    },
    /// Answer to [`ToProcess::Finish`]: the program has ended and all its output has been sent.
    Finished,
    /// It lives by the plan of this generation.
    Adopted {
        /// The generation.
        generation: u64,
    },
    /// It can't live by that plan, and nothing has changed.
    Refused {
        /// The generation.
        generation: u64,
        /// Why.
        text: String,
    },
    /// All that it has sent by guides older than this generation's has receipts. Said once after [`ToProcess::Adopt`],
    /// and again on every new connection.
    Flushed {
        /// The generation.
        generation: u64,
    },
    /// A portal's answer to [`ToProcess::HandOver`]: the new owners have receipted all that it held and doesn't own.
    HandedOver {
        /// The generation.
        generation: u64,
    },
    /// A portal's answer to [`ToProcess::Settle`]: nothing is set aside any more.
    Settled {
        /// The generation.
        generation: u64,
    },
    /// A portal's consumers that go have got all that was there for them, and nothing is taken from clients that send a flow
    /// that goes. Of such a flow there may be something left.
    Drained {
        /// What it was told to deliver.
        but: Vec<String>,
    },
    /// Something that a person should read, for `status` and the log.
    Trouble {
        /// What is wrong.
        text: String,
    },
}
