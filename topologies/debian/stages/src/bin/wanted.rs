//! The source: every origin visits itself.

use std::{env, process::ExitCode};

use waldo_debian::{Error, Index, end};
use waldo_sdk::Stage;

fn main() -> ExitCode {
    end(send_origins())
}

fn send_origins() -> Result<(), Error> {
    let index = Index::from_argument()?;
    let wanted = env::var("ORIGINS").unwrap_or_else(|_| "2000".to_owned());
    let mut stage = Stage::open()?;
    for origin in index.origins(&wanted)? {
        let name = index.name(origin);
        stage.send("visit", name, name)?;
    }
    Ok(stage.finish()?)
}
