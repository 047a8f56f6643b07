//! What `waldo compile` writes: the same bytes everywhere, and files that the programs they are meant for take.

mod playground;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use playground::{Playground, free_ports};

/// Two servers; with `user: nobody` for one stage if wanted.
fn topology(user: &str) -> String {
    format!(
        "topology: calls
flows:
  call: {{key: sender, guide: hash, from: clients}}
stages:
  keep: {{run: [sh, -c, 'cat > /dev/null'], in: [call], speaks: lines, env: {{GREETING: \"it's 100%\"}}{user}}}
servers:
  s1: {{address: 127.0.0.1}}
  s2: {{address: 127.0.0.1}}
namespaces:
  dev: {{local: true, ports: {}}}
",
        free_ports()
    )
}

fn playground(text: &str) -> Playground {
    let playground = Playground::copy_of("hello");
    fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
    playground
}

fn build(playground: &Playground) -> PathBuf {
    playground.path().join(".waldo/build/dev")
}

/// Path → contents of all files below a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("below").to_owned();
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

/// Whether a program is there; says loudly that a test is skipped otherwise.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not installed (scripts/setup installs it)");
    }
    found
}

#[test]
fn a_build_has_the_same_bytes_wherever_whenever_and_by_whomever_it_is_made() {
    let text = topology("");
    let first = playground(&text);
    first.run(first.waldo(&["compile"])).code(0);
    let second = playground(&text);
    let mut elsewhere = if nix::unistd::geteuid().is_root() {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(second.path(), open).expect("rights");
        let mut command = second.command("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_waldo")).arg("compile");
        command
    } else {
        second.waldo(&["compile"])
    };
    elsewhere.env("TZ", "Pacific/Chatham").env("LC_ALL", "tr_TR.UTF-8").env("HOME", "/nonexistent");
    second.run(elsewhere).code(0);
    let (one, other) = (contents(&build(&first)), contents(&build(&second)));
    assert!(one.len() == 14, "{:?}", one.keys());
    assert!(one == other, "{:?} and {:?}", one.keys(), other.keys());
}

/// The example of docs/templates.md: waldo's own unit with what the page adds to it.
fn documented_template() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
    let page = read("docs/templates.md");
    let added = page.split("```").find(|block| block.contains("ReadWritePaths=")).expect("the example").trim_start();
    let own = read("templates/launcher.service.hbs");
    assert_eq!(own.matches("[Service]\n").count(), 1);
    own.replace("[Service]\n", &format!("[Service]\n{added}"))
}

#[test]
fn units_pass_systemds_own_verifier_and_are_little_exposed() {
    if !has("systemd-analyze") {
        return;
    }
    for (user, is_overridden) in [("", false), (", user: nobody", false), ("", true)] {
        let playground = playground(&topology(user));
        if is_overridden {
            let directory = playground.path().join("templates");
            fs::create_dir(&directory).expect("a directory");
            fs::write(directory.join("launcher.service.hbs"), documented_template()).expect("a template");
        }
        playground.run(playground.waldo(&["compile"])).code(0);
        let root = playground.path().join("root");
        let units = root.join("etc/systemd/system");
        for directory in [units.as_path(), &root.join("usr/bin"), &root.join("usr/lib/systemd")] {
            fs::create_dir_all(directory).expect("a directory");
        }
        fs::copy(env!("CARGO_BIN_EXE_waldo"), root.join("usr/bin/waldo")).expect("the program");
        let copied =
            Command::new("cp").args(["-a", "/usr/lib/systemd/system"]).arg(root.join("usr/lib/systemd")).status();
        assert!(copied.expect("cp").success());
        for server in ["s1", "s2"] {
            let directory = build(&playground).join("servers").join(server);
            for file in [format!("waldo-calls-dev-{server}.service"), "waldo-calls-dev.target".to_owned()] {
                fs::copy(directory.join(&file), units.join(&file)).expect("a unit");
            }
        }
        let under = format!("--root={}", root.display());
        let files = ["waldo-calls-dev-s1.service", "waldo-calls-dev-s2.service", "waldo-calls-dev.target"];
        let mut verify = playground.command("systemd-analyze", &["verify", "--recursive-errors=yes", &under]);
        verify.args(files);
        let outcome = playground.run(verify).code(0);
        assert_eq!(outcome.stderr, "");
        let arguments = ["security", "--offline=yes", "--no-pager", &under, files[0]];
        let outcome = playground.run(playground.command("systemd-analyze", &arguments)).code(0);
        let level = outcome.stdout.lines().find_map(|line| line.split_once("level for "));
        let score: f64 = level.and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()).expect("a score");
        assert!(score < 4.0, "{score}");
    }
}

#[test]
fn the_script_passes_shellcheck_and_starts_a_server_that_ends_with_it() {
    let playground = playground(&topology("").replace("  s2: {address: 127.0.0.1}\n", ""));
    playground.run(playground.waldo(&["compile"])).code(0);
    let script = build(&playground).join("servers/s1/launch.sh");
    if has("shellcheck") {
        playground.run(playground.command("shellcheck", &[script.to_str().expect("UTF-8")])).code(0);
    }
    let mut command = playground.command(&script, &[]);
    let program = Path::new(env!("CARGO_BIN_EXE_waldo")).parent().expect("its directory");
    command.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").expect("PATH")));
    let running = playground.start(command);
    playground::wait_until("the server flows", || playground.status()["state"] == "flowing");
    running.signal(Signal::SIGTERM);
    running.end().code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_launcher_tells_systemd_when_it_is_ready_that_it_lives_and_when_it_leaves() {
    let playground = playground(&topology("").replace("  s2: {address: 127.0.0.1}\n", ""));
    playground.run(playground.waldo(&["compile"])).code(0);
    let socket = playground.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
    let plan = build(&playground).join("plan.json");
    let state = playground.path().join("kept");
    let mut command = playground.waldo(&["__launch", "--alone", "--server", "s1", "--root", "."]);
    command.arg("--plan").arg(plan).arg("--state").arg(&state);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let running = playground.start(command);
    let hear = |wanted: &str| {
        let mut message = [0; 4096];
        loop {
            let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("{wanted} is never said: {error}"));
            let said = String::from_utf8_lossy(&message[..length]).into_owned();
            if said.lines().any(|line| line.starts_with(wanted)) {
                return said;
            }
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    assert!(state.join("s1/log/keep.0.log").exists(), "what stays is kept where it was told");
    running.signal(Signal::SIGTERM);
    hear("STOPPING=1");
    running.end().code(0);
    playground.assert_nothing_left();
}

#[test]
fn a_users_template_takes_the_place_of_waldos_and_no_value_breaks_out_of_it() {
    let playground = playground(&topology(""));
    let templates = playground.path().join("templates");
    fs::create_dir(&templates).expect("a directory");
    let text = "[Service]\n{{#each processes}}\n# {{name}}\nExecStart={{command argv}}\n{{#each env}}\nEnvironment={{value assignment}}\n{{/each}}\n{{/each}}\n";
    fs::write(templates.join("launcher.service.hbs"), text).expect("a template");
    fs::write(templates.join("page.hbs"), "of somebody else").expect("a template");
    playground.run(playground.waldo(&["compile"])).code(0);
    let unit = fs::read_to_string(build(&playground).join("servers/s1/waldo-calls-dev-s1.service")).expect("a unit");
    let expected = "# keep.0\nExecStart=\"sh\" \"-c\" \"cat > /dev/null\"\nEnvironment=\"GREETING=it's 100%%\"\n";
    assert!(unit.ends_with(expected), "{unit}");
}

#[test]
fn a_template_that_asks_for_what_is_not_there_is_told_with_its_line_and_the_name() {
    let playground = playground(&topology(""));
    let templates = playground.path().join("templates");
    fs::create_dir(&templates).expect("a directory");
    fs::write(templates.join("launch.sh.hbs"), "#!/bin/sh\n\nexec waldo {{sever}}\n").expect("a template");
    let outcome = playground.run(playground.waldo(&["compile"])).code(1);
    let expected = "template launch.sh.hbs, line 3: there is no variable `sever`";
    assert!(
        outcome.stderr.contains(expected) && outcome.stderr.contains("did you mean `server`?"),
        "{}",
        outcome.stderr
    );
    fs::write(templates.join("launch.sh.hbs"), "#!/bin/sh\n{{#if local}}\n").expect("a template");
    let outcome = playground.run(playground.waldo(&["compile"])).code(1);
    assert!(outcome.stderr.contains("template launch.sh.hbs"), "{}", outcome.stderr);
    fs::rename(templates.join("launch.sh.hbs"), templates.join("lunch.sh.hbs")).expect("a template");
    let outcome = playground.run(playground.waldo(&["compile"])).code(1);
    assert!(outcome.stderr.contains("did you mean `launch.sh.hbs`?"), "{}", outcome.stderr);
}
