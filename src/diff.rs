//! `waldo diff`: what a change will do, before it is made.

mod drift;
mod report;
mod side;
mod table;

use std::path::PathBuf;

use crate::{
    diff::side::Side,
    exit::{Exit, Failure},
};

/// What to compare, and how to show it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With one argument, or none, the topology is compared with what is live in its namespace; if nothing runs there, with what
was compiled last. Exit code: 0 no difference, 2 differences, 1 error.

  waldo diff                            waldo.yaml here, with what runs
  waldo diff old.yaml new.yaml          two topologies
  waldo diff .waldo/build/prod . -n prod   what was compiled, with the topology as it is now")]
pub struct Arguments {
    /// What is: a topology's file or directory, a plan.json, or a build directory.
    #[arg(value_name = "OLD")]
    first: Option<PathBuf>,
    /// What is to be, in the same way.
    #[arg(value_name = "NEW")]
    second: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// For topologies: the first of the block of ports that the portals use, as in `waldo up`.
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Option<u16>,
    /// Show each process, also those that go on untouched.
    #[arg(long)]
    all: bool,
    /// Print the differences as one JSON document.
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// Compares.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (old, new) = Side::both(arguments)?;
    let diff = waldo_compiler::diff::diff(&old.plan, &new.plan).map_err(|error| {
        Failure::new(error.to_string())
            .hint("compare plans of the same topology and namespace; -n chooses a topology's")
    })?;
    let drift = old.live.as_ref().map_or_else(Vec::new, |paths| drift::look(&old.plan, paths));
    if arguments.json {
        report::print(&diff, &drift)?;
    } else {
        table::print(&old.name, &new.name, &diff, &drift, arguments.all);
    }
    if !diff.refusals.is_empty() {
        let failure = Failure::new(format!("this can't be rolled out in one step: {}", diff.refusals.join("; ")));
        if !arguments.json {
            failure.print();
        }
    }
    Ok(if diff.is_empty() && drift.is_empty() { Exit::Ok } else { Exit::Different })
}
