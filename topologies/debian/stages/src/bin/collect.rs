//! The sink: writes each found pair to the file `found` in its state directory.
//!
//! A pair is 8 bytes: the origin's and the package's line in the index, from 0, each 32 bits, little-endian. A new run
//! starts a new file; a stage that is started again in the same run goes on with it. Each pair is written before the
//! next record is asked for, so a pair that counts as done is in the file.

use std::{env, fs::OpenOptions, io::Write, process::ExitCode};

use waldo_debian::{Error, Index, end};
use waldo_sdk::Stage;

fn main() -> ExitCode {
    end(collect())
}

fn collect() -> Result<(), Error> {
    let index = Index::from_argument()?;
    let mut stage = Stage::open()?;
    let path = stage.state_directory().join("found");
    let first = env::var("WALDO_INCARNATION").is_ok_and(|incarnation| incarnation == "1");
    let unwritable = |source| Error::Found { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let options = if first { options.write(true).truncate(true) } else { options.append(true) };
    let mut found = options.create(true).open(&path).map_err(unwritable)?;
    while let Some(record) = stage.receive()? {
        let (package, origin) = (index.number(record.key())?, index.number(record.payload())?);
        let pair = u64::from(origin) | u64::from(package) << 32;
        found.write_all(&pair.to_le_bytes()).map_err(unwritable)?;
    }
    Ok(stage.finish()?)
}
