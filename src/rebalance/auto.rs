//! `waldo __rebalance`: changes the weights of the plan that is live by what was measured, within the topology's limits, and rolls
//! that out. Started now and then by the launcher that leads, where the topology says so.

use waldo_compiler::guide::rebalance::{Verdict, judge};
use waldo_runtime::rollout::Store;

use super::{changed, enough, guides_agree, limits_of, report, weights_of};
use crate::{
    deploy::{self, Manner},
    diff::side::Side,
    exit::{Exit, Failure},
    of_namespace::OfNamespace,
};

/// Does it once, if there is something to be done.
pub fn run(namespace: &OfNamespace) -> Result<Exit, Failure> {
    let paths = namespace.paths();
    let Some(old) = Side::live(paths.clone())? else { return Ok(Exit::Ok) };
    let unreadable = |error: waldo_runtime::rollout::StoreError| Failure::new(error.to_string());
    let store = Store::open(&paths.store()).map_err(unreadable)?;
    let generation = store.live().map_err(unreadable)?.unwrap_or(0);
    let Some(origin) = store.origin(generation).map_err(unreadable)? else {
        return Err(Failure::new(format!(
            "plan {generation} was deployed as a plan, so weights can't be changed in it"
        )));
    };
    let rates = enough(&paths, &old.plan, None)?;
    let judgement = judge(&old.plan.guide, &weights_of(&origin)?, &rates.flows, &limits_of(&old.plan));
    let Verdict::Better(proposal) = &judgement.verdict else { return Ok(Exit::Ok) };
    report::print(&old.plan, &rates, &judgement, None, false);
    let next = origin.with_weights(&changed(proposal, &judgement));
    let sources = next.sources();
    let plan = next.compile(&sources, Some(&old.plan)).map_err(|refusal| Failure::new(refusal.to_string()))?.plan;
    if guides_agree(&plan.guide, &old.plan.guide) {
        return Ok(Exit::Ok);
    }
    let name = "plan with other weights".to_owned();
    let new = Side { name, plan, live: None, origin: Some(next) };
    deploy::change_over("waldo, rebalancing by itself", &old, &new, &Manner::unattended())
}
