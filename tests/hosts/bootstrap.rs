//! `waldo bootstrap`: bare hosts become servers.

use std::{fs, process::Command};

use crate::machines::{Machines, Outcome, outcome};

const TOPOLOGY: &str = "topology: calls
flows: {call: {}}
stages:
  feed: {run: /usr/bin/tally, out: [call]}
  keep: {run: /usr/bin/tally, in: [call]}
servers:
  h1: {address: 10.77.0.11, ssh: h1}
  h2: {address: h2}
namespaces: {prod: {}, here: {local: true}}
";

fn bootstrap(machines: &Machines, arguments: &[&str]) -> Outcome {
    let directory = machines.path().join("laptop");
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("waldo.yaml"), TOPOLOGY).expect("a topology");
    let mut command: Command = machines.inside(env!("CARGO_BIN_EXE_waldo"));
    command.arg("bootstrap").arg(&directory).args(["-n", "prod"]).args(arguments);
    outcome(&mut command)
}

#[test]
fn bare_hosts_become_servers_once_and_a_dry_run_only_prints_the_commands() {
    let Some(machines) = Machines::raise(2, false) else { return };
    let dry = bootstrap(&machines, &["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:#?}");
    for command in ["useradd --system", "install -d -m 0755 /opt/waldo", "mv -f /usr/bin/.waldo.new /usr/bin/waldo <"] {
        assert!(dry.stdout.contains(command), "{command}: {dry:#?}");
    }
    for host in ["h1", "h2"] {
        assert!(
            !machines.succeeds(host, "id waldo || [ -e /opt/waldo ] || [ -e /usr/bin/waldo ]"),
            "{host} was touched"
        );
    }

    let first = bootstrap(&machines, &[]);
    assert_eq!(first.code, Some(0), "{first:#?}");
    assert!(first.stdout.contains("h1: ready; given the user waldo, directories, the program"), "{first:#?}");
    assert!(first.stdout.contains("h2: ready; given"), "{first:#?}");
    let version = outcome(Command::new(env!("CARGO_BIN_EXE_waldo")).arg("--version")).stdout;
    for host in ["h1", "h2"] {
        assert_eq!(machines.run(host, "waldo --version"), version);
        assert_eq!(machines.run(host, "id -un waldo").trim(), "waldo");
        assert!(machines.succeeds(host, "[ -d /opt/waldo ] && [ -d /var/lib/waldo ]"));
    }

    let inode = machines.run("h1", "stat -c %i /usr/bin/waldo");
    let second = bootstrap(&machines, &["--json"]);
    let said: serde_json::Value = serde_json::from_str(&second.stdout).expect("JSON");
    assert_eq!(said["machines"][0]["steps"], serde_json::json!([]), "{said}");
    assert_eq!(said["machines"][1]["steps"], serde_json::json!([]), "{said}");
    assert_eq!(machines.run("h1", "stat -c %i /usr/bin/waldo"), inode);

    // Another program there is replaced, and nothing else is touched.
    machines.run("h1", "echo other >/usr/bin/waldo");
    let third = bootstrap(&machines, &["h1"]);
    assert_eq!(third.stdout, "h1: ready; given the program\n", "{third:#?}");
    assert_eq!(machines.run("h1", "waldo --version"), version);
}

#[test]
fn a_host_that_cannot_be_reached_is_told_and_the_others_are_made_ready() {
    let Some(machines) = Machines::raise(2, false) else { return };
    machines.run("h2", "systemctl stop ssh");
    let outcome = bootstrap(&machines, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stdout.contains("h1: ready; given"), "{outcome:#?}");
    assert!(outcome.stdout.contains("cannot reach h2 by ssh: "), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("not ready: h2") && outcome.stderr.contains("try `ssh h2` by hand"),
        "{outcome:#?}"
    );
    assert!(machines.succeeds("h1", "waldo --version"));
}
