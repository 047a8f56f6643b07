//! Stages in Python over the package `waldo`, through the real binary.

mod playground;
mod python_package;

use std::{fs, path::Path, process::Command};

use playground::{Playground, free_ports, wait_until};
use python_package::{install, with};

const ORIGINS: &str = "150";

/// Calls that come from clients, are echoed by one stage, and judged by another.
fn calls(echo: &str, judge: &str) -> Playground {
    let playground = Playground::copy_of("hello");
    install(&playground);
    let text = format!(
        "topology: calls
flows: {{call: {{key: {{column: 1}}, guide: hash, from: clients}}, said: {{}}, good: {{}}, bad: {{}}}}
stages:
  echo: {{in: [call], out: [said], run: python3 echo.py}}
  judge: {{in: [said], out: [good, bad], run: python3 judge.py}}
  sink: {{in: [good, bad], run: python3 sink.py}}
portals: {{intake: {{flows: [call]}}}}
servers: {{s1: {{address: 127.0.0.1}}}}
namespaces: {{dev: {{local: true, ports: {}}}}}
",
        free_ports()
    );
    let sink = "import waldo\nfor record in waldo.stage():\n    print(record, flush=True)\n";
    for (file, text) in [("waldo.yaml", text.as_str()), ("echo.py", echo), ("judge.py", judge), ("sink.py", sink)] {
        fs::write(playground.path().join(file), text).expect(file);
    }
    playground
}

fn send(playground: &Playground, records: &str) {
    fs::write(playground.path().join("records"), records).expect("records");
    playground.run(playground.waldo(&["send", "call", "records"])).code(0);
}

const ECHO: &str = "import waldo
stage = waldo.stage()
for record in stage:
    stage.send('said', record.key, record.payload)
";

const JUDGE: &str = "import waldo
waldo.run(lambda stage, record: stage.send('good', '', str(int(record.payload.split(b',')[1]))), rejects='bad')
";

#[test]
fn the_demo_over_the_package_ends_by_proof_with_an_exact_answer() {
    let playground = Playground::copy_of("debian");
    install(&playground);
    let mut up = playground.waldo(&["up", "sdk.yaml", "--until-idle", "--json"]);
    up.env("ORIGINS", ORIGINS);
    let ledger = playground.run(with(&playground, up)).code(0).ledger();
    let mut verify = playground.command("./verify", &["sdk"]);
    verify.env("ORIGINS", ORIGINS);
    let verified = playground.run(verify).code(0);
    assert!(verified.stdout.starts_with("exact: 150 origins, "), "{}", verified.stdout);
    for flow in ["visit", "found"] {
        assert_eq!(ledger["flows"][flow]["sent"], ledger["flows"][flow]["received"], "{ledger}");
        assert_eq!(ledger["flows"][flow]["lost"], 0, "{ledger}");
    }
    playground.assert_nothing_left();
}

#[test]
fn what_a_handler_raises_at_goes_to_the_rejects_and_the_stage_goes_on() {
    let playground = calls(ECHO, JUDGE);
    let up = playground.waldo(&["up", "--until-idle", "--clients-done", "--json"]);
    let up = playground.start(with(&playground, up));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    send(&playground, "a,1\nb,two\nc,3\n");
    let ledger = up.end().code(0).ledger();
    for (flow, count) in [("call", 3), ("said", 3), ("good", 2), ("bad", 1)] {
        assert_eq!(ledger["flows"][flow]["received"], count, "{flow}: {ledger}");
    }
    let logs = playground.run(playground.waldo(&["logs", "judge", "sink"])).code(0).stdout;
    assert!(logs.contains("ValueError: invalid literal for int()"), "{logs}");
    assert!(logs.contains(r#"Record("bad", b"b,two", b"b,two")"#), "{logs}");
    playground.assert_nothing_left();
}

#[test]
fn a_program_that_runs_by_asyncio_sends_while_others_run() {
    let echo = "import asyncio, waldo, waldo.aio
async def main():
    stage, ticks = waldo.stage(), 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1
    ticking = asyncio.create_task(tick())
    async for record in waldo.aio.records(stage):
        await asyncio.sleep(0)
        await waldo.aio.send(stage, 'said', record.key, record.payload)
    ticking.cancel()
    print('others ran' if ticks else 'nobody else ran')
asyncio.run(main())
";
    let playground = calls(echo, JUDGE);
    let up = playground.waldo(&["up", "--until-idle", "--clients-done", "--json"]);
    let up = playground.start(with(&playground, up));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    let records: Vec<String> = (0..3_000).map(|number| format!("{number},{number}")).collect();
    send(&playground, &records.join("\n"));
    let ledger = up.end().code(0).ledger();
    assert_eq!(ledger["flows"]["good"]["received"], 3_000, "{ledger}");
    let logs = playground.run(playground.waldo(&["logs", "echo"])).code(0).stdout;
    assert!(logs.contains("others ran"), "{logs}");
    playground.assert_nothing_left();
}

#[test]
fn a_record_at_which_a_program_fails_is_not_done_and_is_told_as_lost() {
    let echo = "import os, waldo
stage = waldo.stage()
for record in stage:
    if record.payload == b'poison,0':
        raise SystemError('poisoned')
    stage.send('said', record.key, record.payload)
";
    let playground = calls(echo, JUDGE);
    let up = playground.waldo(&["up", "--until-idle", "--clients-done", "--json"]);
    let up = playground.start(with(&playground, up));
    wait_until("flowing", || playground.status()["state"] == "flowing");
    send(&playground, "poison,0\n");
    wait_until("a second incarnation", || {
        let echo = &playground.status()["servers"]["s1"]["processes"]["echo.0"];
        echo["incarnation"] == 2 && echo["state"] == "ready"
    });
    send(&playground, "a,1\n");
    let ledger = up.end().code(10).ledger();
    assert_eq!(ledger["flows"]["call"]["lost"], 1, "{ledger}");
    assert_eq!(ledger["flows"]["good"]["received"], 1, "{ledger}");
    playground.assert_nothing_left();
}

#[test]
fn a_source_that_is_asked_to_stop_leaves_at_its_next_record_with_nothing_lost() {
    let playground = calls(ECHO, JUDGE);
    let source = "import waldo
stage, number = waldo.stage(), 0
while True:
    number += 1
    stage.send('said', '', f'tick,{number}')
";
    fs::write(playground.path().join("source.py"), source).expect("source.py");
    playground.edit("waldo.yaml", "stages:\n", "stages:\n  feed: {out: [said], run: python3 source.py}\n");
    let up = with(&playground, playground.waldo(&["up", "--json"]));
    let up = playground.start(up);
    let judged =
        || playground.status()["servers"]["s1"]["processes"]["judge.0"]["edges"]["said<feed.0"]["done"].as_u64();
    wait_until("ticks have come", || judged() > Some(1_000));
    up.signal(nix::sys::signal::Signal::SIGINT);
    let ledger = up.end().code(8).ledger();
    assert_eq!(ledger["flows"]["said"]["lost"], 0, "{ledger}");
    assert_eq!(ledger["flows"]["said"]["sent"], ledger["flows"]["said"]["received"], "{ledger}");
    let logs = playground.run(playground.waldo(&["logs", "feed"])).code(0).stdout;
    assert!(!logs.contains("Traceback"), "{logs}");
    playground.assert_nothing_left();
}

#[test]
fn rehearsals_give_what_the_stage_would() {
    let playground = Playground::copy_of("hello");
    install(&playground);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/python/tests");
    let unittest = playground.command("python3", &[&tests.join("test_rehearsal.py").to_string_lossy()]);
    playground.run(with(&playground, unittest)).code(0);
    let pytest = Command::new("python3").args(["-c", "import pytest"]).output().expect("python3");
    if !pytest.status.success() {
        eprintln!("SKIPPED: the fixture for pytest, as there is no pytest (python3-pytest)");
        return;
    }
    let plugin = tests.join("test_plugin.py");
    let pytest =
        playground.command("python3", &["-m", "pytest", "-q", "-p", "no:cacheprovider", &plugin.to_string_lossy()]);
    playground.run(with(&playground, pytest)).code(0);
}
