//! The stage in the loop: remembers which origins have reached a package, and passes each new one on to all that the
//! package needs.

use std::{collections::HashSet, process::ExitCode};

use waldo_debian::{Error, Index, end};
use waldo_sdk::Stage;

fn main() -> ExitCode {
    end(visit())
}

fn visit() -> Result<(), Error> {
    let index = Index::from_argument()?;
    let mut seen = HashSet::new();
    let mut stage = Stage::open()?;
    while let Some(record) = stage.receive()? {
        let package = index.number(record.key())?;
        let origin = index.number(record.payload())?;
        if !seen.insert((package, origin)) {
            continue;
        }
        stage.send("found", record.key(), record.payload())?;
        for &need in index.needs(package) {
            stage.send("visit", index.name(need), record.payload())?;
        }
    }
    Ok(stage.finish()?)
}
