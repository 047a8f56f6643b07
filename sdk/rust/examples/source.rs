//! Sends three odd records and ends; with an argument, goes on with numbers until it is asked to stop.

use waldo_sdk::{Error, Result, Stage};

fn main() -> Result<()> {
    let mut stage = Stage::open()?;
    let bytes: Vec<u8> = (0..200_000).map(|at| (at % 251) as u8).collect();
    stage.send("made", b"\0k\t", b"zero \0 tab \t line \n end")?;
    stage.send("made", b"", &bytes)?;
    stage.send("made", b"key", b"refuse me")?;
    if std::env::args().len() > 1 {
        for number in 0_u64.. {
            match stage.send("made", b"n", number.to_string().as_bytes()) {
                Err(Error::Stopped) => break,
                sent => sent?,
            }
        }
    }
    stage.finish()
}
