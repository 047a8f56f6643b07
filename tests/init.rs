//! `waldo init`: whatever is chosen, what it writes is without a fault and runs to the right answer.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

const TEXT: &str = include_str!("../templates/init/text.txt");

fn waldo(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waldo"));
    command.args(arguments).current_dir(directory).env_remove("WALDO_NAMESPACE");
    command.env("WALDO_RUN_DIR", directory.join("run")).stdin(std::process::Stdio::null());
    command.output().expect("waldo")
}

#[track_caller]
fn succeed(directory: &Path, arguments: &[&str]) -> String {
    let output = waldo(directory, arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("waldo-").tempdir().expect("a directory")
}

/// A block of ports that nobody has now, for this test of this process.
fn ports(number: u16) -> String {
    (20_000 + (std::process::id() as u16 % 200) * 50 + number * 8).to_string()
}

fn words() -> impl Iterator<Item = String> {
    let lower = TEXT.to_lowercase();
    let words: Vec<String> = lower
        .split(|character: char| !character.is_ascii_lowercase())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.into_iter()
}

#[test]
fn every_choice_of_answering_programs_counts_the_words_rightly() {
    for (number, arguments) in
        [vec!["--yes"], vec!["--servers", "3"], vec!["--loop"], vec!["--loop", "--servers", "2", "--name", "tally"]]
            .into_iter()
            .enumerate()
    {
        let directory = directory();
        let mut init = vec!["init"];
        init.extend(&arguments);
        succeed(directory.path(), &init);
        succeed(directory.path(), &["check", "--local", "--deny-warnings"]);
        succeed(directory.path(), &["up", "--until-idle", "--quiet", "--ports", &ports(number as u16)]);
        let with_loop = arguments.contains(&"--loop");
        let stem = |word: String| {
            let is_plural = with_loop && word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
            if is_plural { word[..word.len() - 1].to_owned() } else { word }
        };
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        words().map(stem).for_each(|word| *counts.entry(word).or_default() += 1);
        let lines: Vec<String> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
        let expected = lines.join("\n") + "\n";
        let answer = directory.path().join(".waldo/default/s1/state/keep.0/counts");
        assert_eq!(fs::read_to_string(answer).expect("the answer"), expected, "{arguments:?}");
    }
}

#[test]
fn every_choice_of_filters_finds_the_words_rightly() {
    for (number, servers) in ["1", "3"].into_iter().enumerate() {
        let directory = directory();
        succeed(directory.path(), &["init", "--speaks", "lines", "--servers", servers]);
        succeed(directory.path(), &["check", "--local"]);
        succeed(directory.path(), &["up", "--until-idle", "--quiet", "--ports", &ports(8 + number as u16)]);
        let answer =
            fs::read_to_string(directory.path().join(".waldo/default/s1/state/keep.0/words")).expect("the answer");
        let mut found: Vec<String> = answer.lines().map(str::to_lowercase).collect();
        found.sort();
        found.dedup();
        let mut expected: Vec<String> = words().filter(|word| word.contains('s')).collect();
        expected.sort();
        expected.dedup();
        // Grep sees capitals, as the text has them: `Ships` has a small s all the same.
        assert_eq!(found, expected);
    }
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let directory = directory();
    fs::write(directory.path().join("tally"), "mine").expect("a file");
    let output = waldo(directory.path(), &["init"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tally is there already; nothing was written"));
    assert!(!directory.path().join("waldo.yaml").exists());
    assert_eq!(fs::read_to_string(directory.path().join("tally")).expect("a file"), "mine");
}

#[test]
fn what_version_control_leaves_alone_is_added_to_and_only_once() {
    let directory = directory();
    fs::write(directory.path().join(".gitignore"), "target/\n").expect("a file");
    succeed(directory.path(), &["init", "--yes"]);
    let ignored = || fs::read_to_string(directory.path().join(".gitignore")).expect("a file");
    assert_eq!(ignored(), "target/\n.waldo/\n");
    for file in ["waldo.yaml", "read", "tally", "keep", "text.txt"] {
        fs::remove_file(directory.path().join(file)).expect("was written");
    }
    succeed(directory.path(), &["init", "--yes"]);
    assert_eq!(ignored(), "target/\n.waldo/\n");
}

#[test]
fn what_cannot_be_is_told_with_what_could() {
    let directory = directory();
    for (arguments, expected) in [
        (&["init", "--speaks", "lines", "--loop"][..], "leave out --loop"),
        (&["init", "--name", "My Words"], "--name my-words"),
        (&["init", "--servers", "0"], "0 is not in 1..=16"),
    ] {
        let output = waldo(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{arguments:?}: {output:?}");
    }
    assert!(fs::read_dir(directory.path()).expect("a directory").next().is_none(), "nothing was written");
}
