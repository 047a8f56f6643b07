//! What can go wrong for a stage program.

use std::{io, path::PathBuf};

/// Why the SDK can't go on, or why a record was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program wasn't started by waldo.
    #[error("{0} is not set: this program is started by waldo, as a stage of a topology")]
    NotStartedByWaldo(&'static str),
    /// A file that the launcher wrote can't be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The flow isn't among the stage's outputs.
    #[error("this stage does not send flow `{flow}`; the topology lets it send: {known}")]
    UnknownFlow {
        /// What was asked for.
        flow: String,
        /// What there is.
        known: String,
    },
    /// The record is larger than its flow allows.
    #[error("a record of {size} bytes on flow `{flow}`, whose max_record is {limit}")]
    RecordTooLarge {
        /// The flow.
        flow: String,
        /// Key and payload together. Bytes.
        size: usize,
        /// The flow's limit. Bytes.
        limit: u64,
    },
    /// The key is longer than any key may be.
    #[error("a key of {size} bytes on flow `{flow}`; keys have at most 65535")]
    KeyTooLong {
        /// The flow.
        flow: String,
        /// Bytes.
        size: usize,
    },
    /// The flow's key rule finds no key in the payload.
    #[error("no key in a payload of flow `{flow}`: {reason}")]
    NoKey {
        /// The flow.
        flow: String,
        /// Why not.
        reason: String,
    },
    /// A source wants to send, but is asked to stop.
    #[error("asked to stop")]
    Stopped,
    /// ZeroMQ refused.
    #[error("{doing}: {source}")]
    Zmq {
        /// What was being done.
        doing: String,
        /// ZeroMQ's word for it.
        source: zmq::Error,
    },
    /// The system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's word for it.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn zmq(doing: impl Into<String>) -> impl FnOnce(zmq::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Zmq { doing, source }
    }
}

/// What SDK functions answer.
pub type Result<T> = std::result::Result<T, Error>;
