//! A namespace's life through the real binary: up, looked at, fed, and down again.

mod playground;

use std::{fs, path::Path, thread::sleep, time::Duration};

use nix::sys::signal::Signal;
use playground::{Playground, free_ports, wait_until};
use serde_json::Value;

/// Clients send `call`; `echo` passes each on to `note`, which keeps it.
fn calls() -> Playground {
    let playground = Playground::copy_of("hello");
    let text = format!(
        r#"topology: calls
flows:
  call: {{key: {{column: 1, separator: ","}}, guide: hash, from: clients}}
  said: {{}}
stages:
  echo:
    speaks: ack
    in: [call]
    out: [said]
    run: [sh, -c, 'while read -r line; do printf "said\t\t%s\n\n" "$${{line##*	}}"; done']
  note:
    speaks: ack
    in: [said]
    run: [sh, -c, 'while read -r line; do echo "noted $${{line##*	}}" >&2; echo; done']
servers:
  s1: {{address: 127.0.0.1}}
  s2: {{address: 127.0.0.1}}
namespaces:
  dev: {{local: true, ports: {}}}
"#,
        free_ports()
    );
    fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    playground
}

#[test]
fn a_detached_namespace_is_looked_at_fed_and_taken_down() {
    let playground = calls();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let flowing = playground.status();
    assert_eq!(flowing["state"], "flowing", "{flowing}");
    assert_eq!(flowing["generation"], 1, "{flowing}");
    for server in ["s1", "s2"] {
        let server = &flowing["servers"][server];
        assert!(server["portals"]["intake"]["endpoint"].as_str().expect("text").starts_with("tcp://127.0.0.1:"));
        for process in ["intake", "echo.0", "note.0"] {
            assert_eq!(server["processes"][process]["state"], "ready", "{flowing}");
        }
    }

    let records = (0..500).map(|number| format!("{number},call")).collect::<Vec<_>>().join("\n");
    fs::write(playground.path().join("records"), records).expect("records");
    let sent = playground.run(playground.waldo(&["send", "call", "records", "--json"])).code(0);
    assert_eq!(serde_json::from_str::<Value>(&sent.stdout).expect("JSON")["sent"], 500);
    let noted = |status: &Value| -> u64 {
        let done = |server: &str| {
            status["servers"][server]["processes"]["note.0"]["edges"]["said<echo.0"]["done"].as_u64().unwrap_or(0)
        };
        assert!(done("s1") <= 500 && done("s2") <= 500);
        done("s1") + done("s2")
    };
    wait_until("500 records noted", || noted(&playground.status()) == 500);
    let per_server = ["s1", "s2"].map(|server| {
        let logs = playground.run(playground.waldo(&["logs", &format!("{server}/note.0")])).code(0);
        logs.stdout.lines().filter(|line| line.starts_with("noted ")).count()
    });
    assert_eq!(per_server.iter().sum::<usize>(), 500);
    assert!(per_server.iter().all(|&count| count > 150), "each server has its share of the keys: {per_server:?}");

    let down = playground.run(playground.waldo(&["down"])).code(0);
    assert_eq!(down.stdout, "calls/dev: stopped s1, s2\n");
    assert_eq!(playground.status()["state"], "stopped");
    let again = playground.run(playground.waldo(&["down"])).code(0);
    assert_eq!(again.stdout, "calls/dev: nothing was running\n");
    assert!(!playground.path().join("run/calls").exists(), "the run directory goes too");
    playground.assert_nothing_left();
}

#[test]
fn a_second_up_in_the_same_namespace_is_refused_and_disturbs_nothing() {
    let playground = calls();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let second = playground.run(playground.waldo(&["up", "--quiet"])).code(5);
    assert!(second.stderr.contains("calls/dev runs already, detached"), "{}", second.stderr);
    assert_eq!(playground.status()["state"], "flowing");
    playground.run(playground.waldo(&["down"])).code(0);

    let first = playground.start(playground.waldo(&["up", "--quiet"]));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    let second = playground.run(playground.waldo(&["up", "--quiet"])).code(5);
    let by = format!("by process {} (waldo up)", first.pid());
    assert!(second.stderr.contains(&by), "{}", second.stderr);
    // Another command may end what this one leads, and it says so.
    playground.run(playground.waldo(&["down"])).code(0);
    first.end().code(8);
    playground.assert_nothing_left();
}

#[test]
fn a_second_up_is_refused_also_from_another_run_directory() {
    let playground = calls();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let mut second = playground.waldo(&["up", "--quiet"]);
    second.env("WALDO_RUN_DIR", playground.path().join("elsewhere"));
    let second = playground.run(second).code(5);
    assert!(second.stderr.contains("calls/dev is run already, from another run directory"), "{}", second.stderr);
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn clients_that_are_done_end_a_run_that_has_no_source() {
    let playground = calls();
    let refused = playground.run(playground.waldo(&["up", "--until-idle"])).code(64);
    assert!(refused.stderr.contains("--clients-done"), "{}", refused.stderr);
    let up = playground.start(playground.waldo(&["up", "--until-idle", "--clients-done", "--json"]));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    // Clients may take their time to begin.
    sleep(Duration::from_secs(2));
    fs::write(playground.path().join("records"), "a,1\nb,2\nrubbish\n").expect("records");
    playground.run(playground.waldo(&["send", "call", "records"])).code(0);
    let ledger = up.end().code(0).ledger();
    assert_eq!(ledger["flows"]["call"]["sent"], 3, "{ledger}");
    assert_eq!(ledger["flows"]["said"]["received"], 3, "{ledger}");
    playground.assert_nothing_left();
}

#[test]
fn ctrl_c_stops_cleanly_and_what_portals_hold_comes_through_in_the_next_run() {
    let playground = Playground::copy_of("debian");
    let up = |arguments: &[&str], origins: &str| {
        let mut up = playground.waldo(&[&["up", "--json"], arguments].concat());
        up.env("ORIGINS", origins);
        playground.start(up)
    };
    let first = up(&[], "20000");
    wait_until("records flow", || {
        let status = playground.status();
        let done = &status["servers"]["s1"]["processes"]["visit.0"]["edges"]["visit<relay"]["done"];
        done.as_u64() > Some(1_000)
    });
    first.signal(Signal::SIGINT);
    let first = first.end().code(8).ledger();
    assert_eq!(first["result"], "cancelled", "{first}");
    let count = |ledger: &Value, flow: &str, count: &str| ledger["flows"][flow][count].as_u64().expect("a count");
    for flow in ["visit", "found"] {
        assert_eq!(count(&first, flow, "lost"), 0, "{first}");
        assert_eq!(
            count(&first, flow, "sent"),
            count(&first, flow, "received") + count(&first, flow, "held"),
            "every {flow} is accounted for: {first}"
        );
    }
    let held = count(&first, "visit", "held");
    assert!(held > 0, "stopped in the middle: {first}");
    playground.assert_nothing_left();

    let second = up(&["--until-idle"], "10").end().code(0).ledger();
    assert_eq!(second["generation"], first["generation"].as_u64().expect("a number") + 1);
    assert_eq!(count(&second, "visit", "received"), count(&second, "visit", "sent") + held, "{second}");
    assert_eq!(count(&second, "visit", "held"), 0, "{second}");
}

#[test]
fn logs_are_followed_while_they_grow() {
    let playground = calls();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let following = playground.start(playground.waldo(&["logs", "--follow", "note"]));
    fs::write(playground.path().join("records"), "first,1\n").expect("records");
    playground.run(playground.waldo(&["send", "call", "records"])).code(0);
    wait_until("a followed line", || following.stdout().contains("noted first,1"));
    following.signal(Signal::SIGINT);
    following.end().code(0);
    let unknown = playground.run(playground.waldo(&["logs", "nobody"])).code(1);
    assert!(unknown.stderr.contains("no process, stage or server named nobody"), "{}", unknown.stderr);
    playground.run(playground.waldo(&["down", "--now"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn records_of_flows_that_clients_may_not_send_are_refused() {
    let playground = calls();
    playground.run(playground.waldo(&["compile"])).code(0);
    for (flow, words) in [("said", "doesn't come from clients"), ("nothing", "no flow named nothing")] {
        let refused = playground.run(playground.waldo(&["send", flow])).code(1);
        assert!(
            refused.stderr.contains(words) && refused.stderr.contains("clients may send: call"),
            "{}",
            refused.stderr
        );
    }
    let refused = playground.run(playground.waldo(&["send", "call"])).code(1);
    assert!(refused.stderr.contains("calls/dev doesn't run on s1"), "{}", refused.stderr);
}

#[test]
fn what_a_program_starts_outside_its_group_ends_with_it() {
    let playground = Playground::copy_of("hello");
    playground.edit(
        "waldo.yaml",
        "run: seq 1000,",
        "run: [sh, -c, 'setsid -f sleep 1000 >&2; env -i setsid -f sleep 2000 >&2; seq 1000'],",
    );
    playground.run(playground.waldo(&["up", "--until-idle", "--quiet"])).code(0);
    playground.assert_nothing_left();
    let strays = fs::read_dir("/proc").expect("/proc").flatten().filter(|process| {
        // This one has no environment by which it could be known.
        fs::read(process.path().join("cmdline")).is_ok_and(|words| words == b"sleep\x002000\x00")
    });
    assert_eq!(strays.count(), 0);
}

#[test]
fn programs_inherit_no_ignored_signals_from_whoever_started_waldo() {
    let playground = Playground::copy_of("hello");
    playground.edit("waldo.yaml", "run: seq 1000,", "run: [sh, -c, 'grep SigIgn /proc/self/status >&2; seq 1000'],");
    let up = "trap '' USR1 QUIT TTOU PIPE; exec \"$0\" up --until-idle --quiet";
    let waldo = playground.waldo(&[]).get_program().to_owned();
    playground.run(playground.command("sh", &["-c", up, &waldo.to_string_lossy()])).code(0);
    let logs = playground.run(playground.waldo(&["logs", "numbers"])).code(0);
    let ignored = logs.stdout.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("what is ignored");
    // Those above 31 are the C library's own.
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).expect("a set") & 0x7fff_ffff, 0, "{ignored}");
}

#[test]
fn wrong_usage_exits_64_and_asking_for_help_0() {
    let playground = Playground::copy_of("hello");
    playground.run(playground.waldo(&["up", "--no-such-thing"])).code(64);
    playground.run(playground.waldo(&["up", "--until-idle", "--detach"])).code(64);
    playground.run(playground.waldo(&["up", "--ports", "0"])).code(64);
    playground.run(playground.waldo(&["--help"])).code(0);
    assert!(!Path::new(&playground.path().join(".waldo")).exists());
}
