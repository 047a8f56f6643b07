//! What goes wrong, through the real binary: one clear error each, nothing left running, and every record accounted for.

mod playground;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use playground::{Outcome, Playground, Running, files_below, free_ports, wait_until};
use serde_json::Value;

/// More origins than are handled in a moment, so that a run can be disturbed in its middle.
const MANY: &str = "15000";

/// A run of the demo, in its middle.
fn disturbed(playground: &Playground) -> Running {
    let mut up = playground.waldo(&["up", "--until-idle", "--json"]);
    up.env("ORIGINS", MANY);
    let running = playground.start(up);
    wait_until("records flow", || {
        let status = playground.status();
        let done = &status["servers"]["s2"]["processes"]["visit.0"]["edges"]["visit<relay"]["done"];
        done.as_u64() > Some(1_000)
    });
    running
}

/// Kills a process of the demo as nothing can be caught.
fn kill_process(playground: &Playground, server: &str, process: &str) {
    let pid = playground.status()["servers"][server]["processes"][process]["pid"].as_i64().expect("it runs");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
}

/// Asserts that what was sent and not handled is told as lost, and not absurdly more.
#[track_caller]
fn assert_accounted_for(ledger: &Value, most: u64) {
    let count = |flow: &str, count: &str| ledger["flows"][flow][count].as_u64().expect("a count");
    for flow in ["visit", "found"] {
        let missing = count(flow, "sent").saturating_sub(count(flow, "received") + count(flow, "held"));
        let lost = count(flow, "lost");
        assert!(lost >= missing, "{missing} {flow} are missing, {lost} told: {ledger}");
        assert!(lost <= missing + most, "{missing} {flow} are missing, {lost} told: {ledger}");
        assert_eq!(count(flow, "repeated"), 0, "{ledger}");
    }
}

#[test]
fn a_stage_killed_in_the_middle_ends_the_run_with_its_loss_accounted_for() {
    let playground = Playground::copy_of("debian");
    let running = disturbed(&playground);
    kill_process(&playground, "s2", "visit.0");
    let outcome = running.end().code(10);
    let ledger = outcome.ledger();
    assert_eq!(ledger["result"], "lost", "{ledger}");
    assert!(ledger["flows"]["visit"]["lost"].as_u64() > Some(0), "{ledger}");
    assert_accounted_for(&ledger, 5_000);
    playground.assert_nothing_left();
}

#[test]
fn a_portal_killed_in_the_middle_ends_the_run_with_its_loss_accounted_for() {
    let playground = Playground::copy_of("debian");
    let running = disturbed(&playground);
    kill_process(&playground, "s3", "relay");
    let Outcome { code, stdout, stderr } = running.end();
    assert!(matches!(code, Some(0 | 10)), "{code:?}\n{stdout}{stderr}");
    let ledger = Outcome { code, stdout, stderr }.ledger();
    assert_accounted_for(&ledger, 100_000);
    playground.assert_nothing_left();
}

#[test]
fn a_killed_up_leaves_nothing_behind_that_the_next_up_minds() {
    let playground = Playground::copy_of("debian");
    let running = disturbed(&playground);
    running.signal(Signal::SIGKILL);
    let killed = running.end();
    assert_eq!(killed.code, None);
    let mut up = playground.waldo(&["up", "--until-idle", "--json"]);
    up.env("ORIGINS", "50");
    playground.run(up).code(0);
    playground.assert_nothing_left();
}

#[test]
fn down_ends_what_killed_launchers_left_also_what_left_its_process_group() {
    let playground = Playground::copy_of("hello");
    let text = "topology: strays
flows: {tick: {}}
stages:
  feed: {speaks: lines, out: [tick], run: [sh, -c, 'setsid sleep 1000 & exec sleep 1000']}
  sink: {speaks: ack, in: [tick], run: [sh, -c, 'while read -r line; do echo; done']}
";
    fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let here = playground.path().display().to_string();
    let running = |what: &str| -> Vec<i32> {
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let ours = processes.filter(|entry| {
            let contains = |file: &str, text: &str| {
                fs::read(entry.path().join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
            };
            contains("cmdline", what) && contains("environ", &here)
        });
        ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    };
    wait_until("the stray runs", || running("sleep").len() >= 2);
    for launcher in running("__launch") {
        kill(Pid::from_raw(launcher), Signal::SIGKILL).expect("it runs");
    }
    let down = playground.run(playground.waldo(&["down", "--now"])).code(0);
    assert!(down.stdout.contains("cleared what a launcher that is gone had left of here"), "{}", down.stdout);
    playground.assert_nothing_left();
}

#[test]
fn a_stage_that_exits_at_once_for_ever_is_backed_off_and_ends_the_run_by_name() {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", "grep 7", "[sh, -c, 'echo no index >&2; exit 3']");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(1);
    assert!(outcome.stderr.contains("here/sevens.0 fails again and again"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("| no index"), "{}", outcome.stderr);
    assert_eq!(outcome.ledger()["result"], "error");
    playground.assert_nothing_left();
}

#[test]
fn a_stage_that_ends_well_again_and_again_while_its_input_goes_on_ends_the_run_by_name() {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", "seq 1000", "seq 1000000");
    playground.edit("waldo.yaml", "grep 7", "'true'");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(1);
    assert!(outcome.stderr.contains("here/sevens.0 fails again and again"), "{}", outcome.stderr);
    playground.assert_nothing_left();
}

#[test]
fn losses_are_told_with_the_process_that_died() {
    let playground = Playground::copy_of("hello");
    playground.edit(
        "waldo.yaml",
        "wc -l, in: [seven], speaks: lines",
        "[sh, -c, 'while read -r line; do echo hello; done'], in: [seven], speaks: ack",
    );
    let outcome = playground.run(playground.waldo(&["up", "--until-idle"]));
    assert!(outcome.stderr.contains("here/total.0"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("expected flow<TAB>key<TAB>payload"), "{}", outcome.stderr);
}

#[test]
fn status_says_that_a_stage_backs_off_and_why() {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", "seq 1000", "sleep 1000");
    // Ready for a moment each time, so that `up` comes to its end.
    playground.edit("waldo.yaml", "grep 7", "[sh, -c, 'sleep 0.3; exit 3']");
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    wait_until("backing off", || {
        let status = playground.status();
        let process = &status["servers"]["here"]["processes"]["sevens.0"];
        process["state"] == "backing off"
            && process["detail"].as_str().is_some_and(|detail| detail.ends_with(" restart, exit status 3"))
    });
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_program_that_never_gets_ready_ends_up_with_an_error_that_says_so() {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", "run: grep 7,", "run: sleep 1000, ready: {timeout: 300ms},");
    playground.edit("waldo.yaml", "out: [seven], speaks: lines", "out: [seven]");
    let outcome = playground.run(playground.waldo(&["up"])).code(1);
    assert!(outcome.stderr.contains("not ready within 300 ms"), "{}", outcome.stderr);
    playground.assert_nothing_left();
}

#[test]
fn a_missing_program_is_an_error_before_anything_is_started() {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", "grep 7", "./sevens 7");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle"])).code(1);
    assert!(outcome.stderr.contains("stage sevens: no program ./sevens"), "{}", outcome.stderr);
    fs::write(playground.path().join("sevens"), "#!/bin/sh\nexec grep 7\n").expect("a script");
    playground.run(playground.waldo(&["up", "--until-idle"])).code(1);
    fs::set_permissions(playground.path().join("sevens"), fs::Permissions::from_mode(0o755)).expect("executable");
    playground.run(playground.waldo(&["up", "--until-idle"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it_and_another_block_helps() {
    let playground = Playground::copy_of("debian");
    let ports = free_ports();
    let taken = TcpListener::bind(("127.0.0.1", ports)).expect("a free port");
    let up = |ports: u16| {
        let mut up = playground.waldo(&["up", "--until-idle", "--ports", &ports.to_string()]);
        up.env("ORIGINS", "10");
        playground.run(up)
    };
    let outcome = up(ports).code(1);
    assert!(outcome.stderr.contains(&format!("cannot listen at 127.0.0.1:{ports}")), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--ports"), "{}", outcome.stderr);
    playground.assert_nothing_left();
    up(free_ports()).code(0);
    drop(taken);
}

#[test]
fn a_run_directory_that_cannot_be_used_is_an_error_that_says_what_to_set() {
    let playground = Playground::copy_of("hello");
    let file = playground.path().join("file");
    fs::write(&file, "").expect("a file");
    let long = playground.path().join("r".repeat(90));
    for (directory, words) in [(&file, "as run directory"), (&long, "more than the 107 that Linux takes")] {
        let mut up = playground.waldo(&["up", "--until-idle"]);
        up.env("WALDO_RUN_DIR", directory);
        let outcome = playground.run(up).code(1);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("set WALDO_RUN_DIR"), "{}", outcome.stderr);
    }
    playground.assert_nothing_left();
}

#[test]
fn a_place_for_logs_that_cannot_be_written_is_an_error_that_names_it() {
    let playground = Playground::copy_of("hello");
    fs::write(playground.path().join(".waldo"), "a file where a directory is to be").expect("a file");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle"])).code(1);
    assert!(outcome.stderr.contains(".waldo/default as a directory for state, spools and logs"), "{}", outcome.stderr);
    playground.assert_nothing_left();
}

#[test]
fn a_second_ctrl_c_kills_what_does_not_want_to_end() {
    let playground = Playground::copy_of("hello");
    playground.edit(
        "waldo.yaml",
        "run: seq 1000,",
        "run: [sh, -c, 'trap : TERM; while :; do sleep 1; done'], stop: {grace: 60s},",
    );
    let running = playground.start(playground.waldo(&["up", "--quiet"]));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    running.signal(Signal::SIGINT);
    wait_until("stopping", || playground.status()["state"] != "flowing");
    let asked = Instant::now();
    running.signal(Signal::SIGINT);
    running.end().code(8);
    assert!(asked.elapsed() < Duration::from_secs(30), "it didn't wait for the grace");
    playground.assert_nothing_left();
}

/// `hello` with a shell script in place of a stage's program.
fn with_stage(stage: &str, was: &str, script: &str) -> Playground {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", was, &format!("./{stage}"));
    let path = playground.path().join(stage);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    playground
}

fn count(ledger: &Value, flow: &str, count: &str) -> u64 {
    ledger["flows"][flow][count].as_u64().unwrap_or_else(|| panic!("no {count} of {flow}: {ledger}"))
}

/// How many lines of a stage's log hold this.
fn logged(playground: &Playground, stage: &str, text: &str) -> usize {
    let log = playground.run(playground.waldo(&["logs", stage])).code(0).stdout;
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn what_is_in_a_filter_that_fails_is_told_as_lost() {
    for dies in ["head -c 10 >&2; exit 3", "kill -KILL $$", "exec <&-; sleep 0.3; exit 3", "exit 0"] {
        let script = format!(
            "if [ ! -e $WALDO_STATE_DIR/died ]; then touch $WALDO_STATE_DIR/died; read first; {dies}; fi
             exec tee -a $WALDO_STATE_DIR/got"
        );
        let playground = with_stage("sevens", "grep 7", &script);
        playground.edit("waldo.yaml", "in: [number]", "restart: {policy: always}, in: [number]");
        let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(10);
        let ledger = outcome.ledger();
        let got = files_below(&playground.path().join(".waldo")).into_iter().find(|file| file.ends_with("got"));
        let got = got.map_or(0, |file| fs::read_to_string(file).expect("lines").lines().count() as u64);
        let lost = count(&ledger, "number", "lost");
        assert!(got < 1_000 && got + lost >= 1_000, "{dies}: {got} came through, {lost} told as lost: {ledger}");
        playground.assert_nothing_left();
    }
}

#[test]
fn a_filter_that_closes_its_input_and_goes_on_does_not_keep_the_bridge_busy() {
    let playground = with_stage("sevens", "grep 7", "exec <&-; exec sleep 1000");
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    wait_until("it is told", || logged(&playground, "sevens", "the program takes no more input") == 1);
    let pid = playground.status()["servers"]["here"]["processes"]["sevens.0"]["pid"].as_i64().expect("it runs");
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
    };
    let before = ticks();
    sleep(Duration::from_secs(1));
    let used = ticks() - before;
    assert!(used < 30, "{used} of 100 ticks");
    playground.run(playground.waldo(&["down", "--now"]));
    playground.assert_nothing_left();
}

#[test]
fn a_source_has_ended_when_it_exits_also_if_what_it_has_started_keeps_its_output_open() {
    let playground = with_stage("numbers", "seq 1000", "sleep 1000 & printf '7\\n17\\n27'");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(0);
    assert_eq!(count(&outcome.ledger(), "number", "sent"), 3);
    playground.assert_nothing_left();
}

#[test]
fn an_ack_program_that_ends_or_speaks_unasked_is_a_failure_at_once() {
    for (script, told) in [
        ("sleep 0.5", "the program ended by itself, with status 0, while records may still come"),
        ("(sleep 1000) & sleep 0.5", "the program ended by itself, with status 0, while records may still come"),
        ("sleep 0.5; echo number; sleep 1000", "a line though no record was in hand: \"number\""),
    ] {
        let playground = with_stage("sevens", "grep 7", script);
        playground.edit("waldo.yaml", "seq 1000", "sleep 1000");
        playground.edit("waldo.yaml", "out: [seven], speaks: lines", "out: [seven], speaks: ack");
        playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
        wait_until("it is started again", || {
            let status = playground.status();
            status["servers"]["here"]["processes"]["sevens.0"]["restarts"].as_u64() > Some(0)
        });
        assert!(logged(&playground, "sevens", told) > 0, "{script}");
        playground.run(playground.waldo(&["down", "--now"]));
        playground.assert_nothing_left();
    }
}

#[test]
fn an_ack_program_that_ends_between_two_records_loses_none() {
    let script = "n=0; while [ $n -lt 400 ] && read -r line; do n=$((n + 1)); echo; done";
    let playground = with_stage("sevens", "grep 7", script);
    playground.edit("waldo.yaml", "out: [seven], speaks: lines", "out: [seven], speaks: ack");
    playground.edit("waldo.yaml", "seq 1000", "[sh, -c, 'for n in $(seq 8); do seq 100; sleep 0.5; done']");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"]));
    let ledger = outcome.ledger();
    let lost = count(&ledger, "number", "sent") - count(&ledger, "number", "received");
    assert!(lost <= 100, "{ledger}");
    assert!(logged(&playground, "sevens", "ended by itself") > 0);
    playground.assert_nothing_left();
}

#[test]
fn records_of_a_program_that_the_flow_does_not_take_are_counted_and_the_rest_goes_on() {
    let playground = with_stage("numbers", "seq 1000", "seq 10000 11111; seq 1000");
    playground.edit("waldo.yaml", "number: {}", "number: {max_record: 4B}");
    let ledger = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(0).ledger();
    assert_eq!((count(&ledger, "number", "sent"), count(&ledger, "number", "rejected")), (1_000, 1_112), "{ledger}");
    assert_eq!(logged(&playground, "numbers", "waldo: refused record"), 10 + 1);
    let answers = "while read -r line; do printf 'seven\\t\\ttoo long\\nseven\\t\\t7\\n\\n'; done";
    let playground = with_stage("sevens", "grep 7", answers);
    playground.edit("waldo.yaml", "seven: {}", "seven: {max_record: 4B}");
    playground.edit("waldo.yaml", "out: [seven], speaks: lines", "out: [seven], speaks: ack");
    let ledger = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(0).ledger();
    assert_eq!((count(&ledger, "seven", "sent"), count(&ledger, "seven", "rejected")), (1_000, 1_000), "{ledger}");
    playground.assert_nothing_left();
}

#[test]
fn every_stop_signal_ends_a_bridge_cleanly() {
    for (speaks, signal) in [("lines", Signal::SIGUSR1), ("ack", Signal::SIGUSR2), ("ack", Signal::SIGHUP)] {
        let playground = with_stage("sevens", "grep 7", "while read -r line; do :; done");
        playground.edit("waldo.yaml", "seq 1000", "sleep 1000");
        playground.edit(
            "waldo.yaml",
            "out: [seven], speaks: lines",
            &format!("restart: {{policy: on-failure}}, out: [seven], speaks: {speaks}"),
        );
        playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
        let state = || playground.status()["servers"]["here"]["processes"]["sevens.0"].clone();
        kill(Pid::from_raw(state()["pid"].as_i64().expect("it runs") as i32), signal).expect("it runs");
        wait_until("it has ended", || state()["state"] == "finished");
        playground.run(playground.waldo(&["down", "--now"]));
        playground.assert_nothing_left();
    }
}

#[test]
fn a_filter_that_fails_at_the_end_of_its_input_does_not_count_what_was_in_it_as_done() {
    let playground = with_stage("sevens", "grep 7", "while read -r line; do :; done; exit 3");
    playground.edit("waldo.yaml", "seq 1000", "[sh, -c, 'while sleep 0.02; do echo 7; done']");
    let running = playground.start(playground.waldo(&["up", "--until-idle", "--json"]));
    wait_until("records flow", || {
        let status = playground.status();
        let done = &status["servers"]["here"]["processes"]["sevens.0"]["edges"]["number<numbers.0"]["done"];
        done.as_u64() > Some(20)
    });
    let sevens = || playground.status()["servers"]["here"]["processes"]["sevens.0"].clone();
    kill(Pid::from_raw(sevens()["pid"].as_i64().expect("it runs") as i32), Signal::SIGTERM).expect("it runs");
    wait_until("it is started again", || sevens()["restarts"].as_u64() > Some(0));
    running.signal(Signal::SIGINT);
    let ledger = running.end().ledger();
    assert!(count(&ledger, "number", "lost") > 20, "{ledger}");
    playground.assert_nothing_left();
}

#[test]
fn a_filter_is_not_idle_while_it_has_input_to_read() {
    let script = "sleep 1; if [ ! -e $WALDO_STATE_DIR/died ]; then touch $WALDO_STATE_DIR/died; exit 3; fi; exec cat";
    let playground = with_stage("sevens", "grep 7", script);
    playground.edit("waldo.yaml", "seq 1000", "seq 100");
    let ledger = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(10).ledger();
    assert_eq!(count(&ledger, "number", "lost"), 100, "{ledger}");
    playground.assert_nothing_left();
}

#[test]
fn what_a_portal_held_that_cannot_write_its_spool_at_the_stop_is_told_as_lost() {
    let playground = Playground::copy_of("hello");
    let text = format!(
        "topology: held
flows: {{call: {{guide: hash, from: clients}}}}
stages:
  stuck: {{speaks: ack, in: [call], queue: 1, run: [sleep, '1000'], stop: {{grace: 200ms}}}}
defaults: {{idle_timeout: 200ms}}
servers: {{s1: {{address: 127.0.0.1}}}}
namespaces: {{dev: {{local: true, ports: {}}}}}
",
        free_ports()
    );
    fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    let records = (0..50).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
    fs::write(playground.path().join("records"), records).expect("records");
    let up = playground.start(playground.waldo(&["up", "--json"]));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    playground.run(playground.waldo(&["send", "call", "records"])).code(0);
    let taken_in = |portal: &Value| portal["delivered"].as_u64()?.checked_add(portal["spooled"].as_u64()?);
    wait_until("50 records taken in", || {
        taken_in(&playground.status()["servers"]["s1"]["portals"]["intake"]) == Some(50)
    });
    let spool = playground.path().join(".waldo/dev/s1/spool/intake");
    fs::remove_dir_all(&spool).expect("the spool");
    fs::write(&spool, "in the way").expect("a file in its place");
    up.signal(Signal::SIGINT);
    let outcome = up.end().code(10);
    assert!(outcome.stderr.contains("s1/intake did not end well (exit status"), "{}", outcome.stderr);
    let ledger = outcome.ledger();
    let count = |count: &str| ledger["flows"]["call"][count].as_u64().expect("a count");
    assert_eq!((count("sent"), count("held"), count("lost")), (50, 0, 50), "{ledger}");
    playground.assert_nothing_left();
}
