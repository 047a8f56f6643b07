//! What a deployer's machine takes in, and what it gives out.

use std::fmt;

use crate::rollout::{
    Decision, Step, StepName,
    step::{Failure, Stage},
};

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The new plan is live everywhere.
    Done,
    /// The old plan goes on, nothing has changed: why.
    Aborted(Reason),
    /// The new plan is in place, held, and doesn't work: the old one is to be rolled out on top. Why.
    GoBack(Reason),
    /// The new plan is live everywhere, and something is wrong with it.
    Unhealthy(Reason),
    /// Servers are at different steps, and these don't answer or can't go on: who, and why. The others wait for them.
    Mixed(Vec<String>, Reason),
}

/// Why a rollout didn't come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A server can't do a step.
    Failed {
        /// Which.
        server: String,
        /// Which step.
        step: StepName,
        /// Why.
        failure: Failure,
    },
    /// Servers take too long, or their launchers are away.
    Late {
        /// Which.
        servers: Vec<String>,
        /// For which step.
        step: StepName,
    },
    /// Somebody has asked to stop.
    Cancelled,
    /// The decision was taken by others: by a launcher whose deployer seemed to be gone.
    OtherDecision,
    /// The decision can't be written down: why.
    Undecidable(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { server, step, failure } => write!(formatter, "{server}, {step}: {failure}"),
            Self::Late { servers, step } => write!(formatter, "{}, {step}: not done in time", servers.join(", ")),
            Self::Cancelled => formatter.write_str("cancelled"),
            Self::OtherDecision => formatter.write_str("it was given up, as its deployer seemed to have gone"),
            Self::Undecidable(why) => write!(formatter, "it can't be decided: {why}"),
        }
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Begin.
    Begin,
    /// A launcher says how it stands with a step.
    Stands {
        /// Which server's.
        server: String,
        /// For which generation.
        generation: u64,
        /// With which step.
        step: StepName,
        /// How.
        stage: Stage,
    },
    /// A launcher has gone, and what it was asked for may not have been done.
    Lost {
        /// Which server's.
        server: String,
    },
    /// It, or its successor, answers again.
    Back {
        /// Which server's.
        server: String,
    },
    /// All servers together have nothing left of the flows that are drained.
    Drained,
    /// The store holds this decision.
    Decided(Decision),
    /// The store takes no decision, and holds none: why. Nobody else would ever commit, so nothing changes.
    Undecidable(String),
    /// Somebody wants it to end: before the decision nothing changes, after it the old plan is rolled out on top, once
    /// gates open it is too late. Not to be said of a rollout that leads back.
    Cancel,
    /// Time has passed.
    Tick,
}

/// Something to be done by the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask a launcher for a step.
    Ask {
        /// Which server's.
        server: String,
        /// Which.
        step: Step,
    },
    /// See to it that this server has a launcher; answered by [`Event::Back`].
    Revive {
        /// Which server.
        server: String,
    },
    /// Prove over all holding servers that nothing of these flows is under way or held; answered by [`Event::Drained`].
    ProveDrained {
        /// The flows.
        flows: Vec<String>,
    },
    /// Ask the store; answered by [`Event::Decided`].
    Decide(Decision),
    /// It is over.
    Finish(Outcome),
}
