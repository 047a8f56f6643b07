//! Whatever is given to it as a topology, `waldo check` ends soon, in little memory, with a clear and short message: hostile
//! inputs through the real binary.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

/// How much it may compute. Generous, as other tests run beside it: what takes this long goes round in a circle. Seconds.
const PROCESSOR: u64 = 60;
/// What takes this long waits for something. Seconds.
const TIME: u64 = 600;
/// How much memory of its own it may take. KiB.
const MEMORY: u64 = 200 << 10;
/// The greatest length of a line that it prints, and of all. Bytes.
const LONGEST_LINE: usize = 2_000;
const LONGEST: usize = 100_000;
/// Words of the libraries underneath, which mean nothing to the person at the terminal.
const JARGON: [&str; 9] =
    ["serde", "saphyr", "granit", "panicked", "src/", ".rs:", "flow mapping", "block mapping", "scalar"];

struct Outcome {
    code: Option<i32>,
    text: String,
}

/// Runs the command in a directory, within bounds of time and memory, and judges what it prints.
fn waldo(directory: &Path, arguments: &[&str]) -> Outcome {
    let bounds = format!("ulimit -c 0; ulimit -d {MEMORY}; ulimit -t {PROCESSOR}; exec timeout {TIME} \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &bounds, env!("CARGO_BIN_EXE_waldo")])
        .args(arguments)
        .current_dir(directory)
        .env_remove("WALDO_NAMESPACE")
        .env("LATIN", <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9"))
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let beginning: String = text.chars().take(3_000).collect();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?} ends with {}: {beginning}", output.status);
    assert!(text.len() < LONGEST, "{arguments:?} prints {} bytes", text.len());
    assert!(text.lines().all(|line| line.len() < LONGEST_LINE), "{arguments:?} prints a long line: {beginning}");
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    for word in JARGON {
        assert!(!text.contains(word), "{arguments:?} says {word}: {beginning}");
    }
    Outcome { code: output.status.code(), text }
}

/// Checks one file; it has to be refused with these words.
fn refused(text: impl AsRef<[u8]>, expected: &str) -> String {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("waldo.yaml"), text).expect("writable");
    let outcome = waldo(directory.path(), &["check"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    assert!(outcome.text.contains(expected), "not in it: {expected}\n{}", outcome.text);
    outcome.text
}

/// A topology that is good but for what is added to it.
fn with(more: &str) -> String {
    format!("topology: t\nstages: {{greet: {{run: echo hello, speaks: lines}}}}\n{more}")
}

/// As many of these as are asked for.
fn many(count: usize, mut one: impl FnMut(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, at| {
        let _ = write!(text, "{}", one(at));
        text
    })
}

#[test]
fn aliases_that_multiply_are_refused() {
    let lists = many(12, |at| format!("x-{}: &a{} [{}]\n", at + 1, at + 1, format!("*a{at}, ").repeat(10)));
    refused(with(&format!("x-0: &a0 [x]\n{lists}")), "more than 500,000 values");
    let maps = many(30, |at| format!("x-{}: &a{} {{l: *a{at}, r: *a{at}}}\n", at + 1, at + 1));
    refused(with(&format!("x-0: &a0 {{k: v}}\n{maps}")), "more than 500,000 values");
    let merged = many(40, |at| format!("x-{}: &a{} {{<<: [*a{at}, *a{at}], k{at}: v}}\n", at + 1, at + 1));
    let text = with(&format!("x-0: &a0 {{k: v}}\n{merged}"));
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("waldo.yaml"), text).expect("writable");
    waldo(directory.path(), &["check"]);
    refused(with("x-0: &a [*a]\n"), "an alias within its own anchor");
}

#[test]
fn one_anchor_may_serve_thousands_of_stages() {
    let stages = many(5_000, |at| format!("  s{at}: {{<<: *all, out: []}}\n"));
    let directory = TempDir::new().expect("a directory");
    let text = format!("x-all: &all {{run: sleep 1, speaks: lines}}\ntopology: t\nstages:\n{stages}");
    fs::write(directory.path().join("waldo.yaml"), text).expect("writable");
    let outcome = waldo(directory.path(), &["check"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
}

#[test]
fn keys_and_values_of_megabytes_are_shown_in_part() {
    let long = "k".repeat(10 << 20);
    refused(with(&format!("{long}: 1\n")), "a key without its `:`");
    refused(with(&format!("? {long}\n: 1\n")), "unknown field");
    refused(with(&format!("servers: {{? {long} : {{address: 10.0.0.1}}}}\n")), "can't be the name of a server");
    refused(format!("topology: {long}\nstages: {{a: {{run: x}}}}\n"), "can't be the name of a topology");
    refused(with(&format!("portals: {{p: {{flows: [{long}]}}}}\n")), "unknown flow");
    refused(with(&format!("defaults: {{idle_timeout: {long}}}\n")), "`idle_timeout`");
    refused(with(&format!("files: [\"${{{long}}}\"]\n")), "isn't set");
    refused(with(&format!("files: [\"{}\"]\n", "${".repeat(5 << 20))), "is no substitution");
    refused(with(&format!("files: [\"{}\"]\n", many(700_000, |at| format!("${{NO{at}}}")))), "has 20 errors");
    refused(with(&format!("include: {long}\n")), "no file has so long a name");
    refused(with(&format!("x-a: {}", "é".repeat(9 << 20))), "more than 16 MiB");
}

#[test]
fn what_is_nested_without_end_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        let text = format!("x-a:\n  {}{}\n", open.repeat(10_000), close.repeat(10_000));
        refused(with(&text), "nested too deep");
    }
    refused(with(&format!("x-a: {}", "[".repeat(1 << 20))), "nested too deep");
    refused(with(&many(2_000, |at| format!("{}a:\n", " ".repeat(at)))), "nested too deep");
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    refused(b"topology: t\nstages: {a\0b: {run: x}}\n", "waldo.yaml:2:11");
    refused(b"topology: t\nstages: {a: {run: caf\xe9}}\n", "waldo.yaml:2:22");
    refused(b"\xff\xfet\0:\0 \0x\0", "the file is in UTF-16");
    refused(b"\x7fELF\x02\x01\x01\0\0\0", "can't be read as YAML");
    refused(b"topology: t\nstages: {a\x1b[31m: {run: x}}\n", "a control character");
    refused("topology: t\nstages: {\"a\\e[31m\": {run: x}}\n", "can't be the name of a stage");
}

#[test]
fn yaml_that_is_wrong_is_told_in_plain_words() {
    for (text, expected) in [
        ("topology: t\n---\ntopology: u\n", "a second document begins"),
        ("topology: t\nstages:\n\ta:\n\t\trun: x\n", "a tab where only blanks may indent"),
        ("topology: \"t\nstages: {a: {run: x}}\n", "a quote isn't closed"),
        ("topology: t\nstages: {a: {run: x}\nflows: {}\n", "the closing `}` was expected"),
        ("topology: t\nstages: {a: {run: x}]\n", "`{` is closed by `]`"),
        ("topology:t\nstages: {a: {run: x}}\n", "is a blank missing after an earlier `:`"),
        ("topology: t\nstages:\n  a:\n    run: x\n   in: [f]\n", "indented too little or too much"),
        ("topology: t\nfiles: [*.txt, b]\n", "needs quotes"),
        ("topology: @t\n", "put it into quotes"),
        ("topology: !name t\n", "a tag (`!…`) that means nothing here"),
        ("%YAML 9.9\n---\ntopology: t\n", "a line that begins with `%`"),
        ("topology: \"\\q\"\n", "an unknown escape"),
        ("topology: t\nx-a: [a, b\n", "`[` isn't closed"),
        ("", "the file is empty"),
        (" \n\t\n", "the file is empty"),
        ("# soon\n", "the file is empty"),
        ("- a\n", "the topology is a list"),
    ] {
        refused(text, expected);
    }
}

#[test]
fn carriage_returns_byte_order_marks_and_document_marks_do_no_harm() {
    let directory = TempDir::new().expect("a directory");
    let good = with("");
    for text in [
        good.replace('\n', "\r\n"),
        format!("\u{feff}{good}"),
        format!("---\n{good}...\n"),
        format!("%YAML 1.2\n---\n{good}"),
    ] {
        fs::write(directory.path().join("waldo.yaml"), &text).expect("writable");
        let outcome = waldo(directory.path(), &["check"]);
        assert_eq!(outcome.code, Some(0), "{text:?}: {}", outcome.text);
    }
}

#[test]
fn ten_thousand_errors_are_told_in_part_and_counted() {
    let wrong = many(10_000, |at| format!("  s{at}: {{run: x, in: [nope{at}], foo: 1}}\n"));
    let text = refused(format!("topology: t\nstages:\n{wrong}"), "… and 19900 more");
    assert!(text.contains("has 20000 errors"));
    let one_line = many(10_000, |at| format!("s{at}: {{run: x, in: [nope{at}], foo: 1}}, "));
    refused(format!("topology: t\nstages: {{{one_line}}}\n"), "has 20000 errors");
    let flows = many(3_000, |at| format!("  flow-{at}: {{}}\n"));
    let misspelt = many(3_000, |at| format!("  s{at}: {{run: x, in: [flwo-{at}], out: [flow-{at}]}}\n"));
    refused(format!("topology: t\nflows:\n{flows}stages:\n{misspelt}"), "did you mean `flow-0`?");
    refused(format!("topology: t\nstages:\n{}", "  s: {run: x}\n".repeat(20_000)), "`s` is written twice");
    let twice = many(100, |at| format!("  s{at}: {{run: x}}\n"));
    let far = "  # far away\n".repeat(1 << 20);
    let text = refused(format!("topology: t\nstages:\n{twice}{far}{twice}"), "waldo.yaml has 100 errors");
    assert!(text.contains("waldo.yaml:1048679:3") && text.contains("waldo.yaml:3:3"), "{text}");
    refused(format!("topology: t\n{}", many(1_000, |at| format!("x-{at}: [\n"))), "waldo.yaml has 20 errors");
    refused(with(&format!("files: [{}]\n", many(10_000, |at| format!("\"${{NOPE{at}}}\", ")))), "has 10000 errors");
}

#[test]
fn what_is_large_but_well_formed_is_read() {
    let directory = TempDir::new().expect("a directory");
    let free = many(60_000, |at| format!("x-{at}: &a{at} {at}\n"));
    for more in [free, format!("x-a: [{}]\n", "1, ".repeat(400_000)), format!("{}\n", "\n".repeat(15 << 20))] {
        fs::write(directory.path().join("waldo.yaml"), with(&more)).expect("writable");
        let outcome = waldo(directory.path(), &["check"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    }
    refused(with(&format!("x-a: [{}]\n", "1,".repeat(2 << 20))), "more than 500,000 values");
    refused(with(&"#".repeat(17 << 20)), "more than 16 MiB");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let directory = TempDir::new().expect("a directory");
    let here = directory.path();
    fs::create_dir(here.join("dir")).expect("writable");
    mkfifo(&here.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    symlink("circle", here.join("circle")).expect("a link");
    symlink("nowhere", here.join("dangling")).expect("a link");
    for (name, expected) in [
        ("dir", "there is no waldo.yaml in dir"),
        ("fifo", "fifo is no file"),
        ("/dev/zero", "/dev/zero is no file"),
        ("circle", "cannot read circle"),
        ("dangling", "there is no file or directory dangling"),
    ] {
        let outcome = waldo(here, &["check", name]);
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.text.contains(expected), "{name}: {}", outcome.text);
        fs::write(here.join("including.yaml"), with(&format!("include: {name}\n"))).expect("writable");
        let outcome = waldo(here, &["check", "including.yaml"]);
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.text.contains("W041") && outcome.text.contains("including.yaml:3:10"), "{}", outcome.text);
    }
    let secret = here.join("secret.yaml");
    fs::write(&secret, with("")).expect("writable");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("is ours");
    if !nix::unistd::geteuid().is_root() {
        assert!(waldo(here, &["check", "secret.yaml"]).text.contains("cannot read secret.yaml"));
    }
}

#[test]
fn names_of_files_write_no_escapes_to_the_terminal() {
    let directory = TempDir::new().expect("a directory");
    for name in ["\u{1b}[31mred.yaml", "a\nb.yaml", "\u{7}.yaml"] {
        fs::write(directory.path().join(name), "topology: [").expect("writable");
        assert_eq!(waldo(directory.path(), &["check", name]).code, Some(1));
    }
}

#[test]
fn files_that_include_each_other_end_whatever_they_call_each_other() {
    let directory = TempDir::new().expect("a directory");
    let here = directory.path();
    fs::create_dir(here.join("sub")).expect("writable");
    fs::write(here.join("waldo.yaml"), with("include: sub/b.yaml\n")).expect("writable");
    fs::write(here.join("sub/b.yaml"), "include: ../waldo.yaml\n").expect("writable");
    let outcome = waldo(here, &["check"]);
    assert!(
        outcome.text.contains("files include each other: `waldo.yaml` → `sub/b.yaml` → `waldo.yaml`"),
        "{}",
        outcome.text
    );
    // A chain as long as is allowed, and a longer one.
    for (length, code) in [(900, 0), (1_100, 1)] {
        for at in 0..length {
            let text = if at + 1 < length { format!("include: {}.yml\n", at + 1) } else { "defaults: {}\n".to_owned() };
            fs::write(here.join(format!("{at}.yml")), text).expect("writable");
        }
        fs::write(here.join("chain.yaml"), with("include: 0.yml\n")).expect("writable");
        let outcome = waldo(here, &["check", "chain.yaml"]);
        assert_eq!(outcome.code, Some(code), "{}", outcome.text);
    }
    fs::write(here.join("all.yaml"), with("include: '*.yml'\n")).expect("writable");
    assert!(waldo(here, &["check", "all.yaml"]).text.contains("more than 1,000 files"));
}

#[test]
fn many_files_are_bounded_together() {
    let directory = TempDir::new().expect("a directory");
    let here = directory.path();
    let bomb = format!("x-a: &a [{}]\nx-b: [{}]\n", "x, ".repeat(1_000), "*a, ".repeat(100));
    for at in 0..20 {
        fs::write(here.join(format!("{at}.yml")), bomb.replace("x-", &format!("x-{at}"))).expect("writable");
    }
    fs::write(here.join("waldo.yaml"), with("include: '*.yml'\n")).expect("writable");
    assert!(waldo(here, &["check"]).text.contains("more than 500,000 values"));
    fs::write(here.join("large.yaml"), "#".repeat(9 << 20)).expect("writable");
    let outcome = waldo(here, &["check", "large.yaml", "large.yaml"]);
    assert!(outcome.text.contains("more than 16 MiB"), "{}", outcome.text);
}

#[test]
fn variables_put_text_into_values_and_nothing_else() {
    let directory = TempDir::new().expect("a directory");
    let here = directory.path();
    fs::write(here.join("waldo.yaml"), with("files: [\"${EVIL}\"]\ndefaults: {idle_timeout: \"${LATIN}\"}\n"))
        .expect("writable");
    let outcome = waldo(here, &["check"]);
    assert!(outcome.text.contains("the variable `LATIN` isn't text in UTF-8"), "{}", outcome.text);
    assert!(outcome.text.contains("waldo.yaml:3:10: ") || outcome.text.contains("waldo.yaml:3:10"), "{}", outcome.text);
}
