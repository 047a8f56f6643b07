//! A difference is rolled out onto the plan that it was made from, or not at all: exit 6, through the real binary.

mod flotilla;
mod playground;

use std::{fs::File, io::Write as _, process::Command};

use flotilla::{
    Flotilla,
    blow::{Blow, Victim},
};
use nix::pty::openpty;
use playground::{Outcome, Running, wait_until};

/// Records that each source sends in a second.
const RATE: u64 = 500;
/// The server whose weight the tests change.
const S1: &str = "s1: {address: 127.0.0.1}";

fn weight(weight: u32) -> String {
    format!("s1: {{address: 127.0.0.1, weight: {weight}}}")
}

/// A command that asks at a terminal, and has asked.
struct Asking {
    running: Running,
    terminal: File,
}

impl Asking {
    fn start(flotilla: &Flotilla, command: Command) -> Self {
        let terminal = openpty(None, None).expect("a terminal");
        let running = flotilla.playground.start_with_stdin(command, terminal.slave);
        wait_until("the question", || running.stderr().contains("Roll this out?"));
        Self { running, terminal: File::from(terminal.master) }
    }

    fn answer(mut self, answer: &str) -> Outcome {
        writeln!(self.terminal, "{answer}").expect("somebody reads it");
        self.running.end()
    }
}

/// Asserts that nothing has been changed by a command that ended with 6, and that it says what to do.
#[track_caller]
fn assert_stale(flotilla: &mut Flotilla, outcome: Outcome, live: &str, what: &str) {
    let outcome = outcome.code(6);
    assert!(outcome.error().contains(&format!("plan {live} has gone live since this difference was made")), "{what}");
    assert!(outcome.stderr.contains("look at the new one, and try again"), "{what}: {}", outcome.stderr);
    wait_until(what, || flotilla.what_is_not_well().is_empty());
    assert_eq!(flotilla.playground.status()["generation"].to_string(), live, "{what}");
    flotilla.wait_until_whole(what);
}

#[test]
fn what_goes_live_while_a_deploy_asks_makes_its_answer_stale() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    flotilla.edit(S1, &weight(3));
    for (live, command) in [("2", &["deploy"][..]), ("3", &["deploy", "--quiet"])] {
        let asking = Asking::start(&flotilla, flotilla.playground.waldo(command));
        flotilla.edit("  keep:\n", &format!("  keep:\n    instances: {live}\n"));
        flotilla.playground.run(flotilla.deploy(&[])).code(0);
        flotilla.edit(&format!("  keep:\n    instances: {live}\n"), "  keep:\n");
        assert_stale(&mut flotilla, asking.answer("y"), live, "asked before, answered after");
    }
    // What was looked at again is rolled out.
    let asking = Asking::start(&flotilla, flotilla.playground.waldo(&["deploy"]));
    asking.answer("y").code(0);
    assert_eq!(flotilla.playground.status()["generation"], 4);
    flotilla.down();
}

#[test]
fn a_drain_or_a_rollback_that_asks_is_made_from_the_plan_that_it_showed_too() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    flotilla.edit(S1, &weight(3));
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    let drain = Asking::start(&flotilla, flotilla.playground.waldo(&["drain", "s2"]));
    let rollback = Asking::start(&flotilla, flotilla.playground.waldo(&["rollback"]));
    flotilla.edit(&weight(3), &weight(2));
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    let answers = [("drain", drain.answer("y")), ("rollback", rollback.answer("y"))];
    for (command, outcome) in answers {
        assert_stale(&mut flotilla, outcome, "3", command);
    }
    flotilla.down();
}

#[test]
fn a_rollout_whose_deployer_is_killed_while_another_one_asks_is_finished_first_and_makes_its_answer_stale() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    flotilla.edit(S1, &weight(2));
    let asking = Asking::start(&flotilla, flotilla.playground.waldo(&["deploy"]));
    flotilla.edit(&weight(2), &weight(3));
    let killed = flotilla.deploy_halted_at("adopt").hit(Victim::Deployer, Blow::Kill);
    assert_eq!(killed.code, None);
    assert_stale(&mut flotilla, asking.answer("y"), "2", "decided, and left");
    flotilla.down();
}
