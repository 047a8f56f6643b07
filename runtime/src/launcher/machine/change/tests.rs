//! Each test asks for steps as a deployer does, and demands the effects, all of them and no other.

mod down;

use waldo_compiler::plan::Restart;
use waldo_sdk::control::FromProcess;

use super::*;
use crate::launcher::{
    machine::{Event, KILLED},
    state::Step as How,
};

const RELAY: ProcessIndex = ProcessIndex(0);
const SCORE: ProcessIndex = ProcessIndex(1);
const FEED: ProcessIndex = ProcessIndex(2);
/// The first one that a rollout brings.
const NEW: ProcessIndex = ProcessIndex(3);

const TOPOLOGY: &str = "
topology: t
flows: {call: {key: sender, guide: hash}, word: {}}
stages:
  feed: {run: echo, out: [call, word]}
  score: {run: echo, in: [call, word]}
  score2: {run: echo, in: [call, word]}
  feed2: {run: echo, out: [call, word]}
portals:
  relay: {flows: [call]}
";

fn plan_of(name: &str) -> ProcessPlan {
    let sources = waldo_compiler::Sources::of("t.yaml", TOPOLOGY);
    let plan = waldo_compiler::compile(&sources, waldo_compiler::Choice::Only, None).unwrap().plan;
    let mut all = plan.servers["here"].processes.clone();
    let mut found = all.remove(all.iter().position(|process| process.name == stand_in(name)).unwrap());
    found.name = name.to_owned();
    found
}

/// Portals that only a rollout knows are made like the one that there is.
fn stand_in(name: &str) -> &str {
    if name == "relay2" { "relay" } else { name }
}

/// A server with the portal `relay`, the stage `score` and the source `feed`, all ready under plan 1.
struct Server {
    machine: Machine,
    now: Moment,
}

const CLOSE: ToProcess = ToProcess::gate(true);
const OPEN: ToProcess = ToProcess::gate(false);

fn tell(process: ProcessIndex, message: ToProcess) -> Effect {
    Effect::Tell { process, message }
}

fn start(process: ProcessIndex, incarnation: u64) -> Effect {
    Effect::Start { process, incarnation }
}

fn install(process: ProcessIndex) -> Effect {
    Effect::Install { process }
}

fn adopt(process: ProcessIndex, generation: u64) -> Effect {
    tell(process, ToProcess::Adopt { generation })
}

const NOTHING: [Effect; 0] = [];

impl Server {
    fn flowing() -> Self {
        let processes = ["relay", "score.0", "feed.0"].map(|name| Process::new(&plan_of(name)));
        let mut server = Self { machine: Machine::new(1, processes.into(), 5_000, 5_000), now: 1_000 };
        server.on(Event::Begin, [start(RELAY, 1)]);
        server.becomes_ready(RELAY, 1, [start(SCORE, 1)]);
        server.becomes_ready(SCORE, 1, NOTHING);
        server.on(Event::StartSources, [start(FEED, 1)]);
        server.becomes_ready(FEED, 1, NOTHING);
        server
    }

    /// The same, with a rollout prepared to plan 2 that does this with these processes, and nothing with the others.
    fn with(orders: &[(&str, Order)]) -> Self {
        let mut server = Self::flowing();
        server.prepare(2, orders);
        server
    }

    /// The same, proved idle.
    fn idle(orders: &[(&str, Order)]) -> Self {
        let mut server = Self::with(orders);
        server.hold();
        server
    }

    fn prepare(&mut self, generation: u64, orders: &[(&str, Order)]) {
        let part = |(name, order): &(&str, Order)| {
            let plan = (*order != Order::Leave).then(|| plan_of(name));
            ((*name).to_owned(), Part { order: *order, plan, after: Vec::new() })
        };
        let mut parts: Vec<(String, Part)> = orders.iter().map(part).collect();
        for name in ["relay", "score.0", "feed.0"] {
            if parts.iter().all(|(known, _)| known != name) {
                parts.push(part(&(name, Order::Keep)));
            }
        }
        self.on(Event::Prepared(Change::new(generation, parts)), NOTHING);
    }

    fn hold(&mut self) {
        self.asks(StepName::Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
        assert_eq!(self.stage(), working(&["relay to close its gate", "feed.0 to close its gate"]));
        self.closes(1);
        assert_eq!(self.stage(), Stage::Done);
        self.asks(StepName::Idle, NOTHING);
        assert!(self.machine.wants_idle_proof());
        self.on(Event::JudgedIdle(None), NOTHING);
        assert_eq!(self.stage(), Stage::Done);
    }

    #[track_caller]
    fn on(&mut self, event: Event, expected: impl IntoIterator<Item = Effect>) {
        let effects = self.machine.handle(self.now, event);
        assert_eq!(effects, expected.into_iter().collect::<Vec<_>>());
    }

    #[track_caller]
    fn asks(&mut self, step: StepName, expected: impl IntoIterator<Item = Effect>) {
        self.on(Event::Step { step, but: Vec::new() }, expected);
    }

    /// Asks for these steps, in which nothing is done.
    #[track_caller]
    fn passes(&mut self, steps: &[StepName]) {
        for step in steps {
            self.asks(*step, NOTHING);
            assert_eq!(self.stage(), Stage::Done, "{step}");
        }
    }

    #[track_caller]
    fn after(&mut self, milliseconds: u64, expected: impl IntoIterator<Item = Effect>) {
        self.now += milliseconds;
        self.on(Event::Tick, expected);
    }

    #[track_caller]
    fn says(
        &mut self,
        process: ProcessIndex,
        generation: u64,
        message: FromProcess,
        expected: impl IntoIterator<Item = Effect>,
    ) {
        let incarnation = self.of(process).incarnation;
        self.on(Event::Said { process, incarnation, generation, message }, expected);
    }

    #[track_caller]
    fn starts(&mut self, process: ProcessIndex) {
        self.on(Event::Started { process, pid: 7 }, NOTHING);
    }

    #[track_caller]
    fn becomes_ready(&mut self, process: ProcessIndex, generation: u64, expected: impl IntoIterator<Item = Effect>) {
        self.starts(process);
        self.says(process, generation, FromProcess::Hello { process: String::new(), pid: 7, ready: false }, NOTHING);
        self.says(process, generation, FromProcess::Ready, expected);
    }

    #[track_caller]
    fn adopts(&mut self, process: ProcessIndex, generation: u64) {
        self.says(process, generation, FromProcess::Adopted { generation }, NOTHING);
    }

    #[track_caller]
    fn ends(&mut self, process: ProcessIndex, status: i32, expected: impl IntoIterator<Item = Effect>) {
        self.on(Event::Ended { process, ended: Ended::Status(status) }, expected);
    }

    fn of(&self, process: ProcessIndex) -> &Process {
        &self.machine.processes()[process.0]
    }

    fn stage(&self) -> Stage {
        self.machine.progress().unwrap().state
    }

    /// Portal and source close their gates.
    #[track_caller]
    fn closes(&mut self, generation: u64) {
        self.says(RELAY, generation, FromProcess::Gate { closed: true }, NOTHING);
        self.says(FEED, generation, FromProcess::Gate { closed: true }, NOTHING);
    }

    /// Portal and source open their gates.
    #[track_caller]
    fn opens(&mut self, generation: u64) {
        self.says(RELAY, generation, FromProcess::Gate { closed: false }, NOTHING);
        self.says(FEED, generation, FromProcess::Gate { closed: false }, NOTHING);
    }

    /// The rollout is over, and this plan is live.
    #[track_caller]
    fn assert_lives_by(&self, generation: u64) {
        assert!(self.machine.change().is_none(), "nothing is under way: {:?}", self.machine.progress());
        assert_eq!((self.machine.generation(), self.stage()), (generation, Stage::Done));
    }
}

fn working(waits_for: &[&str]) -> Stage {
    Stage::Working(waits_for.iter().map(|&what| what.to_owned()).collect())
}

fn failed(why: &str) -> Stage {
    Stage::Failed(Failure::Other(why.to_owned()))
}

use StepName::{Abort, AdoptPortals, Flush, HandOver, Release, Settle, Switch};

const OPENED: [Effect; 2] =
    [Effect::Tell { process: RELAY, message: OPEN }, Effect::Tell { process: FEED, message: OPEN }];

#[test]
fn what_is_kept_hears_of_nothing_but_gates() {
    let mut server = Server::idle(&[]);
    server.passes(&[AdoptPortals, Switch, Flush, HandOver, Settle]);
    server.asks(Release, OPENED);
    assert_eq!(server.stage(), working(&["relay to open its gate", "feed.0 to open its gate"]));
    server.opens(1);
    server.assert_lives_by(2);
    assert_eq!(server.machine.next_deadline(), None);
}

#[test]
fn a_server_that_changes_nothing_is_prepared_and_released_and_that_is_all() {
    let mut server = Server::with(&[]);
    server.asks(Release, OPENED);
    server.assert_lives_by(2);
}

#[test]
fn what_adopts_is_told_once_and_portals_go_first_and_through_all_steps() {
    let mut server = Server::idle(&[("relay", Order::Adopt), ("score.0", Order::Adopt), ("feed.0", Order::Adopt)]);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    assert_eq!(server.stage(), working(&["relay to adopt the new plan"]));
    server.says(FEED, 1, FromProcess::Trouble { text: "slow".to_owned() }, NOTHING);
    server.adopts(RELAY, 2);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Switch, [install(SCORE), adopt(SCORE, 2), install(FEED), adopt(FEED, 2)]);
    server.says(FEED, 1, FromProcess::Trouble { text: "slow".to_owned() }, NOTHING);
    server.adopts(SCORE, 2);
    assert_eq!(server.stage(), working(&["feed.0 to adopt the new plan"]));
    server.adopts(FEED, 2);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Flush, NOTHING);
    for process in [SCORE, FEED] {
        server.says(process, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
    }
    assert_eq!(server.stage(), working(&["relay for receipts of what it sent by the old guide"]));
    server.says(RELAY, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(HandOver, [tell(RELAY, ToProcess::HandOver { generation: 2 })]);
    assert_eq!(server.stage(), working(&["relay to hand over what it doesn't own any more"]));
    server.says(RELAY, 2, FromProcess::HandedOver { generation: 2 }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Settle, [tell(RELAY, ToProcess::Settle { generation: 2 })]);
    assert_eq!(server.stage(), working(&["relay to put what it has set aside in order"]));
    server.says(RELAY, 2, FromProcess::Settled { generation: 2 }, NOTHING);
    server.asks(Release, OPENED);
    server.opens(2);
    server.assert_lives_by(2);
}

#[test]
fn a_stage_that_restarts_leaves_and_comes_back_with_the_new_wiring() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop)]);
    assert_eq!(server.stage(), working(&["score.0 to leave"]));
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    assert_eq!(server.stage(), working(&["score.0 to be ready"]));
    server.becomes_ready(SCORE, 2, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.passes(&[Flush, HandOver, Settle]);
    server.asks(Release, OPENED);
    server.opens(1);
    server.assert_lives_by(2);
    assert_eq!((server.of(SCORE).installed, server.of(SCORE).failures), (2, 0));
}

#[test]
fn a_stage_that_does_not_leave_is_killed_and_started_all_the_same() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    let grace = server.of(SCORE).grace;
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop)]);
    server.after(200, [Effect::Signal { process: SCORE }]);
    server.after(grace - 200, [Effect::Kill { process: SCORE }]);
    server.after(KILLED, [install(SCORE), start(SCORE, 2)]);
}

#[test]
fn a_source_that_restarts_leaves_in_the_switch_and_comes_back_when_gates_open() {
    let mut server = Server::idle(&[("feed.0", Order::Restart)]);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [tell(FEED, ToProcess::Stop)]);
    server.ends(FEED, 0, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.passes(&[Flush, HandOver, Settle]);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 2)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    assert_eq!(server.stage(), working(&["feed.0 to be ready"]));
    server.becomes_ready(FEED, 2, NOTHING);
    server.assert_lives_by(2);
}

#[test]
fn a_source_that_backs_off_is_not_started_by_what_it_was_once_the_switch_has_begun() {
    let mut server = Server::idle(&[("feed.0", Order::Restart)]);
    server.ends(FEED, 1, [start(FEED, 2)]);
    server.starts(FEED);
    server.ends(FEED, 1, NOTHING);
    assert!(matches!(server.of(FEED).state, State::BackingOff { .. }));
    server.passes(&[AdoptPortals, Switch, Flush, HandOver, Settle]);
    server.after(60_000, NOTHING);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 3)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    server.becomes_ready(FEED, 2, NOTHING);
    server.assert_lives_by(2);
}

#[test]
fn a_source_that_is_done_at_once_is_no_failure() {
    let mut server = Server::idle(&[("feed.0", Order::Restart)]);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [tell(FEED, ToProcess::Stop)]);
    server.ends(FEED, 0, NOTHING);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 2)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    server.starts(FEED);
    server.ends(FEED, 0, NOTHING);
    server.assert_lives_by(2);
    assert_eq!(server.of(FEED).state, State::Finished);
}

#[test]
fn a_source_that_fails_when_gates_are_open_is_told_and_its_own_policy_goes_on() {
    let mut server = Server::idle(&[("feed.0", Order::Restart)]);
    server.asks(Switch, [tell(FEED, ToProcess::Stop)]);
    server.ends(FEED, 0, NOTHING);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 2)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    server.starts(FEED);
    server.ends(FEED, 1, [start(FEED, 3)]);
    assert_eq!(server.stage(), failed("feed.0 ended before it was ready: exit status 1"));
    server.becomes_ready(FEED, 2, NOTHING);
    assert!(server.machine.change().is_none(), "it is over, whatever came of it");
    assert_eq!(server.machine.generation(), 2);
    assert_eq!(server.stage(), failed("feed.0 ended before it was ready: exit status 1"), "whoever asks late is told");
}

#[test]
fn a_finished_source_that_is_kept_stays_so_and_one_with_other_arguments_begins_anew() {
    for (order, comes) in [(Order::Keep, false), (Order::Adopt, false), (Order::Restart, true)] {
        let mut server = Server::flowing();
        server.ends(FEED, 0, NOTHING);
        server.prepare(2, &[("feed.0", order)]);
        server.asks(Switch, if order == Order::Adopt { vec![install(FEED)] } else { vec![] });
        assert_eq!(server.stage(), Stage::Done, "{order:?}");
        let opened = vec![tell(RELAY, OPEN)];
        server.asks(Release, if comes { [opened, vec![install(FEED), start(FEED, 2)]].concat() } else { opened });
    }
}

#[test]
fn new_processes_are_started_portals_first_then_stages_and_sources_when_gates_open() {
    let mut server = Server::idle(&[("relay2", Order::Start), ("score2.0", Order::Start), ("feed2.0", Order::Start)]);
    let (relay, score, feed) = (NEW, ProcessIndex(4), ProcessIndex(5));
    server.asks(AdoptPortals, [install(relay), start(relay, 1)]);
    assert_eq!(server.stage(), working(&["relay2 to be ready"]));
    server.becomes_ready(relay, 2, [tell(relay, CLOSE)]);
    server.says(relay, 2, FromProcess::Gate { closed: true }, NOTHING);
    server.says(relay, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Switch, [install(score), start(score, 1)]);
    server.becomes_ready(score, 2, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.passes(&[Flush]);
    for (step, message, answer) in [
        (HandOver, ToProcess::HandOver { generation: 2 }, FromProcess::HandedOver { generation: 2 }),
        (Settle, ToProcess::Settle { generation: 2 }, FromProcess::Settled { generation: 2 }),
    ] {
        server.asks(step, [tell(relay, message)]);
        server.says(relay, 2, answer, NOTHING);
        assert_eq!(server.stage(), Stage::Done);
    }
    assert!(server.of(feed).removed && !server.of(relay).removed, "a source's time is yet to come");
    server.asks(Release, [tell(RELAY, OPEN), tell(FEED, OPEN), tell(relay, OPEN), install(feed), start(feed, 1)]);
    server.opens(1);
    server.says(relay, 2, FromProcess::Gate { closed: false }, NOTHING);
    server.becomes_ready(feed, 2, NOTHING);
    server.assert_lives_by(2);
    assert!(!server.of(feed).removed);
}

#[test]
fn what_leaves_does_so_in_the_switch_and_a_portal_when_gates_open() {
    let mut server = Server::idle(&[("relay", Order::Leave), ("score.0", Order::Leave), ("feed.0", Order::Leave)]);
    // It lives by the new plan until it is empty.
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    server.adopts(RELAY, 2);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop), tell(FEED, ToProcess::Stop)]);
    assert_eq!(server.stage(), working(&["score.0 to leave", "feed.0 to leave"]));
    server.ends(SCORE, 0, NOTHING);
    server.ends(FEED, 0, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Flush, NOTHING);
    assert_eq!(server.stage(), working(&["relay for receipts of what it sent by the old guide"]));
    server.says(RELAY, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
    server.asks(HandOver, [tell(RELAY, ToProcess::HandOver { generation: 2 })]);
    server.says(RELAY, 2, FromProcess::HandedOver { generation: 2 }, NOTHING);
    server.asks(Settle, [tell(RELAY, ToProcess::Settle { generation: 2 })]);
    server.says(RELAY, 2, FromProcess::Settled { generation: 2 }, NOTHING);
    server.asks(Release, [tell(RELAY, OPEN), tell(RELAY, ToProcess::Stop)]);
    assert_eq!(server.stage(), working(&["relay to leave"]));
    // Nothing is left: the launcher leaves too.
    server.ends(RELAY, 0, [Effect::Leave]);
    server.assert_lives_by(2);
}

#[test]
fn what_leaves_and_is_not_there_is_not_started_again() {
    let mut server = Server::idle(&[("score.0", Order::Leave)]);
    server.ends(SCORE, 1, [start(SCORE, 2)]);
    server.starts(SCORE);
    server.ends(SCORE, 1, NOTHING);
    assert!(matches!(server.of(SCORE).state, State::BackingOff { .. }));
    server.passes(&[AdoptPortals, Switch]);
    server.after(60_000, NOTHING);
    assert_eq!(server.of(SCORE).state, State::Stopped);
}

#[test]
fn a_filter_waits_until_those_have_left_whose_last_words_it_hears() {
    let mut server = Server::flowing();
    let part = |name: &str, after: &[&str]| {
        let after = after.iter().map(|&name| name.to_owned()).collect();
        (name.to_owned(), Part { order: Order::Restart, plan: Some(plan_of(name)), after })
    };
    let parts = vec![part("score.0", &["feed.0"]), part("feed.0", &[])];
    server.on(Event::Prepared(Change::new(2, parts)), NOTHING);
    server.asks(Switch, [tell(FEED, ToProcess::Stop)]);
    assert_eq!(server.stage(), working(&["score.0 to leave", "feed.0 to leave"]));
    server.ends(FEED, 0, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
}

#[test]
fn a_process_that_dies_before_it_was_told_comes_back_by_the_old_plan_and_is_brought_to_the_new_one() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    server.ends(SCORE, 1, [start(SCORE, 2)]);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, NOTHING);
    // It isn't connected yet, so it is asked by its signal.
    server.on(Event::Started { process: SCORE, pid: 7 }, [Effect::Signal { process: SCORE }]);
    assert!(matches!(server.of(SCORE).state, State::Leaving { step: How::Signalled, .. }));
    server.ends(SCORE, 1, [install(SCORE), start(SCORE, 3)]);
    server.becomes_ready(SCORE, 2, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
}

#[test]
fn a_process_that_dies_before_it_has_adopted_comes_back_with_the_new_wiring() {
    for (process, step) in [(RELAY, AdoptPortals), (SCORE, Switch), (FEED, Switch)] {
        let name = Server::flowing().of(process).name.clone();
        let mut server = Server::idle(&[(&name, Order::Adopt)]);
        server.asks(step, [install(process), adopt(process, 2)]);
        server.ends(process, 1, [start(process, 2)]);
        let gated = if process == SCORE { vec![] } else { vec![tell(process, CLOSE)] };
        server.becomes_ready(process, 2, gated);
        assert_eq!(server.stage(), Stage::Done, "{name}");
        server.asks(Flush, NOTHING);
        assert_ne!(server.stage(), Stage::Done, "{name} has still to say that it is flushed");
        server.says(process, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
        assert_eq!(server.stage(), Stage::Done, "{name}");
    }
}

#[test]
fn a_portal_that_dies_later_is_told_again_what_it_was_asked() {
    let mut server = Server::idle(&[("relay", Order::Adopt)]);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    server.adopts(RELAY, 2);
    server.passes(&[Switch]);
    server.asks(Flush, NOTHING);
    server.says(RELAY, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
    let hand_over = || tell(RELAY, ToProcess::HandOver { generation: 2 });
    let settle = || tell(RELAY, ToProcess::Settle { generation: 2 });
    server.asks(HandOver, [hand_over()]);
    server.ends(RELAY, 1, [start(RELAY, 2)]);
    server.becomes_ready(RELAY, 2, [tell(RELAY, CLOSE), hand_over()]);
    server.says(RELAY, 2, FromProcess::HandedOver { generation: 2 }, NOTHING);
    server.asks(Settle, [settle()]);
    server.ends(RELAY, 1, NOTHING);
    server.after(50, [start(RELAY, 3)]);
    server.becomes_ready(RELAY, 2, [tell(RELAY, CLOSE), hand_over(), settle()]);
    server.says(RELAY, 2, FromProcess::Settled { generation: 2 }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
}

#[test]
fn a_process_that_lost_its_launcher_is_told_again_to_adopt() {
    let mut server = Server::idle(&[("score.0", Order::Adopt)]);
    server.asks(Switch, [install(SCORE), adopt(SCORE, 2)]);
    let hello = || FromProcess::Hello { process: String::new(), pid: 7, ready: true };
    server.says(SCORE, 1, hello(), [adopt(SCORE, 2)]);
    server.says(SCORE, 2, hello(), NOTHING);
    assert_eq!(server.stage(), Stage::Done);
}

#[test]
fn what_an_earlier_incarnation_says_of_the_rollout_counts_for_nothing() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    let stale = Event::Said { process: SCORE, incarnation: 1, generation: 2, message: FromProcess::Ready };
    server.on(stale, NOTHING);
    assert_eq!(server.stage(), working(&["score.0 to be ready"]));
}

#[test]
fn a_new_process_that_ends_before_it_is_ready_fails_the_switch_for_whoever_asks_and_is_not_tried_again() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    server.starts(SCORE);
    server.ends(SCORE, 1, NOTHING);
    let why = "score.0 ended before it was ready: exit status 1";
    assert_eq!((server.stage(), &server.of(SCORE).state), (failed(why), &State::GivenUp));
    server.after(60_000, NOTHING);
    server.asks(Switch, NOTHING);
    assert_eq!(server.stage(), failed(why), "a deployer that goes on for another asks again");
    server.passes(&[Flush, HandOver, Settle]);
    let came_to = |server: &Server, step| server.machine.change().unwrap().came_to(step);
    assert_eq!(came_to(&server, Switch), failed(why), "also once others have gone on");
    assert_eq!(came_to(&server, AdoptPortals), Stage::Done);
}

#[test]
fn a_new_process_that_is_not_ready_in_time_or_cannot_be_started_fails_the_switch() {
    let mut server = Server::idle(&[("score2.0", Order::Start)]);
    let patience = Process::new(&plan_of("score2.0")).ready_timeout;
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [install(NEW), start(NEW, 1)]);
    server.starts(NEW);
    server.after(patience, [Effect::Kill { process: NEW }]);
    server.on(Event::Ended { process: NEW, ended: Ended::Signal("SIGKILL".to_owned()) }, NOTHING);
    assert_eq!(server.stage(), failed(&format!("score2.0 ended before it was ready: not ready within {patience} ms")));

    let mut server = Server::idle(&[("score2.0", Order::Start)]);
    server.asks(Switch, [install(NEW), start(NEW, 1)]);
    server.on(Event::NotStarted { process: NEW, why: "no memory".to_owned() }, NOTHING);
    assert_eq!(server.stage(), failed("score2.0 ended before it was ready: not started: no memory"));
}

#[test]
fn a_new_process_that_was_ready_and_ends_is_started_again_like_any_other() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    server.becomes_ready(SCORE, 2, NOTHING);
    server.ends(SCORE, 1, [start(SCORE, 3)]);
    assert_eq!(server.stage(), Stage::Done, "that was said, and isn't taken back");
}

#[test]
fn a_new_portal_that_fails_is_tried_again_and_meanwhile_it_is_said_why() {
    let mut server = Server::idle(&[("relay2", Order::Start)]);
    server.asks(AdoptPortals, [install(NEW), start(NEW, 1)]);
    server.starts(NEW);
    server.ends(NEW, 1, [start(NEW, 2)]);
    assert_eq!(server.stage(), failed("relay2 ended before it was ready: exit status 1"));
    server.becomes_ready(NEW, 2, [tell(NEW, CLOSE)]);
    assert_eq!(server.stage(), Stage::Done);
}

#[test]
fn a_process_that_refuses_the_new_plan_fails_the_switch() {
    let mut server = Server::idle(&[("score.0", Order::Adopt)]);
    server.asks(Switch, [install(SCORE), adopt(SCORE, 2)]);
    server.says(SCORE, 1, FromProcess::Refused { generation: 1, text: "stale".to_owned() }, NOTHING);
    assert_eq!(server.stage(), working(&["score.0 to adopt the new plan"]));
    server.says(SCORE, 1, FromProcess::Refused { generation: 2, text: "no portal".to_owned() }, NOTHING);
    assert_eq!(server.stage(), failed("score.0 can't go on with the new plan: no portal"));
}

#[test]
fn what_cannot_be_put_in_place_is_tried_again_when_it_is_asked_for_again_and_not_before() {
    let mut server = Server::idle(&[("relay", Order::Adopt)]);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    server.on(Event::NotInstalled { process: RELAY, why: "disk full".to_owned() }, NOTHING);
    server.says(RELAY, 1, FromProcess::Refused { generation: 2, text: "of generation 1".to_owned() }, NOTHING);
    assert_eq!(server.stage(), failed("relay: disk full"));
    server.after(1_000, NOTHING);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    server.adopts(RELAY, 2);
    assert_eq!(server.stage(), Stage::Done);
}

#[test]
fn an_abort_opens_gates_and_leaves_everything_as_it_was() {
    for orders in [&[("score.0", Order::Restart)], &[("score2.0", Order::Start)]] {
        let mut server = Server::idle(orders);
        server.asks(Abort, OPENED);
        server.opens(1);
        assert!(server.machine.change().is_none());
        assert_eq!(server.machine.generation(), 1);
        let progress = server.machine.progress().unwrap();
        assert_eq!((progress.generation, progress.step, progress.state), (2, Abort, Stage::Done));
        assert_eq!(server.machine.processes().len(), 3);
        server.asks(Switch, NOTHING);
    }
}

#[test]
fn a_server_that_is_not_idle_in_time_says_why() {
    let mut server = Server::with(&[("score.0", Order::Restart)]);
    server.asks(StepName::Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.asks(StepName::Idle, NOTHING);
    assert!(!server.machine.wants_idle_proof(), "gates aren't closed yet");
    server.says(RELAY, 1, FromProcess::Gate { closed: true }, NOTHING);
    server.says(FEED, 1, FromProcess::Gate { closed: true }, NOTHING);
    assert!(server.machine.wants_idle_proof());
    server.on(Event::JudgedIdle(Some(Failure::NotIdle("score.0 has 3".to_owned()))), NOTHING);
    assert_eq!(server.stage(), Stage::Failed(Failure::NotIdle("score.0 has 3".to_owned())));
    assert!(!server.machine.wants_idle_proof());
    server.asks(StepName::Idle, NOTHING);
    assert_eq!(
        server.stage(),
        Stage::Failed(Failure::NotIdle("score.0 has 3".to_owned())),
        "whoever asks again is told"
    );
}

#[test]
fn a_portal_that_comes_back_while_it_is_to_hold_must_hold_before_anything_is_proved() {
    let mut server = Server::with(&[("score.0", Order::Restart)]);
    server.asks(StepName::Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.says(FEED, 1, FromProcess::Gate { closed: true }, NOTHING);
    server.ends(RELAY, 1, [start(RELAY, 2)]);
    server.asks(StepName::Idle, NOTHING);
    assert!(server.machine.wants_idle_proof(), "it begins with a closed gate");
    server.becomes_ready(RELAY, 1, [tell(RELAY, CLOSE)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    assert!(!server.machine.wants_idle_proof());
    server.says(RELAY, 1, FromProcess::Gate { closed: true }, NOTHING);
    assert!(server.machine.wants_idle_proof());
}

#[test]
fn flows_that_drain_are_delivered_behind_closed_gates_and_then_all_is_held_again() {
    let mut server = Server::idle(&[("score.0", Order::Restart)]);
    let but = vec!["call".to_owned()];
    let drained = ToProcess::Gate { closed: true, but: but.clone() };
    let told = [tell(RELAY, drained.clone()), tell(FEED, drained.clone())];
    server.on(Event::Step { step: StepName::Drain, but: but.clone() }, told);
    assert_eq!(server.stage(), working(&["relay to deliver what the new plan has no place for"]));
    server.says(RELAY, 1, FromProcess::Drained { but }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    // Whoever comes back learns of it too.
    server.ends(RELAY, 1, [start(RELAY, 2)]);
    server.becomes_ready(RELAY, 1, [tell(RELAY, drained.clone())]);
    server.says(RELAY, 1, FromProcess::Gate { closed: true }, NOTHING);
    server.asks(StepName::HoldAgain, [tell(RELAY, drained.clone()), tell(FEED, drained)]);
    server.asks(StepName::IdleAgain, NOTHING);
    assert!(server.machine.wants_idle_proof());
}

#[test]
fn what_a_person_has_paused_stays_closed_when_a_rollout_opens_gates() {
    let mut server = Server::flowing();
    server.on(Event::Pause { paused: vec![RELAY] }, [tell(RELAY, CLOSE)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: true }, NOTHING);
    server.prepare(2, &[]);
    server.asks(StepName::Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.says(FEED, 1, FromProcess::Gate { closed: true }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Release, [tell(RELAY, CLOSE), tell(FEED, OPEN)]);
    assert_eq!(server.stage(), working(&["feed.0 to open its gate"]));
    server.says(FEED, 1, FromProcess::Gate { closed: false }, NOTHING);
    server.assert_lives_by(2);
}

#[test]
fn asked_twice_nothing_is_done_twice() {
    let mut server = Server::idle(&[
        ("relay", Order::Adopt),
        ("score.0", Order::Restart),
        ("feed.0", Order::Restart),
        ("score2.0", Order::Start),
    ]);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    // Only what may have been missed is said again.
    server.asks(AdoptPortals, [adopt(RELAY, 2)]);
    server.adopts(RELAY, 2);
    server.asks(AdoptPortals, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop), tell(FEED, ToProcess::Stop), install(NEW), start(NEW, 1)]);
    server.asks(Switch, NOTHING);
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    server.asks(Switch, NOTHING);
    server.ends(FEED, 0, NOTHING);
    server.becomes_ready(SCORE, 2, NOTHING);
    server.becomes_ready(NEW, 2, NOTHING);
    server.asks(Switch, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 2)]);
    server.asks(Release, [tell(RELAY, OPEN)]);
    server.says(RELAY, 2, FromProcess::Gate { closed: false }, NOTHING);
    server.becomes_ready(FEED, 2, NOTHING);
    server.assert_lives_by(2);
    server.asks(Release, NOTHING);
    server.assert_lives_by(2);
}

#[test]
fn a_stop_in_the_middle_of_a_rollout_ends_both() {
    for step in [StepName::Hold, AdoptPortals, Switch, Settle] {
        let mut server = Server::idle(&[("score.0", Order::Adopt)]);
        let installs = if step == Switch { vec![install(SCORE), adopt(SCORE, 2)] } else { vec![] };
        let installs = if step == StepName::Hold { vec![tell(RELAY, CLOSE), tell(FEED, CLOSE)] } else { installs };
        server.asks(step, installs);
        server.on(Event::Stop { now: false }, [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)]);
        assert!(server.machine.change().is_none());
        server.asks(Switch, NOTHING);
        server.asks(Release, NOTHING);
        server.ends(FEED, 0, [Effect::WatchDrain]);
        server.on(Event::Drained, [tell(SCORE, ToProcess::Stop)]);
        server.ends(SCORE, 0, [tell(RELAY, ToProcess::Stop)]);
        server.ends(RELAY, 0, [Effect::Leave]);
    }
}

#[test]
fn a_stop_while_a_new_process_is_being_started_takes_it_along() {
    let mut server = Server::idle(&[("score2.0", Order::Start)]);
    server.asks(Switch, [install(NEW), start(NEW, 1)]);
    server.on(Event::Stop { now: false }, [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)]);
    server.on(Event::Started { process: NEW, pid: 9 }, [Effect::Signal { process: NEW }]);
    server.ends(FEED, 0, [Effect::WatchDrain]);
    server.on(Event::Drained, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, 0, NOTHING);
    server.ends(NEW, 0, [tell(RELAY, ToProcess::Stop)]);
    server.ends(RELAY, 0, [Effect::Leave]);
}

/// A rollout to plan 2 whose switch failed, as `score` doesn't get ready; all is held, and settled.
fn failed_switch(more: &[(&str, Order)]) -> Server {
    let orders = [&[("score.0", Order::Restart)], more].concat();
    let mut server = Server::idle(&orders);
    server.passes(&[AdoptPortals]);
    let leave = |name: &str| more.contains(&(name, Order::Leave)).then(|| tell(FEED, ToProcess::Stop));
    let new = more.contains(&("score2.0", Order::Start)).then(|| [install(NEW), start(NEW, 1)]);
    let asked = [tell(SCORE, ToProcess::Stop)].into_iter().chain(leave("feed.0"));
    server.asks(Switch, asked.chain(new.into_iter().flatten()));
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    server.starts(SCORE);
    server.ends(SCORE, 1, NOTHING);
    server.passes(&[Flush, HandOver, Settle]);
    server
}

#[test]
fn the_way_back_from_a_switch_that_failed_starts_the_old_program_and_opens_gates() {
    let mut server = failed_switch(&[]);
    server.prepare(3, &[("score.0", Order::Restart)]);
    assert_eq!(server.machine.generation(), 2);
    assert!(server.machine.gate_closed(), "all goes on holding");
    server.asks(StepName::Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    assert_eq!(server.stage(), Stage::Done, "nothing has told them to open since they closed");
    server.closes(1);
    server.asks(StepName::Idle, NOTHING);
    server.on(Event::JudgedIdle(None), NOTHING);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [install(SCORE), start(SCORE, 3)]);
    server.becomes_ready(SCORE, 3, NOTHING);
    server.passes(&[Flush, HandOver, Settle]);
    server.asks(Release, OPENED);
    server.opens(1);
    server.assert_lives_by(3);
}

#[test]
fn a_gate_that_has_been_told_to_open_is_not_taken_for_closed() {
    let mut server = Server::idle(&[("score.0", Order::Adopt)]);
    server.asks(Abort, [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    server.says(FEED, 1, FromProcess::Gate { closed: false }, NOTHING);
    // The portal hasn't read it yet, as it is stopped; and somebody else leads a rollout.
    server.prepare(3, &[("score.0", Order::Adopt)]);
    let closing = [tell(RELAY, CLOSE), tell(FEED, CLOSE)];
    for _ in 0..3 {
        server.asks(StepName::Hold, closing.clone());
        assert_eq!(server.stage(), working(&["relay to close its gate", "feed.0 to close its gate"]));
    }
    server.says(FEED, 1, FromProcess::Gate { closed: true }, NOTHING);
    assert_eq!(server.stage(), working(&["relay to close its gate"]));
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    assert_eq!(server.stage(), working(&["relay to close its gate"]));
    server.says(RELAY, 1, FromProcess::Gate { closed: true }, NOTHING);
    assert_eq!(server.stage(), Stage::Done, "the answers to what was said again aren't waited for");
}

#[test]
fn what_is_still_leaving_when_the_way_back_wants_it_is_started_once_it_is_gone() {
    let mut server = failed_switch(&[("feed.0", Order::Leave), ("score2.0", Order::Start)]);
    server.starts(NEW);
    server.prepare(3, &[("score.0", Order::Restart), ("feed.0", Order::Start), ("score2.0", Order::Leave)]);
    server.asks(Switch, [install(SCORE), start(SCORE, 3), Effect::Signal { process: NEW }]);
    assert!(server.of(FEED).is_leaving());
    server.ends(NEW, 0, NOTHING);
    server.becomes_ready(SCORE, 3, NOTHING);
    assert_eq!(server.stage(), working(&["feed.0 to leave"]));
    server.ends(FEED, 0, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.passes(&[Flush, HandOver, Settle]);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 2)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: false }, NOTHING);
    server.becomes_ready(FEED, 3, NOTHING);
    server.assert_lives_by(3);
    assert!(server.of(NEW).removed && !server.of(FEED).removed);
}

#[test]
fn a_portal_that_was_about_to_leave_adopts_the_old_plan_on_the_way_back() {
    let mut server = Server::idle(&[("relay", Order::Leave), ("score.0", Order::Restart)]);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 2)]);
    server.adopts(RELAY, 2);
    server.asks(Switch, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, 0, [install(SCORE), start(SCORE, 2)]);
    server.starts(SCORE);
    server.ends(SCORE, 1, NOTHING);
    server.prepare(3, &[("relay", Order::Start), ("score.0", Order::Restart)]);
    server.asks(AdoptPortals, [install(RELAY), adopt(RELAY, 3)]);
    server.adopts(RELAY, 3);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Switch, [install(SCORE), start(SCORE, 3)]);
    server.becomes_ready(SCORE, 3, NOTHING);
    server.asks(Flush, NOTHING);
    assert_ne!(server.stage(), Stage::Done);
    server.says(RELAY, 3, FromProcess::Flushed { generation: 3 }, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.asks(Release, OPENED);
    server.opens(3);
    assert!(server.machine.change().is_none() && !server.of(RELAY).removed);
}

#[test]
fn a_way_back_that_is_given_up_goes_on_with_what_failed_and_tries_again_what_was_given_up() {
    let mut server = failed_switch(&[]);
    server.prepare(3, &[("score.0", Order::Restart)]);
    server.asks(StepName::Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.closes(1);
    server.asks(Abort, [tell(RELAY, OPEN), tell(FEED, OPEN), start(SCORE, 3)]);
    let progress = server.machine.progress().unwrap();
    assert_eq!((progress.generation, progress.step), (2, Release));
    server.opens(1);
    server.becomes_ready(SCORE, 2, NOTHING);
    server.assert_lives_by(2);
}

#[test]
fn a_process_that_may_not_be_started_again_stays_given_up_when_gates_open() {
    let mut server = failed_switch(&[]);
    let never = Restart { policy: RestartPolicy::Never, ..server.of(SCORE).restart.clone() };
    server.machine.processes_mut()[SCORE.0].restart = never;
    server.asks(Release, OPENED);
    server.opens(1);
    assert_eq!(server.of(SCORE).state, State::GivenUp);
}

#[test]
fn a_server_that_a_rollout_brings_in_starts_everything_and_leaves_if_it_is_given_up() {
    let join = || {
        let mut server = Server { machine: Machine::new(1, Vec::new(), 5_000, 5_000), now: 1_000 };
        server.on(Event::Begin, NOTHING);
        let part =
            |name: &str| (name.to_owned(), Part { order: Order::Start, plan: Some(plan_of(name)), after: vec![] });
        let parts = ["relay", "score.0", "feed.0"].map(part);
        server.on(Event::Prepared(Change::new(2, parts.into())), NOTHING);
        server
    };
    let mut server = join();
    server.asks(AdoptPortals, [install(RELAY), start(RELAY, 1)]);
    server.becomes_ready(RELAY, 2, NOTHING);
    server.asks(Switch, [install(SCORE), start(SCORE, 1)]);
    server.becomes_ready(SCORE, 2, NOTHING);
    server.says(RELAY, 2, FromProcess::Flushed { generation: 2 }, NOTHING);
    server.asks(HandOver, [tell(RELAY, ToProcess::HandOver { generation: 2 })]);
    server.says(RELAY, 2, FromProcess::HandedOver { generation: 2 }, NOTHING);
    server.asks(Settle, [tell(RELAY, ToProcess::Settle { generation: 2 })]);
    server.says(RELAY, 2, FromProcess::Settled { generation: 2 }, NOTHING);
    server.asks(Release, [tell(RELAY, OPEN), install(FEED), start(FEED, 1)]);
    server.becomes_ready(FEED, 2, NOTHING);
    server.assert_lives_by(2);
    assert_eq!(server.machine.phase(), Phase::Flowing);

    let mut given_up = join();
    given_up.asks(Abort, [Effect::Leave]);
}

#[test]
fn an_event_costs_no_more_where_a_thousand_processes_change() {
    const MANY: usize = 1_000;
    let name = |place: usize| format!("score.{place}");
    let model = plan_of("score.0");
    let plan = |place: usize| ProcessPlan { name: name(place), ..model.clone() };
    let plans: Vec<ProcessPlan> = (0..MANY).map(plan).collect();
    let mut machine = Machine::new(1, plans.iter().map(Process::new).collect(), 5_000, 5_000);
    let mut told = machine.handle(0, Event::Begin).len();
    let all = || (0..MANY).map(ProcessIndex);
    let said = |process, generation, message| Event::Said { process, incarnation: 1, generation, message };
    for process in all() {
        machine.handle(0, Event::Started { process, pid: 7 });
        machine.handle(0, said(process, 1, FromProcess::Ready));
    }
    machine.handle(0, Event::StartSources);
    let part =
        |plan: ProcessPlan| (plan.name.clone(), Part { order: Order::Adopt, plan: Some(plan), after: Vec::new() });
    machine.handle(0, Event::Prepared(Change::new(2, plans.into_iter().map(part).collect())));
    told += machine.handle(0, Event::Step { step: Switch, but: Vec::new() }).len();
    for process in all() {
        told += machine.handle(0, said(process, 2, FromProcess::Adopted { generation: 2 })).len();
    }
    assert_eq!(told, 3 * MANY, "each is started, installed and told to adopt once");
    assert_eq!(machine.progress().unwrap().state, Stage::Done);
}
