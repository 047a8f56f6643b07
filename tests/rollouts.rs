//! Every kind of change, rolled out under load through the real binary: nothing is lost, nothing repeated, and the order
//! kept, by a count that doesn't ask waldo.

mod flotilla;
mod playground;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use flotilla::{Flotilla, RATE};
use playground::{free_ports, program};
use serde_json::Value;

/// What `waldo diff` says will be done about a process.
fn action<'d>(diff: &'d Value, process: &str) -> &'d str {
    let (server, process) = process.split_once('/').expect("server/process");
    let of = |about: &&Value| about["server"] == server && about["process"] == process;
    let found = diff["processes"].as_array().into_iter().flatten().find(of);
    found.and_then(|about| about["action"].as_str()).unwrap_or("absent")
}

/// The names in a list of the diff.
fn names<'d>(diff: &'d Value, list: &str) -> Vec<&'d str> {
    diff[list].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn a_deploy_of_what_runs_already_does_nothing_at_all() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let rollout = flotilla.roll_out("nothing", 0);
    assert_eq!(rollout.identities[0], rollout.identities[1], "nobody is started again");
    assert_eq!(rollout.diff["equal"], true, "{}", rollout.diff);
    flotilla.down();
}

#[test]
fn what_a_process_is_started_with_changes() {
    let mut flotilla = Flotilla::new(RATE);
    let old_program = program("tally");
    let own_program = flotilla.playground.path().join("kept");
    fs::create_dir(flotilla.playground.path().join("work")).expect("a directory");
    flotilla.up();

    // Of what receives, its server holds.
    let keep = |text: &str| format!("  keep:\n    {text}");
    for (change, from, to) in [
        ("env", keep(""), keep("env: {COLOUR: blue}\n    ")),
        ("env and cwd", keep("env: {COLOUR: blue}"), keep("env: {COLOUR: red}\n    cwd: work")),
        ("limits", keep(""), keep("limits: {nofile: 512}\n    ")),
        ("argv", "keep, BOOKS]".into(), "keep, BOOKS, delay=0]".into()),
        ("argv of a program that speaks ack", "ask.py, answer]".into(), "ask.py, answer, again]".into()),
        ("argv of a program that speaks lines", "grep .".into(), "grep -e .".into()),
    ] {
        let books = flotilla.playground.path().join("books").display().to_string();
        flotilla.edit(&from.replace("BOOKS", &books), &to.replace("BOOKS", &books));
        let rollout = flotilla.roll_out(change, 0);
        assert_eq!(names(&rollout.diff, "hold"), ["s1", "s2"], "{change}");
    }

    fs::copy(&old_program, &own_program).expect("a copy");
    flotilla.edit(&format!("[{}, keep, ", old_program.display()), &format!("[{}, keep, ", own_program.display()));
    flotilla.roll_out("another program", 0);
    rebuild(&own_program);
    let rollout = flotilla.roll_out("a rebuilt program", 0);
    assert_eq!(action(&rollout.diff, "s1/keep.0"), "restart", "{}", rollout.diff);

    // A source leaves when its last record is in others' hands, and nobody holds.
    flotilla.edit("laps=3]", "laps=3, until=1000000000]");
    let rollout = flotilla.roll_out("argv of a source", 0);
    assert_eq!(action(&rollout.diff, "s1/feed.0"), "restart", "{}", rollout.diff);
    assert_eq!(names(&rollout.diff, "hold"), [""; 0]);

    // What only its launcher minds touches no process.
    for (change, to) in [
        ("restart policy", "restart: never\n    run: grep"),
        ("stop and ready", "stop: {grace: 7s}\n    ready: {timeout: 8s}\n    restart: always\n    run: grep"),
    ] {
        flotilla.edit(if change == "restart policy" { "run: grep" } else { "restart: never\n    run: grep" }, to);
        let rollout = flotilla.roll_out(change, 0);
        assert_eq!(rollout.identities[0], rollout.identities[1], "{change}: nobody is started again");
        assert_eq!(rollout.diff["equal"], false, "{change}");
    }
    flotilla.down();
}

/// Replaces a program by one that does the same and isn't the same file.
fn rebuild(path: &Path) {
    let beside = path.with_extension("new");
    let mut bytes = fs::read(path).expect("the program");
    bytes.extend_from_slice(b"built again");
    fs::write(&beside, bytes).expect("a program");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("executable");
    fs::rename(&beside, path).expect("in its place");
}

#[test]
fn instances_queues_and_spread_change() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let lap = "in: [{flow: turn, spread: key}]\n";
    let with = |lines: &str| format!("{lap}    {lines}\n");
    flotilla.edit(lap, &with("instances: 3"));
    flotilla.roll_out("three instances in the loop", 0);
    flotilla.edit("instances: 3", "instances: 2");
    flotilla.roll_out("an instance less", 0);

    flotilla.edit("instances: 2", "instances: 2\n    queue: 100");
    let rollout = flotilla.roll_out("a shorter queue", 0);
    assert_eq!(names(&rollout.diff, "hold"), [""; 0], "a queue is changed in place");

    // Any instance may get any record: there is no order to be kept any more.
    flotilla.unordered.insert("lap".to_owned());
    flotilla.edit("{flow: turn, spread: key}", "{flow: turn, spread: any}");
    flotilla.roll_out("spread over any instance", 0);
    flotilla.edit("{flow: turn, spread: any}", "{flow: turn, spread: key}");
    flotilla.roll_out("spread by key again", 0);

    flotilla.edit("\n    instances: 2\n    queue: 100", "");
    flotilla.roll_out("one instance, the usual queue", 0);
    flotilla.edit("    out: [call]\n", "    out: [call]\n    instances: 2\n");
    let rollout = flotilla.roll_out("a second source on each server", 0);
    assert_eq!(names(&rollout.diff, "hold"), [""; 0], "sources come while records flow");
    flotilla.edit("    out: [call]\n    instances: 2\n", "    out: [call]\n");
    flotilla.roll_out("one source less on each server", 0);
    flotilla.down();
}

#[test]
fn stages_and_flows_come_go_and_are_renamed() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let tally = program("tally").display().to_string();
    let books = flotilla.playground.path().join("books").display().to_string();

    // A stage and a flow in the middle of the way.
    let into = "good: {key: sender, guide: hash}\n  side: {}";
    flotilla.edit("side: {}", into);
    let tested = format!(
        "  test:\n    run: [{tally}, pass, {books}, good]\n    in: [{{flow: kept, spread: key}}]\n    out: [good]\n  keep:"
    );
    flotilla.edit("  keep:", &tested);
    flotilla.edit("in: [{flow: kept, spread: key}]\n  ask", "in: [{flow: good, spread: key}]\n  ask");
    flotilla.roll_out("a stage and a flow inserted", 0);
    flotilla.edit(&tested, "  keep:");
    flotilla.edit("in: [{flow: good, spread: key}]\n  ask", "in: [{flow: kept, spread: key}]\n  ask");
    flotilla.edit(into, "side: {}");
    flotilla.roll_out("a stage and a flow removed", 0);

    // The book stays the same: all that is sent must be in it, whoever has written it.
    let keep = format!("  keep:\n    run: [{tally}, keep, {books}");
    flotilla.edit(&keep, &keep.replace("keep:", "store:").replace(&books, &format!("{books}, book=keep")));
    flotilla.roll_out("a stage renamed", 0);

    // One more consumer gets its own copy of every record from then on.
    let second = format!("  note:\n    run: [{tally}, keep, {books}]\n    in: [{{flow: call, spread: key}}]\n  lap:");
    flotilla.edit("  lap:", &second);
    flotilla.roll_out("a second consumer", 0);
    let before = flotilla.received();
    playground::wait_until("records in the new stage", || flotilla.received().get("note") > before.get("note"));
    flotilla.edit(&second, "  lap:");
    flotilla.roll_out("a consumer less", 0);
    let gaps = flotilla.count.book("note").gaps(flotilla::KEYS);
    assert_eq!(gaps.count, 0, "from its first to its last record it has had all: {:?}", gaps.examples);

    // A key that is found where it was said before stays the same key.
    flotilla.edit("call: {key: sender, guide: hash}", "call: {key: {column: 1, separator: \" \"}, guide: hash}");
    flotilla.roll_out("a key that is found in place of being said", 0);
    // Records that had one key may have two now: the order of such isn't promised.
    flotilla.unordered.insert("file".to_owned());
    flotilla.edit(
        "answer: {key: {column: 1, separator: \" \"}, guide: hash}",
        "answer: {key: {column: 2, separator: \" \"}, guide: hash}",
    );
    flotilla.roll_out("another key rule", 0);
    flotilla.down();
}

#[test]
fn guides_weights_and_servers_change() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    flotilla.edit("s2: {address: 127.0.0.1}", "s2: {address: 127.0.0.1, weight: 3}");
    let rollout = flotilla.roll_out("weights", 0);
    assert_eq!(names(&rollout.diff, "hold"), ["s1"], "who only gains keys goes on");
    let moved = flotilla.take_moves();
    assert!(["enter", "lap", "keep"].iter().all(|book| moved[*book] > 0), "{moved:?}");

    for (change, from, to) in [
        ("ranges in place of slots", "guide: hash", "guide: {ranges: {\"\": s1, k4: s2}}"),
        ("other ranges", "guide: {ranges: {\"\": s1, k4: s2}}", "guide: {ranges: {\"\": s1, k2: s2, k5: s1}}"),
        (
            "a table in place of ranges",
            "guide: {ranges: {\"\": s1, k2: s2, k5: s1}}",
            "guide: {table: {k7: s1, k8: s2}, default: hash}",
        ),
        ("slots in place of a table", "guide: {table: {k7: s1, k8: s2}, default: hash}", "guide: hash"),
    ] {
        for flow in ["call", "turn"] {
            flotilla.edit(&format!("{flow}: {{key: sender, {from}"), &format!("{flow}: {{key: sender, {to}"));
        }
        flotilla.roll_out(change, 0);
        let moved = flotilla.take_moves();
        assert!(moved["enter"] > 0 && moved["lap"] > 0 && moved["keep"] == 0, "{change}: {moved:?}");
    }

    flotilla.edit("weight: 3}\n", "weight: 3}\n  s3: {address: 127.0.0.1}\n");
    flotilla.roll_out("a server added", 0);
    assert!(flotilla.count.book("lap").received_on("s3") > 0, "it has got keys");
    flotilla.edit("s3: {address: 127.0.0.1}", "s3: {address: 127.0.0.1, state: drained}");
    flotilla.roll_out("a server drained", 0);
    flotilla.edit("s3: {address: 127.0.0.1, state: drained}", "s3: {address: 127.0.0.1}");
    flotilla.roll_out("a server in action again", 0);
    flotilla.edit("  s3: {address: 127.0.0.1}\n", "");
    flotilla.roll_out("a server removed", 0);

    // With a source on it.
    flotilla.edit("weight: 3}\n", "weight: 3, state: drained}\n");
    flotilla.roll_out("a server with a source drained", 0);
    flotilla.edit("weight: 3, state: drained}\n", "weight: 3}\n");
    flotilla.roll_out("a server with a source in action again", 0);
    flotilla.down();
}

#[test]
fn portals_and_loops_change() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    flotilla.edit("passes: 8", "passes: 12");
    let rollout = flotilla.roll_out("passes of a loop", 0);
    assert_eq!(names(&rollout.diff, "hold"), [""; 0], "a bound is changed in place");

    let servers = "\nservers:";
    let spool = "\nportals:\n  relay: {spool: {memory: 8MiB, disk: 1GiB}}\n";
    flotilla.edit(servers, &format!("{spool}{servers}"));
    let rollout = flotilla.roll_out("spool limits", 0);
    assert_eq!(names(&rollout.diff, "hold"), [""; 0], "a spool's limits are changed in place");

    let split = "\nportals:\n  relay: {spool: {memory: 8MiB, disk: 1GiB}}\n  second: {flows: [turn, answer]}\n";
    flotilla.edit(spool, split);
    let rollout = flotilla.roll_out("a portal split in two", 0);
    assert_eq!(action(&rollout.diff, "s1/relay"), "rewire", "{}", rollout.diff);
    flotilla.edit(split, spool);
    flotilla.roll_out("two portals merged", 0);

    let text = flotilla.text();
    let ports = text.lines().find(|line| line.contains("ports:")).expect("a block of ports").to_owned();
    flotilla.edit(&ports, &format!("  test: {{local: true, ports: {}}}", free_ports()));
    let rollout = flotilla.roll_out("another block of ports", 0);
    assert_eq!(action(&rollout.diff, "s1/relay"), "rewire", "{}", rollout.diff);
    flotilla.down();
}

#[test]
fn many_changes_at_once_are_one_rollout() {
    let mut flotilla = Flotilla::new(RATE);
    flotilla.up();
    let text = flotilla.text();
    for _ in 0..3 {
        flotilla.edit("in: [{flow: turn, spread: key}]\n", "in: [{flow: turn, spread: key}]\n    instances: 2\n");
        flotilla
            .edit("s2: {address: 127.0.0.1}\n", "s2: {address: 127.0.0.1, weight: 2}\n  s3: {address: 127.0.0.1}\n");
        flotilla.edit("passes: 8", "passes: 20");
        flotilla.edit("grep .", "grep -e .");
        flotilla.roll_out("instances, weights, a server, passes and argv at once", 0);
        fs::write(flotilla.topology(), &text).expect("YAML");
        flotilla.roll_out("all of it back", 0);
    }
    flotilla.down();
}
