//! Measures waldo beside its peers: prints a table and writes `target/bench.json`.
//!
//! Each figure is a median of several runs, and each run measures waldo and the peer one after the other, on the same
//! machine in the same minute. Compare figures of one table only.

mod compile;
mod cost;
mod demo;
mod figure;
mod floor;
mod flotilla;
mod guide;
mod idle;
mod launch;
mod process;
mod programs;
mod python;
mod relay;
mod roles;
mod rollouts;
mod rubbish;
mod trouble;

use std::{fs, path::Path, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use cost::Measured;
use figure::Figure;
use programs::Programs;
use roles::Role;
use trouble::Trouble;

/// Measures waldo beside its peers, prints a table, and writes target/bench.json.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many runs a figure is the median of.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Measure only this; may be repeated. The figures in target/bench.json are then only these.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// How many origins the demo is asked for: a number, or `all`.
    #[arg(long, default_value = "2000")]
    origins: String,
    /// How many rollouts are made under load.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(4..))]
    rollouts: u16,
    /// A look only: one run of each figure, and 20 rollouts.
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One process of a relay that is measured.
    #[command(hide = true, subcommand)]
    Role(Role),
    /// One stage of what is changed while it runs.
    #[command(hide = true, subcommand)]
    Rollouts(rollouts::stages::Role),
    /// Runs a command and prints what it costs.
    #[command(hide = true)]
    Cost(Measured),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The demo's visits per second.
    Demo,
    /// The idle proof's time.
    Idle,
    /// A thousand processes: start, replacement, stop; and what the launcher costs when nothing happens.
    Launch,
    /// Rollouts under load: what is lost, repeated, out of order, and for how long servers pause.
    Rollouts,
    /// How soon a deploy begins to act when every queue and spool is full.
    Full,
    /// Portals between stages: records per second and latency.
    Links,
    /// Portals for clients: records per second.
    Clients,
    /// A portal for clients, with rubbish at its door.
    Rubbish,
    /// A stage in Python: records per second.
    Python,
    /// The compiler on a large topology: time in memory, how it grows, and the difference of two plans.
    Compiler,
    /// Slot tables: their time, and how many slots move when servers change.
    Guide,
    /// `waldo compile` on a large topology: time and memory.
    Compile,
    /// `waldo compile` beside a script over Jinja2.
    Jinja,
}

/// How many rollouts make a look.
const QUICK_ROLLOUTS: u16 = 20;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::Role(role)) => role.run(),
        Some(Command::Rollouts(role)) => role.run(),
        Some(Command::Cost(measured)) => measured.run(),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("bench: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Trouble> {
    process::catch_signals()?;
    let (runs, rollouts) = if arguments.quick { (1, QUICK_ROLLOUTS) } else { (arguments.runs, arguments.rollouts) };
    let (runs, rollouts) = (usize::from(runs), usize::from(rollouts));
    let parts =
        || Part::value_variants().iter().filter(|part| arguments.only.is_empty() || arguments.only.contains(part));
    let programs = Programs::find()?;
    if parts().any(|&part| !matches!(part, Part::Idle | Part::Compiler | Part::Guide)) {
        programs.build()?;
    }
    let mut figures: Vec<Figure> = Vec::new();
    let mut complete = true;
    for part in parts() {
        eprintln!("bench: measuring {part:?}, {runs} runs");
        let measured = match part {
            Part::Demo => demo::measure(&programs, &arguments.origins, runs).map(|figure| vec![figure]),
            Part::Idle => [20, 1_000].into_iter().map(|processes| idle::measure(processes, runs)).collect(),
            Part::Launch => launch::measure(&programs, runs),
            Part::Rollouts => rollouts::measure(&programs, rollouts),
            Part::Full => rollouts::full::measure(&programs, runs),
            Part::Links => relay::measure_links(&programs, runs),
            Part::Clients => relay::measure_clients(&programs, runs).map(|figure| vec![figure]),
            Part::Rubbish => relay::measure_beside_rubbish(&programs, runs).map(|figure| vec![figure]),
            Part::Python => python::measure(&programs, runs),
            Part::Compiler => compile::in_memory(runs),
            Part::Guide => Ok(guide::measure(runs)),
            Part::Compile => compile::written(&programs, runs),
            Part::Jinja => compile::beside_jinja(&programs, runs).map(|figure| vec![figure]),
        };
        match measured {
            Ok(measured) => figures.extend(measured),
            Err(Trouble::Interrupted) => return Err(Trouble::Interrupted),
            Err(trouble) => {
                complete = false;
                eprintln!("bench: {part:?}: {trouble}");
            }
        }
    }
    println!("{}", figure::table(&figures));
    let path = programs.target().join("bench.json");
    write(&path, &figures)?;
    if complete { Ok(()) } else { Err(Trouble::Incomplete) }
}

fn write(path: &Path, figures: &[Figure]) -> Result<(), Trouble> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(path, text).map_err(|error| Trouble::io(format!("write {}", path.display()), error))
}
