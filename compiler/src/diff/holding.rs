//! Why a server's portals must hold until it is idle.

use std::fmt;

use super::{Action, words::listed};

/// Reasons of one kind. `docs/rollout.md` argues for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold<'p> {
    /// Processes that others send to start, leave, or do both.
    Receivers {
        /// What they do.
        action: Action,
        /// Their names.
        processes: Vec<&'p str>,
    },
    /// It gives up keys of these flows.
    GivesUp(Vec<&'p str>),
    /// It has, or sends, records of flows for which the new plan has no place there.
    Delivers(Vec<&'p str>),
    /// These processes go on, and receive other flows than before, or receive them in another way.
    Inputs(Vec<&'p str>),
    /// These processes receive, go on, and can't send a flow any more.
    Outputs(Vec<&'p str>),
    /// Other instances of a stage get the records of a flow than before.
    Spread {
        /// The flow.
        flow: &'p str,
        /// The stage.
        stage: &'p str,
    },
}

impl fmt::Display for Hold<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |names: &[&str], one, more| if names.len() == 1 { one } else { more };
        match self {
            Self::Receivers { action, processes } => {
                let (one, more) = match action {
                    Action::Stop => ("stops", "stop"),
                    Action::Start => ("starts", "start"),
                    _ => ("restarts", "restart"),
                };
                write!(formatter, "{} {}", listed(processes), verb(processes, one, more))
            }
            Self::GivesUp(flows) => write!(formatter, "it gives up keys of {}", listed(flows)),
            Self::Delivers(flows) => write!(formatter, "records of {} must be delivered first", listed(flows)),
            Self::Inputs(processes) => {
                let verb = verb(processes, "receives", "receive");
                write!(formatter, "{} {verb} other flows", listed(processes))
            }
            Self::Outputs(processes) => {
                let verb = verb(processes, "sends", "send");
                write!(formatter, "{} {verb} fewer flows", listed(processes))
            }
            Self::Spread { flow, stage } => write!(formatter, "{flow} is spread otherwise in {stage}"),
        }
    }
}
