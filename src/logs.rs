//! `waldo logs`: what processes have written to stdout and stderr.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use signal_hook::iterator::Signals;

use crate::{
    exit::{Exit, Failure},
    located::{Located, Target},
};

/// How often logs are looked at while following them.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whose logs to show.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology's file or directory, if it isn't this one; then processes (`score.0`, or `s1/score.0`), stages, or
    /// `launcher`. By default all processes.
    #[arg(value_name = "FILE|DIR|PROCESS")]
    names: Vec<String>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// Go on as they grow, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Each line as a JSON document.
    #[arg(long)]
    json: bool,
}

/// A log, read up to some point.
struct Log {
    server: String,
    process: String,
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

/// Shows them.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let first = arguments.names.first().map(PathBuf::from).filter(|path| path.exists());
    let names = &arguments.names[usize::from(first.is_some())..];
    let Located { plan, paths } =
        Target { topologies: first.into_iter().collect(), namespace: arguments.namespace.clone() }.locate()?;
    let mut logs = Vec::new();
    for (server, of_server) in &plan.servers {
        let places = paths.server(server);
        let known = of_server.processes.iter().map(|process| (process.name.as_str(), process.wiring.stage.as_str()));
        for (process, stage) in known.chain([("launcher", "launcher")]) {
            let is_meant = |name: &String| {
                *name == process || *name == stage || *name == format!("{server}/{process}") || name == server
            };
            if names.iter().any(is_meant) || (names.is_empty() && process != "launcher") {
                let path = places.log(process);
                logs.push(Log { server: server.clone(), process: process.to_owned(), path, at: 0, rest: Vec::new() });
            }
        }
    }
    if let Some(unknown) = names.iter().find(|name| !is_known(&logs, name, &plan)) {
        return Err(Failure::new(format!("no process, stage or server named {unknown}"))
            .hint("`waldo status` names the processes"));
    }
    let mut signals = Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])
        .map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
    // Who writes is said where there is more than one, or a person looks.
    let named = logs.len() > 1 || io::stdout().is_terminal();
    loop {
        for log in &mut logs {
            match log.show(arguments.json, named, !arguments.follow) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
                Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", log.path.display()))),
                Ok(()) => {}
            }
        }
        if !arguments.follow || signals.pending().next().is_some() {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn is_known(logs: &[Log], name: &str, plan: &waldo_compiler::plan::Plan) -> bool {
    let stages = plan.servers.values().flat_map(|server| &server.processes).any(|process| process.wiring.stage == name);
    stages
        || plan.servers.contains_key(name)
        || logs.iter().any(|log| log.process == name || format!("{}/{}", log.server, log.process) == name)
}

impl Log {
    /// Writes to stdout what has come since the last time, in whole lines; also a last line without an end if `all`.
    fn show(&mut self, json: bool, named: bool, all: bool) -> io::Result<()> {
        self.read()?;
        let mut stdout = io::stdout().lock();
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.write(&mut stdout, &line[..end], json, named)?;
        }
        if all && !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.write(&mut stdout, &line, json, named)?;
        }
        stdout.flush()
    }

    fn read(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Shorter than what was read: it has been rotated.
        if file.metadata()?.len() < self.at {
            self.at = 0;
            self.rest.clear();
        }
        file.seek(SeekFrom::Start(self.at))?;
        self.at += file.read_to_end(&mut self.rest)? as u64;
        Ok(())
    }

    fn write(&self, to: &mut impl Write, line: &[u8], json: bool, named: bool) -> io::Result<()> {
        if json {
            let text = String::from_utf8_lossy(line);
            return writeln!(to, "{}", json!({"server": self.server, "process": self.process, "line": text}));
        }
        if named {
            write!(to, "{}/{}: ", self.server, self.process)?;
        }
        to.write_all(line)?;
        to.write_all(b"\n")
    }
}

/// The path of a log for a message: relative to here, if it is below.
pub fn short(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map_or_else(|_| path.to_owned(), Path::to_owned)
}
