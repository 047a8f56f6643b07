//! Servers that come and go.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::{Plan, ServerPlan};

/// What becomes of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerFate {
    /// The plan didn't have it.
    Added,
    /// The plan doesn't have it any more.
    Removed,
    /// It ran something, and runs nothing any more: it is drained, or nothing is placed on it.
    Drained,
    /// It ran nothing, and runs something.
    Returned,
}

/// A server that comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ServerChange<'p> {
    /// The server.
    pub server: &'p str,
    /// What becomes of it.
    pub change: ServerFate,
}

/// All that do, by name.
pub(super) fn changes<'p>(old: &'p Plan, new: &'p Plan) -> Vec<ServerChange<'p>> {
    let servers: BTreeSet<&String> = old.servers.keys().chain(new.servers.keys()).collect();
    let runs_nothing = |server: &ServerPlan| server.processes.is_empty();
    let fate = |server: &'p String| {
        let change = match (old.servers.get(server), new.servers.get(server)) {
            (None, Some(_)) => ServerFate::Added,
            (Some(_), None) => ServerFate::Removed,
            (Some(before), Some(after)) => match (runs_nothing(before), runs_nothing(after)) {
                (false, true) => ServerFate::Drained,
                (true, false) => ServerFate::Returned,
                _ => return None,
            },
            (None, None) => return None,
        };
        Some(ServerChange { server, change })
    };
    servers.into_iter().filter_map(fate).collect()
}
