//! `waldo up`: compiles a topology and runs it on this machine, one launcher for each server.

mod lead;
mod outcome;
mod progress;
mod saves;
mod watch;

use std::time::Instant;

use signal_hook::iterator::Signals;
use waldo_compiler::plan::{Plan, ProcessPlan};
use waldo_runtime::{
    cluster::{self, Cluster, neighbours, outlook::Trouble, preflight},
    control::{Holder, ServerStatus},
    launcher::{Limits, last_lines},
    ledger::{self, When},
    paths::{self, Paths},
    programs::Programs,
    rollout::Store,
    sys::{
        lock::{self, Lock, Taken},
        process::Identity,
    },
};

use self::{
    lead::{Broken, Lead},
    outcome::Outcome,
    progress::Progress,
    watch::Watch,
};
use crate::{
    exit::{Exit, Failure},
    located::Target,
    logs,
    numbers::grouped,
    topology_file::counted,
};

/// How many lines of a log an error shows.
const SHOWN: usize = 10;
/// How many lines of each log a loss shows.
const SHOWN_EACH: usize = 3;

/// What to run, and until when.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// End as soon as all sources have finished and no record is left anywhere.
    #[arg(long, conflicts_with = "detach")]
    until_idle: bool,
    /// With --until-idle, for a topology without sources: clients have sent all they have, or begin within 30 s and don't
    /// pause for a second.
    #[arg(long, requires = "until_idle")]
    clients_done: bool,
    /// Come back once everything is ready, and leave it running.
    #[arg(long)]
    detach: bool,
    /// Check each save of the topology's files, and roll it out. What is wrong with one is shown, and what runs goes on.
    #[arg(long, conflicts_with = "detach")]
    watch: bool,
    /// Drop the records that an earlier run has left in the portals' spools, in place of delivering them first.
    #[arg(long)]
    fresh: bool,
    /// The first of the block of ports that the portals use.
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Option<u16>,
    /// Say what happens as JSON, one line an event, and the ledger last.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

/// A namespace that is ours to run: compiled, checked and locked.
struct Ready {
    plan: Plan,
    paths: Paths,
    lock: Lock,
    generation: u64,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let result = run_to_result(arguments);
    if let (true, Err(failure)) = (arguments.json, &result) {
        let outcome = Outcome { error: Some(failure.message.clone()), ..Outcome::new(failure.exit, 0) };
        outcome.print(true);
    }
    result
}

fn run_to_result(arguments: &Arguments) -> Result<Exit, Failure> {
    let began = Instant::now();
    // From here on Ctrl-C is ours to handle: nothing is started that a signal could leave behind.
    let signals = lead::catch_signals().map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
    let mut progress = Progress::new(arguments.quiet, arguments.json);
    let ready = prepare(arguments, &mut progress)?;
    let checked = began.elapsed().as_millis() as u64;
    let result = lead(arguments, &ready, signals, &mut progress);
    progress.clear();
    if matches!(result, Ok(Ended { detached: true, .. })) {
        return Ok(Exit::Ok);
    }
    ready.paths.remove_run();
    drop(ready.lock);
    let Ended { mut outcome, failure, .. } = result?;
    outcome.phases.shift_insert(0, "check".to_owned(), checked.into());
    if let Some(failure) = &failure {
        outcome.error = Some(failure.message.clone());
        failure.print();
    }
    outcome.print(arguments.json);
    exit_of(&outcome)
}

fn exit_of(outcome: &Outcome) -> Result<Exit, Failure> {
    [Exit::Ok, Exit::Lost, Exit::Cancelled, Exit::Error]
        .into_iter()
        .find(|exit| exit.code() == outcome.exit)
        .ok_or_else(|| Failure::new(format!("exit code {} is none of a run", outcome.exit)))
}

/// How leading a cluster ended.
struct Ended {
    outcome: Outcome,
    failure: Option<Failure>,
    detached: bool,
}

fn prepare(arguments: &Arguments, progress: &mut Progress) -> Result<Ready, Failure> {
    let root = arguments.target.root()?;
    let compiled = crate::compile::local(&arguments.target, arguments.ports)?;
    let plan = compiled.plan();
    preflight::is_here(plan).map_err(|error| unfit(&error))?;
    let has_sources = plan.servers.values().flat_map(|server| &server.processes).any(ProcessPlan::is_source);
    if arguments.until_idle && !has_sources && !arguments.clients_done {
        return Err(Failure::new(
            "no stage of this topology is a source, so --until-idle can't know when all has been sent",
        )
        .hint("say --clients-done when clients have sent all they have")
        .exit(Exit::Usage));
    }
    let run_root = paths::run_root();
    let paths = Paths::new(&run_root, &root, &plan.topology, &plan.namespace);
    preflight::check(plan, &paths).map_err(|error| unfit(&error))?;
    paths.make_kept().and_then(|()| paths.make_run(&run_root)).map_err(|error| unfit(&error.into()))?;
    let lock = take(&paths, plan)?;
    let prepared = clear_the_way(&paths, plan, progress).and_then(|()| {
        is_ours_alone(&paths, plan)?;
        preflight::check_ports(plan, &run_root).map_err(|error| unfit(&error))?;
        paths.forget_pauses_and_plans();
        if arguments.fresh {
            paths.remove_spools().map_err(|error| unfit(&error.into()))?;
        }
        compiled.write(&paths.build())?;
        // What is compiled later doesn't touch what runs.
        std::fs::copy(paths.build().join("plan.json"), paths.live_plan())
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", paths.live_plan().display())))?;
        Store::open(&paths.store())
            .and_then(|store| {
                let generation = store.begin(plan)?;
                store.put_programs(generation, &Programs::of(plan, &root, std::env::var_os("PATH")))?;
                store.put_origin(generation, compiled.origin()).map(|()| generation)
            })
            .map_err(|error| Failure::new(error.to_string()).hint("make room on the disk, or mend the rights"))
    });
    match prepared {
        Ok(generation) => Ok(Ready { plan: compiled.into_plan(), paths, lock, generation }),
        Err(failure) => {
            // Nothing was started; but what runs already, detached, must keep its directory.
            if paths.servers_running().is_empty() {
                paths.remove_run();
            }
            Err(failure)
        }
    }
}

fn unfit(error: &preflight::Unfit) -> Failure {
    Failure { hint: error.hint(), ..Failure::new(error.to_string()) }
}

fn take(paths: &Paths, plan: &Plan) -> Result<Lock, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot lock {}: {error}", paths.lock().display()));
    let holder = Holder {
        identity: Identity::own().map_err(failed)?,
        what: "waldo up".to_owned(),
        root: Some(paths.root().to_owned()),
    };
    match Lock::take(&paths.lock(), &holder).map_err(failed)? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Held(by) => {
            let by = by.map_or_else(String::new, |by: Holder| format!(" by process {} ({})", by.identity.pid, by.what));
            let failure = Failure::new(format!("{}/{} is run already{by}", plan.topology, plan.namespace));
            let hint = "`waldo down` ends it; another namespace (-n) runs beside it";
            Err(namesake(paths).unwrap_or_else(|| failure.hint(hint)).exit(Exit::Locked))
        }
    }
}

/// Another topology has this one's name, and runs.
fn namesake(paths: &Paths) -> Option<Failure> {
    let other = neighbours::namesake(paths)?;
    let name = paths.run().strip_prefix(paths::run_root()).unwrap_or(paths.run());
    let failure =
        Failure::new(format!("another topology of this name runs as {}: {}", name.display(), other.display()));
    Some(failure.hint("give one of them another name (`topology:`), or choose another namespace with -n"))
}

/// Makes sure that nothing that has another run directory works on the same state and spools.
fn is_ours_alone(paths: &Paths, plan: &Plan) -> Result<(), Failure> {
    for server in plan.servers.keys() {
        let path = paths.server(server).kept_lock();
        let held = lock::holder::<Holder>(&path)
            .map_err(|error| Failure::new(format!("cannot look at {}: {error}", path.display())))?;
        if let Some(by) = held {
            let by = by.map_or_else(String::new, |by| format!(" (launcher: process {})", by.identity.pid));
            return Err(Failure::new(format!(
                "{}/{} is run already, from another run directory{by}",
                plan.topology, plan.namespace
            ))
            .hint("give WALDO_RUN_DIR the same value everywhere; then `waldo down` finds it")
            .exit(Exit::Locked));
        }
    }
    Ok(())
}

/// Makes sure that nothing of the namespace runs: what runs detached is respected, what a killed command left is ended.
fn clear_the_way(paths: &Paths, plan: &Plan, progress: &mut Progress) -> Result<(), Failure> {
    let name = format!("{}/{}", plan.topology, plan.namespace);
    let failed = |error: String| Failure::new(format!("cannot clear what an earlier run of {name} left: {error}"));
    let revived = cluster::revive_detached(paths).map_err(|error| Failure::new(error.to_string()))?;
    for mut client in cluster::connect(paths) {
        if let Ok(status) = client.status()
            && !status.attached
        {
            let mut what =
                format!("{name} runs already, detached (launcher of {}: process {})", status.server, status.pid);
            if !revived.is_empty() {
                what.push_str("; launchers had died and were started again: ");
                what.push_str(&revived.join(", "));
            }
            let failure = Failure::new(what);
            let hint = "`waldo status` shows it, `waldo down` ends it";
            return Err(namesake(paths).unwrap_or_else(|| failure.hint(hint)).exit(Exit::Locked));
        }
    }
    let ended = cluster::end(paths, false, cluster::stop_takes(plan)).map_err(|error| failed(error.to_string()))?;
    if !ended.is_nothing() {
        progress.say(&format!("ended what an earlier run of {name} had left running"));
    }
    Ok(())
}

fn lead(arguments: &Arguments, ready: &Ready, signals: Signals, progress: &mut Progress) -> Result<Ended, Failure> {
    let Ready { plan, paths, generation, .. } = ready;
    let count: usize = plan.servers.values().map(|server| server.processes.len()).sum();
    progress.say(&format!(
        "{}/{}: starting {count} processes on {}",
        plan.topology,
        plan.namespace,
        counted(plan.servers.len(), "server")
    ));
    // Kept until all launchers have ended, or go on alone.
    let _limits = Limits::of_all(plan);
    let cluster = Cluster::start(&paths.live_plan(), plan, paths, *generation)
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut lead = Lead::new(ready, cluster, signals, progress);
    let started = lead.start();
    if started.is_ok() && arguments.watch {
        lead.watch(Watch::new(&arguments.target, arguments.ports, paths));
    }
    if started.is_ok() && arguments.detach {
        return detach(arguments, ready, lead);
    }
    let came_to_its_end = match started {
        Err(broken) => Err(broken),
        Ok(()) if arguments.until_idle => lead.flow_until_idle(),
        Ok(()) => Err(lead.flow()),
    };
    // What a failed process said last is shown as it was when it failed.
    let ending = end_of(came_to_its_end);
    let stopped = if ending.abrupt { Ok(None) } else { lead.stop().map(Some) };
    let killed = lead.killed;
    let phases = std::mem::take(&mut lead.phases);
    let mut outcome = Outcome::new(ending.exit, lead.generation());
    let mut cluster = lead.into_cluster();
    let gone = cluster.gone().to_vec();
    let undead = cluster.end_at_once();
    outcome.phases = phases.into_iter().map(|(phase, ms)| (phase.to_owned(), ms.into())).collect();
    let mut failure = ending.failure;
    match stopped {
        Ok(Some(mut last)) => {
            let failed = cluster::write_off(paths, &mut last);
            last.extend(gone);
            outcome.flows = accounts(plan, &last);
            // Whoever cuts a stop short knows what that costs.
            let failed = failed.first().filter(|_| !killed);
            failure = failure.or_else(|| failed.map(portal_failed));
            if ending.exit == Exit::Ok && outcome.has_losses() {
                failure = failure.or_else(|| at_a_loss(&last));
            }
        }
        Ok(None) => {}
        Err(error) => failure = failure.or_else(|| Some(Failure::new(error.to_string()))),
    }
    if !undead.is_empty() {
        failure = failure.or_else(|| Some(Failure::new(format!("processes {undead:?} don't end, even killed"))));
    }
    let exit = match &failure {
        Some(failure) => failure.exit,
        None if ending.exit == Exit::Ok && outcome.has_losses() => Exit::Lost,
        None => ending.exit,
    };
    outcome.exit = exit.code();
    outcome.result = exit.word();
    Ok(Ended { outcome, failure, detached: false })
}

fn accounts(plan: &Plan, servers: &[ServerStatus]) -> std::collections::BTreeMap<String, ledger::Account> {
    ledger::accounts(plan.flows.keys().map(String::as_str), servers, When::Ended)
}

/// How a run ends: with which exit code, what is said, and whether launchers can't be asked to stop any more.
struct Ending {
    exit: Exit,
    failure: Option<Failure>,
    abrupt: bool,
}

fn end_of(result: Result<(), Broken>) -> Ending {
    let failed = |failure: Failure, abrupt| Ending { exit: Exit::Error, failure: Some(failure), abrupt };
    match result {
        Ok(()) => Ending { exit: Exit::Ok, failure: None, abrupt: false },
        Err(Broken::Interrupted | Broken::StoppedByAnother) => {
            Ending { exit: Exit::Cancelled, failure: None, abrupt: false }
        }
        Err(Broken::Cluster(error)) => failed(Failure::new(error.to_string()), true),
        Err(Broken::Trouble(trouble)) => failed(in_trouble(&trouble), false),
        Err(Broken::Unprovable(why)) => failed(Failure::new(why), false),
    }
}

/// Who died while records were lost; `None` if nobody did.
fn at_a_loss(servers: &[ServerStatus]) -> Option<Failure> {
    let processes = servers.iter().flat_map(|server| server.processes.iter().map(move |process| (server, process)));
    let mut lines = vec!["records were lost".to_owned()];
    for (server, process) in processes.filter(|(_, process)| process.restarts > 0) {
        let times = counted(process.restarts as usize, "time");
        lines.push(format!(
            "  {}/{} had to be started again {times}; its log, {}:",
            server.server,
            process.name,
            logs::short(&process.log).display()
        ));
        let said = last_lines(&process.log, process.log_from, SHOWN_EACH);
        lines.extend(said.into_iter().map(|line| format!("  | {line}")));
    }
    (lines.len() > 1).then(|| Failure::new(lines.join("\n")).exit(Exit::Lost))
}

fn in_trouble(trouble: &Trouble) -> Failure {
    with_log(&trouble.what, &trouble.log, trouble.log_from)
}

/// A portal ended at a stop so that records may be lost.
pub fn portal_failed(failed: &cluster::Failed) -> Failure {
    let cluster::Failed { server, portal, ended, records, log, log_from } = failed;
    let records = grouped(*records);
    let what = match ended {
        Some(ended) => {
            format!("{server}/{portal} did not end well ({ended}): the {records} records that it held may be lost")
        }
        None => format!(
            "{server}/{portal} had sent {records} records on to other portals, which didn't confirm them: they may be lost"
        ),
    };
    with_log(&what, log, *log_from).exit(Exit::Lost)
}

fn with_log(what: &str, log: &std::path::Path, from: u64) -> Failure {
    let said = last_lines(log, from, SHOWN);
    let log = logs::short(log);
    let about_log = if said.is_empty() { "its log is empty:" } else { "the end of its log," };
    let mut lines = vec![what.to_owned(), format!("  {about_log} {}", log.display())];
    lines.extend(said.into_iter().map(|line| format!("  | {line}")));
    Failure::new(lines.join("\n"))
}

fn detach(arguments: &Arguments, ready: &Ready, lead: Lead) -> Result<Ended, Failure> {
    let Ready { plan, generation, .. } = ready;
    lead.into_cluster().detach().map_err(|error| Failure::new(error.to_string()))?;
    let name = format!("{}/{}", plan.topology, plan.namespace);
    if arguments.json {
        Outcome::new(Exit::Ok, *generation).print(true);
    } else {
        println!("{name} is up (plan {generation}); `waldo status`, `waldo logs` and `waldo down` look after it");
    }
    Ok(Ended { outcome: Outcome::new(Exit::Ok, *generation), failure: None, detached: true })
}
