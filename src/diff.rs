//! `waldo diff`: what a change will do, before it is made.

pub mod drift;
mod report;
pub mod side;
pub mod table;
mod text;

use std::{io::Write, path::PathBuf};

use waldo_compiler::{
    diff::{Diff, diff_with_programs},
    plan::ProcessPlan,
};

pub use self::report::{Report, Side as Compared};
use self::{drift::Drift, side::Side};
use crate::exit::{Exit, Failure};

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
    let form = match (arguments.json, arguments.all) {
        (true, _) => Form::Json,
        (false, true) => Form::Whole,
        (false, false) => Form::Summary,
    };
    show(&Shown { old: old.as_compared(), new: new.as_compared(), diff: &diff, drift: &found.drift }, form)?;
    if let Some(refused) = refused(&diff).filter(|_| form != Form::Json) {
        refused.print();
    }
    Ok(if diff.is_empty() && found.drift.is_empty() { Exit::Ok } else { Exit::Different })
}

/// Differences, and between what.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// What is.
    pub old: Compared<'a>,
    /// What is to be.
    pub new: Compared<'a>,
    /// What has to happen.
    pub diff: &'a Diff<'a>,
    /// What runs otherwise than it was deployed.
    pub drift: &'a [Drift],
}

/// How differences are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people: what changes, on one or two screens.
    Summary,
    /// For people: all of it.
    Whole,
    /// For scripts: one document.
    Json,
}

/// Shows differences on stdout. Whoever wants the document as part of another takes [`Report::of`].
pub fn show(shown: &Shown<'_>, form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        write(&Report::of(shown).document()?);
        return Ok(());
    }
    table::print(shown, form == Form::Whole);
    Ok(())
}

/// Why a change can't be rolled out in one step, if it can't.
pub fn refused(diff: &Diff<'_>) -> Option<Failure> {
    let why = diff.refusals.iter().map(ToString::to_string).collect::<Vec<_>>();
    (!why.is_empty()).then(|| Failure::new(format!("this can't be rolled out in one step:\n  {}", why.join("\n  "))))
}

fn write(text: &str) {
    // Nobody is left to tell if the reader is gone.
    let _ = writeln!(anstream::stdout().lock(), "{text}");
}
