//! `waldo rebalance`: which weights the servers should have by what was measured, written into the topology's files.

pub mod auto;
mod report;
mod rewrite;

use std::collections::BTreeMap;

use waldo_compiler::{
    Origin, Refusal,
    guide::rebalance::{Judgement, Limits, Proposal, Verdict, judge},
    plan::Plan,
    suggestion,
    topology::literal::Weight,
};
use waldo_runtime::{
    paths::Paths,
    rates::read::{Measured, measured},
    rollout::Store,
};
use waldo_sdk::guide::Guide;

use crate::{
    compile::{self, Beside},
    deploy,
    diff::side::Side,
    exit::{Exit, Failure},
    located::{Located, Target},
};

/// For how long must have been measured before anything is proposed. Seconds.
const LEAST_SECONDS: f64 = 4.0;

/// Of what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Portals count how many records come for each slot, and how long consumers take for them; what is half a minute old counts half.
A server's load is how busy its busiest stage is. Weights are proposed that bring the highest load down, moving few slots, if that
is worth a rollout: by a fifth at least, or if a queue grows that needn't. They are written into the topology's file, and nothing
else in it changes; `waldo diff` shows then what they do, and `waldo deploy` rolls them out.
Exit code: 0 nothing is better, or written; 2 there are better weights (--dry-run); 8 not written, as you said; 1 error.")]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Look at this flow only. Weights are of servers, so other flows move too.
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,
    /// Write without asking.
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be written; exit with 2 if there is something.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

/// Looks, proposes, and writes.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Located { plan, paths } = arguments.target.locate()?;
    let live = Side::live(paths.clone())?.ok_or_else(|| deploy::nothing_runs(&plan))?.plan;
    if let Some(flow) = &arguments.flow {
        known(&live, flow)?;
    }
    let origin = as_written(&arguments.target, &live, &paths)?;
    let rates = enough(&paths, &live, arguments.flow.as_deref())?;
    let weights = weights_of(&origin)?;
    let judgement = judge(&live.guide, &weights, &rates.flows, &limits_of(&live));
    let Verdict::Better(proposal) = &judgement.verdict else {
        report::print(&live, &rates, &judgement, None, arguments.json);
        return Ok(Exit::Ok);
    };
    let changed = changed(proposal, &judgement);
    let rewritten = origin.rewrite(&changed);
    let files: Vec<String> = rewritten.iter().flat_map(|rewritten| rewritten.files.keys().cloned()).collect();
    let will_write = rewritten.is_some() && !arguments.dry_run;
    if !arguments.json || !will_write {
        report::print(&live, &rates, &judgement, None, arguments.json);
    }
    if arguments.dry_run {
        return Ok(Exit::Different);
    }
    let Some(rewritten) = rewritten else {
        return Err(Failure::new(
            "the weights aren't plain values of the topology's files, so they can't be written there",
        )
        .hint(format!("write yourself: {}", origin.weights_as_written(&changed))));
    };
    let names = files.join(", ");
    if !arguments.yes
        && !deploy::is_wanted(&format!("Write these weights into {names}?"), "whether to write these weights")?
    {
        return Err(Failure::new("not written").exit(Exit::Cancelled));
    }
    rewrite::write(&rewritten.files)?;
    if arguments.json {
        report::print(&live, &rates, &judgement, Some(&files), true);
    } else {
        println!("\n{names}: weights written. `waldo diff` shows what they do, `waldo deploy` rolls them out.");
    }
    Ok(Exit::Ok)
}

/// The weights that a proposal changes.
fn changed(proposal: &Proposal, judgement: &Judgement) -> BTreeMap<String, Weight> {
    proposal.changed(&judgement.before).map(|(server, weight)| (server.to_owned(), weight)).collect()
}

fn known(live: &Plan, flow: &str) -> Result<(), Failure> {
    if live.guide.flows.contains_key(flow) {
        return Ok(());
    }
    if live.flows.contains_key(flow) {
        return Err(Failure::new(format!("flow {flow} isn't keyed: no guide says where its records go"))
            .hint("only flows with a `guide` live on several servers"));
    }
    let known = live.guide.flows.keys().map(String::as_str);
    Err(Failure::new(format!("there is no flow named `{flow}`")).hint(suggestion::help(flow, known, "keyed flows")))
}

/// What the topology's files say, if that is what runs.
fn as_written(target: &Target, live: &Plan, paths: &Paths) -> Result<Origin, Failure> {
    let target = Target { namespace: Some(live.namespace.clone()), ..target.clone() };
    let compiled = compile::to_compare(&target, None, Beside::Old(live))?;
    if !guides_agree(&compiled.plan().guide, &live.guide) {
        let failure = Failure::new("by the topology's files keys live on other servers than by the plan that is live");
        // What can't be read is told where it matters.
        let store = Store::open(&paths.store()).ok();
        let set = store.and_then(|store| store.origin(store.live().ok()??).ok()?).and_then(|it| it.states_as_written());
        return Err(failure.hint(match set {
            Some(set) => format!("what was set while it ran, to be written there: {set}"),
            None => "`waldo diff` shows where they differ; deploy what the files say first".to_owned(),
        }));
    }
    Ok(compiled.origin().clone())
}

/// Whether two guides have each key on the same server.
fn guides_agree(one: &Guide, other: &Guide) -> bool {
    one.servers == other.servers
        && one.tables == other.tables
        && one.flows.len() == other.flows.len()
        && one.flows.iter().zip(&other.flows).all(|((one, here), (other, there))| one == other && here.map == there.map)
}

/// What the topology allows.
fn limits_of(plan: &Plan) -> Limits {
    plan.rebalance.map_or(Limits::NONE, |limits| Limits {
        slots: limits.slots.and_then(|slots| usize::try_from(slots).ok()).unwrap_or(Limits::NONE.slots),
        lowest: limits.lowest.map_or(Limits::NONE.lowest, Weight),
        highest: limits.highest.map_or(Limits::NONE.highest, Weight),
    })
}

fn weights_of(origin: &Origin) -> Result<BTreeMap<String, Weight>, Failure> {
    origin.weights().map_err(|refusal: Refusal| Failure::new(refusal.to_string()))
}

/// What was measured, if that is enough to judge by.
fn enough(paths: &Paths, live: &Plan, flow: Option<&str>) -> Result<Measured, Failure> {
    let rates = measured(paths, live, |name| flow.is_none_or(|flow| flow == name));
    if let Some(missing) = rates.missing.first() {
        return Err(Failure::new(format!("cannot read what portal {missing} has measured"))
            .hint("`waldo status` says how it is; a server on another machine is judged there"));
    }
    if rates.seconds < LEAST_SECONDS {
        return Err(Failure::new(format!("measured for {:.0} s only", rates.seconds))
            .hint("wait a little while records flow; half a minute says much more"));
    }
    Ok(rates)
}
