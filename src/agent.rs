//! `waldo agent`: answers what a waldo on another machine asks, over ssh.

use std::io;

use waldo_runtime::agent;

use crate::exit::{Exit, Failure};

/// Answers until stdin ends.
pub fn run() -> Result<Exit, Failure> {
    match agent::serve(io::stdin().lock(), io::stdout()) {
        Ok(()) => Ok(Exit::Ok),
        // Whoever asked has gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Failure::new(format!("cannot answer: {error}"))),
    }
}
