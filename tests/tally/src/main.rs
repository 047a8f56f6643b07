//! The stages: `tally MODE BOOKS …`, with the directory of the books (see the library).
//!
//! | mode | what it does |
//! | --- | --- |
//! | `source BOOKS FLOW [rate=N] [keys=N] [laps=N] [until=N] [zipf=N]` | sends numbered records, `rate` a second, for ever or up to number `until`; with `zipf` the n-th key 1 / n^(zipf / 100) times as often as the first |
//! | `pass BOOKS FLOW[:N]… [delay=MICROSECONDS]` | sends each record on to every flow; with `:N` each one whose number N divides |
//! | `loop BOOKS ROUND NEXT [delay=MICROSECONDS]` | sends a record round as often as it has to go, then on |
//! | `keep BOOKS [delay=MICROSECONDS]` | only writes down what it receives, as all but the source do |
//!
//! With `delay.SERVER=MICROSECONDS` a record takes that long on one server.
//!
//! What receives writes into the book of its stage's name, or of another one: `book=NAME`. With `hangs=1` it
//! doesn't come to an end with a record as long as there is a file `hang` among the books.

mod relay;
mod source;

use std::{collections::HashMap, env, error::Error, path::PathBuf, process::ExitCode};

/// What a stage was called with.
struct Call {
    mode: String,
    books: PathBuf,
    flows: Vec<String>,
    settings: HashMap<String, u64>,
    /// The book to write into.
    book: Option<String>,
}

impl Call {
    fn read() -> Option<Self> {
        let mut words = env::args().skip(1);
        let (mode, books) = (words.next()?, words.next()?.into());
        let mut call = Self { mode, books, flows: Vec::new(), settings: HashMap::new(), book: None };
        for word in words {
            match word.split_once('=') {
                Some(("book", name)) => call.book = Some(name.to_owned()),
                Some((name, value)) => {
                    call.settings.insert(name.to_owned(), value.parse().ok()?);
                }
                None => call.flows.push(word),
            }
        }
        Some(call)
    }

    fn setting(&self, name: &str, default: u64) -> u64 {
        self.settings.get(name).copied().unwrap_or(default)
    }
}

/// This process as others name it: server, stage and instance.
fn own_name() -> Result<(String, String), Box<dyn Error>> {
    let of = |name: &str| env::var(format!("WALDO_{name}"));
    Ok((of("SERVER")?, format!("{}.{}", of("STAGE")?, of("INSTANCE")?)))
}

fn run() -> Result<(), Box<dyn Error>> {
    let call = Call::read().ok_or("called wrongly: see the table in its source")?;
    match call.mode.as_str() {
        "source" => source::run(&call),
        "pass" | "loop" | "keep" => relay::run(&call),
        other => Err(format!("no mode named {other}").into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
