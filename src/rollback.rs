//! `waldo rollback`: an earlier plan once more, by the same way as any other change.

use std::path::PathBuf;

use waldo_compiler::plan::Plan;
use waldo_runtime::rollout::{Store, StoreError};

use crate::{
    deploy::{self, Manner},
    diff::side::Side,
    exit::{Exit, Failure},
    located::{Located, Target},
};

/// Back to what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The plan is rolled out as any other change is, under a new number: held, proved idle, switched, accounted for. Programs are
those that are on the disk now. Exit codes as of `waldo deploy`.")]
pub struct Arguments {
    /// The number of the plan; by default of the one that was live before this one.
    #[arg(value_name = "GENERATION")]
    generation: Option<u64>,
    /// The topology: its file, or the directory that it is in. By default this directory.
    #[arg(short, long, value_name = "FILE|DIR")]
    topology: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    manner: Manner,
}

/// Shows the difference, asks, and rolls it out.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.manner.told(roll_back(arguments))
}

fn roll_back(arguments: &Arguments) -> Result<Exit, Failure> {
    let target =
        Target { topologies: arguments.topology.iter().cloned().collect(), namespace: arguments.namespace.clone() };
    let Located { plan, paths } = target.locate()?;
    let old = Side::live(paths.clone())?.ok_or_else(|| deploy::nothing_runs(&plan))?;
    let store = Store::open(&paths.store()).map_err(|error| unreadable(&error))?;
    let generation = match arguments.generation {
        Some(generation) => generation,
        None => before(&store, &old.plan)?,
    };
    let plan =
        store.plan(generation).map_err(|error| unreadable(&error))?.ok_or_else(|| unknown(&store, generation))?;
    let origin = store.origin(generation).map_err(|error| unreadable(&error))?;
    let new = Side { name: format!("plan {generation}"), plan, live: None, origin };
    deploy::change_over("waldo rollback", &old, &new, &arguments.manner)
}

fn unreadable(error: &StoreError) -> Failure {
    Failure::new(error.to_string())
}

/// The newest plan that was live before and is another than the one that is live now.
fn before(store: &Store, live: &Plan) -> Result<u64, Failure> {
    let newest = store.live().map_err(|error| unreadable(&error))?.unwrap_or(0);
    for generation in (1..newest).rev() {
        if !store.was_live(generation).map_err(|error| unreadable(&error))? {
            continue;
        }
        let plan = store.plan(generation).map_err(|error| unreadable(&error))?;
        if plan.is_some_and(|plan| plan.digest != live.digest) {
            return Ok(generation);
        }
    }
    Err(Failure::new(format!(
        "no other plan than this one (plan {newest}) was live in {}/{}",
        live.topology, live.namespace
    )))
}

fn unknown(store: &Store, generation: u64) -> Failure {
    let known = store.generations().unwrap_or_default();
    let hint = match (known.first(), known.last()) {
        (Some(first), Some(last)) => {
            format!("`waldo history` shows those that there were; plans {first} to {last} are kept")
        }
        _ => "none is kept".to_owned(),
    };
    Failure::new(format!("there is no plan {generation}")).hint(hint)
}
