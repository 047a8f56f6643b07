//! What a person, or a script, sees of a rollout while it goes on.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use waldo_runtime::rollout::{StepName, Watcher, machine::Phase};

use crate::exit::Failure;

/// How many things that a server waits for are shown.
const SHOWN: usize = 2;

/// Says where a rollout stands, and whether a person wants it to end.
pub struct Progress {
    began: Instant,
    json: bool,
    quiet: bool,
    terminal: bool,
    line_stands: bool,
    phase: Option<Phase>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// Catches the signals that ask to stop.
    pub fn new(json: bool, quiet: bool) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
        }
        let terminal = std::io::stderr().is_terminal();
        Ok(Self { began: Instant::now(), json, quiet, terminal, line_stands: false, phase: None, stop })
    }

    /// Says something that stays.
    pub fn say(&mut self, what: &str) {
        self.clear();
        if self.json {
            Self::event(&serde_json::json!({"event": "note", "ms": self.milliseconds(), "text": what}));
        } else if !self.quiet {
            // Nobody is left to tell if the terminal is gone.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    }

    /// Takes the line away that stands on the terminal.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.line_stands) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }

    fn milliseconds(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn event(event: &serde_json::Value) {
        let mut stdout = std::io::stdout().lock();
        // A reader that has gone is no reason to stop a rollout.
        let _ = writeln!(stdout, "{event}").and_then(|()| stdout.flush());
    }

    fn line(&mut self, line: &str) {
        if self.quiet || !self.terminal {
            return;
        }
        let mut stderr = std::io::stderr();
        let columns = rustix::termios::tcgetwinsize(&stderr).map_or(80, |size| usize::from(size.ws_col).max(20));
        let line: String = line.chars().take(columns - 1).collect();
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
        self.line_stands = true;
    }
}

impl Watcher for Progress {
    fn stands(&mut self, phase: Phase, waiting_for: &[&str]) {
        let is_news = self.phase != Some(phase);
        self.phase = Some(phase);
        if phase == Phase::Over {
            return;
        }
        let phase = phase.to_string();
        if self.json {
            if is_news {
                let ms = self.milliseconds();
                Self::event(&serde_json::json!({"event": "phase", "ms": ms, "phase": phase, "servers": waiting_for}));
            }
            return;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        self.line(&format!("{seconds:7.3} s  {phase:<10}  {}", waiting_for.join(" ")));
    }

    fn waits(&mut self, server: &str, step: StepName, for_what: &[String]) {
        let seconds = self.began.elapsed().as_secs_f64();
        let shown = for_what.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = for_what.len().saturating_sub(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        self.line(&format!("{seconds:7.3} s  {step:<10}  {server}: {shown}{more}"));
    }

    fn wants_to_stop(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Says nothing, and never stops.
pub struct Silent;

impl Watcher for Silent {
    fn stands(&mut self, _: Phase, _: &[&str]) {}

    fn waits(&mut self, _: &str, _: StepName, _: &[String]) {}

    fn wants_to_stop(&mut self) -> bool {
        false
    }
}
