//! `waldo deploy`: changes what runs over to another plan.

mod progress;
mod report;

use std::{
    collections::BTreeSet,
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use waldo_compiler::{
    diff::{Action, Diff, diff_with_programs},
    plan::{Plan, ProcessPlan},
};
use waldo_runtime::{
    cluster::{self, preflight},
    paths::Paths,
    rollout::{Conclusion, DeployError, Deployer, Rollout},
};

pub use self::{
    progress::{Progress, Silent},
    report::{document, print as print_report},
};
use crate::{
    diff::{self, Form, Shown, drift, side::Side},
    exit::{Exit, Failure},
};

/// What to roll out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 done, or no difference; 1 error, nothing changed; 3 rolled back; 4 switched, but unhealthy; 5 another rollout is
under way; 6 another plan has gone live meanwhile; 7 not idle in time, the old plan goes on; 8 cancelled; 9 servers are on
different plans; 10 done, but records were lost.")]
pub struct Arguments {
    /// What is to run: a topology's file or directory, a plan.json, or a build directory. By default the topology here.
    #[arg(value_name = "FILE|DIR|PLAN")]
    next: Option<PathBuf>,
    /// The namespace; not needed where there is only one.
    #[arg(short, long, env = "WALDO_NAMESPACE")]
    namespace: Option<String>,
    /// The first of the block of ports that the portals use, as in `waldo up`.
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Option<u16>,
    #[command(flatten)]
    manner: Manner,
}

/// How a plan is rolled out, whichever command it comes from.
#[derive(Debug, clap::Args)]
pub struct Manner {
    /// Don't ask.
    #[arg(short, long)]
    yes: bool,
    /// Go through it without doing anything.
    #[arg(long)]
    dry_run: bool,
    /// Say what happens as JSON, one line an event, and the ledger last.
    #[arg(long)]
    pub json: bool,
    /// Show neither the difference nor progress.
    #[arg(short, long)]
    quiet: bool,
}

impl Manner {
    /// Where nobody is there to be asked or shown anything.
    pub const fn unattended() -> Self {
        Self { yes: true, dry_run: false, json: false, quiet: true }
    }

    /// Says something besides, before anything is asked or done.
    pub fn note(&self, what: &str) {
        if self.json {
            println!("{}", serde_json::json!({"event": "note", "ms": 0, "text": what}));
        } else if !self.quiet {
            println!("{what}\n");
        }
    }

    /// A failure as this manner wants it told: for scripts as the last line of stdout, besides.
    pub fn told(&self, result: Result<Exit, Failure>) -> Result<Exit, Failure> {
        if let (true, Err(failure)) = (self.json, &result) {
            report::print_failure(failure);
        }
        result
    }
}

/// Shows the difference, asks, and rolls it out.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.manner.told(run_to_exit(arguments))
}

fn run_to_exit(arguments: &Arguments) -> Result<Exit, Failure> {
    let compared = diff::Arguments {
        first: arguments.next.clone(),
        second: None,
        namespace: arguments.namespace.clone(),
        ports: arguments.ports,
        all: false,
        json: false,
    };
    let (old, new) = Side::both(&compared)?;
    change_over("waldo deploy", &old, &new, &arguments.manner)
}

/// Shows how what runs and what is to run differ, asks, and rolls it out. `command` is who says so.
pub fn change_over(command: &'static str, old: &Side, new: &Side, manner: &Manner) -> Result<Exit, Failure> {
    let Some(paths) = &old.live else { return Err(nothing_runs(&new.plan)) };
    if !manner.dry_run {
        for server in cluster::revive_detached(paths).map_err(|error| Failure::new(error.to_string()))? {
            manner.note(&format!("the launcher of {server} had died; another one has taken over"));
        }
    }
    let found = drift::look(&old.plan, paths);
    let change = Change { command, paths, old, new, rebuilt: found.rebuilt.clone() };
    let diff = change.diff()?;
    if !manner.quiet && !manner.json {
        let shown = Shown { old: old.as_compared(), new: new.as_compared(), diff: &diff, drift: &found.drift };
        diff::show(&shown, Form::Summary)?;
    }
    if let Some(refused) = diff::refused(&diff) {
        return Err(refused);
    }
    if diff.is_empty() && found.rebuilt.is_empty() {
        if !manner.dry_run && change.is_unfinished()? {
            return change.roll_out(&diff, manner);
        }
        if manner.json {
            report::print_nothing(paths)?;
        }
        return Ok(Exit::Ok);
    }
    if manner.dry_run {
        return change.rehearse(&diff, manner);
    }
    if !manner.yes && !is_wanted("Roll this out?", "whether to roll this out")? {
        return Err(Failure::new("not rolled out").exit(Exit::Cancelled));
    }
    change.roll_out(&diff, manner)
}

/// There is nothing to be changed.
pub fn nothing_runs(plan: &Plan) -> Failure {
    Failure::new(format!("nothing runs in {}/{}", plan.topology, plan.namespace))
        .hint("`waldo up` starts it; `waldo deploy` changes what runs")
}

/// From what runs to what is to run.
struct Change<'a> {
    command: &'static str,
    paths: &'a Paths,
    old: &'a Side,
    new: &'a Side,
    rebuilt: BTreeSet<(String, String)>,
}

impl Change<'_> {
    fn diff(&self) -> Result<Diff<'_>, Failure> {
        let is_rebuilt = |server: &str, process: &ProcessPlan| {
            !self.rebuilt.is_empty() && self.rebuilt.contains(&(server.to_owned(), process.name.clone()))
        };
        diff_with_programs(&self.old.plan, &self.new.plan, &is_rebuilt)
            .map_err(|error| Failure::new(error.to_string()).hint("name a topology or plan of what runs here"))
    }

    /// Whether a rollout is under way, or was left by a deployer that has gone.
    fn is_unfinished(&self) -> Result<bool, Failure> {
        let store = waldo_runtime::rollout::Store::open(&self.paths.store()).map_err(|error| failed(&error.into()))?;
        Ok(store.unfinished().map_err(|error| failed(&error.into()))?.is_some())
    }

    fn rehearse(&self, diff: &Diff<'_>, manner: &Manner) -> Result<Exit, Failure> {
        preflight::check(&self.new.plan, self.paths)
            .map_err(|error| Failure { hint: error.hint(), ..Failure::new(error.to_string()) })?;
        let store = waldo_runtime::rollout::Store::open(&self.paths.store()).map_err(|error| failed(&error.into()))?;
        let from = store.live().map_err(|error| failed(&error.into()))?.unwrap_or(0);
        let phases = Deployer::rehearse(&self.rollout(from, diff)).map_err(|error| failed(&error))?;
        report::print_rehearsal(&phases, from + 1, manner.json);
        Ok(Exit::Ok)
    }

    fn rollout(&self, from: u64, diff: &Diff<'_>) -> Rollout<'_> {
        Rollout {
            from,
            live: &self.old.plan,
            next: &self.new.plan,
            origin: self.new.origin.as_ref(),
            rebuilt: &self.rebuilt,
            changes: summary(diff),
        }
    }

    fn roll_out(&self, diff: &Diff<'_>, manner: &Manner) -> Result<Exit, Failure> {
        // From here on Ctrl-C is a wish to go back, heeded where that can be done.
        let mut progress = Progress::new(manner.json, manner.quiet)?;
        let deployer = Deployer::take(self.paths, self.command).map_err(|error| failed(&error))?;
        let left = deployer.finish_what_was_left(&mut progress).map_err(|error| failed(&error))?;
        if let Some(left) = &left {
            if !left.is_over() {
                progress.clear();
                let exit = exit_of(left.result);
                report::print(left, exit, manner.json)?;
                return Ok(exit);
            }
            progress
                .say(&format!("a rollout whose deployer had gone was brought to its end: plan {}", left.generation));
        }
        let (from, live) = deployer.live().map_err(|error| failed(&error))?;
        if (left.is_some() || diff.is_empty()) && live.digest == self.new.plan.digest {
            // That rollout led where this one was to lead.
            progress.clear();
            if manner.json {
                report::print_nothing(self.paths)?;
            }
            return Ok(Exit::Ok);
        }
        if live.digest != self.old.plan.digest {
            return Err(Failure::new(format!("plan {from} has gone live since this difference was made"))
                .hint("look at the new one, and try again")
                .exit(Exit::Stale));
        }
        let rollout = Rollout { live: &live, ..self.rollout(from, diff) };
        let report = deployer.roll_out(&rollout, &mut progress).map_err(|error| failed(&error))?;
        progress.clear();
        let exit = exit_of(report.result);
        report::print(&report, exit, manner.json)?;
        Ok(exit)
    }
}

/// In a few words each, what changes.
pub fn summary(diff: &Diff<'_>) -> Vec<String> {
    let counts = [
        (Action::Start, "started"),
        (Action::Stop, "stopped"),
        (Action::Restart, "restarted"),
        (Action::Rewire, "rewired"),
    ];
    let processes = counts.into_iter().filter_map(|(action, what)| {
        let count = diff.count(action);
        (count > 0).then(|| format!("{count} {what}"))
    });
    let flows = diff.guide.iter().map(|change| format!("guide of {} changed", change.flow));
    let portals = diff.portals.iter().map(|change| format!("portal {}/{} changed", change.server, change.portal));
    processes.chain(flows).chain(portals).collect()
}

/// Asks on a terminal. `what` is what is asked, for who can't be.
pub fn is_wanted(question: &str, what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(format!("there is nobody to ask {what}"))
            .hint("say --yes, or --dry-run to only look")
            .exit(Exit::Usage));
    }
    let mut stderr = std::io::stderr();
    // Without a terminal to ask on, the answer is no.
    let _ = write!(stderr, "\n{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Why there was no rollout at all.
pub fn failed(error: &DeployError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        DeployError::Locked { .. } => failure.hint("wait for it, and look at the difference again").exit(Exit::Locked),
        DeployError::Stale { .. } => failure.hint("look at the new one, and try again").exit(Exit::Stale),
        _ => failure,
    }
}

/// The exit code for how a rollout ended.
pub fn exit_of(conclusion: Conclusion) -> Exit {
    match conclusion {
        Conclusion::Ok => Exit::Ok,
        Conclusion::Error => Exit::Error,
        Conclusion::RolledBack => Exit::RolledBack,
        Conclusion::Unhealthy => Exit::Unhealthy,
        Conclusion::IdleTimeout => Exit::NotIdle,
        Conclusion::Cancelled => Exit::Cancelled,
        Conclusion::Mixed => Exit::Mixed,
        Conclusion::Lost => Exit::Lost,
    }
}
