//! What a stage is allowed, through the real binary: users, memory, and how long it may go without progress.

mod playground;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use playground::{Playground, wait_until};

fn playground(topology: &str) -> Playground {
    let playground = Playground::copy_of("hello");
    fs::write(playground.path().join("waldo.yaml"), topology).expect("YAML");
    playground
}

fn log(playground: &Playground, process: &str) -> String {
    fs::read_to_string(playground.path().join(format!(".waldo/default/here/log/{process}.log"))).expect("its log")
}

/// Whether this user may run programs as others; says loudly that a test is skipped otherwise.
fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {test} needs root");
    }
    root
}

#[test]
fn stages_run_as_the_users_that_they_name_and_still_reach_each_other() {
    if !is_root("stages_run_as_the_users_that_they_name_and_still_reach_each_other") {
        return;
    }
    let playground = playground(
        r#"topology: users
flows: {number: {}, line: {}}
stages:
  numbers: {run: seq 100, out: [number], speaks: lines, user: daemon}
  who: {run: [sh, -c, 'id -un >&2; while read -r l; do printf "line\t\t%s\n\n" "$${l##*	}"; done'], in: [number], out: [line], speaks: ack, user: nobody}
  keep: {run: [sh, -c, 'cat > "$WALDO_STATE_DIR/kept"'], in: [line], speaks: lines, user: daemon}
"#,
    );
    // Programs of other users have to get here.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(playground.path(), open).expect("rights");
    playground.run(playground.waldo(&["up", "--until-idle", "--quiet"])).code(0);
    assert_eq!(log(&playground, "who.0"), "nobody\n");
    let kept = playground.path().join(".waldo/default/here/state/keep.0/kept");
    assert_eq!(fs::read_to_string(&kept).expect("kept").lines().count(), 100);
    let daemon = nix::unistd::User::from_name("daemon").expect("users").expect("daemon");
    assert_eq!(fs::metadata(&kept).expect("kept").uid(), daemon.uid.as_raw());
    playground.assert_nothing_left();
}

#[test]
fn a_directory_that_a_stages_user_may_not_enter_is_named() {
    if !is_root("a_directory_that_a_stages_user_may_not_enter_is_named") {
        return;
    }
    let playground = playground(
        "topology: users\nstages: {greet: {run: echo hello, speaks: lines, user: nobody, restart: never}}\n",
    );
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(playground.path(), closed).expect("rights");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--quiet"])).code(1);
    let said = format!("nobody may not enter or run {}", playground.path().display());
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    playground.assert_nothing_left();
}

#[test]
fn a_user_that_nobody_knows_is_told_before_anything_starts() {
    let playground = playground("topology: users\nstages: {greet: {run: echo hello, speaks: lines, user: nobdy}}\n");
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--quiet"])).code(1);
    assert!(
        outcome.stderr.contains("greet.0 is to run as nobdy, whom this machine doesn't know"),
        "{}",
        outcome.stderr
    );
    let outcome = playground.run(playground.waldo(&["check", "--local"])).code(1);
    assert!(outcome.stderr.contains("W050") && outcome.stderr.contains("did you mean `nobody`?"), "{}", outcome.stderr);
    playground.assert_nothing_left();
}

#[test]
fn a_stage_is_kept_to_its_limits_and_status_says_by_what() {
    let playground = playground(
        r"topology: limits
flows: {number: {}}
stages:
  numbers: {run: [sh, -c, 'echo 1; exec sleep 600'], out: [number], speaks: lines}
  show:
    run: [sh, -c, 'ulimit -d >&2; ulimit -n >&2; cat /proc/self/cgroup >&2; cat']
    in: [number]
    speaks: lines
    limits: {memory: 256MiB, cpu: 0.5, nofile: 512}
",
    );
    let outcome = playground.run(playground.waldo(&["up", "--detach"])).code(0);
    wait_until("the stage has shown its limits", || log(&playground, "show.0").lines().count() > 2);
    let status = playground.status();
    let kept = &status["servers"]["here"]["processes"]["show.0"]["limits"];
    let shown = log(&playground, "show.0");
    let mut lines = shown.lines();
    let data = lines.next().expect("a limit of memory");
    assert_eq!(lines.next(), Some("512"));
    // What can be had depends on the machine; what is said of it must be true.
    let joined = shown.contains("waldo-limits-default-here/show.0");
    match kept["memory"].as_str() {
        Some("control-group") => assert!(joined && data == "unlimited", "{shown}"),
        other => assert_eq!((other, data), (Some("process"), "262144")),
    }
    let warned = outcome.stderr.contains("limits.cpu of show isn't enforced here");
    match kept["cpu"].as_str() {
        Some("control-group") => assert!(joined && !warned, "{shown}{}", outcome.stderr),
        other => assert_eq!((other, warned), (Some("nothing"), true), "{}", outcome.stderr),
    }
    let groups: Vec<PathBuf> =
        shown.lines().filter(|line| line.contains("waldo-limits")).map(group_directory).collect();
    let quotas = groups.iter().filter_map(|group| fs::read_to_string(group.join("cpu.cfs_quota_us")).ok());
    assert!(quotas.into_iter().all(|quota| quota == "50000\n"), "half of each period");
    playground.run(playground.waldo(&["down"])).code(0);
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    playground.assert_nothing_left();
}

/// The directory of a group as `/proc/self/cgroup` of version 1 names it; of version 2 nothing that is there.
fn group_directory(line: &str) -> PathBuf {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controller, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'))
}

#[test]
fn a_stage_without_progress_is_started_again_and_what_it_had_in_hand_is_counted() {
    let playground = playground(
        r#"topology: stuck
flows: {number: {}}
stages:
  numbers: {run: seq 3, out: [number], speaks: lines}
  stuck:
    run: [sh, -c, 'while read -r l; do if mkdir "$WALDO_STATE_DIR/been" 2>/dev/null; then sleep 600; fi; echo; done']
    in: [number]
    speaks: ack
    alive: {within: 300ms, then: restart}
"#,
    );
    let outcome = playground.run(playground.waldo(&["up", "--until-idle", "--json"])).code(10);
    let ledger: serde_json::Value =
        serde_json::from_str(outcome.stdout.lines().last().expect("the ledger")).expect("JSON");
    let number = &ledger["flows"]["number"];
    let (received, lost) = (number["received"].as_u64().expect("a number"), number["lost"].as_u64().expect("a number"));
    assert_eq!((number["sent"].as_u64(), received + lost), (Some(3), 3), "{ledger}");
    assert!(lost >= 1, "{ledger}");
    assert!(log(&playground, "launcher").contains("stuck.0: no progress for 300 ms"));
    playground.assert_nothing_left();
}
