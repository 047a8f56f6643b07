//! What `waldo up` shows while it works: a line that is refreshed on a terminal, a line a second elsewhere, JSON events.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use serde_json::json;
use waldo_runtime::{
    control::ServerStatus,
    ledger::{self, Account, When},
    rollout::Report,
};

use super::watch;
use crate::{deploy, exit::Failure, numbers::grouped};

/// How often the line on a terminal is refreshed.
const REFRESH: Duration = Duration::from_millis(200);
/// How often a line is written elsewhere.
const LINE: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Quiet,
    Terminal,
    Lines,
    Json,
}

/// Shows progress.
pub struct Progress {
    style: Style,
    began: Instant,
    shown: Instant,
    /// What each flow's records were when they were last shown.
    before: BTreeMap<String, u64>,
    /// Whether a line stands on the terminal that the next output must replace.
    line_stands: bool,
}

impl Progress {
    /// In the way that suits where the output goes.
    pub fn new(quiet: bool, json: bool) -> Self {
        let style = match (json, quiet) {
            (_, true) => Style::Quiet,
            (true, false) => Style::Json,
            (false, false) if std::io::stderr().is_terminal() => Style::Terminal,
            (false, false) => Style::Lines,
        };
        let now = Instant::now();
        Self { style, began: now, shown: now, before: BTreeMap::new(), line_stands: false }
    }

    /// Says that something has begun or happened.
    pub fn say(&mut self, what: &str) {
        self.clear();
        match self.style {
            Style::Quiet => {}
            Style::Json => self.event(&json!({"event": "phase", "ms": self.milliseconds(), "what": what})),
            Style::Terminal | Style::Lines => {
                let _ = writeln!(std::io::stderr(), "{what}");
            }
        }
    }

    /// Says what is being done, until the next line takes its place. Where nothing can be taken back, nothing is said.
    pub fn step(&mut self, what: &str) {
        if self.style == Style::Terminal {
            let line = fit(what, width());
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}").and_then(|()| std::io::stderr().flush());
            self.line_stands = true;
        }
    }

    /// Shows what has come of a rollout.
    pub fn rolled_out(&mut self, report: &Report) {
        if self.style == Style::Json {
            let ms = self.milliseconds();
            let ledger = deploy::document(report, deploy::exit_of(report.result)).unwrap_or_default();
            self.event(&json!({"event": "rollout", "ms": ms, "ledger": ledger}));
        } else {
            self.say(&watch::line(report));
        }
    }

    /// Shows what is wrong with what was saved; what runs goes on.
    pub fn fail(&mut self, failure: &Failure) {
        self.clear();
        if self.style == Style::Json {
            let ms = self.milliseconds();
            self.event(&json!({"event": "refused", "ms": ms, "error": failure.message}));
        } else {
            failure.print();
            self.say("what runs goes on");
        }
    }

    /// Takes in how the servers are, and shows it if it is time to.
    pub fn observe(&mut self, servers: &[ServerStatus]) {
        let every = match self.style {
            Style::Quiet => return,
            Style::Terminal => REFRESH,
            Style::Lines | Style::Json => LINE,
        };
        let since = self.shown.elapsed();
        if since < every {
            return;
        }
        self.shown = Instant::now();
        let mut accounts = ledger::accounts(std::iter::empty(), servers, When::Running);
        // How fast that goes is nobody's concern.
        accounts.remove(ledger::NO_FLOW);
        let queued: BTreeMap<&str, u64> =
            servers.iter().map(|server| (server.server.as_str(), ledger::queued(server))).collect();
        match self.style {
            Style::Json => {
                let flows: serde_json::Map<_, _> = accounts
                    .iter()
                    .map(|(flow, account)| (flow.clone(), json!({"sent": account.sent, "received": account.received})))
                    .collect();
                let ms = self.milliseconds();
                self.event(&json!({"event": "progress", "ms": ms, "flows": flows, "queued": queued}));
            }
            Style::Terminal => {
                let line = fit(&self.line(&accounts, &queued, since), width());
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
                let _ = std::io::stderr().flush();
                self.line_stands = true;
            }
            Style::Lines => {
                let line = self.line(&accounts, &queued, since);
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Style::Quiet => {}
        }
        self.before = accounts.into_iter().map(|(flow, account)| (flow, account.received)).collect();
    }

    /// Takes the line away that stands on the terminal.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.line_stands) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }

    fn line(&self, accounts: &BTreeMap<String, Account>, queued: &BTreeMap<&str, u64>, since: Duration) -> String {
        let flows = accounts.iter().map(|(flow, account)| {
            let before = self.before.get(flow).copied().unwrap_or(0);
            let rate = account.received.saturating_sub(before) as f64 / since.as_secs_f64().max(0.001);
            format!("  {flow} {} ({}/s)", grouped(account.received), grouped(rate as u64))
        });
        let queued = queued.iter().map(|(server, count)| format!(" {server} {}", grouped(*count)));
        let seconds = self.began.elapsed().as_secs_f64();
        format!("{seconds:6.1} s{}  queued{}", flows.collect::<String>(), queued.collect::<String>())
    }

    fn milliseconds(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn event(&self, event: &serde_json::Value) {
        debug_assert_eq!(self.style, Style::Json);
        let mut stdout = std::io::stdout().lock();
        // A reader that has gone is no reason to stop the run.
        let _ = writeln!(stdout, "{event}");
        let _ = stdout.flush();
    }
}

/// How many columns the terminal has.
fn width() -> usize {
    terminal_width().unwrap_or(100)
}

fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&width| width > 0)
}

/// As much of the line as fits without wrapping: a wrapped line can't be refreshed.
fn fit(line: &str, width: usize) -> String {
    if line.chars().count() < width {
        return line.to_owned();
    }
    let mut fitting: String = line.chars().take(width.saturating_sub(2)).collect();
    fitting.push('…');
    fitting
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_line_is_cut_before_it_wraps() {
        assert_eq!(fit("short", 10), "short");
        assert_eq!(fit("0123456789", 10), "01234567…");
    }
}
