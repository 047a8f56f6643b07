//! `docs/walk.md` is true: its pieces are put together and its commands run, and what waldo says is what stands there.
//! `WALDO_UPDATE_EXPECTED=1 cargo test --test walk` writes the answers anew.
//!
//! A `yaml` block is the topology. A `diff` block changes it: lines with `-` are there, one after the other, and lines with
//! `+` take their place; lines without a mark say where. A `console` block has commands after `$ `, each with its answer.

use std::{env, fs, path::Path, process::Command};

use tempfile::TempDir;

struct Block {
    kind: String,
    /// The numbers of its first line and of the line that closes it.
    lines: std::ops::Range<usize>,
}

fn blocks(lines: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize)> = None;
    for (number, line) in lines.iter().enumerate() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        open = match open {
            None => Some((kind.to_owned(), number + 1)),
            Some((kind, first)) => {
                blocks.push(Block { kind, lines: first..number });
                None
            }
        };
    }
    assert!(open.is_none(), "a block isn't closed");
    blocks
}

/// The topology after a change.
fn changed(topology: &str, diff: &[&str]) -> String {
    let side = |mark: char| -> Vec<&str> {
        let of_side = diff.iter().filter(|line| !line.starts_with(if mark == '-' { '+' } else { '-' }));
        of_side.map(|line| line.get(1..).unwrap_or_default()).collect()
    };
    let (before, after) = (side('-'), side('+'));
    let lines: Vec<&str> = topology.lines().collect();
    let found: Vec<usize> = (0..lines.len()).filter(|at| lines[*at..].starts_with(&before)).collect();
    let [at] = found[..] else { panic!("{} places for the change {diff:#?} in\n{topology}", found.len()) };
    let mended = [&lines[..at], &after, &lines[at + before.len()..]].concat();
    mended.join("\n") + "\n"
}

fn answer(directory: &Path, command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[0], "waldo", "only waldo is run");
    let output = Command::new(env!("CARGO_BIN_EXE_waldo"))
        .args(&words[1..])
        .current_dir(directory)
        .env_remove("WALDO_NAMESPACE")
        .output()
        .expect("waldo runs");
    let said = String::from_utf8([output.stderr, output.stdout].concat()).expect("text");
    said.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn what_the_walk_shows_is_what_waldo_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/walk.md");
    let text = fs::read_to_string(&file).expect("the walk");
    let lines: Vec<&str> = text.lines().collect();
    let directory = TempDir::new().expect("a directory");
    let mut topology = String::new();
    let mut said: Vec<String> = Vec::new();
    let mut copied = 0;
    let mut commands = 0;
    for block in blocks(&lines) {
        let inside = &lines[block.lines.clone()];
        match block.kind.as_str() {
            "yaml" => topology = inside.join("\n") + "\n",
            "diff" => topology = changed(&topology, inside),
            "console" => {
                said.extend(lines[copied..block.lines.start].iter().map(|line| (*line).to_owned()));
                copied = block.lines.end;
                fs::write(directory.path().join("waldo.yaml"), &topology).expect("writable");
                for command in inside.iter().filter_map(|line| line.strip_prefix("$ ")) {
                    said.push(format!("$ {command}"));
                    said.extend(answer(directory.path(), command));
                    commands += 1;
                }
            }
            other => panic!("nobody knows what a block of `{other}` is"),
        }
    }
    said.extend(lines[copied..].iter().map(|line| (*line).to_owned()));
    assert!(commands >= 6);
    let said = said.join("\n") + "\n";
    if env::var_os("WALDO_UPDATE_EXPECTED").is_some() {
        fs::write(&file, said).expect("writable");
    } else {
        assert_eq!(text, said, "docs/walk.md shows something else than waldo says");
    }
}
