//! What other commands say and do while a rollout is under way, halted where a test wants it.

mod flotilla;
mod playground;

use std::{fs, path::PathBuf};

use flotilla::Flotilla;
use playground::{Running, wait_until};

const RATE: u64 = 300;

impl Flotilla {
    /// Begins a rollout that starts an instance on each server, and halts when it comes to this phase.
    fn begin(&mut self, phase: &str) -> (Running, PathBuf) {
        self.edit("  keep:\n", "  keep:\n    instances: 2\n");
        let halt = self.playground.path().join("halt");
        let mut deploy = self.deploy(&[]);
        deploy.env("WALDO_HALT_AT", phase).env("WALDO_HALT_FILE", &halt);
        let deploy = self.playground.start(deploy);
        wait_until("it halts", || halt.exists());
        (deploy, halt)
    }
}

#[test]
fn status_tells_who_leads_a_rollout_and_how_each_server_stands() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let (deploy, halt) = flotilla.begin("switch");
    let status = flotilla.playground.status();
    assert_eq!((&status["state"], &status["generation"]), (&"rolling out".into(), &1.into()), "{status}");
    let rollout = &status["rollout"];
    assert_eq!(rollout["to"], 2, "{rollout}");
    assert_eq!(rollout["led_by"]["pid"], deploy.pid(), "{rollout}");
    assert_eq!(rollout["led_by"]["command"], "waldo deploy", "{rollout}");
    for server in ["s1", "s2"] {
        assert_eq!(rollout["servers"][server]["holds"], true, "{rollout}");
        assert_eq!(status["servers"][server]["state"], "holding", "{status}");
        let portal = &status["servers"][server]["processes"]["relay"];
        assert_eq!(portal["state"], "holding", "{portal}");
        assert!(portal["held_ms"].as_u64().is_some(), "{portal}");
    }
    let second = flotilla.playground.run(flotilla.playground.waldo(&["drain", "s2", "--yes"])).code(5);
    assert!(second.stderr.contains(&format!("process {}, waldo deploy", deploy.pid())), "{}", second.stderr);
    let people = flotilla.playground.run(flotilla.playground.waldo(&["status"])).code(0);
    assert!(people.stdout.contains("rolling out plan 2: "), "{}", people.stdout);
    fs::remove_file(halt).expect("a file");
    deploy.end().code(0);
    let status = flotilla.playground.status();
    assert_eq!((&status["state"], &status["rollout"]), (&"flowing".into(), &serde_json::Value::Null), "{status}");
    flotilla.wait_until_whole("rolled out");
    flotilla.down();
}

#[test]
fn down_ends_everything_in_the_middle_of_a_rollout_and_nothing_comes_back() {
    for phase in ["idle", "switch"] {
        let mut flotilla = Flotilla::new(RATE);
        flotilla.up();
        let (deploy, halt) = flotilla.begin(phase);
        let down = flotilla.playground.start(flotilla.playground.waldo(&["down", "--json"]));
        wait_until("down has told the deployer", || down.stderr().contains("ending the rollout"));
        fs::remove_file(halt).expect("a file");
        let down = down.end().code(0).ledger();
        let deploy_pid = deploy.pid();
        let deploy = deploy.end();
        assert_ne!(deploy.code, Some(0), "{phase}: {}", deploy.stdout);
        assert_eq!(down["rollout"]["pid"], deploy_pid, "{phase}: {down}");
        flotilla.playground.assert_nothing_left();
        assert_eq!(flotilla.playground.status()["state"], "stopped", "{phase}");
        flotilla.playground.run(flotilla.playground.waldo(&["up", "--detach", "--quiet"])).code(0);
        assert_eq!(flotilla.playground.status()["state"], "flowing", "{phase}");
        flotilla.playground.run(flotilla.playground.waldo(&["down"])).code(0);
        flotilla.playground.assert_nothing_left();
    }
}
