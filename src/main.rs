//! The command `waldo`: one file for each subcommand, exit codes in `exit.rs`.

mod agent;
mod bootstrap;
mod check;
mod compile;
mod deny;
mod deploy;
mod diff;
mod down;
mod drain;
mod exec;
mod exit;
mod explain;
mod graph;
mod history;
mod init;
mod launch;
mod located;
mod logs;
mod machines;
mod numbers;
mod of_namespace;
mod pause;
mod rebalance;
mod rejects;
mod resume;
mod rollback;
mod schema;
mod send;
mod status;
mod topology_file;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    exit::{Exit, Failure},
    of_namespace::OfNamespace,
};

#[derive(Debug, Parser)]
#[command(name = "waldo", version, about, arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a topology to begin with, which runs as it is
    Init(init::Arguments),
    /// Say what is wrong with a topology, all of it at once
    Check(check::Arguments),
    /// Explain a rule by its code
    Explain(explain::Arguments),
    /// Write a topology's plan, and all that follows from it, into a build directory
    Compile(compile::Arguments),
    /// Show what a change will do before it is made: processes, keys, ports, and who must hold
    Diff(diff::Arguments),
    /// Draw a topology: stages and flows, servers, or processes
    Graph(graph::Arguments),
    /// Print the language as a JSON Schema, so that editors complete and check
    Schema(schema::Arguments),
    /// Make servers ready: the program, libzmq, a user, directories
    Bootstrap(bootstrap::Arguments),
    /// Compile a topology and run it on this machine, every server of it
    Up(up::Arguments),
    /// Change what runs over to another plan, losing nothing and repeating nothing
    Deploy(deploy::Arguments),
    /// Roll an earlier plan out once more
    Rollback(rollback::Arguments),
    /// Show the rollouts of a namespace, with the account of each
    History(history::Arguments),
    /// Take a server out of action, or back
    Drain(drain::Arguments),
    /// Propose weights for the servers by what their portals have measured, and write them into the topology
    Rebalance(rebalance::Arguments),
    /// End everything that runs in a namespace, also what was left behind
    Down(down::Arguments),
    /// Show what runs in a namespace, and how it is
    Status(status::Arguments),
    /// Let portals receive but not deliver, and sources not send, until they are resumed
    Pause(pause::Arguments),
    /// Take back what was paused
    Resume(pause::Arguments),
    /// Show what portals have rejected, and samples of it
    Rejects(rejects::Arguments),
    /// Show what processes have written to stdout and stderr
    Logs(logs::Arguments),
    /// Send records from outside, one for each line
    Send(send::Arguments),
    /// Answer requests of a waldo on another machine, on stdin and stdout (`ssh SERVER waldo agent`)
    #[command(hide = true)]
    Agent,
    #[command(name = "__exec", hide = true)]
    Exec(exec::Arguments),
    #[command(name = "__launch", hide = true)]
    Launch(launch::Arguments),
    #[command(name = "__resume", hide = true)]
    GoOn(OfNamespace),
    #[command(name = "__rebalance", hide = true)]
    RebalanceNow(OfNamespace),
    #[command(name = "__portal", hide = true)]
    Portal,
    #[command(name = "__bridge", hide = true)]
    Bridge,
}

fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(arguments) => init::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Compile(arguments) => compile::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Graph(arguments) => graph::run(arguments),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Bootstrap(arguments) => bootstrap::run(arguments),
        Command::Up(arguments) => up::run(arguments),
        Command::Deploy(arguments) => deploy::run(arguments),
        Command::Rollback(arguments) => rollback::run(arguments),
        Command::History(arguments) => history::run(arguments),
        Command::Drain(arguments) => drain::run(arguments),
        Command::Rebalance(arguments) => rebalance::run(arguments),
        Command::Down(arguments) => down::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Pause(arguments) => pause::pause(arguments),
        Command::Resume(arguments) => pause::resume(arguments),
        Command::Rejects(arguments) => rejects::run(arguments),
        Command::Logs(arguments) => logs::run(arguments),
        Command::Send(arguments) => send::run(arguments),
        Command::Agent => agent::run(),
        Command::Exec(arguments) => exec::run(arguments),
        Command::Launch(arguments) => launch::run(arguments),
        Command::GoOn(arguments) => resume::run(arguments),
        Command::RebalanceNow(arguments) => rebalance::auto::run(arguments),
        Command::Portal => process(waldo_runtime::portal::run()),
        // To the launcher, program and bridge are one: it ends as its program did.
        Command::Bridge => process(waldo_runtime::bridge::run().map(|status| std::process::exit(status))),
    }
}

/// The end of a process of waldo's own.
fn process(ended: waldo_sdk::Result<()>) -> Result<Exit, Failure> {
    ended.map(|()| Exit::Ok).map_err(|error| Failure::new(error.to_string()))
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
