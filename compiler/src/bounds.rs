//! How much can be in queues on a server, at most: a bound that `check` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::{Plan, ProcessPlan};

/// Namespace → server → bound.
pub type Bounds = BTreeMap<String, BTreeMap<String, Bound>>;

/// What can be in the queues of a server's processes at most, portals' spools aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Records.
    pub queued_records: u64,
    /// Their keys and payloads. Bytes.
    pub queued_bytes: u64,
}

/// The bound of each server of a plan.
pub fn of(plan: &Plan) -> BTreeMap<String, Bound> {
    let bound = |(name, server): (&String, &crate::plan::ServerPlan)| {
        (name.clone(), Bound { queued_records: server.queued_records, queued_bytes: server.queued_bytes })
    };
    plan.servers.iter().map(bound).collect()
}

/// The bound of a server's processes: each sender keeps what is under way to an inbox within its share.
pub fn of_processes(processes: &[ProcessPlan]) -> Bound {
    let mut bound = Bound::default();
    for process in processes {
        let sent = process.wiring.outputs.iter().map(|output| (&output.consumers, output.max_record));
        let carried = process.wiring.portal.iter().flat_map(|doors| &doors.flows);
        for (consumers, max_record) in sent.chain(carried.map(|flow| (&flow.consumers, flow.max_record))) {
            let shares = consumers.iter().flat_map(|consumer| &consumer.receivers).map(|receiver| receiver.share);
            for share in shares {
                bound.queued_records = bound.queued_records.saturating_add(share);
                bound.queued_bytes = bound.queued_bytes.saturating_add(share.saturating_mul(max_record));
            }
        }
    }
    bound
}
