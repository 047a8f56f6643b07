//! What another launcher has kept of a machine is gone on with.

use waldo_sdk::control::{FromProcess, ToProcess};

use super::{super::super::state::*, CLOSE, Effect, Event, FEED, RELAY, RETURNING, SCORE, Server, start, tell};

const OPEN: ToProcess = ToProcess::gate(false);

fn hello() -> FromProcess {
    FromProcess::Hello { process: String::new(), pid: 0, ready: true }
}

/// The same server, as the next launcher has it from the file.
fn taken_over(mut server: Server, expected: impl IntoIterator<Item = Effect>) -> Server {
    let kept = serde_json::to_string(&server.machine).unwrap();
    server.machine = serde_json::from_str(&kept).unwrap();
    server.on(Event::TakenOver, expected);
    server
}

#[test]
fn what_lives_goes_on_and_is_expected_within_ten_seconds() {
    let mut server = taken_over(Server::flowing(), []);
    assert_eq!(server.machine.phase(), Phase::Flowing);
    for process in [RELAY, SCORE, FEED] {
        assert!(matches!(server.state(process), State::Ready { .. }));
    }
    assert_eq!(server.machine.next_deadline(), Some(server.now + RETURNING));
    server.says(RELAY, hello(), [tell(RELAY, OPEN)]);
    server.says(RELAY, FromProcess::Ready, []);
    server.says(FEED, hello(), [tell(FEED, OPEN)]);
    server.after(RETURNING - 1, []);
    server.after(1, [Effect::Kill { process: SCORE }]);
    server.ends(SCORE, Ended::Signal("SIGKILL".to_owned()), [start(SCORE, 2)]);
    let ended = &server.machine.processes()[SCORE.0].ended;
    assert_eq!(*ended, Some(Ended::Unheard(RETURNING)));
    server.becomes_ready(SCORE, 20, []);
    server.after(RETURNING * 2, []);
}

#[test]
fn what_ended_meanwhile_is_started_again_unless_it_had_finished() {
    let mut server = taken_over(Server::flowing(), []);
    server.ends(FEED, Ended::Status(0), []);
    assert_eq!(*server.state(FEED), State::Finished);
    server.ends(SCORE, Ended::Unseen, [start(SCORE, 2)]);
    let mut server = taken_over(Server::flowing(), []);
    server.ends(FEED, Ended::Unseen, [start(FEED, 2)]);
}

#[test]
fn a_start_that_was_broken_off_goes_on_from_where_it_was() {
    let mut server = Server::new();
    server.on(Event::Begin, [start(RELAY, 1)]);
    server.on(Event::Started { process: RELAY, pid: 10 }, []);
    let mut server = taken_over(server, []);
    server.says(RELAY, hello(), []);
    server.says(RELAY, FromProcess::Ready, [tell(RELAY, OPEN), start(SCORE, 1)]);
    // Nothing had been started yet.
    taken_over(Server::new(), [start(RELAY, 1)]);
}

#[test]
fn processes_are_told_what_they_may_have_missed() {
    let mut server = Server::flowing();
    server.on(Event::Gate { closed: true }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    let mut server = taken_over(server, []);
    server.says(FEED, hello(), [tell(FEED, CLOSE)]);
    server.says(RELAY, hello(), [tell(RELAY, CLOSE)]);
    server.says(SCORE, hello(), []);
    let mut server = Server::flowing();
    server.on(Event::Finish { stage: "score".to_owned() }, [tell(SCORE, ToProcess::Finish)]);
    let mut server = taken_over(server, []);
    server.says(SCORE, hello(), [tell(SCORE, ToProcess::Finish)]);
}

#[test]
fn what_another_launcher_has_said_of_a_gate_may_not_have_been_read_yet() {
    let mut server = Server::flowing();
    server.on(Event::Gate { closed: true }, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    assert!(server.machine.processes()[RELAY.0].has_gate(true));
    let mut server = taken_over(server, []);
    // It may have been told to open by then.
    assert!(!server.machine.processes()[RELAY.0].has_gate(true));
    server.says(RELAY, hello(), [tell(RELAY, CLOSE)]);
    server.says(RELAY, FromProcess::Ready, []);
    assert!(!server.machine.processes()[RELAY.0].has_gate(true));
    server.says(RELAY, FromProcess::Gate { closed: true }, []);
    assert!(server.machine.processes()[RELAY.0].has_gate(true));
}

#[test]
fn a_stop_goes_on() {
    let mut server = Server::flowing();
    server.on(Event::Stop { now: false }, [tell(RELAY, CLOSE), tell(FEED, CLOSE), tell(FEED, ToProcess::Stop)]);
    let mut server = taken_over(server, []);
    server.says(FEED, hello(), [tell(FEED, ToProcess::Stop)]);
    server.ends(FEED, Ended::Status(0), []);
    server.says(RELAY, hello(), [tell(RELAY, CLOSE)]);
    server.says(RELAY, FromProcess::Gate { closed: true }, [Effect::WatchDrain]);
    let mut server = taken_over(server, [Effect::WatchDrain]);
    server.says(SCORE, hello(), []);
    server.says(RELAY, hello(), [tell(RELAY, CLOSE)]);
    server.on(Event::Drained, [tell(SCORE, ToProcess::Stop)]);
    server.ends(SCORE, Ended::Unseen, [tell(RELAY, ToProcess::Stop)]);
    server.ends(RELAY, Ended::Status(0), [Effect::Leave]);
}
