//! Why a measurement could not be made.

use std::io;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The system refused something.
    #[error("cannot {doing}: {reason}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        reason: io::Error,
    },
    /// ZeroMQ refused something.
    #[error("cannot {doing}: {reason}")]
    Zmq {
        /// What was tried.
        doing: &'static str,
        /// What it said.
        reason: zmq::Error,
    },
    /// A stage could not go on.
    #[error(transparent)]
    Stage(#[from] waldo_sdk::Error),
    /// A program printed something else than it should have.
    #[error("a program's answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// A program did not do its part.
    #[error("{name} {how}{said}")]
    Process {
        /// Which.
        name: String,
        /// What it did.
        how: String,
        /// The last lines of its standard error, indented.
        said: String,
    },
    /// The measured programs do not build.
    #[error("the programs to measure do not build: see above")]
    Build,
    /// No ports to run on.
    #[error("no 16 free ports in a row between 20000 and 32000 on 127.0.0.1")]
    Ports,
    /// The demo did not come out right.
    #[error("the demo's ledger is not clean: {0}")]
    Ledger(String),
    /// What the stages saw isn't as it should be.
    #[error("the account doesn't come out right: {0}")]
    Account(String),
    /// The compiler did not take what it should have.
    #[error("the compiler refuses what is to be measured: {0}")]
    Refused(String),
    /// Something that was started is still there.
    #[error("processes {pids:?} don't end, even killed")]
    Undead {
        /// Which.
        pids: Vec<i32>,
    },
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
    /// At least one figure is missing.
    #[error("some figures could not be measured: see above")]
    Incomplete,
}

impl Trouble {
    /// With what was tried.
    pub fn io(doing: impl Into<String>, reason: io::Error) -> Self {
        Self::Io { doing: doing.into(), reason }
    }

    /// With what was tried.
    pub fn zmq(doing: &'static str) -> impl FnOnce(zmq::Error) -> Self {
        move |reason| Self::Zmq { doing, reason }
    }
}
