//! A stage that is down while its server is to be idle.

use super::*;
use crate::rollout::StepName::{Hold, Idle};

/// A server whose stage has ended so often that it backs off, and a rollout to plan 2 that has closed the gates and wants the
/// stages to be idle.
fn with_the_stage_down(orders: &[(&str, Order)]) -> Server {
    let mut server = Server::flowing();
    server.ends(SCORE, 1, [start(SCORE, 2)]);
    server.becomes_ready(SCORE, 1, NOTHING);
    server.ends(SCORE, 1, NOTHING);
    server.prepare(2, orders);
    server.asks(Hold, [tell(RELAY, CLOSE), tell(FEED, CLOSE)]);
    server.says(RELAY, 1, FromProcess::Gate { closed: true }, NOTHING);
    server.says(FEED, 1, FromProcess::Gate { closed: true }, NOTHING);
    server.asks(Idle, NOTHING);
    assert!(server.machine.wants_idle_proof());
    server
}

fn left_out(server: &Server) -> Vec<String> {
    server.machine.left_out().into_iter().collect()
}

#[test]
fn a_fix_of_a_stage_that_is_down_needs_no_proof_of_what_waits_for_it_and_of_who_waits_for_room() {
    let mut server = with_the_stage_down(&[("score.0", Order::Restart)]);
    assert_eq!(left_out(&server), ["feed.0", "score.0"], "the source may be at a record that it can't send");
    server.after(60_000, NOTHING);
    server.on(Event::JudgedIdle(None), NOTHING);
    server.after(60_000, NOTHING);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [install(SCORE), start(SCORE, 3)]);
    server.becomes_ready(SCORE, 2, NOTHING);
    assert_eq!(server.stage(), Stage::Done);
    server.passes(&[Flush, HandOver, Settle]);
    server.asks(Release, [tell(RELAY, OPEN), tell(FEED, OPEN)]);
    server.opens(1);
    server.assert_lives_by(2);
}

#[test]
fn a_fix_that_crashes_once_it_was_ready_is_started_again_by_its_own_policy() {
    let mut server = with_the_stage_down(&[("score.0", Order::Restart)]);
    server.on(Event::JudgedIdle(None), NOTHING);
    server.passes(&[AdoptPortals]);
    server.asks(Switch, [install(SCORE), start(SCORE, 3)]);
    server.becomes_ready(SCORE, 2, NOTHING);
    server.ends(SCORE, 1, [start(SCORE, 4)]);
    server.becomes_ready(SCORE, 2, NOTHING);
    server.ends(SCORE, 1, NOTHING);
    server.after(60_000, [start(SCORE, 5)]);
}

#[test]
fn a_stage_that_was_given_up_is_fixed_like_one_that_backs_off() {
    let mut server = Server::flowing();
    let restart = Restart { policy: RestartPolicy::Never, ..server.of(SCORE).restart.clone() };
    server.machine.processes_mut()[SCORE.0].restart = restart;
    server.ends(SCORE, 1, NOTHING);
    assert_eq!(server.of(SCORE).state, State::GivenUp);
    server.prepare(2, &[("score.0", Order::Restart)]);
    assert_eq!(left_out(&server), ["feed.0", "score.0"]);
}

#[test]
fn a_rollout_that_is_given_up_lets_it_be_started_again_by_what_it_was() {
    let mut server = with_the_stage_down(&[("score.0", Order::Restart)]);
    server.after(60_000, NOTHING);
    server.on(Event::JudgedIdle(Some(Failure::NotIdle("another stage".to_owned()))), NOTHING);
    server.asks(Abort, [tell(RELAY, OPEN), tell(FEED, OPEN), start(SCORE, 3)]);
}

#[test]
fn a_stage_that_is_down_and_kept_is_started_again_meanwhile_as_ever() {
    let mut server = with_the_stage_down(&[]);
    assert_eq!(left_out(&server), ["feed.0", "score.0"]);
    server.after(60_000, [start(SCORE, 3)]);
    assert_eq!(left_out(&server), Vec::<String>::new(), "it can work off what waits for it");
}

#[test]
fn where_more_than_the_stage_is_changed_all_must_be_worked_off() {
    for change in
        [("relay", Order::Adopt), ("feed.0", Order::Restart), ("feed.0", Order::Adopt), ("feed.0", Order::Leave)]
    {
        let mut server = with_the_stage_down(&[("score.0", Order::Restart), change]);
        assert_eq!(left_out(&server), Vec::<String>::new(), "{change:?}");
        server.after(60_000, [start(SCORE, 3)]);
    }
}

#[test]
fn a_stage_that_gives_up_what_it_receives_is_no_fix() {
    let mut server = with_the_stage_down(&[("score.0", Order::Leave)]);
    assert_eq!(left_out(&server), Vec::<String>::new());
    server.after(60_000, [start(SCORE, 3)]);
}

#[test]
fn the_next_launcher_leaves_alone_what_the_one_before_did() {
    let server = with_the_stage_down(&[("score.0", Order::Restart)]);
    let kept = serde_json::to_string(&server.machine).unwrap();
    let machine: Machine = serde_json::from_str(&kept).unwrap();
    let mut next = Server { machine, now: server.now };
    next.on(Event::TakenOver, NOTHING);
    next.after(5_000, NOTHING);
    assert_eq!(left_out(&next), ["feed.0", "score.0"]);
}
