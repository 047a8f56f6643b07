//! What a person pauses holds until a person resumes it, through the real binary.

mod playground;

use std::{fs, thread::sleep, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use playground::{Playground, free_ports, wait_until};
use serde_json::Value;

/// Clients send `call`; `note` counts them. `feed`, on s1, sends `tick` to it without end.
fn calls() -> Playground {
    let playground = Playground::copy_of("hello");
    let text = format!(
        r#"topology: calls
flows:
  call: {{key: {{column: 1, separator: ","}}, guide: hash, from: clients}}
  tick: {{}}
stages:
  feed:
    speaks: ack
    out: [tick]
    run: [sh, -c, 'while printf "tick\t\tx\n"; do sleep 0.01; done']
    "on": [s1]
  note:
    speaks: ack
    in: [call, tick]
    run: [sh, -c, 'while read -r line; do echo; done']
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

impl Playground {
    fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(self.waldo(&[arguments, &["--json"]].concat())).code(0);
        serde_json::from_str(&outcome.stdout).expect("one JSON document")
    }

    /// Through the portal of a server, which passes on what the other one owns.
    fn send(&self, count: u32, server: &str) {
        let records = (0..count).map(|number| format!("{number},call")).collect::<Vec<_>>().join("\n");
        fs::write(self.path().join("records"), records).expect("records");
        self.run(self.waldo(&["send", "call", "records", "--server", server])).code(0);
    }
}

/// How many records of this edge are done on a server.
fn done(status: &Value, server: &str, edge: &str) -> u64 {
    status["servers"][server]["processes"]["note.0"]["edges"][edge]["done"].as_u64().unwrap_or(0)
}

fn calls_done(status: &Value) -> u64 {
    done(status, "s1", "call<intake") + done(status, "s2", "call<intake")
}

fn kept(status: &Value) -> u64 {
    ["s1", "s2"].iter().filter_map(|server| status["servers"][server]["portals"]["intake"]["spooled"].as_u64()).sum()
}

#[test]
fn paused_portals_hold_what_they_receive_and_deliver_all_of_it_once_resumed() {
    let playground = calls();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let paused = playground.json(&["pause", "intake"]);
    for server in ["s1", "s2"] {
        let gate = &paused["servers"][server]["portals"]["intake"];
        assert_eq!((&gate["paused"], &gate["closed"]), (&true.into(), &true.into()), "{paused}");
    }
    assert_eq!(paused["servers"]["s1"]["sources"]["feed.0"]["paused"], false, "{paused}");
    playground.send(150, "s1");
    playground.send(150, "s2");
    wait_until("300 records are held", || kept(&playground.status()) == 300);
    let status = playground.status();
    assert_eq!(calls_done(&status), 0, "{status}");
    assert_eq!(status["state"], "partly paused", "{status}");
    assert_eq!(status["servers"]["s1"]["portals"]["intake"]["state"], "paused", "{status}");
    assert!(status["servers"]["s1"]["processes"]["intake"]["held_ms"].as_u64().is_some(), "{status}");

    let resumed = playground.run(playground.waldo(&["resume", "s2/intake"])).code(0);
    assert!(resumed.stdout.starts_with("calls/dev: paused\n  s1/intake holds "), "{}", resumed.stdout);
    assert!(!resumed.stdout.contains("s2"), "{}", resumed.stdout);
    wait_until("s2 has delivered what is its own, and passed on the rest", || {
        let status = playground.status();
        let (done, held) = (calls_done(&status), status["servers"]["s1"]["portals"]["intake"]["spooled"].as_u64());
        done > 0 && held.is_some_and(|held| held > 150 && done + held == 300)
    });

    let resumed = playground.run(playground.waldo(&["resume"])).code(0);
    assert_eq!(resumed.stdout, "calls/dev: nothing is paused\n");
    wait_until("all has been delivered", || calls_done(&playground.status()) == 300);
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_portal_and_a_source_that_come_back_are_still_paused() {
    let playground = calls();
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let paused = playground.json(&["pause", "s1"]);
    assert_eq!(paused["servers"]["s1"]["sources"]["feed.0"]["paused"], true, "{paused}");
    assert_eq!(paused["servers"]["s2"]["portals"]["intake"]["paused"], false, "{paused}");
    let status = playground.status();
    assert_eq!(status["servers"]["s1"]["state"], "paused", "{status}");
    assert_eq!(status["servers"]["s2"]["state"], "flowing", "{status}");
    for process in ["intake", "feed.0"] {
        let pid = status["servers"]["s1"]["processes"][process]["pid"].as_i64().expect("it runs") as i32;
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it can be killed");
    }
    wait_until("both are back, and hold", || {
        let status = playground.status();
        ["intake", "feed.0"].iter().all(|process| {
            let process = &status["servers"]["s1"]["processes"][process];
            process["incarnation"] == 2 && process["state"] == "paused"
        })
    });
    playground.send(100, "s2");
    wait_until("s2 has delivered", || {
        let status = playground.status();
        kept(&status) + calls_done(&status) == 100 && kept(&status) > 0 && calls_done(&status) > 0
    });
    let before = playground.status();
    assert_eq!(done(&before, "s1", "call<intake"), 0, "{before}");
    // Thirty ticks' time.
    sleep(Duration::from_millis(300));
    let after = playground.status();
    assert_eq!(done(&after, "s1", "tick<feed.0"), done(&before, "s1", "tick<feed.0"), "a paused source sends nothing");
    playground.json(&["resume", "s1"]);
    wait_until("all has been delivered", || calls_done(&playground.status()) == 100);
    wait_until("ticks come again", || {
        done(&playground.status(), "s1", "tick<feed.0") > done(&before, "s1", "tick<feed.0")
    });
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_pause_ends_with_the_run_and_names_that_nothing_has_are_told() {
    let playground = calls();
    let nothing = playground.run(playground.waldo(&["pause"])).code(1);
    assert!(nothing.stderr.contains("nothing has been compiled or run"), "{}", nothing.stderr);
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    let unknown = playground.run(playground.waldo(&["pause", "s1", "intke"])).code(1);
    assert!(unknown.stderr.contains("no server, portal or source named `intke` runs"), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("did you mean `intake`?"), "{}", unknown.stderr);
    assert_eq!(playground.status()["state"], "flowing", "nothing was paused");
    playground.json(&["pause"]);
    assert_eq!(playground.status()["state"], "paused");
    playground.run(playground.waldo(&["down"])).code(0);
    let nothing = playground.run(playground.waldo(&["resume"])).code(1);
    assert!(nothing.stderr.contains("nothing runs in calls/dev"), "{}", nothing.stderr);
    playground.run(playground.waldo(&["up", "--detach", "--quiet"])).code(0);
    assert_eq!(playground.status()["state"], "flowing");
    playground.run(playground.waldo(&["down"])).code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_run_until_idle_says_what_keeps_it_from_ending_and_ends_once_that_is_resumed() {
    let playground = calls();
    playground.edit(
        "waldo.yaml",
        "while printf \"tick\\t\\tx\\n\"; do sleep 0.01; done",
        "printf \"tick\\t\\tx\\n\"; sleep 1",
    );
    let up = playground.start(playground.waldo(&["up", "--until-idle", "--json"]));
    wait_until("it flows", || playground.status()["state"] == "flowing");
    playground.json(&["pause", "intake"]);
    playground.send(100, "s1");
    wait_until("it says what is paused", || up.stdout().contains("paused until `waldo resume`: s1/intake, s2/intake"));
    wait_until("the source has finished", || {
        playground.status()["servers"]["s1"]["processes"]["feed.0"]["state"] == "finished"
    });
    playground.json(&["resume"]);
    let ended = up.end().code(0);
    assert!(ended.stdout.contains("nothing is paused any more"), "{}", ended.stdout);
    assert_eq!(ended.ledger()["flows"]["call"]["received"], 100);
    playground.assert_nothing_left();
}
