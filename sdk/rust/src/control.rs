//! What launcher and processes say to each other: JSON lines on the launcher's Unix socket.
//!
//! Control has its own socket and its own thread in every process, so that it never waits behind data. Every message
//! carries the process's incarnation; a stale one is ignored.

use serde::{Deserialize, Serialize};

/// A message with the incarnation that it is meant for or comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The generation of the plan that the sender of this message lives by.
    pub generation: u64,
    /// The process's incarnation.
    pub incarnation: u64,
    /// What is said.
    pub message: T,
}

/// What the launcher says to a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "say")]
pub enum ToProcess {
    /// Close or open the gate: a source stops sending, a portal delivering. Answered by [`FromProcess::Gate`].
    Gate {
        /// Whether to close it.
        closed: bool,
    },
    /// No more input will come (a `lines` program gets EOF). Answered by [`FromProcess::Finished`].
    Finish,
    /// End as soon as nothing is in hand any more.
    Stop,
}

/// What a process says to its launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "say")]
pub enum FromProcess {
    /// The first message on a connection.
    Hello {
        /// The process's name on its server.
        process: String,
        /// Its process id.
        pid: i32,
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
    /// Something that a person should read, for `status` and the log.
    Trouble {
        /// What is wrong.
        text: String,
    },
}
