//! The rollout that is under way, as `status` shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use waldo_runtime::{
    control::{Holder, ServerStatus},
    paths::Paths,
    rollout::{Stage, StepName},
};

/// `rollout` of `status --json`.
#[derive(Debug, Serialize)]
pub struct Rollout {
    /// The plan that it leads to.
    to: u64,
    /// How far the server is that is least far.
    phase: String,
    /// Who leads it; `None` if nobody does: launchers go on, or give up, by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    led_by: Option<LedBy>,
    servers: BTreeMap<String, Step>,
}

/// The process that leads a rollout.
#[derive(Debug, Serialize)]
struct LedBy {
    pid: i32,
    command: String,
}

/// How a server stands in a rollout.
#[derive(Debug, Serialize)]
struct Step {
    step: String,
    done: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    holds: bool,
    /// For how long it has held.
    held_ms: u64,
}

impl Rollout {
    /// As the launchers say; `None` if none of them knows of any.
    pub fn of(statuses: &[ServerStatus], paths: &Paths) -> Option<Self> {
        let under_way: Vec<_> = statuses.iter().filter_map(|status| Some((status, status.rollout.as_ref()?))).collect();
        let (_, least) = under_way.iter().min_by_key(|(_, progress)| progress.step)?;
        let step = |step: StepName| step.to_string();
        let servers = under_way.iter().map(|(status, progress)| {
            let (done, waiting_for, failed) = match &progress.state {
                Stage::Working(for_what) => (false, for_what.clone(), None),
                Stage::Done => (true, Vec::new(), None),
                Stage::Failed(failure) => (false, Vec::new(), Some(failure.to_string())),
            };
            let held_ms = progress.paused;
            let step = Step { step: step(progress.step), done, waiting_for, failed, holds: status.holds, held_ms };
            (status.server.clone(), step)
        });
        Some(Self {
            to: least.generation,
            phase: step(least.step),
            led_by: leader(paths).map(|holder| LedBy { pid: holder.identity.pid, command: holder.what }),
            servers: servers.collect(),
        })
    }

    /// In a few lines, for people.
    pub fn lines(&self) -> Vec<String> {
        let by = self.led_by.as_ref().map_or_else(
            || "nobody leads it".to_owned(),
            |LedBy { pid, command }| format!("led by process {pid}, {command}"),
        );
        let mut lines = vec![format!("rolling out plan {}: {} ({by})", self.to, self.phase)];
        for (server, step) in &self.servers {
            let held = if step.holds { format!(", holds for {} ms", step.held_ms) } else { String::new() };
            let how = match (&step.failed, step.done) {
                (Some(why), _) => format!("failed: {why}"),
                (None, true) => "done".to_owned(),
                (None, false) if step.waiting_for.is_empty() => "under way".to_owned(),
                (None, false) => format!("waits for {}", step.waiting_for.join(", ")),
            };
            lines.push(format!("  {server}: {} {how}{held}", step.step));
        }
        lines
    }
}

/// Who has taken the lock of rollouts last, if he lives. Without touching the lock: whoever wants it must not fail because
/// somebody looked.
fn leader(paths: &Paths) -> Option<Holder> {
    let text = std::fs::read(paths.store().join("lock")).ok()?;
    let holder: Holder = serde_json::from_slice(&text).ok()?;
    holder.identity.lives().then_some(holder)
}
