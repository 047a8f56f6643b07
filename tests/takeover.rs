//! Launchers that die, through the real binary: what they had started goes on, the next launcher takes it over without starting
//! any of it anew, and every record is accounted for. Nothing is left at the end.

mod flotilla;
mod playground;

use std::{fs, thread::sleep, time::Duration};

use flotilla::{Flotilla, Identities, identities_without};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playground::{Outcome, Playground, Running, free_ports, wait_until};
use serde_json::Value;

/// Records that each source of a flotilla sends in a second.
const RATE: u64 = 300;
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

#[test]
fn without_a_launcher_everything_flows_and_status_says_so_until_the_next_one_has_taken_over() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let before = flotilla.identities();
    for server in ["s1", "s2"] {
        kill_launcher(&flotilla.playground, server);
    }
    let status = flotilla.playground.status();
    assert_eq!(status["state"], "running, no launcher", "{status}");
    assert_eq!(status["servers"]["s1"]["state"], "running, no launcher", "{status}");
    assert_eq!(process(&status, "s1", "relay")["state"], "ready", "{status}");
    assert_eq!(flotilla.identities(), before, "what runs is told also without a launcher");
    // It isn't only that nobody has stopped them.
    flotilla.wait_for_load("no launcher");
    revive(&flotilla.playground);
    assert_eq!(flotilla.identities(), before);
    wait_until("flowing", || flotilla.what_is_not_well().is_empty());
    flotilla.wait_until_whole("taken over");
    assert_eq!(flotilla.identities(), before);
    // The next launcher isn't worse than the first.
    kill_launcher(&flotilla.playground, "s1");
    let deployed = flotilla.playground.run(flotilla.deploy(&[])).code(0);
    assert!(deployed.stdout.contains("the launcher of s1 had died; another one has taken over"), "{}", deployed.stdout);
    assert_eq!(flotilla.identities(), before, "there was nothing to change");
    flotilla.edit("  s1: {address: 127.0.0.1}", "  s1: {address: 127.0.0.1, weight: 2}");
    flotilla.roll_out("after a takeover", 0);
    flotilla.down();
}

#[test]
fn a_stage_that_dies_while_there_is_no_launcher_is_started_again_and_its_loss_is_booked() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let before = flotilla.identities();
    let (launcher, stage) = (flotilla.playground.launchers_of("s1")[0], pid_of(&flotilla.playground, "s1", "lap.0"));
    kill_now(launcher);
    kill_now(stage);
    let status = flotilla.playground.status();
    let dead = process(&status, "s1", "lap.0");
    assert_eq!((&dead["state"], &dead["pid"]), (&Value::from("ended"), &Value::Null), "{status}");
    revive(&flotilla.playground);
    wait_until("all is well", || flotilla.what_is_not_well().is_empty());
    let after = flotilla.identities();
    assert_eq!(identities_without(&after, "s1/lap.0"), identities_without(&before, "s1/lap.0"));
    assert_eq!(after["s1/lap.0"].1, before["s1/lap.0"].1 + 1, "its next incarnation");
    assert_eq!(process(&flotilla.playground.status(), "s1", "lap.0")["restarts"], 1);
    let missing: u64 = flotilla.book_losses("killed").values().sum();
    let told: u64 = flotilla.accounts().values().map(|account| account.lost).sum();
    assert!(told > 0 || missing == 0, "{missing} are missing, {told} told");
    flotilla.wait_until_whole("killed");
    flotilla.down();
}

/// Sources that wait for a file, send what they have, and end, into a filter; and one that goes on for ever.
fn sources() -> Playground {
    let playground = Playground::copy_of("hello");
    let text = format!(
        r"topology: ends
flows: {{few: {{}}, many: {{}}}}
stages:
  few:
    speaks: lines
    out: [few]
    run: [sh, -c, 'until [ -e go ]; do sleep 0.02; done; seq 100']
  many: {{speaks: lines, out: [many], run: [sh, -c, 'while sleep 0.01; do echo x; done']}}
  note: {{speaks: ack, in: [few], run: [sh, -c, 'while read -r line; do echo noted >&2; echo; done']}}
  drop: {{speaks: ack, in: [many], run: [sh, -c, 'while read -r line; do echo; done']}}
namespaces:
  dev: {{local: true, ports: {}}}
",
        free_ports()
    );
    fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    playground
}

/// How many records of the few have been noted.
fn noted(playground: &Playground) -> usize {
    let logs = playground.run(playground.waldo(&["logs", "note"])).code(0);
    logs.stdout.lines().filter(|line| line.ends_with("noted")).count()
}

#[test]
fn a_source_that_finishes_while_there_is_no_launcher_is_not_started_again() {
    let playground = sources();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let before = identities(&playground);
    kill_launcher(&playground, "here");
    fs::write(playground.path().join("go"), "").expect("a file");
    let is_over = |playground: &Playground| process(&playground.status(), "here", "few.0")["state"] == "ended";
    wait_until("its end", || is_over(&playground));
    let status = playground.status();
    assert_eq!(process(&status, "here", "few.0")["detail"], "exit status 0", "{status}");
    revive(&playground);
    let status = playground.status();
    assert_eq!(process(&status, "here", "few.0")["state"], "finished", "{status}");
    assert_eq!(process(&status, "here", "few.0")["restarts"], 0, "{status}");
    let mut before_that = before;
    before_that.remove("here/few.0");
    assert_eq!(identities(&playground), before_that);
    wait_until("all noted", || noted(&playground) >= 100);
    // Also the launcher after that knows it.
    kill_launcher(&playground, "here");
    revive(&playground);
    assert_eq!(process(&playground.status(), "here", "few.0")["state"], "finished");
    assert_eq!(noted(&playground), 100);
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_process_that_was_taken_over_is_started_again_when_it_dies_with_all_that_it_had_started() {
    let playground = sources();
    playground.edit("waldo.yaml", "while sleep 0.01; do", "sleep 1000 & setsid sleep 2000 & while sleep 0.01; do");
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let sleepers = || -> Vec<i32> {
        let all = playground.processes();
        all.iter().filter(|(_, words)| words.starts_with("sleep ") && words.contains("000")).map(|it| it.0).collect()
    };
    wait_until("its sleepers", || sleepers().len() == 2);
    let first = sleepers();
    kill_launcher(&playground, "here");
    revive(&playground);
    let before = identities(&playground);
    kill_now(pid_of(&playground, "here", "many.0"));
    let again = || process(&playground.status(), "here", "many.0")["incarnation"] == 2;
    wait_until("its next incarnation", || again() && sleepers().len() == 2);
    assert!(sleepers().iter().all(|pid| !first.contains(pid)), "what the first had started is gone");
    let after = identities(&playground);
    assert_eq!(identities_without(&after, "here/many.0"), identities_without(&before, "here/many.0"));
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn down_stops_cleanly_what_a_dead_launcher_left_and_portals_keep_what_they_hold() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    for server in flotilla.plan().servers.keys() {
        kill_launcher(&flotilla.playground, server);
    }
    let down = flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    assert!(down.stdout.contains("stopped s1, s2"), "{}", down.stdout);
    flotilla.playground.assert_nothing_left();
    // What was held is there, and comes: nothing was lost or repeated by the stop.
    let sent = flotilla.sent();
    flotilla.up();
    wait_until("what was held", || {
        flotilla.count.read().expect("books");
        let missing = flotilla.expected.iter().map(|it| flotilla.count.missing(it, &sent).expect("books").count);
        missing.sum::<u64>() == 0
    });
    assert!(flotilla.count.books().all(|(_, book)| book.repeated.count == 0));
    flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    flotilla.playground.assert_nothing_left();
}

#[test]
fn whatever_is_killed_and_whenever_down_leaves_nothing() {
    for pause in [0, 2, 5, 10, 20, 40, 80, 160, 320] {
        let playground = sources();
        let up = playground.start(playground.waldo(&["up", "--quiet"]));
        wait_until("a launcher", || !playground.launchers_of("here").is_empty());
        // Wherever it is by then: before its first process, amid them, or after the last.
        sleep(Duration::from_millis(pause));
        up.signal(Signal::SIGKILL);
        for launcher in playground.launchers_of("here") {
            let _ = kill(Pid::from_raw(launcher), Signal::SIGKILL);
        }
        assert_eq!(up.end().code, None);
        playground.run(playground.waldo(&["down"])).code(0);
        playground.assert_nothing_left();
    }
}

#[test]
fn a_launcher_that_is_killed_while_it_starts_is_followed_by_one_that_goes_on() {
    for pause in [0, 2, 5, 10, 20, 40, 80] {
        let playground = sources();
        let up = playground.start(playground.waldo(&["up", "--quiet"]));
        let kept = playground.path().join("run/ends/dev/here/launcher.json");
        wait_until("a launcher that can be followed", || kept.exists());
        sleep(Duration::from_millis(pause));
        for launcher in playground.launchers_of("here") {
            let _ = kill(Pid::from_raw(launcher), Signal::SIGKILL);
        }
        wait_until("flowing", || playground.status()["state"] == "flowing");
        fs::write(playground.path().join("go"), "").expect("a file");
        wait_until("all noted", || noted(&playground) >= 100);
        assert_eq!(noted(&playground), 100);
        playground.run(playground.waldo(&["down"])).code(0);
        up.end().code(8);
        playground.assert_nothing_left();
    }
}

#[test]
fn when_everything_is_killed_at_once_the_next_up_starts_from_what_portals_had_on_disk() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    for (pid, _) in flotilla.playground.processes() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    wait_until("their ends", || flotilla.playground.processes().is_empty());
    let status = flotilla.playground.status();
    assert_eq!(status["state"], "no launcher, nothing runs", "{status}");
    flotilla.playground.run(flotilla.playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    wait_until("all is well", || flotilla.what_is_not_well().is_empty());
    flotilla.wait_for_load("up again");
    flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
    flotilla.playground.assert_nothing_left();
}

#[test]
fn a_launcher_that_dies_again_and_again_ends_the_run_with_what_it_said() {
    let playground = sources();
    let up = playground.start(playground.waldo(&["up"]));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    let mut killed = Vec::new();
    for _ in 0..6 {
        wait_until("a launcher", || playground.launchers_of("here").iter().any(|pid| !killed.contains(pid)));
        let launcher = playground.launchers_of("here").into_iter().find(|pid| !killed.contains(pid)).expect("one");
        let _ = kill(Pid::from_raw(launcher), Signal::SIGKILL);
        killed.push(launcher);
    }
    let outcome = up.end().code(1);
    assert!(outcome.stderr.contains("the launcher of here had died; another one has taken over"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the launcher of here has ended (signal: 9"), "{}", outcome.stderr);
    playground.assert_nothing_left();
}

#[test]
fn a_launcher_that_is_stopped_for_a_while_goes_on_and_nobody_takes_its_place() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let before = flotilla.identities();
    let launcher = flotilla.playground.launchers_of("s1")[0];
    kill(Pid::from_raw(launcher), Signal::SIGSTOP).expect("it runs");
    let refused = flotilla.playground.run(flotilla.playground.waldo(&["up", "--quiet"]));
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    let status = flotilla.playground.status();
    assert_eq!(status["servers"]["s1"]["state"], "launcher doesn't answer", "{status}");
    flotilla.wait_for_load("stopped");
    kill(Pid::from_raw(launcher), Signal::SIGCONT).expect("it runs");
    wait_until("all is well", || flotilla.what_is_not_well().is_empty());
    assert_eq!(flotilla.playground.launchers_of("s1"), [launcher]);
    assert_eq!(flotilla.identities(), before);
    flotilla.wait_until_whole("stopped for a while");
    flotilla.down();
}

#[test]
fn a_process_that_does_not_come_to_the_next_launcher_is_killed_and_started_again() {
    let playground = sources();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    wait_until("the sources", || process(&playground.status(), "here", "few.0")["state"] == "ready");
    let before = identities(&playground);
    let stopped = pid_of(&playground, "here", "drop.0");
    kill_launcher(&playground, "here");
    // Not before: the system ends a stopped group whose parent goes (SIGHUP).
    kill(Pid::from_raw(stopped), Signal::SIGSTOP).expect("it runs");
    revive(&playground);
    let again = || process(&playground.status(), "here", "drop.0")["incarnation"] == 2;
    wait_until("its next incarnation", again);
    wait_until("flowing", || process(&playground.status(), "here", "drop.0")["state"] == "ready");
    let after = identities(&playground);
    let log = fs::read_to_string(playground.path().join(".waldo/dev/here/log/launcher.log")).expect("its log");
    assert_eq!(identities_without(&after, "here/drop.0"), identities_without(&before, "here/drop.0"), "{log}");
    assert!(log.contains("drop.0: killed") && !log.contains("drop.0: exit"), "{log}");
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}
