//! Each test feeds events and demands the effects, all of them and no other.

mod found_by_simulation;
mod takeover;

use waldo_compiler::plan::{Alive, Restart};
use waldo_sdk::control::{FromProcess, ToProcess};

use super::{super::state::*, *};

pub const RELAY: ProcessIndex = ProcessIndex(0);
pub const SCORE: ProcessIndex = ProcessIndex(1);
pub const FEED: ProcessIndex = ProcessIndex(2);
const DRAIN: u64 = 5_000;
/// The longest grace of all servers: another one has it.
const GRACE: u64 = 60_000;

/// A server with the portal `relay`, the stage `score` and the source `feed`.
pub struct Server {
    pub machine: Machine,
    pub now: Moment,
}

fn process(name: &str, role: Role, policy: RestartPolicy) -> Process {
    Process {
        name: format!("{name}.0"),
        stage: name.to_owned(),
        role,
        restart: Restart { policy, backoff: 1_000, max: None, window: 60_000 },
        grace: 2_000,
        ready_timeout: 10_000,
        alive: None,
        heartbeat: (0, 0),
        stalled: None,
        state: State::Waiting,
        incarnation: 0,
        failures: 0,
        pauses: 0,
        restarted: std::collections::VecDeque::new(),
        connected: false,
        returns_by: None,
        gate_closed: false,
        gate_told: GateTold::default(),
        gated_at: 0,
        paused: false,
        finish: Finish::Open,
        ended: None,
        trouble: None,
        installed: 0,
        lives_by: 0,
        flushed: 0,
        handed_over: 0,
        settled: 0,
        drained: Vec::new(),
        removed: false,
    }
}

pub fn tell(process: ProcessIndex, message: ToProcess) -> Effect {
    Effect::Tell { process, message }
}

pub fn start(process: ProcessIndex, incarnation: u64) -> Effect {
    Effect::Start { process, incarnation }
}

pub const CLOSE: ToProcess = ToProcess::gate(true);

impl Server {
    pub fn new() -> Self {
        Self::of(vec![
            process("relay", Role::Portal, RestartPolicy::Always),
            process("score", Role::Stage, RestartPolicy::Always),
            process("feed", Role::Source, RestartPolicy::OnFailure),
        ])
    }

    pub fn of(processes: Vec<Process>) -> Self {
        Self { machine: Machine::new(1, processes, DRAIN, GRACE), now: 1_000 }
    }

    /// A server on which everything is ready, and the sources have been started.
    pub fn flowing() -> Self {
        let mut server = Self::new();
        server.on(Event::Begin, [start(RELAY, 1)]);
        server.becomes_ready(RELAY, 10, [start(SCORE, 1)]);
        server.becomes_ready(SCORE, 11, []);
        server.on(Event::StartSources, [start(FEED, 1)]);
        server.becomes_ready(FEED, 12, []);
        server
    }

    #[track_caller]
    pub fn on(&mut self, event: Event, expected: impl IntoIterator<Item = Effect>) {
        let effects = self.machine.handle(self.now, event);
        assert_eq!(effects, expected.into_iter().collect::<Vec<_>>());
    }

    #[track_caller]
    pub fn after(&mut self, milliseconds: u64, expected: impl IntoIterator<Item = Effect>) {
        self.now += milliseconds;
        self.on(Event::Tick, expected);
    }

    pub fn said(&self, process: ProcessIndex, message: FromProcess) -> Event {
        let incarnation = self.machine.processes()[process.0].incarnation;
        Event::Said { process, incarnation, generation: 1, message }
    }

    #[track_caller]
    pub fn says(&mut self, process: ProcessIndex, message: FromProcess, expected: impl IntoIterator<Item = Effect>) {
        self.on(self.said(process, message), expected);
    }

    #[track_caller]
    pub fn becomes_ready(&mut self, process: ProcessIndex, pid: i32, expected: impl IntoIterator<Item = Effect>) {
        self.on(Event::Started { process, pid }, []);
        self.says(process, FromProcess::Hello { process: String::new(), pid, ready: false }, []);
        self.says(process, FromProcess::Ready, expected);
    }

    #[track_caller]
    pub fn ends(&mut self, process: ProcessIndex, ended: Ended, expected: impl IntoIterator<Item = Effect>) {
        self.on(Event::Ended { process, ended }, expected);
    }

    pub fn state(&self, process: ProcessIndex) -> &State {
        &self.machine.processes()[process.0].state
    }
}

#[test]
fn sources_that_are_wanted_too_early_start_as_soon_as_all_else_is_ready() {
    let mut server = Server::new();
    server.on(Event::Begin, [start(RELAY, 1)]);
    server.on(Event::StartSources, []);
    server.becomes_ready(RELAY, 10, [start(SCORE, 1)]);
    server.becomes_ready(SCORE, 11, [start(FEED, 1)]);
    assert_eq!(server.machine.phase(), Phase::Flowing);
}

#[test]
fn portals_are_ready_before_stages_start_and_all_before_sources_do() {
    let mut server = Server::new();
    server.on(Event::Begin, [start(RELAY, 1)]);
    server.becomes_ready(RELAY, 10, [start(SCORE, 1)]);
    server.becomes_ready(SCORE, 11, []);
    assert_eq!(server.machine.phase(), Phase::Standing);
    server.on(Event::StartSources, [start(FEED, 1)]);
    server.on(Event::StartSources, []);
    assert_eq!(server.machine.phase(), Phase::Flowing);
}

#[test]
fn a_server_without_processes_stands_at_once_and_leaves_at_once() {
    let mut server = Server::of(vec![]);
    server.on(Event::Begin, []);
    assert_eq!(server.machine.phase(), Phase::Standing);
    server.on(Event::Stop { now: false }, [Effect::Leave]);
}

#[test]
fn a_process_is_restarted_at_once_and_then_after_pauses_that_double_up_to_the_bound() {
    let mut server = Server::flowing();
    server.ends(SCORE, Ended::Signal("SIGKILL".to_owned()), [start(SCORE, 2)]);
    for (incarnation, pause) in [(3, 50), (4, 100), (5, 200), (6, 400), (7, 800), (8, 1_000), (9, 1_000)] {
        server.on(Event::Started { process: SCORE, pid: 20 }, []);
        server.ends(SCORE, Ended::Status(1), []);
        assert_eq!(server.machine.next_deadline(), Some(server.now + pause));
        server.after(pause - 1, []);
        server.after(1, [start(SCORE, incarnation)]);
    }
    assert_eq!(server.machine.processes()[SCORE.0].failures, 8);
}

#[test]
fn what_a_person_reads_of_a_process_that_backs_off() {
    let mut server = Server::flowing();
    server.ends(SCORE, Ended::Status(1), [start(SCORE, 2)]);
    server.on(Event::Started { process: SCORE, pid: 20 }, []);
    server.ends(SCORE, Ended::Status(3), []);
    let process = &server.machine.processes()[SCORE.0];
    assert_eq!(process.condition().to_string(), "backing off");
    assert_eq!(process.detail().unwrap(), "2nd restart, exit status 3");
}

#[test]
fn a_process_that_was_ready_for_long_is_restarted_at_once_again() {
    let mut server = Server::flowing();
    server.ends(SCORE, Ended::Status(1), [start(SCORE, 2)]);
    server.becomes_ready(SCORE, 20, []);
    server.after(STEADY - 1, []);
    server.ends(SCORE, Ended::Status(1), []);
    server.after(50, [start(SCORE, 3)]);
    server.becomes_ready(SCORE, 21, []);
    server.after(STEADY, []);
    server.ends(SCORE, Ended::Status(1), [start(SCORE, 4)]);
    assert_eq!(server.machine.processes()[SCORE.0].failures, 1);
}

#[test]
fn a_process_that_is_not_ready_in_time_is_killed_and_counts_as_failed() {
    let mut server = Server::new();
    server.on(Event::Begin, [start(RELAY, 1)]);
    server.on(Event::Started { process: RELAY, pid: 10 }, []);
    server.after(9_999, []);
    server.after(1, [Effect::Kill { process: RELAY }]);
    server.after(1, []);
    server.ends(RELAY, Ended::Signal("SIGKILL".to_owned()), [start(RELAY, 2)]);
    assert_eq!(server.machine.processes()[RELAY.0].ended, Some(Ended::NotReady(10_000)));
}

#[test]
fn a_process_that_cannot_be_started_is_tried_again_like_one_that_failed() {
    let mut server = Server::new();
    server.on(Event::Begin, [start(RELAY, 1)]);
    let not_started = || Event::NotStarted { process: RELAY, why: "no memory".to_owned() };
    server.on(not_started(), [start(RELAY, 2)]);
    server.on(not_started(), []);
    server.after(50, [start(RELAY, 3)]);
}

#[test]
fn a_source_that_ends_with_success_is_finished_and_one_that_fails_is_restarted() {
    let mut server = Server::flowing();
    server.ends(FEED, Ended::Status(1), [start(FEED, 2)]);
    server.becomes_ready(FEED, 20, []);
    server.ends(FEED, Ended::Status(0), []);
    assert_eq!(*server.state(FEED), State::Finished);
    assert_eq!(server.machine.next_deadline(), None);
}

#[test]
fn a_process_that_may_never_be_restarted_is_given_up_when_it_fails() {
    let mut server = Server::of(vec![process("score", Role::Stage, RestartPolicy::Never)]);
    let score = ProcessIndex(0);
    server.on(Event::Begin, [start(score, 1)]);
    server.becomes_ready(score, 10, []);
    server.ends(score, Ended::Status(1), []);
    assert_eq!(*server.state(score), State::GivenUp);
}

#[test]
fn a_process_is_given_up_after_as_many_restarts_in_the_window_as_it_may_have() {
    let mut score = process("score", Role::Stage, RestartPolicy::Always);
    score.restart.max = Some(2);
    score.restart.window = 500;
    let mut server = Server::of(vec![score]);
    let score = ProcessIndex(0);
    server.on(Event::Begin, [start(score, 1)]);
    server.ends(score, Ended::Status(1), [start(score, 2)]);
    server.ends(score, Ended::Status(1), []);
    server.after(500, [start(score, 3)]);
    // The first two have left the window, so there may be two more.
    server.ends(score, Ended::Status(1), []);
    server.after(100, [start(score, 4)]);
    server.ends(score, Ended::Status(1), []);
    server.after(200, [start(score, 5)]);
    server.ends(score, Ended::Status(1), []);
    assert_eq!(*server.state(score), State::GivenUp);
}

#[test]
fn what_an_earlier_incarnation_said_is_ignored() {
    let mut server = Server::flowing();
    let stale = server.said(SCORE, FromProcess::Ready);
    server.ends(SCORE, Ended::Status(1), [start(SCORE, 2)]);
    server.on(Event::Started { process: SCORE, pid: 20 }, []);
    server.on(stale, []);
    assert!(matches!(server.state(SCORE), State::Starting { pid: 20, .. }));
}

#[test]
fn a_clean_stop_gates_first_then_drains_then_stops_stages_and_portals_last() {
    let mut server = Server::flowing();
    let gates = [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)];
    server.on(Event::Stop { now: false }, gates);
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    server.ends(FEED, Ended::Status(0), [Effect::WatchDrain]);
    server.on(Event::Drained, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, Ended::Status(0), [tell(RELAY, ToProcess::Stop)]);
    server.ends(RELAY, Ended::Status(0), [Effect::Leave]);
    assert_eq!(server.machine.phase(), Phase::Gone);
    assert_eq!(server.machine.next_deadline(), None);
}

#[test]
fn portals_stay_for_the_other_servers_until_they_are_told_to_stop() {
    let mut server = Server::flowing();
    server.on(Event::StopStages, [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    server.ends(FEED, Ended::Status(0), [Effect::WatchDrain]);
    server.on(Event::Drained, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, Ended::Status(0), []);
    assert_eq!(server.machine.phase().stand(), crate::control::Stand::Holding);
    server.on(Event::StopStages, []);
    server.on(Event::Stop { now: false }, [tell(RELAY, ToProcess::Stop)]);
}

#[test]
fn portals_do_not_stay_for_ever_if_nobody_tells_them() {
    let mut server = Server::of(vec![process("relay", Role::Portal, RestartPolicy::Always)]);
    server.on(Event::Begin, [start(RELAY, 1)]);
    server.becomes_ready(RELAY, 10, []);
    server.on(Event::StopStages, [tell(RELAY, CLOSE)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    server.after(HOLDING + DRAIN + GRACE - 1, []);
    server.after(1, [tell(RELAY, ToProcess::Stop)]);
}

#[test]
fn every_wait_of_a_clean_stop_ends_though_no_process_obeys() {
    let mut server = Server::flowing();
    server.on(Event::Stop { now: false }, [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)]);
    server.after(ASKED, [Effect::Signal { process: FEED }]);
    server.after(GATING - ASKED, [Effect::WatchDrain]);
    server.after(1_000, [Effect::Kill { process: FEED }]);
    server.after(KILLED, []);
    server.after(DRAIN - KILLED - 1_000, [tell(SCORE, ToProcess::Stop)]);
    server.after(ASKED, [Effect::Signal { process: SCORE }]);
    server.after(2_000 - ASKED, [Effect::Kill { process: SCORE }]);
    server.after(KILLED, [tell(RELAY, ToProcess::Stop)]);
    server.after(ASKED, [Effect::Signal { process: RELAY }]);
    server.after(2_000 - ASKED, [Effect::Kill { process: RELAY }]);
    server.after(KILLED, [Effect::Leave]);
}

#[test]
fn a_process_that_has_not_connected_is_asked_by_its_signal_at_once() {
    let mut server = Server::new();
    server.on(Event::Begin, [start(RELAY, 1)]);
    server.becomes_ready(RELAY, 10, [start(SCORE, 1)]);
    server.on(Event::Started { process: SCORE, pid: 11 }, []);
    server.on(Event::Stop { now: false }, [tell(RELAY, CLOSE)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, [Effect::WatchDrain]);
    server.on(Event::Drained, [Effect::Signal { process: SCORE }]);
}

#[test]
fn nothing_is_started_any_more_once_the_server_stops() {
    let mut server = Server::flowing();
    server.ends(SCORE, Ended::Status(1), [start(SCORE, 2)]);
    server.ends(SCORE, Ended::Status(1), []);
    assert!(matches!(server.state(SCORE), State::BackingOff { .. }));
    server.on(Event::StopStages, [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    server.ends(FEED, Ended::Status(1), []);
    assert_eq!(server.machine.phase().stand(), crate::control::Stand::Holding);
    server.after(HOLDING + DRAIN + GRACE, [tell(RELAY, ToProcess::Stop)]);
}

#[test]
fn a_stop_that_cannot_wait_kills_everything_and_leaves_when_it_is_gone() {
    let mut server = Server::flowing();
    server.on(Event::Stop { now: true }, [RELAY, SCORE, FEED].map(|process| Effect::Kill { process }));
    let killed = || Ended::Signal("SIGKILL".to_owned());
    server.ends(RELAY, killed(), []);
    server.ends(SCORE, killed(), []);
    server.ends(FEED, killed(), [Effect::Leave]);
}

#[test]
fn a_gate_is_told_to_sources_and_portals_and_to_those_that_come_back() {
    let mut server = Server::flowing();
    server.on(Event::Gate { closed: true }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.says(FEED, FromProcess::Gate { closed: true }, []);
    server.ends(FEED, Ended::Status(1), [start(FEED, 2)]);
    assert!(server.machine.processes()[FEED.0].gate_closed, "it begins with a closed gate");
    server.becomes_ready(FEED, 20, [tell(FEED, CLOSE)]);
    let open = ToProcess::gate(false);
    server.on(Event::Gate { closed: false }, [tell(RELAY, open.clone()), tell(FEED, open)]);
}

#[test]
fn what_began_with_a_closed_gate_is_told_to_open_it_if_everything_was_released_before_it_was_ready() {
    let mut server = Server::flowing();
    server.on(Event::Gate { closed: true }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.ends(FEED, Ended::Status(1), [start(FEED, 2)]);
    server.on(Event::Gate { closed: false }, [tell(RELAY, ToProcess::gate(false))]);
    server.becomes_ready(FEED, 20, [tell(FEED, ToProcess::gate(false))]);
}

#[test]
fn what_is_paused_is_opened_by_nothing_but_a_resume_and_begins_with_a_closed_gate() {
    let open = || ToProcess::gate(false);
    let mut server = Server::flowing();
    server.on(Event::Pause { paused: vec![RELAY] }, [tell(RELAY, CLOSE)]);
    server.on(Event::Pause { paused: vec![RELAY] }, []);
    assert!(server.machine.is_to_be_gated(RELAY) && !server.machine.is_to_be_gated(FEED));
    server.ends(RELAY, Ended::Status(1), [start(RELAY, 2)]);
    assert!(server.machine.is_to_be_gated(RELAY), "also while it is being started");
    server.becomes_ready(RELAY, 20, [tell(RELAY, CLOSE)]);
    server.on(Event::Gate { closed: true }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.on(Event::Gate { closed: false }, [tell(RELAY, CLOSE), tell(FEED, open())]);
    server.on(Event::Gate { closed: true }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.on(Event::Pause { paused: vec![] }, []);
    server.on(Event::Gate { closed: false }, [tell(RELAY, open()), tell(FEED, open())]);
    server.on(Event::Pause { paused: vec![RELAY, SCORE, FEED] }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.on(Event::Pause { paused: vec![FEED] }, [tell(RELAY, open())]);
}

#[test]
fn a_stage_is_told_that_no_more_input_comes_also_when_it_has_to_come_back_first() {
    let mut server = Server::flowing();
    let finish = || Event::Finish { stage: "score".to_owned() };
    server.on(finish(), [tell(SCORE, ToProcess::Finish)]);
    server.on(finish(), []);
    server.ends(SCORE, Ended::Status(1), [start(SCORE, 2)]);
    server.becomes_ready(SCORE, 20, [tell(SCORE, ToProcess::Finish)]);
    server.says(SCORE, FromProcess::Finished, []);
    assert_eq!(server.machine.processes()[SCORE.0].finish, Finish::Done);
    // Whatever its policy says: it has finished.
    server.ends(SCORE, Ended::Status(0), []);
    assert_eq!(*server.state(SCORE), State::Finished);
}

fn watched(then: Stalled) -> Server {
    let mut score = process("score", Role::Stage, RestartPolicy::Always);
    score.alive = Some(Alive { within: 500, then });
    let mut server = Server::of(vec![process("relay", Role::Portal, RestartPolicy::Always), score]);
    server.on(Event::Begin, [start(RELAY, 1)]);
    assert!(server.machine.watched().is_empty(), "who isn't ready has nothing to show");
    server.becomes_ready(RELAY, 10, [start(SCORE, 1)]);
    server.becomes_ready(SCORE, 11, []);
    assert_eq!(server.machine.watched(), [SCORE]);
    server
}

fn beat(number: u64) -> Event {
    Event::Heartbeat { process: SCORE, beat: number }
}

#[test]
fn a_process_without_progress_is_reported_once_and_again_after_it_made_some() {
    let mut server = watched(Stalled::Report);
    server.on(beat(7), []);
    server.now += 499;
    server.on(beat(7), []);
    server.now += 1;
    server.on(beat(7), [Effect::Report { process: SCORE }]);
    assert_eq!(server.machine.processes()[SCORE.0].detail().as_deref(), Some("makes no progress"));
    server.now += 5_000;
    server.on(beat(7), []);
    server.on(beat(8), []);
    assert_eq!(server.machine.processes()[SCORE.0].detail(), None);
    server.now += 500;
    server.on(beat(8), [Effect::Report { process: SCORE }]);
}

#[test]
fn a_process_without_progress_is_killed_and_started_again_if_so_wished() {
    let mut server = watched(Stalled::Restart);
    server.on(beat(7), []);
    server.now += 500;
    server.on(beat(7), [Effect::Report { process: SCORE }, Effect::Kill { process: SCORE }]);
    server.on(beat(7), []);
    server.ends(SCORE, Ended::Signal("SIGKILL".to_owned()), [start(SCORE, 2)]);
    assert_eq!(server.machine.processes()[SCORE.0].ended, Some(Ended::Stalled(500)));
}
