//! `waldo diff`: what a change will do, before it is made.

pub mod drift;
mod report;
pub mod side;
pub mod table;
mod text;

use std::{io::Write, path::PathBuf};

use waldo_compiler::{diff::diff_with_programs, plan::ProcessPlan};

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
    pub first: Option<PathBuf>,
    /// What is to be, in the same way.
    #[arg(value_name = "NEW")]
    pub second: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    pub namespace: Option<String>,
    /// For topologies: the first of the block of ports that the portals use, as in `waldo up`.
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..))]
    pub ports: Option<u16>,
    /// Show each process, also those that go on untouched.
    #[arg(long)]
    pub all: bool,
    /// Print the differences as one JSON document.
    #[arg(long, conflicts_with = "all")]
    pub json: bool,
}

/// Compares.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (old, new) = Side::both(arguments)?;
    let found = old.live.as_ref().map(|paths| drift::look(&old.plan, paths)).unwrap_or_default();
    let is_rebuilt = |server: &str, process: &ProcessPlan| {
        !found.rebuilt.is_empty() && found.rebuilt.contains(&(server.to_owned(), process.name.clone()))
    };
    let diff = diff_with_programs(&old.plan, &new.plan, &is_rebuilt).map_err(|error| {
        Failure::new(error.to_string())
            .hint("compare plans of the same topology and namespace; -n chooses a topology's")
    })?;
    if arguments.json {
        report::print(old.as_compared(), new.as_compared(), &diff, &found.drift)?;
    } else {
        table::print(&old.name, &new.name, &diff, &found.drift, arguments.all);
        for refusal in &diff.refusals {
            Failure::new(format!("this can't be rolled out in one step: {refusal}")).print();
        }
    }
    Ok(if diff.is_empty() && found.drift.is_empty() { Exit::Ok } else { Exit::Different })
}

fn write(text: &str) {
    // Nobody is left to tell if the reader is gone.
    let _ = writeln!(anstream::stdout().lock(), "{text}");
}
