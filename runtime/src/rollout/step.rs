//! The steps of a rollout, as the deployer asks each launcher for them, and how far a launcher has come.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// One step of a rollout on one server. The deployer asks for the next one when every server that takes part has done
/// the one before. Each may be asked for twice, and late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Read the plan and verify that it can be switched to. Changes nothing.
    Prepare {
        /// The plan's file.
        plan: PathBuf,
        /// The digest that it must have.
        digest: String,
        /// The processes of this server whose programs are others now, though the plan calls them the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rebuilt: Vec<String>,
    },
    /// Portals stop delivering, sources stop sending.
    Hold,
    /// Prove that nothing is queued or in work inside.
    Idle,
    /// Portals deliver what they hold of these flows, which the new plan doesn't have here any more.
    Drain {
        /// The flows.
        flows: Vec<String>,
    },
    /// Once that is delivered everywhere: what [`Step::Hold`] says.
    HoldAgain,
    /// Then what [`Step::Idle`] says.
    IdleAgain,
    /// Portals live by the new plan: new ones are started, holding; kept ones adopt it. From here on the rollout is
    /// decided.
    AdoptPortals,
    /// Stages live by the new plan: they adopt it, leave, start, or start again. Sources wait.
    Switch,
    /// Everything that was sent by an older guide is in portals' hands.
    Flush,
    /// Portals have handed over what they held and don't own any more.
    HandOver,
    /// Portals put what they had set aside behind what was handed over to them.
    Settle,
    /// Portals deliver and sources send again; what the new plan doesn't have any more is gone. The new plan is live.
    Release,
    /// Before it is decided: back to the old plan, as if nothing had been asked.
    Abort,
}

/// A step without what it needs to know. Within a rollout, a launcher that has come further answers a step at once as done, and
/// refuses to go on after [`StepName::Abort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// [`Step::Prepare`].
    Prepare,
    /// [`Step::Hold`].
    Hold,
    /// [`Step::Idle`].
    Idle,
    /// [`Step::Drain`].
    Drain,
    /// [`Step::HoldAgain`].
    HoldAgain,
    /// [`Step::IdleAgain`].
    IdleAgain,
    /// [`Step::AdoptPortals`].
    AdoptPortals,
    /// [`Step::Switch`].
    Switch,
    /// [`Step::Flush`].
    Flush,
    /// [`Step::HandOver`].
    HandOver,
    /// [`Step::Settle`].
    Settle,
    /// [`Step::Release`].
    Release,
    /// [`Step::Abort`].
    Abort,
}

impl Step {
    /// Which step it is.
    pub fn name(&self) -> StepName {
        match self {
            Self::Prepare { .. } => StepName::Prepare,
            Self::Hold => StepName::Hold,
            Self::Idle => StepName::Idle,
            Self::Drain { .. } => StepName::Drain,
            Self::HoldAgain => StepName::HoldAgain,
            Self::IdleAgain => StepName::IdleAgain,
            Self::AdoptPortals => StepName::AdoptPortals,
            Self::Switch => StepName::Switch,
            Self::Flush => StepName::Flush,
            Self::HandOver => StepName::HandOver,
            Self::Settle => StepName::Settle,
            Self::Release => StepName::Release,
            Self::Abort => StepName::Abort,
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Prepare => "prepare",
            Self::Hold => "hold",
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::HoldAgain => "hold again",
            Self::IdleAgain => "idle again",
            Self::AdoptPortals => "adopt",
            Self::Switch => "switch",
            Self::Flush => "flush",
            Self::HandOver => "re-guide",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::Abort => "abort",
        })
    }
}

/// How far a launcher has come with what it was asked for last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The generation that the rollout leads to.
    pub generation: u64,
    /// The step that was asked for last.
    pub step: StepName,
    /// How it stands.
    pub state: Stage,
    /// How long its portals and sources have held. Milliseconds.
    #[serde(default)]
    pub paused: u64,
    /// How many records of each flow its portals held when they released.
    #[serde(default)]
    pub held: BTreeMap<String, u64>,
}

/// How a step stands on one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "of")]
pub enum Stage {
    /// Under way: for whom or what it waits.
    Working(Vec<String>),
    /// Done.
    Done,
    /// It can't be done.
    Failed(Failure),
}

/// Why a server can't do a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "why")]
pub enum Failure {
    /// It didn't become idle in time: which edges, and how long a handler has been at it.
    NotIdle(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIdle(why) => write!(formatter, "not idle in time: {why}"),
            Self::Other(why) => formatter.write_str(why),
        }
    }
}
