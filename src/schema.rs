//! `waldo schema`: the language, for editors.

use std::{fs, path::PathBuf};

use crate::exit::{Exit, Failure};

/// Where to write it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Most editors' YAML support takes the schema from a comment at the top of a topology:

  # yaml-language-server: $schema=waldo.schema.json")]
pub struct Arguments {
    /// Write into this file; by default to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Prints it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(&waldo_compiler::schema::topology())
        .map_err(|error| Failure::new(format!("the schema can't be written as JSON: {error}")))?;
    match &arguments.output {
        Some(path) => {
            fs::write(path, text + "\n")
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        None => println!("{text}"),
    }
    Ok(Exit::Ok)
}
