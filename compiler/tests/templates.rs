//! Templates: what they ask for is there or told, and what they write is read back as it was, by real parsers.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use waldo_compiler::{
    Choice, Sources, Templates, compile,
    plan::{Plan, Program, StageProgram},
    render,
    source::{Source, Unaided},
};

const TOPOLOGY: &str = "
topology: calls
flows: {call: {key: sender, guide: hash, from: clients}}
stages: {parse: {run: ./bin/parse, in: [call], limits: {nofile: 64, memory: 1GiB, cpu: 0.5}, user: nobody}}
servers: {s1: {address: 10.0.0.1}}
";

/// The plan with what a stage's program is changed.
fn plan(change: impl FnOnce(&mut StageProgram)) -> Plan {
    let sources = Sources::read(vec![Source::new("waldo.yaml", TOPOLOGY)], &Unaided);
    let mut plan = compile(&sources, Choice::Only, None).expect("a plan").plan;
    let server = plan.servers.get_mut("s1").expect("a server");
    let program = server.processes.iter_mut().find_map(|process| match &mut process.program {
        Program::Stage(program) => Some(program),
        Program::Portal => None,
    });
    change(program.expect("a stage"));
    plan
}

/// What a template makes of a plan.
fn rendered(plan: &Plan, template: &str, text: &str) -> Result<String, String> {
    let overrides = BTreeMap::from([(template.to_owned(), text.to_owned())]);
    let templates = Templates::with(&overrides).map_err(|flaw| flaw.to_string())?;
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    render(plan, &templates, &mut files).map_err(|failure| failure.to_string())?;
    let ending = if template.ends_with(".sh.hbs") { ".sh" } else { ".service" };
    Ok(files.into_iter().find(|(path, _)| path.ends_with(ending)).expect("it is written").1)
}

#[test]
fn what_is_not_there_is_told_wherever_a_template_asks_for_it() {
    let plan = plan(|_| {});
    for asking in [
        "{{nothing}}",
        "{{{nothing}}}",
        "{{#if nothing}}x{{/if}}",
        "{{#unless nothing}}x{{/unless}}",
        "{{#each nothing}}x{{/each}}",
        "{{#with nothing}}x{{/with}}",
        "{{command nothing}}",
        "{{value nothing}}",
        "{{#each processes}}{{nothing}}{{/each}}",
        "{{#each processes}}{{#if nothing}}x{{/if}}{{/each}}",
        "{{#each processes}}{{command nothing}}{{/each}}",
        "{{#each processes}}{{../nothing}}{{/each}}",
        "{{nothing server}}",
        "{{server.nothing}}",
    ] {
        let outcome = rendered(&plan, "launcher.service.hbs", &format!("[Service]\n{asking}\n"));
        let flaw = outcome.expect_err(asking);
        assert!(flaw.starts_with("template launcher.service.hbs, line 2: "), "{asking}: {flaw}");
        assert!(flaw.contains("nothing"), "{asking}: {flaw}");
    }
}

#[test]
fn every_variable_that_is_documented_is_there_and_every_one_that_is_there_is_documented() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/templates.md")).expect("the page");
    let documented = |heading: &str| -> Vec<String> {
        let section = page.split("\n## ").find(|section| section.starts_with(heading)).expect("the section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
    };
    let plan = plan(|_| {});
    let there = |each: &str| {
        let text = rendered(&plan, "launcher.service.hbs", each).expect("it renders");
        let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        names.dedup();
        names
    };
    assert_eq!(documented("Variables of a server"), there("{{#each this}}{{@key}} {{/each}}{{! processes }}"));
    let processes =
        there("{{#each processes}}{{#unless is_portal}}{{#each this}}{{@key}} {{/each}}{{/unless}}{{/each}}");
    assert_eq!(documented("Variables of a process"), processes);
}

#[test]
fn a_process_tells_a_template_where_it_is_and_within_what() {
    let unit = "{{#each processes}}{{#unless is_portal}}\
                {{command absolute_argv}} {{cwd}} {{user}} {{nofile}} {{memory}} {{cpu_percent}}%\
                {{/unless}}{{/each}}";
    let written = rendered(&plan(|_| {}), "launcher.service.hbs", unit).expect("it renders");
    assert_eq!(written, "\"/opt/waldo/calls/default/bin/parse\" /opt/waldo/calls/default nobody 64 1073741824 50%");
}

#[test]
fn a_program_whose_name_systemd_would_take_for_an_order_is_refused() {
    for program in ["+sh", "-sh", "@sh", "!sh", "!!sh", ":sh", "|sh"] {
        let plan = plan(|stage| stage.argv = vec![program.to_owned(), "x".to_owned()]);
        let unit = "{{#each processes}}ExecStart={{command argv}}\n{{/each}}";
        let flaw = rendered(&plan, "launcher.service.hbs", unit).expect_err(program);
        assert!(flaw.contains(&format!("`{program}`")), "{flaw}");
        let script = "{{#each processes}}{{command argv}}\n{{/each}}";
        assert!(rendered(&plan, "launch.sh.hbs", script).is_ok(), "to a shell it is a word like others");
    }
}

/// Text that means something to some parser, and anything else.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0]{0,20}",
        "[ \\\\\"'$%`\n\r\t;#&|<>(){}\\[\\]*?~!=@:+,x0-9-]{0,20}",
        Just("${HOME}".to_owned()),
        Just("%n".to_owned()),
        Just("x\n[Service]\nExecStartPre=/bin/false".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Values stand where commands, assignments and plain text stand; a shell itself says what it has read.
    #[test]
    fn a_script_from_a_template_means_what_the_topology_says(
        argv in prop::collection::vec(hostile(), 1..5),
        value in hostile(),
        user in hostile(),
    ) {
        let plan = plan(|stage| {
            stage.argv.clone_from(&argv);
            stage.env = BTreeMap::from([("GREETING".to_owned(), value.clone())]);
            stage.user = Some(user.clone());
        });
        let script = "{{#each processes}}{{#unless is_portal}}{{#each env}}GREETING={{value}}\n{{/each}}\
                      printf '%s\\0' \"$GREETING\" {{user}} {{command argv}}{{/unless}}{{/each}}\n";
        let text = rendered(&plan, "launch.sh.hbs", script).expect("it renders");
        let ran = Command::new("sh").arg("-c").arg(&text).stdin(Stdio::null()).output().expect("sh");
        let expected: Vec<&str> = [value.as_str(), &user].into_iter().chain(argv.iter().map(String::as_str)).collect();
        let printed = String::from_utf8(ran.stdout).expect("UTF-8");
        prop_assert_eq!(printed, expected.iter().map(|word| format!("{word}\0")).collect::<String>(), "{}", text);
        prop_assert!(ran.stderr.is_empty());
    }
}

/// Words as the service manager prints them of a command that it has read: in quotes where they need some, with escapes.
fn read_dumped(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.bytes().peekable();
    while rest.peek().is_some() {
        let mut word = Vec::new();
        let mut quoted = false;
        while let Some(byte) = rest.next().filter(|&byte| quoted || byte != b' ') {
            match byte {
                b'"' => quoted = !quoted,
                b'\\' => word.push(match rest.next().expect("an escape") {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    first @ b'0'..=b'3' => {
                        let octal = [first, rest.next().expect("a digit"), rest.next().expect("a digit")];
                        octal.iter().fold(0, |value, digit| value * 8 + (digit - b'0'))
                    }
                    other => other,
                }),
                other => word.push(other),
            }
        }
        words.push(String::from_utf8(word).expect("UTF-8"));
    }
    words
}

/// Commands of a unit as systemd itself reads them, one for each line; `None`, loudly, where it can't be asked.
fn read_by_systemd(unit: &str) -> Option<Vec<Vec<String>>> {
    const MANAGER: &str = "/usr/lib/systemd/systemd";
    if !Path::new(MANAGER).exists() {
        eprintln!("SKIPPED: systemd is not installed (scripts/setup installs it)");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("rights");
    open(directory.path());
    fs::write(directory.path().join("sample.service"), unit).expect("a unit");
    // A manager in test mode won't be root.
    let is_root = fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", MANAGER]);
        command
    } else {
        Command::new(MANAGER)
    };
    command.args(["--test", "--user", "--unit=sample.service"]).env("XDG_RUNTIME_DIR", directory.path());
    let path = format!("{}:/usr/lib/systemd/user", directory.path().display());
    command.env("SYSTEMD_UNIT_PATH", path).env("SYSTEMD_LOG_TARGET", "console").stdin(Stdio::null());
    let told = command.output().expect("systemd");
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    let Some(service) = told.split("-> Unit ").find(|part| part.starts_with("sample.service:")) else {
        eprintln!("SKIPPED: systemd has no test mode here");
        return None;
    };
    let commands = service.lines().filter_map(|line| line.trim_start().strip_prefix("Command Line: "));
    Some(commands.map(read_dumped).collect())
}

#[test]
fn systemd_itself_reads_commands_from_a_template_as_the_topology_says() {
    let mut words: Vec<String> = (1..0x180).filter_map(char::from_u32).map(|it| format!("{it}a{it}{it}")).collect();
    let meaningful = [
        "", " ", "\n", "\\", "\"", "'", "%", "%%", "%n", "$", "$$", "$HOME", "${HOME}", "a;", ";", "\\;", "#", "\\x41",
    ];
    let long = [
        "x\n[Service]\nExecStartPre=/bin/false",
        "\\\n",
        "line\\",
        "\u{85}\u{2028}",
        "日本",
        "-x",
        "+x",
        "'\"",
        "\"' ",
    ];
    words.extend(meaningful.iter().chain(&long).map(|&word| word.to_owned()));
    for pair in meaningful {
        words.extend(meaningful.map(|other| format!("{pair}{other}")));
    }
    let commands: Vec<Vec<String>> = words
        .chunks(5)
        .map(|words| std::iter::once("/bin/true".to_owned()).chain(words.iter().cloned()).collect())
        .collect();
    let mut unit = "[Service]\nType=oneshot\n".to_owned();
    for command in &commands {
        let plan = plan(|stage| stage.argv.clone_from(command));
        let line = "{{#each processes}}{{#unless is_portal}}ExecStart={{command argv}}\n{{/unless}}{{/each}}";
        unit += &rendered(&plan, "launcher.service.hbs", line).expect("it renders");
    }
    let Some(read) = read_by_systemd(&unit) else { return };
    // `$$` becomes `$` only when the command is started.
    let started = |word: &String| word.replace("$$", "$");
    let read: Vec<Vec<String>> = read.iter().map(|command| command.iter().map(started).collect()).collect();
    assert_eq!(read.len(), commands.len());
    for (read, command) in read.iter().zip(&commands) {
        assert_eq!(read, command);
    }
}
