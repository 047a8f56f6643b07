//! The versions of flows' guides in a plan that goes live after another.

use super::{Unrelated, diff};
use crate::plan::Plan;

/// The plan with the guide versions that it has as `generation`, following `live`: a flow whose keys don't move, and whose
/// portal and key rule stay, keeps its version; any other gets `generation`. The digest doesn't change, as it leaves
/// versions out.
///
/// # Errors
/// If they aren't plans of the same topology and namespace.
pub fn follow(live: &Plan, new: &Plan, generation: u64) -> Result<Plan, Unrelated> {
    let difference = diff(live, new)?;
    let mut plan = new.clone();
    for (name, flow) in &mut plan.guide.flows {
        let is_changed = difference.guide.iter().any(|change| change.flow == name);
        flow.version = match live.guide.flows.get(name) {
            Some(before) if !is_changed => before.version,
            _ => generation,
        };
    }
    Ok(plan)
}
