//! Weights are changed without being asked for, where the topology says so: the launcher of the first server that runs anything
//! starts `waldo __rebalance` now and then, which judges by what was measured and rolls out as any deployer does.

use super::{
    super::state::{Moment, Phase},
    Driver,
};

impl Driver {
    /// Starts it if it is time to, and nothing else is under way.
    pub(super) fn rebalance_if_due(&mut self, now: Moment) {
        let Some(rebalance) = self.plan.rebalance.filter(|rebalance| rebalance.auto) else {
            self.rebalanced_at = now;
            return;
        };
        let is_due = now.saturating_sub(self.rebalanced_at) >= rebalance.every;
        if !is_due || !self.leads() || self.machine.phase() != Phase::Flowing || self.machine.change().is_some() {
            return;
        }
        self.rebalanced_at = now;
        if let Err(error) = self.start_command("__rebalance") {
            self.note(&format!("cannot start rebalancing: {error}"));
        }
    }

    /// Whether this is the first server by name of those that run anything.
    fn leads(&self) -> bool {
        let first = self.plan.servers.iter().find(|(_, server)| !server.processes.is_empty());
        first.is_some_and(|(name, _)| *name == self.server)
    }
}
