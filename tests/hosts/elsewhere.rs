//! Commands at a laptop about servers that run elsewhere: over ssh, with an agent on each.

use serde_json::Value;

use crate::{
    fleet::{Fleet, unit},
    machines::{Machines, Outcome, eventually, outcome},
};

/// A command of waldo's at the laptop, about the fleet.
fn waldo(machines: &Machines, command: &str, more: &[&str]) -> Outcome {
    let mut waldo = machines.inside(env!("CARGO_BIN_EXE_waldo"));
    outcome(waldo.arg(command).arg(machines.path().join("laptop")).args(more))
}

fn status(machines: &Machines) -> Value {
    let said = waldo(machines, "status", &["--json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    serde_json::from_str(&said.stdout).expect("JSON")
}

#[test]
fn status_shows_servers_elsewhere_and_one_that_cannot_be_reached_hides_no_other() {
    let Some(machines) = Machines::raise(2, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1", "h2"], "");
    assert_eq!(status(&machines)["state"], "stopped");
    fleet.start();
    let all = status(&machines);
    assert_eq!(all["state"], "flowing", "{all}");
    for host in ["h1", "h2"] {
        assert_eq!(all["servers"][host]["processes"]["keep.0"]["state"], "ready", "{all}");
        assert_eq!(all["servers"][host]["portals"]["relay"]["state"], "ready", "{all}");
    }
    let table = waldo(&machines, "status", &[]).stdout;
    assert!(table.starts_with("calls/prod: flowing, plan 1\n"), "{table}");

    machines.crash("h2");
    let all = status(&machines);
    assert_eq!(all["state"], "partly unreachable", "{all}");
    assert_eq!(all["servers"]["h1"]["state"], "flowing", "{all}");
    assert_eq!(all["servers"]["h2"]["state"], "unreachable", "{all}");
    assert!(all["servers"]["h2"]["unreachable"].as_str().is_some_and(|why| why.contains("h2")), "{all}");
}

#[test]
fn down_ends_servers_elsewhere_in_order_and_they_do_not_come_back_with_the_next_boot() {
    let Some(machines) = Machines::raise(2, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1", "h2"], "");
    fleet.start();
    eventually("records come", || fleet.received_on("h1") > 200 && fleet.received_on("h2") > 200);
    // What is under way between servers when both stop at once waits in spools: here nothing is.
    fleet.pause(true);
    eventually("all has come", || fleet.is_complete());
    let said = waldo(&machines, "down", &[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "calls/prod: stopped h1, h2\n"), "{said:#?}");
    for host in ["h1", "h2"] {
        assert!(!machines.succeeds(host, "pgrep -u waldo"), "{host}");
        let log = machines.run(host, &format!("journalctl -u {} -o cat", unit(host)));
        assert!(log.contains("relay: exit status 0"), "{log}");
    }
    fleet.assert_complete();
    machines.reboot("h1");
    assert!(!machines.succeeds("h1", "pgrep -u waldo"));
    let again = waldo(&machines, "down", &["--json"]);
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&again["stopped"], &again["killed"]), (&serde_json::json!([]), &serde_json::json!([])), "{again}");
}

#[test]
fn down_that_does_not_reach_a_server_ends_the_others_and_says_so_and_now_means_now() {
    let Some(machines) = Machines::raise(2, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1", "h2"], "");
    fleet.start();
    machines.run("h2", "systemctl stop ssh");
    let said = waldo(&machines, "down", &["--now"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), "calls/prod: killed h1\n"), "{said:#?}");
    assert!(said.stderr.contains("not ended everywhere: cannot reach h2 by ssh"), "{said:#?}");
    assert!(!machines.succeeds("h1", "pgrep -u waldo"));
    assert!(machines.succeeds("h2", "pgrep -u waldo"));
    // Nor does systemd start it again.
    let shown = machines.run("h1", &format!("systemctl show -p ActiveState -p UnitFileState {}", unit("h1")));
    assert!(shown.contains("ActiveState=inactive") && shown.contains("UnitFileState=disabled"), "{shown}");
}

#[test]
fn a_server_without_waldo_is_told_and_what_to_do() {
    let Some(machines) = Machines::raise(1, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1"], "");
    drop(fleet);
    machines.run("h1", "rm /usr/bin/waldo");
    let all = status(&machines);
    assert_eq!(all["servers"]["h1"]["unreachable"], "h1 has no waldo", "{all}");
    let said = waldo(&machines, "down", &[]);
    assert!(said.code == Some(1) && said.stderr.contains("`waldo bootstrap`"), "{said:#?}");
}
