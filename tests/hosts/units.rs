//! The units that `waldo compile` writes, under systemd as process 1.

use crate::{
    fleet::{Fleet, unit},
    machines::{Machines, eventually},
};

#[test]
fn a_server_runs_under_systemd_and_stopping_its_unit_works_off_what_is_there() {
    let Some(machines) = Machines::raise(1, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1"], "limits: {nofile: 512, memory: 64MiB}");
    fleet.start();
    let unit = unit("h1");

    let [keep] = &fleet.processes("h1", "keep")[..] else { panic!("one process") };
    let limits = machines.run("h1", &format!("cat /proc/{keep}/limits"));
    let limit = |of: &str| limits.lines().find(|line| line.starts_with(of)).unwrap_or_default().to_owned();
    assert!(limit("Max open files").contains(" 512 "), "{limits}");
    // By its control group where the machine lets the unit have one, else by the process itself.
    let group = machines.run("h1", &format!("cat /proc/{keep}/cgroup | grep ^0::"));
    let controllers = machines.run("h1", "cat /sys/fs/cgroup/cgroup.controllers");
    if controllers.contains("memory") {
        let group = group.trim().trim_start_matches("0::");
        let most = machines.run("h1", &format!("cat /sys/fs/cgroup{group}/memory.max"));
        assert_eq!(most.trim(), (64 << 20).to_string(), "{group}");
    } else {
        assert!(limit("Max data size").contains(&(64 << 20).to_string()), "{limits}");
    }
    assert!(group.contains(&format!("/{unit}.service")), "{group}");
    assert_eq!(machines.run("h1", &format!("ps -o user= -p {keep}")).trim(), "waldo");
    eventually("records come", || fleet.received_on("h1") > 100);

    machines.run("h1", &format!("systemctl stop {unit}"));
    let log = machines.run("h1", &format!("journalctl -u {unit} -o cat"));
    for said in ["keep.0: started as process", "asked to stop by a signal", "relay: exit status 0", "\nStopped "] {
        assert!(log.contains(said), "{said:?} isn't in\n{log}");
    }
    assert!(!machines.succeeds("h1", "pgrep -u waldo"), "{}", machines.run("h1", "ps aux"));
    fleet.assert_complete_in_the_next_run("h1");
    let shown = machines.run("h1", &format!("systemctl show -p Result -p NRestarts {unit}"));
    assert!(shown.contains("Result=success") && shown.contains("NRestarts=0"), "{shown}");
}

#[test]
fn a_launcher_that_is_killed_is_followed_by_another_and_its_processes_go_on() {
    let Some(machines) = Machines::raise(1, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1"], "");
    fleet.start();
    let before = (fleet.processes("h1", "source"), fleet.processes("h1", "keep"));
    let unit = unit("h1");
    machines.run("h1", &format!("systemctl kill --signal=KILL --kill-whom=main {unit}"));
    eventually("another launcher is there", || {
        machines
            .run("h1", &format!("journalctl -u {unit} -o cat"))
            .contains("taken over: 3 processes go on, 0 have ended")
    });
    fleet.await_flowing("h1");
    assert_eq!((fleet.processes("h1", "source"), fleet.processes("h1", "keep")), before);
    machines.run("h1", &format!("systemctl stop {unit}"));
    assert!(!machines.succeeds("h1", "pgrep -u waldo"), "what another launcher has started is ended too");
    fleet.assert_complete_in_the_next_run("h1");
}

#[test]
fn a_stage_with_a_user_runs_as_that_user_beside_a_launcher_that_is_root() {
    let Some(machines) = Machines::raise(1, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1"], "user: nobody");
    fleet.start();
    eventually("records come", || fleet.received_on("h1") > 100);
    let user = |process: &str| machines.run("h1", &format!("ps -o user= -p {process}")).trim().to_owned();
    let [keep] = &fleet.processes("h1", "keep")[..] else { panic!("one process") };
    assert_eq!(user(keep), "nobody");
    machines.run("h1", &format!("systemctl stop {}", unit("h1")));
    fleet.assert_complete_in_the_next_run("h1");
}

#[test]
fn a_host_that_boots_again_comes_back_by_itself_and_others_take_what_it_sends_for_new() {
    let Some(machines) = Machines::raise(2, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1", "h2"], "");
    fleet.start();
    eventually("records come", || fleet.received_on("h1") > 200 && fleet.received_on("h2") > 200);
    machines.reboot("h1");
    fleet.await_flowing("h1");
    let came = fleet.received_on("h2");
    eventually("both receive again", || fleet.received_on("h2") > came + 500);
    fleet.pause(true);
    eventually("all has come", || fleet.is_complete());
    fleet.assert_complete();
}

#[test]
fn a_host_that_loses_its_power_comes_back_by_itself_and_what_is_sent_from_then_on_comes_once() {
    let Some(machines) = Machines::raise(2, true) else { return };
    let fleet = Fleet::set_up(&machines, &["h1", "h2"], "");
    fleet.start();
    eventually("records come", || fleet.received_on("h1") > 200 && fleet.received_on("h2") > 200);
    machines.crash("h1");
    machines.boot("h1");
    fleet.await_flowing("h1");
    let (came, comes) = (fleet.received_on("h1"), fleet.received_on("h2"));
    eventually("both receive again", || fleet.received_on("h1") > came + 500 && fleet.received_on("h2") > comes + 500);
    // What was under way when the power went may have come twice by now: who had it has forgotten that.
    let before = fleet.twice_and_disordered();
    let (came, comes) = (fleet.received_on("h1"), fleet.received_on("h2"));
    eventually("and go on", || fleet.received_on("h1") > came + 500 && fleet.received_on("h2") > comes + 500);
    assert_eq!(fleet.twice_and_disordered(), before);
}
