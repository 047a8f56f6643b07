//! The files that `waldo init` writes.

/// The list of what version control leaves alone.
pub const IGNORE: &str = ".gitignore";

const READ: &str = include_str!("../../templates/init/read");
const TALLY: &str = include_str!("../../templates/init/tally");
const TALLY_LOOP: &str = include_str!("../../templates/init/tally-loop");
const KEEP: &str = include_str!("../../templates/init/keep");
const TEXT: &str = include_str!("../../templates/init/text.txt");

/// A file's name, its text, and whether it is a program.
pub type File = (&'static str, String, bool);

/// All files of a topology of this name.
pub fn of(name: &str, servers: u16, lines: bool, with_loop: bool) -> Vec<File> {
    let mut files = vec![
        ("waldo.yaml", if lines { filters(name, servers) } else { counting(name, servers, with_loop) }, false),
        ("text.txt", TEXT.to_owned(), false),
        (IGNORE, ".waldo/\n".to_owned(), false),
    ];
    if !lines {
        let tally = if with_loop { TALLY_LOOP } else { TALLY };
        files.extend(
            [("read", READ), ("tally", tally), ("keep", KEEP)].map(|(file, text)| (file, text.to_owned(), true)),
        );
    }
    files
}

/// Where the answer is, from the topology's directory.
pub fn answer(lines: bool) -> &'static str {
    if lines { ".waldo/default/s1/state/keep.0/words" } else { ".waldo/default/s1/state/keep.0/counts" }
}

fn servers(count: u16) -> String {
    let servers = (1..=count).map(|number| format!("  s{number}: {{address: 127.0.0.1}}\n"));
    servers.collect()
}

fn counting(name: &str, count: u16, with_loop: bool) -> String {
    let out = if with_loop { "[word, count]" } else { "[count]" };
    let loops = if with_loop {
        "\nloops:\n  # A plural goes round once more, without its `s`. Every cycle is declared, and bounded.\n  stem: {flows: [word], passes: 3}\n"
    } else {
        ""
    };
    format!(
        "# Counts the words of text.txt. `waldo check` says what is wrong here, `waldo explain` why.
topology: {name}

flows:
  # Keyed: every word has one server that knows all about it. The program that sends states the key.
  word: {{key: sender, guide: hash}}
  # Keyed too, but everything goes to one place.
  count: {{key: sender, guide: {{table: {{}}, default: s1}}}}

stages:
  read: # a source: it receives nothing
    run: ./read
    out: [word]
    \"on\": [s1]
    speaks: ack
  tally: # on every server
    run: ./tally
    in: [word]
    out: {out}
    speaks: ack
  keep:
    run: ./keep
    in: [count]
    \"on\": [s1]
    speaks: ack
{loops}
servers:
{}",
        servers(count)
    )
}

fn filters(name: &str, count: u16) -> String {
    format!(
        "# Finds the words of text.txt that have an `s`, with ordinary filters. `waldo check` says what is wrong here.
topology: {name}

flows:
  # Keyed by its first column, so that it can cross servers.
  word: {{key: {{column: 1}}, guide: hash}}
  found: {{key: {{column: 1}}, guide: {{table: {{}}, default: s1}}}}

stages:
  read: # a source: it receives nothing
    run: [sh, -c, \"tr -cs '[:alpha:]' '\\\\n' < text.txt\"]
    out: [word]
    \"on\": [s1]
    speaks: lines
  pick: # on every server
    run: grep s
    in: [word]
    out: [found]
    speaks: lines
  keep:
    run: [sh, -c, 'sort -u > \"$WALDO_STATE_DIR/words\"']
    in: [found]
    \"on\": [s1]
    speaks: lines

servers:
{}",
        servers(count)
    )
}
