//! `waldo graph`: draws a topology.

use std::{collections::BTreeSet, fs, io::Write, path::PathBuf};

use waldo_compiler::draw::{Level, Picture, dot, mermaid, svg};
use waldo_runtime::launcher::read_plan;

use crate::{
    compile::{self, Beside},
    exit::{Exit, Failure},
    located::Target,
};

/// What to draw, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  waldo graph -o topology.svg                     a picture for a browser
  waldo graph --format mermaid                    for Markdown
  waldo graph --level processes | dot -Tpng ...   through Graphviz
  waldo graph --level servers --against .waldo/build/prod -o change.svg   who would hold")]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How much to show.
    #[arg(long, value_enum, default_value_t = LevelName::Topology)]
    level: LevelName,
    /// The format; by default that of the output's name, else DOT.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write into this file; by default to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Mark what would hold if this plan (plan.json or a build directory) were live now.
    #[arg(long, value_name = "PLAN")]
    against: Option<PathBuf>,
    /// The first of the block of ports that the portals use, as in `waldo up`.
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LevelName {
    /// Stages and flows
    Topology,
    /// Servers and the flows between them
    Servers,
    /// Every process of every server
    Processes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// For browsers
    Svg,
}

/// Draws it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let format = format(arguments)?;
    let level = match arguments.level {
        LevelName::Topology => Level::Topology,
        LevelName::Servers => Level::Servers,
        LevelName::Processes => Level::Processes,
    };
    let old = match &arguments.against {
        Some(path) => {
            let file = if path.is_dir() { path.join("plan.json") } else { path.clone() };
            Some(read_plan(&file).map_err(|error| Failure::new(error.to_string()))?)
        }
        None => None,
    };
    let plan =
        compile::to_compare(&arguments.target, arguments.ports, old.as_ref().map_or(Beside::Nothing, Beside::Old))?
            .into_plan();
    let holds: BTreeSet<&str> = match &old {
        Some(old) => {
            let diff = waldo_compiler::diff::diff(old, &plan).map_err(|error| Failure::new(error.to_string()))?;
            diff.hold.into_keys().collect()
        }
        None => BTreeSet::new(),
    };
    let picture = Picture::of(&plan, level, &holds);
    let text = match format {
        Format::Dot => dot::render(&picture),
        Format::Mermaid => mermaid::render(&picture),
        Format::Svg => svg::render(&picture),
    };
    match &arguments.output {
        Some(path) => {
            fs::write(path, text).map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        // Nobody is left to tell if the reader is gone.
        None => drop(std::io::stdout().lock().write_all(text.as_bytes())),
    }
    Ok(Exit::Ok)
}

fn format(arguments: &Arguments) -> Result<Format, Failure> {
    if let Some(format) = arguments.format {
        return Ok(format);
    }
    let Some(output) = &arguments.output else { return Ok(Format::Dot) };
    match output.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => Ok(Format::Svg),
        Some("dot" | "gv") => Ok(Format::Dot),
        Some("md" | "mmd" | "mermaid") => Ok(Format::Mermaid),
        _ => Err(Failure::new(format!("what format {} is to have can't be told from its name", output.display()))
            .hint("say --format dot, mermaid or svg")
            .exit(Exit::Usage)),
    }
}
