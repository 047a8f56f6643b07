//! How a server is, for those who ask: as its launcher says, or as far as can be seen while there is none.

use waldo_sdk::page::Page;

use super::{
    Finish,
    kept::Kept,
    state::{Moment, Process},
    takeover,
};
use crate::{
    control::{Condition, KeptLimits, ProcessStatus, ServerStatus},
    paths::ServerPaths,
};

/// How a process is. `now` is on the clock of the launcher that knows it.
pub fn of_process(
    process: &Process,
    page: &Page,
    places: &ServerPaths,
    limits: KeptLimits,
    log_from: u64,
    now: Moment,
) -> ProcessStatus {
    ProcessStatus {
        name: process.name.clone(),
        stage: process.stage.clone(),
        role: process.role,
        state: process.condition(),
        detail: process.detail(),
        limits,
        pid: process.pid(),
        incarnation: process.incarnation,
        restarts: process.restarts(),
        failures: process.failures,
        ended: process.ended.clone(),
        gate_closed: process.gate_closed,
        gate_known: process.gate_told.is_answered(),
        gated_for: process.gate_closed.then(|| now.saturating_sub(process.gated_at)),
        paused: process.paused,
        finish_done: process.finish == Finish::Done,
        entries: page.entries(),
        removed: process.removed,
        log: places.log(&process.name),
        log_from,
    }
}

/// How a server is whose launcher has died, or doesn't answer: by what that has kept, by the processes' pages, and by
/// whether they live. Nothing is touched. `None` if the plan that is live can't be read.
pub fn unlaunched(kept: &Kept, places: &ServerPaths) -> Option<ServerStatus> {
    let plan = super::read_plan(&kept.plan).ok().filter(|plan| plan.digest == kept.digest)?;
    let now = kept.clock().elapsed().as_millis() as Moment;
    let status = |(process, &log_from): (&Process, &u64)| {
        let mut process = process.clone();
        let page = Page::open(&places.page(&process.name)).ok()?;
        let (_, news) = takeover::look(&mut process, &page, places, now);
        process.gate_closed = page.gate_closed();
        let limits = KeptLimits::default();
        let mut status = of_process(&process, &page, places, limits, log_from, now);
        if let Some(ended) = news {
            status.state = Condition::Ended;
            status.detail = Some(ended.to_string());
            status.pid = None;
            status.ended = Some(ended);
        }
        Some(status)
    };
    let processes = kept.machine.processes().iter().zip(&kept.log_from).filter_map(status);
    Some(ServerStatus {
        topology: plan.topology.clone(),
        namespace: plan.namespace.clone(),
        server: kept.server.clone(),
        generation: kept.machine.generation(),
        digest: kept.digest.clone(),
        pid: 0,
        phase: kept.machine.phase().stand(),
        attached: kept.attached,
        processes: processes.collect(),
        rates: std::collections::BTreeMap::new(),
        holds: kept.machine.gate_closed(),
        rollout: kept.machine.change().and_then(|_| kept.machine.progress()),
    })
}
