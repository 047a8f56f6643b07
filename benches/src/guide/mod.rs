//! Slot tables, beside weighted rendezvous hashing with quotas: how long one takes to make, and how many slots move.

mod rendezvous;

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use waldo_compiler::{
    guide::{
        band::bands,
        movement::{self, Share},
        slots::{self, Weights},
    },
    topology::literal::Weight,
};

use crate::figure::{Figure, Goal, Subject};

/// How many clusters of a size are changed in each way.
const CLUSTERS: usize = 20;

type Cluster = BTreeMap<String, u64>;
type Maker = fn(&Weights<'_>) -> Vec<usize>;

#[derive(Clone, Copy)]
enum Change {
    Added,
    Removed,
    Halved,
}

/// The time for a table of a thousand servers; what moves at 10 and 50, in which there is no chance: more runs give the same.
pub fn measure(runs: usize) -> Vec<Figure> {
    let large = cluster(0, 1_000);
    let milliseconds = |make: Maker| {
        let begun = Instant::now();
        black_box(make(&weights(&large)));
        begun.elapsed().as_secs_f64() * 1e3
    };
    let times = (0..runs).map(|_| (milliseconds(slots::table), milliseconds(rendezvous::table))).unzip();
    let mut figures = vec![figure("slot table of 1,000 servers".to_owned(), "ms", 50.0, times)];
    for (servers, goal) in [(10, 1.15), (50, 1.3)] {
        for (change, what) in [(Change::Added, "added"), (Change::Removed, "removed"), (Change::Halved, "halved")] {
            let ratios = (0..CLUSTERS).map(|number| {
                (ratio(number, servers, change, slots::table), ratio(number, servers, change, rendezvous::table))
            });
            let name = format!("slots moved, one of {servers} servers {what}");
            figures.push(figure(name, "× least", goal, ratios.unzip()));
        }
    }
    figures
}

fn figure(name: String, unit: &'static str, goal: f64, (own, peer): (Vec<f64>, Vec<f64>)) -> Figure {
    Subject { name, unit, peer: "rendezvous with quotas", goal: Goal::AtMost(goal) }.figure(&own, &peer)
}

fn name(number: usize, server: usize) -> String {
    format!("s{server}-{number}")
}

fn cluster(number: usize, servers: usize) -> Cluster {
    (0..servers).map(|server| (name(number, server), Weight::ONE.0)).collect()
}

fn weights(cluster: &Cluster) -> Weights<'_> {
    cluster.iter().map(|(name, weight)| (name.as_str(), Weight(*weight))).collect()
}

fn owners(cluster: &Cluster, make: Maker) -> Vec<&str> {
    let weights = weights(cluster);
    let names: Vec<&str> = weights.keys().copied().collect();
    make(&weights).into_iter().map(|owner| names[owner]).collect()
}

/// Slots moved over the least possible for tables of this maker.
fn ratio(number: usize, servers: usize, change: Change, make: Maker) -> f64 {
    let before = cluster(number, servers);
    let mut after = before.clone();
    match change {
        Change::Added => drop(after.insert(name(number, servers), Weight::ONE.0)),
        Change::Removed => drop(after.remove(&name(number, number % servers))),
        Change::Halved => drop(after.insert(name(number, number % servers), Weight::ONE.0 / 2)),
    }
    let (old, new) = (owners(&before, make), owners(&after, make));
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for &owner in &old {
        shares.entry(owner).or_insert(Share::exactly(0, 0)).before += 1;
    }
    let weights = weights(&after);
    for (name, band) in weights.keys().zip(bands(&weights)) {
        let share = shares.entry(name).or_insert(Share::exactly(0, 0));
        (share.fewest, share.most) = (band.fewest, band.most);
    }
    let moved = old.iter().zip(&new).filter(|(before, after)| before != after).count();
    moved as f64 / movement::least(shares.into_values()) as f64
}
