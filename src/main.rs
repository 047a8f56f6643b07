//! The command `waldo`: one file for each subcommand, exit codes in `exit.rs`.

mod exec;
mod exit;
mod launch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::{Exit, Failure};

#[derive(Debug, Parser)]
#[command(name = "waldo", version, about, arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(name = "__exec", hide = true)]
    Exec(exec::Arguments),
    #[command(name = "__launch", hide = true)]
    Launch(launch::Arguments),
}

fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Exec(arguments) => exec::run(arguments),
        Command::Launch(arguments) => launch::run(arguments),
    }
}

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version are no errors; clap's own code for errors would be 2, which means "differences".
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            return exit.into();
        }
    };
    match run(&command_line.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}
