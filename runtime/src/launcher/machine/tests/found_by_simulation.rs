//! What the simulator of rollouts has found, step by step.

use waldo_compiler::plan::ProcessPlan;
use waldo_sdk::control::{FromProcess, ToProcess};

use super::{
    super::super::state::*,
    super::change::{Asked, Change, Order, Part},
    CLOSE, Effect, Event, FEED, RELAY, Server, start, tell,
};
use crate::rollout::{Failure, Stage, StepName};

const OPEN: ToProcess = ToProcess::gate(false);

/// A source's plan.
fn feed() -> ProcessPlan {
    let text = "topology: t\nflows: {f: {key: sender, guide: hash}}\nstages:\n  score: {run: score, in: [f]}\n  \
                feed: {run: feed, out: [f], ready: {timeout: 10s}}\n";
    let sources = waldo_compiler::Sources::of("t.yaml", text);
    let plan = waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan;
    plan.servers["here"].processes.iter().find(|process| process.name == "feed.0").unwrap().clone()
}

/// To a generation, with another program for the source.
fn with_another_source(generation: u64) -> Change {
    let part = Part { order: Order::Restart, plan: Some(feed()), after: Vec::new() };
    Change::new(generation, vec![("feed.0".to_owned(), part)])
}

/// To a generation that doesn't concern this server.
fn untouched(generation: u64) -> Change {
    Change::new(generation, Vec::new())
}

fn step(step: StepName) -> Event {
    Event::Step { step, but: Vec::new() }
}

fn progress(server: &Server) -> (u64, StepName, Stage) {
    let progress = server.machine.progress().unwrap();
    (progress.generation, progress.step, progress.state)
}

#[test]
fn a_release_ends_also_if_a_source_does_not_get_ready_and_says_so_to_whoever_asks() {
    let mut server = Server::flowing();
    server.on(Event::Prepared(with_another_source(2)), []);
    server.machine.handle(server.now, step(StepName::Switch));
    server.ends(FEED, Ended::Status(0), []);
    server.on(step(StepName::Release), [tell(RELAY, OPEN), Effect::Install { process: FEED }, start(FEED, 2)]);
    server.on(Event::Started { process: FEED, pid: 20 }, []);
    server.after(10_000, [Effect::Kill { process: FEED }]);
    server.ends(FEED, Ended::Signal("SIGKILL".to_owned()), [start(FEED, 3)]);
    let why = Failure::Other("feed.0 ended before it was ready: not ready within 10000 ms".to_owned());
    assert_eq!(server.machine.change(), None, "everything flows, and its own policy goes on");
    assert_eq!(progress(&server), (2, StepName::Release, Stage::Failed(why.clone())));
    assert_eq!(server.machine.asked(2, StepName::Release), Asked::Known(Stage::Failed(why)));
    assert_eq!(server.machine.generation(), 2);
}

#[test]
fn a_source_that_backs_off_is_not_started_again_by_the_old_plan_once_it_is_switched() {
    let mut server = Server::flowing();
    server.ends(FEED, Ended::Status(1), [start(FEED, 2)]);
    server.on(Event::Started { process: FEED, pid: 20 }, []);
    server.ends(FEED, Ended::Status(1), []);
    assert!(matches!(server.state(FEED), State::BackingOff { .. }));
    server.on(Event::Prepared(with_another_source(2)), []);
    server.on(step(StepName::Switch), []);
    server.after(100_000, []);
    server.on(step(StepName::Release), [tell(RELAY, OPEN), Effect::Install { process: FEED }, start(FEED, 3)]);
}

#[test]
fn a_server_that_a_rollout_does_not_concern_still_knows_it_when_the_way_back_from_it_is_given_up() {
    let mut server = Server::flowing();
    server.on(Event::Prepared(untouched(2)), []);
    server.on(Event::Prepared(untouched(3)), []);
    assert_eq!(server.machine.asked(2, StepName::Release), Asked::Former(Stage::Done), "a late question, or 3 is over");
    server.on(step(StepName::Abort), [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    assert_eq!(server.machine.asked(3, StepName::Abort), Asked::Known(Stage::Done));
    assert_eq!(server.machine.asked(2, StepName::Release), Asked::Take);
    server.on(step(StepName::Release), [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    assert_eq!((server.machine.generation(), server.machine.change()), (2, None));
}

#[test]
fn what_failed_after_its_decision_goes_live_when_the_way_back_from_it_is_given_up() {
    let mut server = Server::flowing();
    server.on(Event::Prepared(with_another_source(2)), []);
    server.on(step(StepName::Hold), [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.machine.handle(server.now, step(StepName::Switch));
    server.says(FEED, FromProcess::Gate { closed: true }, []);
    server.ends(FEED, Ended::Status(0), []);
    server.on(Event::Prepared(untouched(3)), []);
    assert_eq!(server.machine.asked(3, StepName::Abort), Asked::Take);
    let released = [tell(RELAY, OPEN), Effect::Install { process: FEED }, start(FEED, 2)];
    server.on(step(StepName::Abort), released);
    assert_eq!(server.machine.generation(), 2);
    assert!(!server.machine.gate_closed());
}

#[test]
fn a_rollout_that_was_being_given_up_still_is_when_the_one_after_it_is_given_up_too() {
    let mut server = Server::flowing();
    server.on(Event::Prepared(untouched(2)), []);
    server.on(step(StepName::Hold), [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.on(step(StepName::Abort), [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    // The portal is stopped, and opens late.
    server.says(FEED, FromProcess::Gate { closed: true }, []);
    server.says(FEED, FromProcess::Gate { closed: false }, []);
    server.on(Event::Prepared(untouched(3)), []);
    server.on(step(StepName::Hold), [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.on(step(StepName::Abort), [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    assert!(!server.machine.gate_closed());
    for process in [RELAY, FEED] {
        server.says(process, FromProcess::Gate { closed: true }, []);
        server.says(process, FromProcess::Gate { closed: false }, []);
    }
    assert_eq!((server.machine.generation(), server.machine.change()), (1, None));
}

#[test]
fn no_step_is_taken_twice_or_back_and_none_after_an_abort() {
    let mut server = Server::flowing();
    assert!(matches!(server.machine.asked(2, StepName::Hold), Asked::Known(Stage::Failed(_))), "it isn't prepared");
    assert!(matches!(server.machine.asked(1, StepName::Prepare), Asked::Known(Stage::Failed(_))), "it is live");
    assert_eq!(server.machine.asked(1, StepName::Release), Asked::Known(Stage::Done));
    assert_eq!(server.machine.asked(2, StepName::Abort), Asked::Known(Stage::Done));
    server.on(Event::Prepared(untouched(2)), []);
    assert_eq!(server.machine.asked(2, StepName::Prepare), Asked::Known(Stage::Done));
    server.on(step(StepName::HoldAgain), [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    for earlier in [StepName::Hold, StepName::Idle, StepName::Drain] {
        assert_eq!(server.machine.asked(2, earlier), Asked::Known(Stage::Done));
    }
    let mut decided = Server { machine: server.machine.clone(), now: server.now };
    decided.on(step(StepName::AdoptPortals), []);
    assert!(matches!(decided.machine.asked(2, StepName::Abort), Asked::Known(Stage::Failed(_))));
    server.on(step(StepName::Abort), [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    for late in [StepName::Prepare, StepName::Hold, StepName::AdoptPortals, StepName::Release] {
        assert!(matches!(server.machine.asked(2, late), Asked::Known(Stage::Failed(_))), "{late}");
    }
    assert_eq!(server.machine.asked(2, StepName::Abort), Asked::Known(Stage::Done));
    assert_eq!(server.machine.asked(3, StepName::Prepare), Asked::Take);
}
