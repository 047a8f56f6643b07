//! `waldo __launch`: runs one server of a plan. Started by `waldo up`, by `launch.sh` or by systemd.

use std::path::PathBuf;

use waldo_runtime::{
    launcher::{self, Options},
    paths,
};

use crate::exit::{Exit, Failure};

/// Which server of which plan.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The plan: `plan.json` of a build directory.
    #[arg(long)]
    plan: PathBuf,
    /// The server's name.
    #[arg(long)]
    server: String,
    /// The namespace's root: for a local namespace the topology's directory.
    #[arg(long)]
    root: PathBuf,
    /// Where state, spools and logs are kept; by default in .waldo/NAMESPACE of the root.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Nobody leads: start the sources as soon as everything else is ready.
    #[arg(long)]
    alone: bool,
    /// The number of the plan.
    #[arg(long, default_value_t = 1)]
    generation: u64,
    /// The plan needn't have the server: a rollout is about to bring it in.
    #[arg(long)]
    joining: bool,
    /// Stop when stdin ends.
    #[arg(long)]
    attached: bool,
}

/// Runs the server until it is told to stop.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let options = Options {
        plan: absolute(&arguments.plan),
        server: arguments.server.clone(),
        root: absolute(&arguments.root),
        run_root: paths::run_root(),
        kept: arguments.state.as_ref().map(absolute),
        alone: arguments.alone,
        generation: arguments.generation,
        joining: arguments.joining,
        attached: arguments.attached,
    };
    launcher::run(&options).map_err(|error| {
        let exit = if matches!(error, launcher::LaunchError::Held { .. }) { Exit::Locked } else { Exit::Error };
        let hint = if let launcher::LaunchError::Unusable(unusable) = &error { Some(unusable.hint()) } else { None };
        Failure { message: error.to_string(), hint, exit }
    })?;
    Ok(Exit::Ok)
}
