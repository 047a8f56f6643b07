//! The bridge: lets a program without the SDK be a stage, over its stdin and stdout; and strangers receive, over ZeroMQ.
//!
//! The bridge is the stage's process; the program is its child, in the same process group. If the program ends on its own,
//! so does the bridge, with the same status: to the launcher they are one. Only an `ack` program that exits with status
//! 0 though records may still come has failed, and the bridge exits with 1.
//!
//! The bridge is who gets the stage's stop signal, whichever it is; to the program the end of its input says so.

mod ack;
mod egress;
mod inside;
mod lines;
mod refused;

use std::process::{Child, Command, ExitStatus, Stdio};

use signal_hook::consts::{SIGABRT, SIGALRM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
use waldo_compiler::plan::{Speaks, StageProgram};
use waldo_sdk::{Error, Result, Stage};

/// What else than SIGTERM and SIGINT asks a bridge to stop: signals that a stage may name as its stop signal and that
/// would end the bridge at once.
const STOP_SIGNALS: [i32; 6] = [SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGABRT];

/// Runs the program that `WALDO_PROGRAM` describes as the stage that this process was started for; answers the status
/// to exit with.
pub fn run() -> Result<i32> {
    let text = std::env::var("WALDO_PROGRAM").map_err(|_| Error::NotStartedByWaldo("WALDO_PROGRAM"))?;
    let program: StageProgram = serde_json::from_str(&text)
        .map_err(|error| Error::File { path: "WALDO_PROGRAM".into(), reason: error.to_string() })?;
    let stage = Stage::open_stopped_by(&STOP_SIGNALS)?;
    match program.speaks {
        Speaks::Lines => lines::run(stage, &program),
        Speaks::Egress => egress::run(stage),
        Speaks::Ack | Speaks::Sdk => ack::run(stage, &program),
    }
}

/// Starts the program. Its stdin is a pipe if the stage has inputs, its stdout if the stage has outputs or the program
/// answers on it; what it writes to stderr goes to the log.
fn start(argv: &[String], reads: bool, writes: bool) -> Result<Child> {
    let pipe_if = |condition, otherwise| if condition { Stdio::piped() } else { otherwise };
    let Some((name, arguments)) = argv.split_first() else {
        return Err(Error::File { path: "WALDO_PROGRAM".into(), reason: "no program".to_owned() });
    };
    Command::new(name)
        .args(arguments)
        .env_remove("WALDO_PROGRAM")
        .env_remove("WALDO_WIRING")
        .stdin(pipe_if(reads, Stdio::null()))
        .stdout(pipe_if(writes, Stdio::inherit()))
        .spawn()
        .map_err(|source| Error::Io { doing: format!("start {name}"), source })
}

/// The status that a program ended with, as a shell would tell it.
fn status_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn wait(child: &mut Child) -> Result<i32> {
    child.wait().map(status_of).map_err(|source| Error::Io { doing: "wait for the program".to_owned(), source })
}
