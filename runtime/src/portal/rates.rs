//! Counts what comes of a flow for this server: how much for which slot, which keys come often, how long consumers take.
//!
//! Looking at a record's key costs more than passing the record on with its batch. So batches are sampled: all of them up to
//! [`LOOKED_AT`] records a second, and beyond that one in so many, drawn at random, whose records count that much more. What is
//! looked at then costs the same whatever the load.

use std::time::{Duration, Instant};

use waldo_sdk::{
    guide::{FlowGuide, Map, SLOTS},
    page::{Kind as SlotKind, Page, Slot},
    wire,
    wiring::{Consumer, Place, Spread},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{flow::Flow, hot_keys::HotKeys};
use crate::rates::{
    HALF_LIFE, SlotSum, StageWork, Summary,
    page::{FILE, RatesPage},
};

/// How many records of a flow are looked at in a second.
const LOOKED_AT: u32 = 20_000;
/// How much the last second counts, at least, in how fast a queue grows.
const LEAST_SHARE: f64 = 0.1;

/// How often what was measured is told.
const TICK: Duration = Duration::from_secs(1);

/// When a portal has measured last, and where it tells what.
pub struct Measurements {
    page: Option<RatesPage>,
    last: Instant,
}

impl Measurements {
    /// Of this many flows, from now on. Where the page can't be made, there is nothing to be read: data matters more.
    pub fn new(place: &Place, flows: usize) -> Self {
        let path = place.directory(&place.process).join(FILE);
        let page = RatesPage::create(&path, flows);
        if let Err(error) = &page {
            eprintln!("{}: cannot tell rates in {}: {error}", place.process, path.display());
        }
        Self { page: page.ok(), last: Instant::now() }
    }

    /// Measures, and tells, if it is time to.
    pub fn tick(&mut self, now: Instant, flows: &mut [Flow], place: &Place) {
        let since = now.saturating_duration_since(self.last);
        if since < TICK {
            return;
        }
        self.last = now;
        for (index, flow) in flows.iter_mut().enumerate() {
            flow.measure(since.as_secs_f64(), place);
            if let Some(page) = &self.page {
                let (summary, slots) = flow.rates.told();
                page.publish(index, &flow.carried.flow, summary, slots);
            }
        }
    }
}

/// The rates of one flow.
pub struct FlowRates {
    sampling: Sampling,
    slots: Vec<SlotSum>,
    keys: HotKeys,
    stages: Vec<Timed>,
    summary: Summary,
}

/// Which batches are looked at.
struct Sampling {
    /// One in so many.
    every: u32,
    /// How many records have been looked at since the last second, in terms of `every`.
    looked_at: u32,
    random: fastrand::Rng,
}

/// A consumer stage, and what its instances said of their work when last looked at.
struct Timed {
    work: StageWork,
    /// Whether each instance gets each record.
    to_all: bool,
    instances: Vec<Instance>,
}

struct Instance {
    process: String,
    slot: Option<Slot>,
    records: u64,
    nanoseconds: u64,
}

impl FlowRates {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self {
            sampling: Sampling { every: 1, looked_at: 0, random: fastrand::Rng::new() },
            slots: vec![SlotSum::default(); SLOTS],
            keys: HotKeys::new(),
            stages: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// Measures these consumers from now on.
    pub fn set_consumers(&mut self, consumers: &[Consumer]) {
        self.stages.retain(|timed| consumers.iter().any(|consumer| consumer.stage == timed.work.stage));
        for consumer in consumers {
            let known = self.stages.iter().position(|timed| timed.work.stage == consumer.stage);
            let place = known.unwrap_or(self.stages.len());
            if known.is_none() {
                let work = StageWork { stage: consumer.stage.clone(), ..StageWork::default() };
                self.stages.push(Timed { work, to_all: false, instances: Vec::new() });
            }
            let timed = &mut self.stages[place];
            timed.to_all = consumer.spread == Spread::All;
            // Pages of processes that came and went may be new ones.
            let instance =
                |process: &String| Instance { process: process.clone(), slot: None, records: 0, nanoseconds: 0 };
            timed.instances = consumer.receivers.iter().map(|receiver| instance(&receiver.process)).collect();
        }
    }

    /// Whether the records of a batch are to be looked at, and how much each counts then.
    #[inline]
    pub fn sample(&mut self, count: u32) -> Option<f32> {
        self.sampling.draw(count)
    }

    /// Counts the records of a batch, if it is drawn.
    #[inline]
    pub fn note(&mut self, records: &[u8], count: u32, guide: &FlowGuide) {
        if let Some(weight) = self.sample(count) {
            self.note_each(records, guide, weight);
        }
    }

    fn note_each(&mut self, records: &[u8], guide: &FlowGuide, weight: f32) {
        let mut at = 0;
        while let Ok((record, next)) = wire::read_record(records, at) {
            self.note_record(record.key, next - at, guide, weight);
            at = next;
        }
    }

    /// Counts a record of this length on the wire that was drawn with this weight.
    pub fn note_record(&mut self, key: &[u8], length: usize, guide: &FlowGuide, weight: f32) {
        let hash = xxh3_64(key);
        self.keys.count(hash, key, f64::from(weight));
        let bytes = length as f32 * weight;
        if is_named(guide, key) {
            self.summary.named_records += f64::from(weight);
            self.summary.named_bytes += f64::from(bytes);
            return;
        }
        let slot = &mut self.slots[(hash % SLOTS as u64) as usize];
        slot.records += weight;
        slot.bytes += bytes;
    }

    /// Lets everything decay by the `seconds` that have passed, and takes in what the consumers and the spool of `flow` say now.
    pub fn tick(&mut self, seconds: f64, held: u64, flow: &str, place: &Place) {
        self.sampling.tick(seconds);
        let decay = (-seconds / HALF_LIFE.as_secs_f64()).exp2();
        for slot in &mut self.slots {
            slot.records *= decay as f32;
            slot.bytes *= decay as f32;
        }
        self.keys.decay(decay);
        let summary = &mut self.summary;
        summary.named_records *= decay;
        summary.named_bytes *= decay;
        let growth = (held as f64 - summary.held as f64) / seconds;
        let share = (seconds / (summary.seconds + seconds)).max(LEAST_SHARE);
        summary.growth += (growth - summary.growth) * share;
        summary.held = held;
        summary.seconds = (summary.seconds + seconds) * decay;
        for timed in &mut self.stages {
            timed.tick(decay, flow, place);
        }
    }

    /// What was measured, to be told: all but the slots, and the slots.
    pub fn told(&mut self) -> (&Summary, &[SlotSum]) {
        self.summary.keys = self.keys.told();
        self.summary.stages = self.stages.iter().map(|timed| timed.work.clone()).collect();
        (&self.summary, &self.slots)
    }
}

/// Whether the guide names a key: it doesn't live by its slot then.
fn is_named(guide: &FlowGuide, key: &[u8]) -> bool {
    match &guide.map {
        Map::Table { keys, .. } => std::str::from_utf8(key).is_ok_and(|key| keys.contains_key(key)),
        Map::Hash(_) | Map::Ranges(_) => false,
    }
}

impl Sampling {
    #[inline]
    fn draw(&mut self, count: u32) -> Option<f32> {
        if self.every > 1 && !self.random.u32(..).is_multiple_of(self.every) {
            return None;
        }
        let weight = self.every as f32;
        self.looked_at = self.looked_at.saturating_add(count);
        while self.looked_at > 2 * LOOKED_AT {
            self.every = self.every.saturating_mul(2);
            self.looked_at /= 2;
        }
        Some(weight)
    }

    fn tick(&mut self, seconds: f64) {
        let came = f64::from(self.looked_at) * f64::from(self.every) / seconds;
        // Casts of floats saturate.
        self.every = ((came / f64::from(LOOKED_AT)).ceil() as u32).max(1);
        self.looked_at = 0;
    }
}

impl Timed {
    fn tick(&mut self, decay: f64, flow: &str, place: &Place) {
        let copies = self.instances.len().max(1) as f64;
        for instance in &mut self.instances {
            let (records, nanoseconds) = instance.since_last_time(flow, place);
            self.work.busy += nanoseconds as f64 / 1e9 / copies;
            self.work.worked += records as f64 / if self.to_all { copies } else { 1.0 };
        }
        self.work.busy *= decay;
        self.work.worked *= decay;
    }
}

impl Instance {
    /// How many records it has worked on, and for how long; nothing the first time that it is looked at.
    fn since_last_time(&mut self, flow: &str, place: &Place) -> (u64, u64) {
        let is_new = self.slot.is_none();
        if is_new {
            // It is there once a record of the flow has come.
            let page = Page::open(&place.page(&self.process)).ok();
            self.slot = page.and_then(|page| page.find(SlotKind::Work, flow));
        }
        let Some(slot) = &self.slot else { return (0, 0) };
        let (records, nanoseconds) = (slot.sent(), slot.done());
        let since = (records.saturating_sub(self.records), nanoseconds.saturating_sub(self.nanoseconds));
        (self.records, self.nanoseconds) = (records, nanoseconds);
        if is_new { (0, 0) } else { since }
    }
}

#[cfg(test)]
mod tests {
    use waldo_sdk::wire::{Passes, RecordRef, write_record};

    use super::*;

    fn guide(map: Map) -> FlowGuide {
        FlowGuide { version: 1, portal: "relay".into(), map }
    }

    fn place(run: &std::path::Path) -> Place {
        Place {
            topology: "t".into(),
            namespace: "n".into(),
            server: "s1".into(),
            process: "relay".into(),
            generation: 1,
            run: run.to_owned(),
            guide: run.join("guide.json"),
            state: run.join("state"),
            spool: run.join("spool"),
        }
    }

    fn batch(keys: impl Iterator<Item = String>) -> Vec<u8> {
        let mut bytes = Vec::new();
        keys.for_each(|key| {
            write_record(&mut bytes, RecordRef { key: key.as_bytes(), payload: &[0; 100], passes: Passes::NONE });
        });
        bytes
    }

    fn total(slots: &[SlotSum]) -> f64 {
        slots.iter().map(|slot| f64::from(slot.records)).sum()
    }

    #[test]
    fn at_a_low_rate_every_record_is_counted_for_its_slot() {
        let mut rates = FlowRates::new();
        let here = place(std::path::Path::new("/nowhere"));
        for _ in 0..10 {
            for _ in 0..10 {
                rates.note(&batch((0..100).map(|key| format!("key{key}"))), 100, &guide(Map::Hash(0)));
            }
            rates.tick(1.0, 0, "call", &here);
        }
        let (summary, slots) = rates.told();
        assert!((total(slots) / summary.seconds - 1_000.0).abs() < 1.0, "{}", total(slots) / summary.seconds);
        let slot = slots[waldo_sdk::guide::slot(b"key7")];
        assert!(f64::from(slot.records) / summary.seconds >= 9.99);
        assert!(f64::from(slot.bytes / slot.records) > 100.0);
    }

    #[test]
    fn at_a_high_rate_few_batches_are_looked_at_and_stand_for_all() {
        let mut rates = FlowRates::new();
        rates.sampling.random = fastrand::Rng::with_seed(3);
        let here = place(std::path::Path::new("/nowhere"));
        let batches: Vec<_> = (0..50)
            .map(|number| {
                batch((0..100).map(|key| if key % 4 == 0 { "hot".into() } else { format!("k{number}.{key}") }))
            })
            .collect();
        for _ in 0..10 {
            // A million records a second.
            for number in 0..10_000 {
                rates.note(&batches[number % 50], 100, &guide(Map::Hash(0)));
            }
            assert!(rates.sampling.every >= 20, "one in {}", rates.sampling.every);
            rates.tick(1.0, 0, "call", &here);
        }
        let (summary, slots) = rates.told();
        let rate = total(slots) / summary.seconds;
        assert!((rate - 1e6).abs() < 5e4, "{rate}");
        let hot = &summary.keys[0];
        assert_eq!(hot.key, b"hot");
        assert!((hot.records / summary.seconds - 250_000.0).abs() < 25_000.0, "{}", hot.records / summary.seconds);
    }

    /// The figure in `docs/rebalance.md`.
    #[test]
    #[ignore = "measures: cargo test --release -p waldo-runtime --lib counting_costs -- --ignored --nocapture"]
    fn counting_costs_little_for_each_record() {
        const BATCHES: usize = 15_000;
        let batches: Vec<_> = (0..64)
            .map(|number| batch((0..330).map(|key| format!("{:08}", (key * 7_919 + number * 104_729) % 100_000))))
            .collect();
        let here = place(std::path::Path::new("/nowhere"));
        let mut rates = FlowRates::new();
        let (mut counting, mut walking) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            let began = Instant::now();
            for number in 0..BATCHES {
                rates.note(&batches[number % 64], 330, &guide(Map::Hash(0)));
            }
            rates.tick(1.0, 0, "call", &here);
            let _ = rates.told();
            counting.push(began.elapsed());
            let began = Instant::now();
            for number in 0..BATCHES {
                let whole = wire::check_records(&batches[number % 64], 0, 330);
                assert!(std::hint::black_box(whole).is_ok());
            }
            walking.push(began.elapsed());
        }
        for (what, mut times) in [("counting", counting), ("walking", walking)] {
            times.sort();
            println!("{what}: {:.2} ns a record", times[4].as_nanos() as f64 / (BATCHES * 330) as f64);
        }
    }

    #[test]
    fn keys_that_the_table_names_count_for_no_slot() {
        let mut rates = FlowRates::new();
        let keys = [("named".to_owned(), 0)].into();
        let table = guide(Map::Table { keys, default: waldo_sdk::guide::Otherwise::Hash(0) });
        rates.note(&batch(["named", "other"].into_iter().map(str::to_owned)), 2, &table);
        let (summary, slots) = rates.told();
        assert!((summary.named_records - 1.0).abs() < 1e-9);
        assert!((total(slots) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn service_time_is_what_the_instances_say_in_their_pages() {
        let directory = tempfile::tempdir().unwrap();
        let here = place(directory.path());
        let receivers = ["score.0", "score.1"].map(|process| {
            std::fs::create_dir(here.directory(process)).unwrap();
            let page = Page::create(&here.page(process), 4).unwrap();
            (page.slot(SlotKind::Work, "call").unwrap(), process)
        });
        let consumer = |spread| Consumer {
            stage: "score".into(),
            spread,
            receivers: receivers
                .iter()
                .map(|(_, process)| waldo_sdk::wiring::Receiver { process: (*process).into(), share: 10 })
                .collect(),
        };
        for (spread, expected) in [(Spread::Any, 0.000_5), (Spread::All, 0.001)] {
            let mut rates = FlowRates::new();
            rates.set_consumers(&[consumer(spread)]);
            for _ in 0..20 {
                rates.tick(1.0, 0, "call", &here);
                for (work, _) in &receivers {
                    // A millisecond each.
                    work.add_sent(100);
                    work.add_done(100_000_000);
                }
            }
            let (summary, _) = rates.told();
            let service = summary.stages[0].seconds_per_record().unwrap();
            assert!((service - expected).abs() < expected / 1_000.0, "{service}");
        }
    }

    #[test]
    fn a_queue_that_grows_says_how_fast() {
        let mut rates = FlowRates::new();
        let here = place(std::path::Path::new("/nowhere"));
        (1..=40).for_each(|second| rates.tick(1.0, 500 * second, "call", &here));
        let (summary, _) = rates.told();
        assert_eq!(summary.held, 20_000);
        assert!((summary.growth - 500.0).abs() < 1.0, "{}", summary.growth);
    }
}
