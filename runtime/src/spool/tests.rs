//! What the spool promises, each invariant by name.

use proptest::prelude::*;
use waldo_sdk::wire::{Passes, RecordRef, read_record, write_record};

use super::*;

fn block(from: u64, count: u32, size: usize) -> Bytes {
    let mut bytes = Vec::new();
    for number in from..from + u64::from(count) {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(size.max(8), 7);
        write_record(&mut bytes, RecordRef { key: b"k", payload: &payload, passes: Passes::NONE });
    }
    Bytes::Owned(Arc::new(bytes))
}

/// Takes up to `count` records off; answers their numbers.
fn take(log: &mut Log, count: u64, budget: &mut Budget) -> Vec<u64> {
    let mut numbers = Vec::new();
    while (numbers.len() as u64) < count {
        log.fill_front(budget).unwrap();
        let Some((records, left)) = log.front() else { break };
        let wanted = (count - numbers.len() as u64).min(u64::from(left)) as u32;
        let mut at = 0;
        for _ in 0..wanted {
            let (record, next) = read_record(records, at).unwrap();
            numbers.push(u64::from_le_bytes(record.payload[..8].try_into().unwrap()));
            at = next;
        }
        log.consume(wanted, at, budget);
    }
    numbers
}

fn limits(memory: u64, disk: u64) -> Budget {
    Budget::new(SpoolLimits { memory, disk })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn records_come_out_in_order_through_memory_disk_and_reopening(
        steps in prop::collection::vec((0_u8..4, 1_u32..40, 8_usize..6000), 1..60),
        memory in 0_u64..200_000,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut budget = limits(memory, 1 << 30);
        let mut log = Log::open(path.clone(), None, &mut budget).unwrap().0;
        let (mut appended, mut taken) = (0, 0);
        for (step, count, size) in steps {
            match step {
                0 | 1 => {
                    log.append(&block(appended, count, size), count, &mut budget);
                    appended += u64::from(count);
                }
                2 => {
                    let numbers = take(&mut log, u64::from(count), &mut budget);
                    prop_assert_eq!(&numbers, &(taken..taken + numbers.len() as u64).collect::<Vec<_>>());
                    taken += numbers.len() as u64;
                }
                _ => {
                    log.close(&mut budget).unwrap();
                    budget = limits(memory, 1 << 30);
                    let (again, found) = Log::open(path.clone(), Some((taken, appended)), &mut budget).unwrap();
                    prop_assert_eq!(found, Found { next: appended, cursor: taken, held: appended - taken });
                    log = again;
                }
            }
            prop_assert_eq!(log.held(), appended - taken);
        }
        prop_assert_eq!(take(&mut log, u64::MAX, &mut budget), (taken..appended).collect::<Vec<_>>());
        prop_assert_eq!(budget.used().0, 0, "memory is given back");
    }
}

#[test]
fn what_is_on_disk_survives_a_kill_and_the_rest_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut budget = limits(20_000, 1 << 30);
    let (mut log, _) = Log::open(path.clone(), None, &mut budget).unwrap();
    for number in 0..100 {
        log.append(&block(number * 10, 10, 1000), 10, &mut budget);
    }
    assert_eq!(take(&mut log, 5, &mut budget), [0, 1, 2, 3, 4]);
    // Killed: nothing is closed.
    drop(log);
    let mut budget = limits(20_000, 1 << 30);
    let (mut log, found) = Log::open(path, Some((5, 1000)), &mut budget).unwrap();
    let numbers = take(&mut log, u64::MAX, &mut budget);
    assert!(found.held < 995, "memory and tail were lost");
    assert_eq!(numbers.len() as u64, found.held);
    assert!(numbers.is_sorted());
}

#[test]
fn a_log_that_is_closed_keeps_its_place_without_any_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut budget = limits(1 << 20, 1 << 30);
    let (mut log, _) = Log::open(path.clone(), None, &mut budget).unwrap();
    log.append(&block(0, 20, 50), 20, &mut budget);
    take(&mut log, 7, &mut budget);
    log.close(&mut budget).unwrap();
    let (mut log, found) = Log::open(path.clone(), None, &mut budget).unwrap();
    assert_eq!(found, Found { next: 20, cursor: 7, held: 13 });
    assert_eq!(take(&mut log, u64::MAX, &mut budget), (7..20).collect::<Vec<_>>());
    log.close(&mut budget).unwrap();
    assert!(!path.exists(), "an empty log leaves nothing behind");
}

#[test]
fn a_torn_block_is_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut budget = limits(0, 1 << 30);
    let (mut log, _) = Log::open(path.clone(), None, &mut budget).unwrap();
    log.append(&block(0, 100, 1000), 100, &mut budget);
    log.append(&block(100, 100, 1000), 100, &mut budget);
    drop(log);
    let segment = path.join("00000000000000000000.seg");
    let length = fs::metadata(&segment).unwrap().len();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 10).unwrap();
    let (mut log, found) = Log::open(path, Some((0, 200)), &mut budget).unwrap();
    assert_eq!(found, Found { next: 200, cursor: 0, held: 100 });
    assert_eq!(take(&mut log, u64::MAX, &mut budget), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_refuses_loses_nothing_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    // A file where the directory should be: no segment can be made.
    let path = directory.path().join("log");
    fs::write(&path, b"in the way").unwrap();
    let mut budget = limits(0, 1 << 30);
    let (mut log, _) = Log::open(path.clone(), None, &mut budget).unwrap();
    log.append(&block(0, 100, 1000), 100, &mut budget);
    assert!(!log.has_room());
    fs::remove_file(&path).unwrap();
    log.retry(&mut budget);
    assert!(log.has_room());
    assert_eq!(take(&mut log, u64::MAX, &mut budget), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_short_message_is_copied_to_be_kept_as_it_would_keep_the_buffer_that_it_was_read_into() {
    let of = |length: usize| Bytes::of(&Arc::new(Frame::from(vec![7; length])), 10);
    assert!(matches!(of(100), Bytes::Owned(bytes) if *bytes == vec![7; 90]));
    assert!(matches!(of(64 * 1024), Bytes::Message(message, 10) if message.len() == 64 * 1024));
}
