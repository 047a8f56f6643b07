//! How a rollout ends when it can't be made: by which exit code, and with which plan flowing afterwards; always under load,
//! with nothing lost and nothing repeated by a count that doesn't ask waldo.

mod flotilla;
mod playground;

use std::{fs, net::TcpListener};

use flotilla::{
    Flotilla,
    blow::{Blow, PHASES, Victim},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playground::{Outcome, wait_until};

/// Records that each source sends in a second.
const RATE: u64 = 700;

/// A flotilla that runs, whose topology on disk is another one by then: keys move and a stage restarts.
fn about_to_change() -> Flotilla {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    change(&flotilla);
    flotilla
}

fn change(flotilla: &Flotilla) {
    flotilla.edit("s1: {address: 127.0.0.1}", "s1: {address: 127.0.0.1, weight: 3}");
    flotilla.edit("grep .", "grep -e .");
}

/// Waits until everything runs as the plan that is live wants it, and all records have come.
#[track_caller]
fn assert_well(flotilla: &mut Flotilla, what: &str) {
    let mut why = String::new();
    let well = playground::comes_about(|| {
        why = flotilla.what_is_not_well();
        why.is_empty()
    });
    assert!(well, "{what}: {why}");
    flotilla.wait_for_load(what);
    flotilla.wait_until_whole(what);
    flotilla.take_moves();
}

/// Asserts that the rollout ended so, and that the plan that was live goes on with the very same processes.
#[track_caller]
fn assert_nothing_changed(flotilla: &mut Flotilla, exit: i32, what: &str) -> Outcome {
    let before = flotilla.identities();
    let digest = flotilla.plan().digest;
    let outcome = flotilla.playground.run(flotilla.deploy(&[])).code(exit);
    assert_well(flotilla, what);
    assert_eq!(flotilla.identities(), before, "{what}: nobody is started again");
    assert_eq!(flotilla.plan().digest, digest, "{what}: the same plan");
    outcome
}

#[test]
fn of_two_deploys_at_once_one_wins_and_the_other_says_that_it_is_locked() {
    let mut flotilla = about_to_change();
    for (phase, weight) in [("idle", 3), ("adopt", 2), ("switch", 4), ("release", 5)] {
        flotilla.edit("weight: 3", &format!("weight: {weight}"));
        let first = flotilla.deploy_halted_at(phase);
        let second = flotilla.playground.run(flotilla.deploy(&[])).code(5);
        let by = first.deployer().pid().to_string();
        assert!(second.error().contains(&by), "{phase}: it says who: {}", second.error());
        first.go_on().code(0);
        assert_well(&mut flotilla, "two deploys at once");
        flotilla.edit(&format!("weight: {weight}"), "weight: 3");
    }
    flotilla.down();
}

#[test]
fn a_handler_that_takes_longer_than_may_be_waited_for_leaves_the_old_plan_flowing() {
    let mut flotilla = Flotilla::new(RATE);
    let books = flotilla.playground.path().join("books");
    flotilla.edit(", keep, ", ", keep, hangs=1, ");
    let text = flotilla
        .text()
        .replace(&format!("keep, hangs=1, {}", books.display()), &format!("keep, {}, hangs=1", books.display()));
    fs::write(flotilla.topology(), text + "\ndefaults: {idle_timeout: 700ms}\n").expect("YAML");
    flotilla.up();
    change(&flotilla);
    fs::write(books.join("hang"), "").expect("a file");
    let before = flotilla.identities();
    let outcome = flotilla.playground.run(flotilla.deploy(&[])).code(7);
    for named in ["keep.0", "kept", "at it for"] {
        assert!(outcome.error().contains(named), "{named} is named: {}", outcome.error());
    }
    fs::remove_file(books.join("hang")).expect("a file");
    assert_well(&mut flotilla, "a handler that takes long");
    assert_eq!(flotilla.identities(), before, "nobody is started again");
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    assert_well(&mut flotilla, "once it is through");
    flotilla.down();
}

#[test]
fn a_loop_that_never_runs_dry_keeps_nobody_from_becoming_idle() {
    const LAPS: u64 = 50;
    let mut flotilla = Flotilla::with_laps(100, LAPS);
    flotilla.edit("passes: 8", &format!("passes: {}", LAPS + 1));
    fs::write(flotilla.topology(), flotilla.text() + "\ndefaults: {idle_timeout: 5s}\n").expect("YAML");
    flotilla.up();
    for round in 0..3 {
        let weight = format!("s1: {{address: 127.0.0.1, weight: {}}}", 3 + round);
        let text = flotilla.text();
        let line = text.lines().find(|line| line.contains("s1: {address")).expect("a server").trim();
        flotilla.edit(line, &weight);
        flotilla.roll_out("a loop that never runs dry", 0);
    }
    flotilla.down();
}

#[test]
fn ctrl_c_in_whichever_phase_leaves_the_old_plan_flowing() {
    let mut flotilla = about_to_change();
    let digest = flotilla.plan().digest;
    // Here nothing leads back any more: every server has the new plan, and portals deliver by it.
    let can_be_cancelled = PHASES.into_iter().filter(|phase| !matches!(*phase, "drain" | "release"));
    for phase in can_be_cancelled {
        let halted = flotilla.deploy_halted_at(phase);
        eprintln!("PHASE {phase}");
        halted.deployer().signal(Signal::SIGINT);
        let outcome = halted.go_on();
        assert_eq!(outcome.code, Some(8), "{phase}: {}{}", outcome.stdout, outcome.stderr);
        assert_well(&mut flotilla, &format!("Ctrl-C in {phase}"));
        assert_eq!(flotilla.plan().digest, digest, "{phase}: the old plan");
    }
    let halted = flotilla.deploy_halted_at("release");
    halted.deployer().signal(Signal::SIGINT);
    halted.go_on().code(0);
    assert_well(&mut flotilla, "Ctrl-C in release");
    assert_ne!(flotilla.plan().digest, digest, "release: the new plan");
    flotilla.down();
}

#[test]
fn a_new_program_that_fails_brings_the_old_plan_back_with_nothing_lost() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let text = flotilla.text();
    let keep = text.lines().find(|line| line.contains(", keep, ")).expect("a sink");
    for (what, run) in [
        ("exits at once", "    run: 'false'"),
        ("never gets ready", "    run: sleep 1000\n    ready: {timeout: 500ms}"),
        ("dies as soon as it is ready", "    run: [sh, -c, 'kill -9 $$$$']"),
    ] {
        change(&flotilla);
        flotilla.edit(&format!("  keep:\n{keep}"), &format!("  keep:\n{run}"));
        let before = flotilla.playground.status();
        let digest = flotilla.plan().digest;
        let outcome = flotilla.playground.run(flotilla.deploy(&[])).code(3);
        assert!(outcome.error().contains("keep.0"), "{what}: it is named: {}", outcome.error());
        assert_well(&mut flotilla, what);
        assert_eq!(flotilla.plan().digest, digest, "{what}: the old plan");
        let after = flotilla.playground.status();
        assert!(after["generation"].as_u64() > before["generation"].as_u64(), "{what}: under a newer number");
        let ledger = outcome.ledger();
        assert_eq!((&ledger["result"], &ledger["exit"]), (&"rolled-back".into(), &3.into()), "{what}: {ledger}");
        fs::write(flotilla.topology(), &text).expect("YAML");
    }
    flotilla.down();
}

#[test]
fn what_cannot_be_prepared_changes_nothing() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let text = flotilla.text();
    flotilla.edit("grep .", "no-such-program .");
    let outcome = assert_nothing_changed(&mut flotilla, 1, "a program that isn't there");
    assert!(outcome.error().contains("no-such-program"), "{}", outcome.error());
    fs::write(flotilla.topology(), &text).expect("YAML");
    flotilla.edit("guide: hash", "guide: hush");
    let outcome = assert_nothing_changed(&mut flotilla, 1, "a topology with an error");
    assert!(outcome.error().contains("hush"), "{}", outcome.error());
    flotilla.down();
}

#[test]
fn a_disk_that_fills_while_a_rollout_comes_to_its_end_is_told_and_the_next_deploy_writes_it_down() {
    let mut flotilla = about_to_change();
    let old = flotilla.plan().digest;
    let store = flotilla.playground.path().join(".waldo/test/store");
    let halted = flotilla.deploy_halted_at("release");
    flotilla.fill_disk(true);
    let outcome = halted.go_on().code(4);
    assert!(outcome.error().contains("can't be written down"), "{}", outcome.error());
    assert_eq!(outcome.ledger()["generation"], 2, "the plan that is live");
    assert_well(&mut flotilla, "a disk that is full at the end");
    assert_ne!(flotilla.plan().digest, old, "the new plan");
    let again = flotilla.playground.run(flotilla.deploy(&[])).code(4);
    assert!(again.error().contains("can't be written down"), "still full: {}", again.error());
    flotilla.fill_disk(false);
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    assert_eq!(fs::read_to_string(store.join("live")).expect("a number").trim(), "2");
    assert!(store.join("history/2.json").exists(), "its account");
    assert_well(&mut flotilla, "once there is room");

    flotilla.edit("weight: 3", "weight: 2");
    let halted = flotilla.deploy_halted_at("decide");
    flotilla.fill_disk(true);
    let outcome = halted.go_on().code(1);
    assert!(outcome.error().contains("can't be decided"), "{}", outcome.error());
    flotilla.fill_disk(false);
    assert_well(&mut flotilla, "a disk that is full when it is to be decided");
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    assert_well(&mut flotilla, "decided");

    let text = flotilla.text();
    let keep = text.lines().find(|line| line.contains(", keep, ")).expect("a sink").to_owned();
    flotilla.edit(&format!("  keep:\n{keep}"), "  keep:\n    run: sleep 1000\n    ready: {timeout: 500ms}");
    let halted = flotilla.deploy_halted_at("switch");
    flotilla.fill_disk(true);
    let outcome = halted.go_on().code(4);
    assert!(outcome.error().contains("there was no way back"), "{}", outcome.error());
    // What waits for the stage that doesn't start stays in the portals.
    flotilla.playground.run(flotilla.playground.waldo(&["down", "--now"])).code(0);
    flotilla.playground.assert_nothing_left();
}

/// A flotilla in the middle of a rollout that gives s1 keys of s2, where the portal of s1 can't adopt the plan as somebody has
/// taken the port of its new door.
fn stuck() -> (Flotilla, TcpListener) {
    let mut flotilla = Flotilla::new(RATE);
    let text = flotilla.text() + "\nportals:\n  relay: {flows: [call, turn, kept, answer, plain]}\n";
    fs::write(flotilla.topology(), text).expect("YAML");
    flotilla.up();
    change(&flotilla);
    flotilla.edit("call: {key: sender, guide: hash}", "call: {key: sender, guide: hash, from: clients}");
    let halted = flotilla.deploy_halted_at("decide");
    let door = flotilla.door_for_clients_in_plan(2, "s1", "relay");
    let taken = TcpListener::bind(&door).expect("a port that nobody has yet");
    let outcome = halted.go_on().code(9);
    for said in ["s1", "relay", &door, "asked again"] {
        assert!(outcome.error().contains(said), "{said} is told: {}", outcome.error());
    }
    (flotilla, taken)
}

#[test]
fn a_portal_that_cannot_open_its_new_door_is_asked_again_until_it_can() {
    let (mut flotilla, taken) = stuck();
    drop(taken);
    assert_well(&mut flotilla, "the port is free again");
    assert_eq!(flotilla.playground.status()["generation"], 2);
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    flotilla.down();
}

#[test]
fn a_rollout_that_is_stuck_can_be_ended_by_down_and_what_portals_have_not_confirmed_to_each_other_is_told() {
    let (mut flotilla, taken) = stuck();
    let down = flotilla.playground.run(flotilla.playground.waldo(&["down"]));
    drop(taken);
    let unconfirmed = down.stderr.matches("didn't confirm them").count();
    assert_eq!(down.code, Some(if unconfirmed > 0 { 10 } else { 0 }), "{}{}", down.stdout, down.stderr);
    let told: u64 = down
        .stderr
        .split_whitespace()
        .zip(down.stderr.split_whitespace().skip(1))
        .filter(|(_, after)| *after == "records")
        .filter_map(|(number, _)| number.replace(',', "").parse::<u64>().ok())
        .sum();
    flotilla.up();
    let lost = flotilla.book_losses("the next run");
    assert!(lost["enter"] <= told, "{lost:?} are missing, and {told} were told: {}", down.stderr);
    assert!(told > 0 || lost.values().all(|lost| *lost == 0), "{lost:?} are missing, untold");
    // What was set aside for the hand-over that never came is behind what it should be before.
    flotilla.playground.run(flotilla.playground.waldo(&["down", "--now"]));
    flotilla.playground.assert_nothing_left();
}

#[test]
fn what_was_decided_is_finished_by_the_launchers_when_the_deployer_is_gone() {
    let mut flotilla = about_to_change();
    let old = flotilla.plan().digest;
    let killed = flotilla.deploy_halted_at("idle").hit(Victim::Deployer, Blow::Kill);
    assert_eq!(killed.code, None);
    assert_well(&mut flotilla, "killed before the decision");
    assert_eq!(flotilla.plan().digest, old, "nothing was decided: the old plan");
    let killed = flotilla.deploy_halted_at("switch").hit(Victim::Deployer, Blow::Kill);
    assert_eq!(killed.code, None);
    assert_well(&mut flotilla, "killed after the decision");
    assert_ne!(flotilla.plan().digest, old, "it was decided: the new plan");
    flotilla.down();
}

#[test]
fn a_deploy_waits_for_a_server_whose_launcher_was_asked_to_end_to_be_there_again() {
    let mut flotilla = about_to_change();
    let launcher = *flotilla.playground.launchers_of("s1").first().expect("it has a launcher");
    kill(Pid::from_raw(launcher), Signal::SIGTERM).expect("it runs");
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    assert_well(&mut flotilla, "a launcher that was asked to end");
    flotilla.down();
}

#[test]
fn a_server_that_nothing_is_changed_on_never_stops() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.edit("    speaks: lines\n", "    speaks: lines\n    \"on\": [s1]\n");
    flotilla.up();
    flotilla.edit("grep .", "grep -e .");
    // A count of its own: the other one is busy with the flotilla.
    let mut count = flotilla.new_count();
    let mut received_on = |server: &str| {
        count.read().expect("books");
        count.book("keep").received_on(server)
    };
    let halted = flotilla.deploy_halted_at("switch");
    let (first, second) = (received_on("s1"), received_on("s2"));
    wait_until("a thousand records more on s2", || received_on("s2") > second + 1_000);
    assert_eq!(received_on("s1"), first, "s1 holds");
    let ledger = halted.go_on().code(0).ledger();
    assert_eq!(
        ledger["pause_ms"].as_object().map(|paused| paused.keys().collect::<Vec<_>>()),
        Some(vec![&"s1".to_owned()]),
        "{ledger}"
    );
    assert_well(&mut flotilla, "a server that nothing is changed on");
    flotilla.down();
}
