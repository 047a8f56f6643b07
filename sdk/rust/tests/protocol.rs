//! What `docs/protocol.md` publishes is what this crate does.

use waldo_sdk::{
    guide::slot,
    page::{Kind as SlotKind, Page},
    wire::{Header, Kind, Passes, RecordRef, write_record},
    wiring::loop_id,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

fn protocol() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    std::fs::read_to_string(path).unwrap()
}

/// What stands below `heading`.
fn below<'a>(text: &'a str, heading: &str) -> &'a str {
    text.split_once(heading).unwrap_or_else(|| panic!("no {heading:?} in docs/protocol.md")).1
}

/// The rows of the first table below `heading`, each cell without blanks and backquotes.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let lines = below(text, heading).lines().skip_while(|line| !line.starts_with('|'));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect()).collect()
}

/// The bytes in the first block below `heading`: hex digits, what stands behind `;` left out.
fn bytes(text: &str, heading: &str) -> Vec<u8> {
    let block = below(text, heading).split("```").nth(1).unwrap_or_default();
    let digits = block.lines().skip(1).flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

#[test]
fn the_published_slots_are_those_of_this_crate() {
    let rows = rows(&protocol(), "### Test vectors");
    assert!(rows.len() >= 13, "the table is there");
    for row in rows {
        let key = match row[0].split_once(" × x") {
            Some((times, _)) => "x".repeat(times.parse().unwrap()),
            None => row[0].trim_matches('"').to_owned(),
        };
        assert_eq!(row[1], format!("{:016x}", xxh3_64(key.as_bytes())), "hash of {key:?}");
        assert_eq!(row[2], slot(key.as_bytes()).to_string(), "slot of {key:?}");
        assert_eq!(row[3], (xxh3_64_with_seed(key.as_bytes(), 1) % 4).to_string(), "instance of {key:?}");
    }
}

#[test]
fn the_published_message_is_what_this_crate_writes() {
    let header = Header {
        kind: Kind::Data,
        sender: "s1/visit.0",
        flow: "visit",
        incarnation: 3,
        number: 77,
        version: 2,
        count: 2,
    };
    let mut message = header.message();
    let mut passes = loop_id("needs").to_le_bytes().to_vec();
    passes.extend_from_slice(&5_u16.to_le_bytes());
    let first = RecordRef { key: b"libc6", payload: b"bash", passes: Passes::from_bytes(&passes) };
    write_record(&mut message, first);
    write_record(&mut message, RecordRef { key: b"dpkg", payload: b"", passes: Passes::NONE });
    assert_eq!(bytes(&protocol(), "### A message, byte by byte"), message);
}

#[test]
fn the_published_places_in_a_page_are_those_of_this_crate() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page");
    let page = Page::create(&path, 4).unwrap();
    page.begin_incarnation(0x0101);
    page.set_bound(0x0202);
    page.set_ready();
    page.set_gate(true);
    page.beat();
    page.set_exit_status(0x0303, 7);
    page.set_leaving(0x0404);
    let slot = page.slot(SlotKind::Done, "visit<relay").unwrap();
    slot.set_sent(0x11);
    slot.set_done(0x22);
    slot.set_written_off(0x33);
    slot.set_fence(0x44);
    slot.set_succession(0x55);
    slot.begin(0x66);
    slot.set_away(0x77);
    let file = std::fs::read(&path).unwrap();
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let named = |heading: &str, from: usize| -> Vec<(String, u64)> {
        let rows = rows(&protocol(), heading);
        rows.into_iter().map(|row| (row[1].clone(), number(from + row[0].parse::<usize>().unwrap()))).collect()
    };
    let expected =
        |names: &[(&str, u64)]| names.iter().map(|&(name, value)| (name.to_owned(), value)).collect::<Vec<_>>();
    let head = [
        ("magic", u64::from_le_bytes(*b"waldopg1")),
        ("capacity", 4),
        ("slots", 1),
        ("incarnation", 0x0101),
        ("bound", 0x0202),
        ("heartbeat", 1),
        ("gate", 1),
        ("ready", 1),
        ("status", 7),
        ("exited", 0x0303),
        ("leaving", 0x0404),
    ];
    assert_eq!(named("### The head of a page", 0), expected(&head));
    let cells = [
        ("sent", 0x11),
        ("done", 0x22),
        ("written off", 0x33),
        ("fence", 0x44),
        ("succession", 0x55),
        ("begun", 0x66),
        ("away", 0x77),
    ];
    assert_eq!(named("### A slot", 192)[..cells.len()], expected(&cells));
    assert_eq!((file[192 + 64], file[192 + 65]), (SlotKind::Done as u8, 11));
    assert_eq!(&file[192 + 66..192 + 77], b"visit<relay");
}
