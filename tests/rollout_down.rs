//! A stage crashes as soon as it is started, records pile up before it, and a deploy of a fix is what ends that: nothing that
//! waited for it is lost, repeated, or out of order.

mod flotilla;
mod playground;

use std::fs;

use flotilla::Flotilla;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playground::wait_until;
use waldo_tally::{Expected, Laps};

/// Records that each source sends in a second.
const RATE: u64 = 700;

/// The flotilla with two sinks that crash when they are started while there is a file `crash` in `books`: `keep`, fed by portals,
/// and `note`, with little room in its inbox, whose sender `enter` soon can't go on.
fn that_may_crash() -> Flotilla {
    let mut flotilla = Flotilla::new(RATE);
    let books = flotilla.playground.path().join("books");
    let text = flotilla.text();
    let keeps = text.lines().find(|line| line.contains(", keep, ")).expect("a sink");
    let argv = keeps.trim().trim_start_matches("run: [").trim_end_matches(']').replace(',', "");
    let crashes = format!("    run: [sh, -c, 'test ! -e {}/crash && exec {argv}']\n", books.display());
    flotilla.edit(&format!("  keep:\n{keeps}\n"), &format!("  keep:\n{crashes}"));
    flotilla.edit("  sieve:\n", &format!("  note:\n{crashes}    in: [side]\n    queue: 2\n  sieve:\n"));
    flotilla.expected.push(Expected { book: "note", each: 10, laps: Laps::First });
    flotilla
}

/// Lets a stage of both servers crash, now and whenever it is started; nothing is under way to it.
fn crash(flotilla: &mut Flotilla, process: &str) {
    flotilla.pause("before the crash");
    fs::write(flotilla.playground.path().join("books/crash"), "").expect("a file");
    for server in ["s1", "s2"] {
        let about = &flotilla.playground.status()["servers"][server]["processes"][process];
        kill(Pid::from_raw(about["pid"].as_i64().expect("it runs") as i32), Signal::SIGKILL).expect("it runs");
    }
    flotilla.resume();
    wait_until("it ends again and again", || {
        let status = flotilla.playground.status();
        ["s1", "s2"].iter().all(|server| {
            let about = &status["servers"][server]["processes"][process];
            about["state"] == "backing off" && about["incarnation"].as_u64() > Some(4)
        })
    });
}

/// Takes the crash out of a stage's program, and nothing else.
fn fix(flotilla: &Flotilla, stage: &str) {
    let text = flotilla.text();
    let (_, about) = text.split_once(&format!("  {stage}:\n")).expect("the stage");
    let line = about.lines().next().expect("its program");
    let (before, after) = line.split_once("test ! -e").expect("the test");
    let (_, after) = after.split_once("&& ").expect("the program");
    flotilla.edit(&format!("  {stage}:\n{line}"), &format!("  {stage}:\n{before}{after}"));
}

#[test]
fn a_fix_of_a_stage_that_crashes_is_rolled_out_over_what_waits_for_it() {
    let mut flotilla = that_may_crash();
    flotilla.up();

    for stage in ["keep", "note"] {
        crash(&mut flotilla, &format!("{stage}.0"));
        let sent = || flotilla.sent().values().sum::<u64>();
        let before = sent();
        wait_until("records pile up", || sent() > before + 3_000);
        fix(&flotilla, stage);
        let outcome = flotilla.playground.run(flotilla.deploy(&[])).code(0);
        for (flow, account) in outcome.ledger()["flows"].as_object().expect("flows") {
            assert_eq!(
                (&account["lost"], &account["repeated"]),
                (&0.into(), &0.into()),
                "{flow}: {}",
                outcome.ledger()
            );
        }
        flotilla.wait_for_load("the fix");
        flotilla.wait_until_whole("the fix");
        assert_eq!(flotilla.what_is_not_well(), "");
        fs::remove_file(flotilla.playground.path().join("books/crash")).expect("a file");
    }
    flotilla.down();
}

#[test]
fn a_fix_that_changes_more_around_a_stage_that_crashes_has_to_wait_and_says_why() {
    let mut flotilla = that_may_crash();
    fs::write(flotilla.topology(), flotilla.text() + "\ndefaults: {idle_timeout: 1s}\n").expect("YAML");
    flotilla.up();
    crash(&mut flotilla, "keep.0");
    flotilla.edit("s1: {address: 127.0.0.1}", "s1: {address: 127.0.0.1, weight: 3}");
    fix(&flotilla, "keep");
    let outcome = flotilla.playground.run(flotilla.deploy(&[])).code(7);
    for said in ["keep.0", "doesn't run", "a fix of it alone"] {
        assert!(outcome.error().contains(said), "{said} is told: {}", outcome.error());
    }
    flotilla.edit("s1: {address: 127.0.0.1, weight: 3}", "s1: {address: 127.0.0.1}");
    flotilla.playground.run(flotilla.deploy(&[])).code(0);
    flotilla.wait_until_whole("the fix alone");
    flotilla.down();
}
