//! What receives: each record is written down before its handling ends, and sent on.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::Write,
    thread::sleep,
    time::Duration,
};

use waldo_sdk::Stage;
use waldo_tally::Record;

use crate::{Call, own_name};

/// How often a stage that hangs looks whether it still has to.
const BREATH: Duration = Duration::from_millis(5);

/// One flow that is sent on to.
struct Output {
    flow: String,
    /// Only numbers that this divides.
    each: u64,
    /// How many have been sent.
    sent: u64,
}

impl Output {
    fn read(text: &str) -> Result<Self, Box<dyn Error>> {
        let (flow, each) = text.split_once(':').unwrap_or((text, "1"));
        Ok(Self { flow: flow.to_owned(), each: each.parse()?, sent: 0 })
    }

    fn send(&mut self, stage: &mut Stage, key: &[u8], record: Record<'_>) -> waldo_sdk::Result<()> {
        self.sent += 1;
        stage.send(&self.flow, key, Record { nth: self.sent, ..record }.to_string().as_bytes())
    }
}

/// Handles records until it is asked to stop.
pub fn run(call: &Call) -> Result<(), Box<dyn Error>> {
    let (hangs, hang) = (call.setting("hangs", 0) != 0, call.books.join("hang"));
    let (server, process) = own_name()?;
    let delay = Duration::from_micros(call.setting(&format!("delay.{server}"), call.setting("delay", 0)));
    let me = format!("{server}/{process}#{}", std::env::var("WALDO_INCARNATION")?);
    let stage = std::env::var("WALDO_STAGE")?;
    let mut seen = Seen::open(call, call.book.as_ref().unwrap_or(&stage))?;
    let mut outputs = call.flows.iter().map(|text| Output::read(text)).collect::<Result<Vec<_>, _>>()?;
    let mut stage = Stage::open()?;
    while let Some(received) = stage.receive()? {
        let payload = received.payload();
        let Some(record) = Record::read(payload) else {
            return Err(format!("a record that nobody has sent: {:?}", String::from_utf8_lossy(payload)).into());
        };
        seen.write(&me, payload)?;
        if !delay.is_zero() {
            sleep(delay);
        }
        while hangs && hang.exists() {
            sleep(BREATH);
        }
        // A bridge before this stage may have left the key out.
        let key = record.key.as_bytes();
        let onward = Record { sender: &me, ..record };
        if call.mode == "loop" {
            let [round, next] = &mut outputs[..] else { return Err("a loop has two flows".into()) };
            if record.lap < record.laps {
                round.send(&mut stage, key, Record { lap: record.lap + 1, ..onward })?;
            } else {
                next.send(&mut stage, key, onward)?;
            }
            continue;
        }
        for output in outputs.iter_mut().filter(|output| record.number.is_multiple_of(output.each)) {
            output.send(&mut stage, key, onward)?;
        }
    }
    Ok(stage.finish()?)
}

/// The file into which all instances of a stage write.
struct Seen {
    file: File,
    line: Vec<u8>,
}

impl Seen {
    fn open(call: &Call, book: &str) -> std::io::Result<Self> {
        let directory = call.books.join("seen");
        fs::create_dir_all(&directory)?;
        let file = OpenOptions::new().create(true).append(true).open(directory.join(book))?;
        Ok(Self { file, line: Vec::new() })
    }

    /// Writes who received what, in one go: so lines of all instances stand in the order in which they were received.
    fn write(&mut self, me: &str, payload: &[u8]) -> std::io::Result<()> {
        self.line.clear();
        for part in [me.as_bytes(), b" ", payload, b"\n"] {
            self.line.extend_from_slice(part);
        }
        self.file.write_all(&self.line)
    }
}
