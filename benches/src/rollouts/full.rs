//! How soon a rollout begins to act when everything is full: a sink that takes 2 ms for each record, spools with little room,
//! and sources that send as fast as they may, so that every queue and spool is full and every sender waits.

use std::{
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::Flotilla;
use crate::{
    Trouble,
    figure::{Figure, Goal, Subject},
    process::Running,
    programs::{Programs, in_memory},
};

/// How long it takes, at least, until all is full.
const FILLS: Duration = Duration::from_secs(4);
/// How long a rollout is given to prove servers idle, which it can't.
const IDLE_TIMEOUT: &str = "500ms";

/// One line of `waldo deploy --json`, as far as it is needed here.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    event: String,
    #[serde(default)]
    phase: String,
}

/// From the start of `waldo deploy` until it asks servers to hold, and until all hold, beside the same with a flotilla that has
/// nothing to do. Milliseconds.
pub fn measure(programs: &Programs, runs: usize) -> Result<Vec<Figure>, Trouble> {
    let (mut full, mut empty) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        empty.push(begin(programs, 1)?);
        full.push(begin(programs, 1_000_000)?);
    }
    let figure = |name: &str, goal, of: fn(&Begun) -> f64| {
        let values = |begun: &[Begun]| begun.iter().map(of).collect::<Vec<f64>>();
        let subject = Subject { name: name.to_owned(), unit: "ms", peer: "the same with empty queues", goal };
        subject.figure(&values(&full), &values(&empty))
    };
    Ok(vec![
        figure("deploy into full queues, to asking to hold", Goal::None, |begun| begun.asked),
        figure("deploy into full queues, to all gates closed", Goal::AtMost(100.0), |begun| begun.held),
    ])
}

struct Begun {
    asked: f64,
    held: f64,
}

fn begin(programs: &Programs, rate: u64) -> Result<Begun, Trouble> {
    let directory = tempfile::tempdir().map_err(|error| Trouble::io("make a directory", error))?;
    let memory = in_memory()?;
    let (run, books) = (memory.path().join("run"), memory.path().join("books"));
    for made in [&run, &books] {
        fs::create_dir(made).map_err(|error| Trouble::io("make a directory", error))?;
    }
    let flotilla = Flotilla { programs, topology: directory.path(), run: &run, books: &books };
    let write = |colour: u32| flotilla.write(&text(programs, &books, rate, colour));
    write(1)?;
    flotilla.waldo("up", &["--detach", "--quiet"])?;
    let begun = begun(&flotilla, || write(2));
    // What is full is not worked off.
    let ended = flotilla.waldo("down", &["--now"]);
    let begun = begun?;
    ended.map(|_| begun)
}

fn begun(flotilla: &Flotilla<'_>, change: impl FnOnce() -> Result<(), Trouble>) -> Result<Begun, Trouble> {
    sleep(FILLS);
    change()?;
    let started = Instant::now();
    let mut command: Command = flotilla.programs.waldo_in(flotilla.run, "deploy", flotilla.topology);
    let mut deploy = Running::start("waldo deploy", command.args(["--yes", "--json"]))?;
    let mut asked = None;
    loop {
        let Event { event, phase } = serde_json::from_str(&deploy.line()?)?;
        let now = started.elapsed().as_secs_f64() * 1e3;
        match (event.as_str(), phase.as_str()) {
            ("phase", "hold") => asked = Some(now),
            ("phase", "idle") => {
                // Where all is full it can't become idle in time, and the old plan goes on: that is as it should be.
                deploy.gone()?;
                return Ok(Begun { asked: asked.unwrap_or(now), held: now });
            }
            _ => {}
        }
    }
}

fn text(programs: &Programs, books: &Path, rate: u64, colour: u32) -> String {
    let (program, books) = (programs.own.display(), books.display());
    let stage = |role: &str, arguments: &str| format!("[{program}, rollouts, {role}, --books, {books}{arguments}]");
    format!(
        "topology: full\n\
         flows: {{call: {{key: sender, guide: hash}}, kept: {{key: sender, guide: hash}}}}\n\
         stages:\n  \
           feed: {{run: {}, out: [call]}}\n  \
           enter: {{run: {}, in: [call], out: [kept], env: {{COLOUR: {colour}}}}}\n  \
           keep: {{run: {}, in: [kept]}}\n\
         portals: {{relay: {{flows: [call, kept], spool: {{memory: 1MiB, disk: 1MiB}}}}}}\n\
         servers: {{s1: {{address: 127.0.0.1}}, s2: {{address: 127.0.0.1}}}}\n\
         namespaces: {{bench: {{local: true, ports: {}}}}}\n\
         defaults: {{idle_timeout: {IDLE_TIMEOUT}}}\n",
        stage("feed", &format!(", --rate, \"{rate}\", --to, call")),
        stage("pass", ", --to, kept"),
        stage("keep", ", --delay, \"2000\""),
        programs.port,
    )
}
