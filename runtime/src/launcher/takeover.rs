//! Taking over what a launcher that died has left: its processes go on, and become this launcher's.
//!
//! They aren't its children: the system doesn't tell it of their ends, which it sees by descriptors ([`Watched`]), nor
//! how they ended, which they say in their counters pages if they exit.

use std::time::Duration;

use waldo_compiler::plan::{Plan, ProcessPlan, ServerPlan};
use waldo_sdk::page::Page;

use super::{
    LaunchError, Options,
    kept::{Kept, Recorded},
    state::{Ended, Moment, Process, ProcessIndex, State},
};
use crate::{
    paths::ServerPaths,
    sys::{
        pidfd::Watched,
        process::{self, Identity, Marks},
    },
};

/// How long what an ended process has left may take to be gone once it is killed.
const GONE: Duration = Duration::from_secs(5);

/// What was left, made ready to go on with.
pub struct Left {
    /// What the other launcher kept; its machine knows of those that live.
    pub kept: Kept,
    /// What the processes live by.
    pub plans: Vec<ProcessPlan>,
    /// Their pages.
    pub pages: Vec<Page>,
    /// Those that live.
    pub living: Vec<(ProcessIndex, Watched)>,
    /// Those that have ended without the machine knowing it.
    pub ended: Vec<(ProcessIndex, Ended)>,
}

/// What a launcher left that died, if it can be gone on with.
pub fn find(options: &Options, places: &ServerPaths) -> Option<(Kept, Plan)> {
    let kept = Kept::read(places).filter(|kept| kept.server == options.server)?;
    let plan = super::read_plan(&kept.plan).ok().filter(|plan| plan.digest == kept.digest)?;
    Some((kept, plan))
}

/// Finds the processes, and whether they live; kills what is left of those that don't.
///
/// # Errors
/// If a page can't be opened, or the system refuses to let a process be watched.
pub fn take_over(mut kept: Kept, server: &ServerPlan, places: &ServerPaths) -> Result<Left, LaunchError> {
    let now = kept.clock().elapsed().as_millis() as Moment;
    let (mut plans, mut pages, mut living, mut ended) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, process) in kept.machine.processes_mut().iter_mut().enumerate() {
        let name = process.name.clone();
        let own = kept.plans.get(&name).or_else(|| server.processes.iter().find(|plan| plan.name == name));
        plans.push(own.cloned().ok_or_else(|| LaunchError::Forgotten(name.clone()))?);
        let path = places.page(&name);
        let page = Page::open(&path).map_err(LaunchError::io(format!("open the counters page {}", path.display())))?;
        let (found, news) = look(process, &page, places, now);
        let watched = found.map(Watched::open).transpose();
        let watched = watched.map_err(LaunchError::io(format!("watch {name}")))?.flatten();
        // It has ended just now.
        let news = news.or_else(|| {
            let has_ended = found.is_some() && watched.is_none();
            has_ended.then(|| how_it_ended(&page, page.incarnation()))
        });
        process.gate_closed = page.gate_closed();
        process.heartbeat = (page.heartbeat(), now);
        if news.is_some() {
            end_what_is_left(places, &name)?;
        }
        living.extend(watched.map(|watched| (ProcessIndex(place), watched)));
        ended.extend(news.map(|ended| (ProcessIndex(place), ended)));
        pages.push(page);
    }
    Ok(Left { kept, plans, pages, living, ended })
}

/// Looks for a process, and sets right what the other launcher kept of it. Answers who it is, if it lives, and how it ended, if
/// that is news.
pub fn look(
    process: &mut Process,
    page: &Page,
    places: &ServerPaths,
    now: Moment,
) -> (Option<Identity>, Option<Ended>) {
    let living = found_alive(places, &process.name, page.incarnation());
    let found = Found {
        incarnation: page.incarnation(),
        pid: living.map(|living| living.pid),
        exited: page.exit_status(page.incarnation()),
    };
    (living, find_again(process, found, now))
}

/// How a process ended that wasn't this launcher's child.
pub fn how_it_ended(page: &Page, incarnation: u64) -> Ended {
    page.exit_status(incarnation).map_or(Ended::Unseen, Ended::Status)
}

/// What there is of a process now.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Which start was its last, by its page.
    incarnation: u64,
    /// Its pid, if it lives.
    pid: Option<i32>,
    /// With which status it exited, if it said so.
    exited: Option<i32>,
}

/// Sets what the other launcher kept of a process right by what there is of it; answers how it ended, if that is news.
fn find_again(process: &mut Process, found: Found, now: Moment) -> Option<Ended> {
    let is_newer = found.incarnation > process.incarnation;
    process.incarnation = process.incarnation.max(found.incarnation);
    let was_alive = process.is_alive() || is_newer;
    if let Some(pid) = found.pid {
        if process.pid() != Some(pid) {
            // It was started, or started again, after the file was written; or the file said only that it would be.
            process.state = State::Starting { pid, deadline: now + process.ready_timeout };
        }
        return None;
    }
    if !was_alive {
        return None;
    }
    if process.pid().is_none() {
        process.state = State::Launching;
    }
    Some(found.exited.map_or(Ended::Unseen, Ended::Status))
}

/// The process of this name and incarnation, if it lives.
fn found_alive(places: &ServerPaths, name: &str, incarnation: u64) -> Option<Identity> {
    if incarnation == 0 {
        return None;
    }
    let recorded = Recorded::read(places, name).filter(|recorded| recorded.incarnation == incarnation);
    match recorded {
        Some(recorded) => Some(recorded.identity).filter(Identity::lives),
        None => unrecorded(places, name, incarnation),
    }
}

/// The same, where the launcher died after starting it and before it could record that: its environment says who it is,
/// and unlike what it has started itself it leads its group.
fn unrecorded(places: &ServerPaths, name: &str, incarnation: u64) -> Option<Identity> {
    let (run, state) = (places.process(name), places.state(name));
    let bearers = Marks { run: &run, state: &state }.bearers();
    let is_it = |pid| {
        process::group_of(pid) == Some(pid)
            && process::variable(pid, "WALDO_INCARNATION").is_some_and(|it| it.parse() == Ok(incarnation))
    };
    bearers.into_iter().find(|bearer| is_it(bearer.pid))
}

/// Kills what a process that has ended, unseen, may have left: the next one must be alone.
fn end_what_is_left(places: &ServerPaths, name: &str) -> Result<(), LaunchError> {
    let (run, state) = (places.process(name), places.state(name));
    let left = Marks { run: &run, state: &state }.bearers();
    process::end(&left, GONE).map_err(|left| LaunchError::Leftovers(left.iter().map(|it| it.pid).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(state: State, incarnation: u64) -> Process {
        let sources = waldo_compiler::Sources::of("t.yaml", "topology: t\nstages: {greet: {run: echo}}\n");
        let plan = waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan;
        let mut process = Process::new(&plan.servers["here"].processes[0]);
        (process.state, process.incarnation) = (state, incarnation);
        process
    }

    fn found(incarnation: u64, pid: Option<i32>, exited: Option<i32>) -> Found {
        Found { incarnation, pid, exited }
    }

    const READY: State = State::Ready { pid: 7, since: 3 };

    #[test]
    fn a_process_that_lives_is_where_it_was() {
        for state in [READY, State::Starting { pid: 7, deadline: 50 }] {
            let mut process = process(state.clone(), 1);
            assert_eq!(find_again(&mut process, found(1, Some(7), None), 100), None);
            assert_eq!((process.state, process.incarnation), (state, 1));
        }
    }

    #[test]
    fn a_process_that_has_ended_says_how_or_nobody_knows() {
        for (exited, ended) in [(Some(0), Ended::Status(0)), (Some(3), Ended::Status(3)), (None, Ended::Unseen)] {
            let mut process = process(READY, 1);
            assert_eq!(find_again(&mut process, found(1, None, exited), 100), Some(ended));
            assert_eq!(process.state, READY, "for the machine to decide");
        }
        assert!(!Ended::Unseen.is_success());
    }

    #[test]
    fn what_was_started_after_the_last_word_is_found_alive_or_has_ended() {
        for state in [State::Waiting, State::Launching, State::BackingOff { until: 9 }, READY] {
            let mut alive = process(state.clone(), 1);
            assert_eq!(find_again(&mut alive, found(2, Some(8), None), 100), None);
            assert!(matches!(alive.state, State::Starting { pid: 8, deadline } if deadline > 100), "{state:?}");
            assert_eq!(alive.incarnation, 2);
            let mut dead = process(state, 1);
            assert_eq!(find_again(&mut dead, found(2, None, Some(0)), 100), Some(Ended::Status(0)));
            assert_eq!(dead.incarnation, 2);
        }
    }

    #[test]
    fn what_had_ended_before_is_no_news() {
        for state in [State::Waiting, State::BackingOff { until: 9 }, State::Finished, State::GivenUp, State::Stopped] {
            let mut process = process(state.clone(), 1);
            assert_eq!(find_again(&mut process, found(1, None, Some(0)), 100), None);
            assert_eq!(process.state, state);
        }
        let mut starting = process(State::Launching, 1);
        assert_eq!(find_again(&mut starting, found(1, None, None), 100), Some(Ended::Unseen));
    }
}
