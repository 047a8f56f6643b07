//! Weights by what was measured, on made-up clusters whose keys come as in Zipf's law.

use proptest::prelude::*;
use waldo_sdk::guide::{FORMAT, FlowGuide, Map, Otherwise, SLOTS, ServerIndex, slot};

use super::*;
use crate::guide::slots;

/// A flow `call` with one stage, over servers of these weights and seconds a record.
struct Cluster {
    weights: BTreeMap<String, Weight>,
    flow: FlowLoad,
}

impl Cluster {
    /// `records` a second over a thousand keys, the n-th of which comes 1 / n^1.1 times as often as the first. Which keys
    /// these are depends on the seed.
    fn zipf(seed: u64, records: f64, seconds: &[f64]) -> Self {
        let weight = |key: u32| f64::from(key).powf(-1.1);
        let total: f64 = (1..=1_000).map(weight).sum();
        let mut slots = vec![0.0; SLOTS];
        let mut keys = Vec::new();
        for key in 1..=1_000 {
            let name = format!("{seed}.{key}");
            let rate = records * weight(key) / total;
            slots[slot(name.as_bytes())] += rate;
            keys.push(KeyLoad { length: name.len(), key: name.into_bytes(), records: rate });
        }
        keys.truncate(16);
        let stages =
            vec![StageLoad { stage: "score".into(), seconds: seconds.iter().map(|&seconds| Some(seconds)).collect() }];
        let weights = (1..=seconds.len()).map(|server| (format!("s{server}"), Weight::ONE)).collect();
        Self { weights, flow: FlowLoad { slots, named: vec![0.0; seconds.len()], stages, keys } }
    }

    fn guide(&self) -> Guide {
        let weights = self.weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
        let table = slots::table(&weights).into_iter().map(|owner| owner as ServerIndex).collect();
        let flow = FlowGuide { version: 1, portal: "relay".into(), map: Map::Hash(0) };
        Guide {
            format: FORMAT,
            servers: self.weights.keys().cloned().collect(),
            tables: vec![table],
            flows: [("call".to_owned(), flow)].into(),
            portals: BTreeMap::new(),
        }
    }

    fn judged(&self, limits: &Limits) -> Judgement {
        judge(&self.guide(), &self.weights, &[("call".to_owned(), self.flow.clone())].into(), limits)
    }

    fn adopt(&mut self, judgement: &Judgement, proposal: &Proposal) {
        for (server, weight) in proposal.changed(&judgement.before) {
            self.weights.insert(server.to_owned(), weight);
        }
    }

    /// How few slots any weights move that lead to no higher load than this, of all in steps of this factor.
    fn optimum(&self, bound: f64, step: f64) -> Option<usize> {
        let measured = [("call".to_owned(), self.flow.clone())].into();
        let guide = self.guide();
        let model = model::Model::new(&guide, &measured);
        let steps = (5_f64.ln() / step.ln()) as i32;
        let grid: Vec<u64> = (-steps..=steps).map(|power| (1e6 * step.powi(power)) as u64).collect();
        let last = if self.weights.len() == 3 { grid.clone() } else { vec![0] };
        let each = grid.iter().flat_map(|&first| last.iter().map(move |&last| [first, 1_000_000, last]));
        let outcomes = each.map(|weights| model.with(&weights[..self.weights.len()]));
        outcomes.filter(|outcome| outcome.peak() <= bound + 1e-9).map(|outcome| outcome.moved).min()
    }
}

fn peak(servers: &[ServerLoad]) -> f64 {
    servers.iter().map(|server| server.load).fold(0.0, f64::max)
}

fn proposal(judgement: &Judgement) -> &Proposal {
    match &judgement.verdict {
        Verdict::Better(proposal) => proposal,
        other => panic!("{other:?} for {:#?}", judgement.before),
    }
}

#[test]
fn a_server_that_takes_twice_as_long_gets_half_as_much() {
    // Evenly: as many records for each slot.
    let mut cluster = Cluster::zipf(0, 0.0, &[0.001, 0.001, 0.002]);
    cluster.flow.slots = vec![1_800.0 / SLOTS as f64; SLOTS];
    cluster.flow.keys.clear();
    let judgement = cluster.judged(&Limits::NONE);
    assert!((peak(&judgement.before) - 1.2).abs() < 0.01, "the slow one has more than it can do");
    let proposal = proposal(&judgement);
    let weights: Vec<f64> = proposal.after.iter().map(|server| server.weight.0 as f64 / 1e6).collect();
    assert_eq!(proposal.changed(&judgement.before).count(), 1, "one weight says it all: {weights:?}");
    assert!((0.45..=0.62).contains(&weights[2]), "{weights:?}");
    assert!(peak(&proposal.after) < 0.72 * 1.1, "{:?}", proposal.after);
}

#[test]
fn equal_servers_with_even_keys_are_left_alone() {
    let mut cluster = Cluster::zipf(0, 0.0, &[0.001; 4]);
    cluster.flow.slots = vec![0.7; SLOTS];
    assert_eq!(cluster.judged(&Limits::NONE).verdict, Verdict::Balanced);
}

#[test]
fn where_nobody_is_busy_or_nothing_was_measured_nothing_is_proposed() {
    let cluster = Cluster::zipf(1, 10.0, &[0.001, 0.002]);
    assert_eq!(cluster.judged(&Limits::NONE).verdict, Verdict::Quiet);
    let cluster = Cluster::zipf(1, 0.0, &[0.001, 0.002]);
    assert_eq!(cluster.judged(&Limits::NONE).verdict, Verdict::Unmeasured);
    let cluster = Cluster::zipf(1, 900.0, &[0.002]);
    assert_eq!(cluster.judged(&Limits::NONE).verdict, Verdict::NoChoice);
}

#[test]
fn keys_that_no_guide_can_split_are_named_with_what_they_alone_keep_busy() {
    let judgement = Cluster::zipf(2, 1_000.0, &[0.001, 0.001, 0.004]).judged(&Limits::NONE);
    let first = &judgement.hot[0];
    assert_eq!((first.flow.as_str(), first.key.key.as_slice()), ("call", &b"2.1"[..]));
    assert!((first.share - 0.18).abs() < 0.01, "{}", first.share);
    assert!((first.load.unwrap() - 0.18).abs() < 0.01, "of the fastest server");
    assert!(judgement.hot.len() < 5, "{:?}", judgement.hot);
}

#[test]
fn without_service_times_records_are_evened_out() {
    let mut cluster = Cluster::zipf(3, 1_000.0, &[0.001, 0.001, 0.001]);
    cluster.flow.stages[0].seconds = vec![None; 3];
    cluster.flow.slots.iter_mut().for_each(|rate| *rate = 0.1);
    cluster.weights.insert("s1".into(), Weight(3_000_000));
    let judgement = cluster.judged(&Limits::NONE);
    assert!(judgement.in_records);
    assert!(peak(&proposal(&judgement).after) < 409.6 / 3.0 * 1.11, "{judgement:?}");
}

#[test]
fn what_was_measured_on_some_servers_stands_for_the_others() {
    let mut cluster = Cluster::zipf(4, 2_000.0, &[0.001, 0.001, 0.001]);
    cluster.flow.stages[0].seconds = vec![Some(0.001), None, Some(0.001)];
    let judgement = cluster.judged(&Limits::NONE);
    assert!(judgement.before[1].load > 0.1, "{:?}", judgement.before);
}

#[test]
fn limits_are_kept() {
    let mut cluster = Cluster::zipf(5, 0.0, &[0.001, 0.001, 0.004]);
    cluster.flow.slots = vec![1_800.0 / SLOTS as f64; SLOTS];
    let free = cluster.judged(&Limits::NONE);
    let free_proposal = proposal(&free);
    assert!(free_proposal.moved > 300);
    let slots = cluster.judged(&Limits { slots: 300, ..Limits::NONE });
    let slots_proposal = proposal(&slots);
    assert!(slots_proposal.moved <= 300 && peak(&slots_proposal.after) > 1.2 * peak(&free_proposal.after));
    let lowest = Limits { lowest: Weight(700_000), highest: Weight(1_400_000), ..Limits::NONE };
    let bounded = cluster.judged(&lowest);
    let bounded_proposal = proposal(&bounded);
    for (server, weight) in bounded_proposal.changed(&bounded.before) {
        assert!((700_000..=1_400_000).contains(&weight.0), "{server}: {weight:?}");
    }
}

#[test]
fn named_keys_stay_and_count() {
    let mut cluster = Cluster::zipf(6, 600.0, &[0.001, 0.001]);
    cluster.flow.named = vec![900.0, 0.0];
    let mut guide = cluster.guide();
    let keys = [("vip".to_owned(), 0)].into();
    guide.flows.get_mut("call").unwrap().map = Map::Table { keys, default: Otherwise::Hash(0) };
    let judgement = judge(&guide, &cluster.weights, &[("call".to_owned(), cluster.flow)].into(), &Limits::NONE);
    assert!(judgement.before[0].load > 1.0);
    let after = &proposal(&judgement).after;
    assert!(after[0].load >= 0.9, "named keys can't be moved");
    assert!(after[1].load > 0.5, "all others are: {after:?}");
}

/// With two servers all weights can be tried: only one proportion matters.
#[test]
fn few_more_slots_move_than_the_best_weights_would_move() {
    let moved: Vec<(usize, usize)> = (0..3).map(|seed| compared(seed, &[0.001, 0.002], 1.05)).collect();
    let [mine, best] = [moved.iter().map(|it| it.0).sum::<usize>(), moved.iter().map(|it| it.1).sum::<usize>()];
    assert!(mine as f64 <= best as f64 * 1.1, "{moved:?}");
}

/// Prints how it compares with the best of a grid.
#[test]
#[ignore = "takes minutes: cargo nextest run --release -p waldo-compiler --run-ignored only --no-capture three_servers"]
fn how_much_moves_among_three_servers() {
    for seed in 0..8 {
        compared(seed, &[0.001, 0.001, 0.002], 1.03);
    }
}

/// Slots that move, and how few the best weights would move, at three quarters of what the servers can do.
fn compared(seed: u64, seconds: &[f64], step: f64) -> (usize, usize) {
    let records = 0.75 * seconds.iter().map(|seconds| 1.0 / seconds).sum::<f64>();
    let cluster = Cluster::zipf(seed, records, seconds);
    let judgement = cluster.judged(&Limits::NONE);
    let Verdict::Better(proposal) = &judgement.verdict else {
        println!("| {seed} | {:.2} | | | | |", peak(&judgement.before));
        return (0, 0);
    };
    let optimum = cluster.optimum(peak(&proposal.after), step).unwrap_or(proposal.moved);
    println!(
        "| {seed} | {:.2} | {:.2} | {:.2} | {} | {} | {optimum} |",
        peak(&judgement.before),
        judgement.best,
        peak(&proposal.after),
        proposal.moved,
        proposal.least
    );
    (proposal.moved, optimum)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, ..ProptestConfig::default() })]

    /// Also where what is measured then differs by a few per cent.
    #[test]
    fn what_was_proposed_is_good_enough_the_next_time(
        seed in 0_u64..10_000,
        slow in prop::collection::vec(1_u32..=4, 2..5),
        noise in prop::collection::vec(0.97_f64..1.03, 6),
    ) {
        let seconds: Vec<f64> = slow.iter().map(|&slow| f64::from(slow) / 2_000.0).collect();
        let records = 0.75 * seconds.iter().map(|seconds| 1.0 / seconds).sum::<f64>();
        let mut cluster = Cluster::zipf(seed, records, &seconds);
        let first = cluster.judged(&Limits::NONE);
        if let Verdict::Better(proposal) = &first.verdict {
            prop_assert!(peak(&proposal.after) <= GOOD_ENOUGH * first.best + 1e-9);
            prop_assert!(peak(&first.before) > WORTH_IT * first.best || peak(&first.before) > 1.0);
            prop_assert!(proposal.least <= proposal.moved);
            cluster.adopt(&first, proposal);
            for (seconds, noise) in cluster.flow.stages[0].seconds.iter_mut().zip(&noise) {
                *seconds = seconds.map(|seconds| seconds * noise);
            }
            let second = cluster.judged(&Limits::NONE);
            prop_assert_eq!(&second.verdict, &Verdict::Balanced, "{:?}", second.before);
        }
    }
}
