//! What the fuzz targets found stays mended, and what lies around it holds: every entry of the corpus and every topology in the
//! repository, as it is and changed by chance, goes through the same functions as in the fuzz targets. Always the same cases.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

/// How many changed cases each target gets.
const CASES: usize = 4_000;
/// What inputs are about, to put in.
const WORDS: [&[u8]; 32] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b", ",
    b"- ",
    b"\n",
    b"\n  ",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"~",
    b"null",
    b"\"",
    b"'",
    b"|\n",
    b"\t",
    b"\0",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\xff",
    "é".as_bytes(),
    b"#",
    b"${HOST}",
    b"${NONE:-x}",
    b"${",
    b"$${",
    b"include: b*\n",
    b"\n#### b.yaml\n",
    b"99999999999999999999",
    b"!!str ",
];

/// Numbers that look like chance, the same each time.
struct Chance(u64);

impl Chance {
    fn number(&mut self, below: usize) -> usize {
        // SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        let start = self.number(length + 1);
        start..(start + self.number(most)).min(length)
    }

    /// An input that is like one of these.
    fn changed(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.number(inputs.len())].clone();
        for _ in 0..=self.number(4) {
            let part = self.range(input.len(), 40);
            match self.number(7) {
                0 => drop(input.drain(part)),
                1 => {
                    let copy = input[part].to_vec();
                    let at = self.number(input.len() + 1);
                    input.splice(at..at, copy);
                }
                2 => input.truncate(part.start),
                3 => {
                    let other = &inputs[self.number(inputs.len())];
                    let there = self.range(other.len(), 400);
                    input.splice(part, other[there].iter().copied());
                }
                4 if part.start < input.len() => input[part.start] = self.number(256) as u8,
                _ => {
                    let word = WORDS[self.number(WORDS.len())];
                    input.splice(part.start..part.start, word.iter().copied());
                }
            }
        }
        input
    }
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(directory).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn inputs() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = vec![root.join("compiler/tests/language.yaml")];
    files(&root.join("topologies"), &mut paths);
    files(&root.join("tests/compile-fail"), &mut paths);
    // What is as large as it may be takes its time, and its changes do no more.
    paths.retain(|path| !path.to_string_lossy().contains("many-namespaces"));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files(&root.join("fuzz/corpus"), &mut paths);
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

fn holds_for_all(target: fn(&[u8]), seed: u64) {
    let inputs = inputs();
    assert!(inputs.len() > 50);
    let mut chance = Chance(seed);
    let changed = (0..CASES).map(|_| chance.changed(&inputs)).collect::<Vec<_>>();
    for input in inputs.iter().chain(&changed) {
        assert!(catch_unwind(|| target(input)).is_ok(), "this breaks it: {}", input.escape_ascii());
    }
}

#[test]
fn whatever_is_read_as_a_topology_its_messages_keep_their_promises() {
    holds_for_all(fuzz::parse, 1);
}

#[test]
fn whatever_compiles_has_no_errors_and_whatever_has_none_compiles() {
    holds_for_all(fuzz::compile, 2);
}
