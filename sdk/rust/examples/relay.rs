//! Passes each record on. What the topology doesn't allow is told in the record's place.

use waldo_sdk::{Result, Stage};

fn main() -> Result<()> {
    let mut stage = Stage::open()?;
    while let Some(record) = stage.receive()? {
        if record.payload() != b"refuse me" {
            stage.send("passed", record.key(), record.payload())?;
        } else if let Err(refused) = stage.send("elsewhere", record.key(), record.payload()) {
            stage.send("passed", record.key(), refused.to_string().as_bytes())?;
        }
    }
    stage.finish()
}
