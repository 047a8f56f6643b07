//! Launchers that die, through the real binary: what they had started goes on, the next launcher takes it over without starting
//! any of it anew, and every record is accounted for. Nothing is left at the end.

mod flotilla;
mod playground;

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use flotilla::{Flotilla, Identities, identities_without};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playground::{Outcome, Playground, Running, free_ports, wait_until};
use serde_json::Value;

/// Records that each source of a flotilla sends in a second.
const RATE: u64 = 1_000;
/// Origins of the demo that take a while, so that a run can be disturbed in its middle.
const MANY: &str = "6000";

/// Kills a process as nothing can be caught, and waits until it is gone.
#[track_caller]
fn kill_now(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    wait_until("its end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) || stat.contains(") Z ")
    });
}

/// Kills the launcher of a server, and answers who it was.
#[track_caller]
fn kill_launcher(playground: &Playground, server: &str) -> i32 {
    let launchers = playground.launchers_of(server);
    assert_eq!(launchers.len(), 1, "{server} has one launcher");
    kill_now(launchers[0]);
    launchers[0]
}

/// Starts launchers for what runs detached, as a person would.
#[track_caller]
fn revive(playground: &Playground) -> Outcome {
    let outcome = playground.run(playground.waldo(&["up", "--quiet"])).code(5);
    assert!(outcome.stderr.contains("launchers had died and were started again"), "{}", outcome.stderr);
    outcome
}

fn process<'a>(status: &'a Value, server: &str, process: &str) -> &'a Value {
    &status["servers"][server]["processes"][process]
}

fn pid_of(playground: &Playground, server: &str, name: &str) -> i32 {
    let status = playground.status();
    process(&status, server, name)["pid"].as_i64().unwrap_or_else(|| panic!("{name} doesn't run: {status}")) as i32
}

/// The pid and incarnation of every process, once all are ready.
#[track_caller]
fn identities(playground: &Playground) -> Identities {
    let mut identities = Identities::new();
    for (server, about) in playground.status()["servers"].as_object().into_iter().flatten() {
        for (process, about) in about["processes"].as_object().into_iter().flatten() {
            if let (Some(pid), Some(incarnation)) = (about["pid"].as_i64(), about["incarnation"].as_u64()) {
                identities.insert(format!("{server}/{process}"), (pid, incarnation));
            }
        }
    }
    identities
}

/// The demo in its middle, led by `waldo up`.
fn demo() -> (Playground, Running) {
    let playground = Playground::copy_of("debian");
    let mut up = playground.waldo(&["up", "--until-idle", "--json"]);
    up.env("ORIGINS", MANY);
    let up = playground.start(up);
    wait_until("records flow", || {
        let status = playground.status();
        process(&status, "s2", "visit.0")["edges"]["visit<relay"]["done"].as_u64() > Some(1_000)
    });
    (playground, up)
}

/// Asserts that the demo's answer is exact, and that the ledger says so too.
#[track_caller]
fn assert_exact(playground: &Playground, up: Outcome) {
    let ledger = up.code(0).ledger();
    for (flow, account) in ledger["flows"].as_object().expect("flows") {
        for count in ["lost", "repeated", "dead", "rejected", "held"] {
            assert_eq!(account[count], 0, "{flow} {count}: {ledger}");
        }
        assert_eq!(account["sent"], account["received"], "{flow}: {ledger}");
    }
    let mut verify = playground.command("./verify", &["demo"]);
    verify.env("ORIGINS", MANY);
    let verified = playground.run(verify).code(0);
    assert!(verified.stdout.starts_with("exact: 6,000 origins, "), "{}", verified.stdout);
}

#[test]
fn up_lets_another_launcher_take_over_under_load_and_the_answer_is_exact() {
    let (playground, up) = demo();
    let before = identities(&playground);
    for server in ["s2", "s1", "s2"] {
        let killed = kill_launcher(&playground, server);
        wait_until("another launcher", || playground.launchers_of(server).iter().any(|&pid| pid != killed));
        wait_until("it answers", || playground.status()["state"] == "flowing");
    }
    let after = identities(&playground);
    for (name, is) in &after {
        assert_eq!(before.get(name), Some(is), "{name} was started anew");
    }
    assert!(after.contains_key("s2/visit.0") && after.contains_key("s1/relay"), "{after:?}");
    assert_exact(&playground, up.end());
    playground.assert_nothing_left();
}
