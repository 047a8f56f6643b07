//! How many slots move when a server is added, removed, or loses half its weight: the table in `docs/guide.md`, made by this test.
//!
//! `WALDO_UPDATE_EXPECTED=1 cargo test -p waldo-compiler --test movement` writes it anew.

use std::{collections::BTreeMap, env, fmt::Write, fs};

use waldo_compiler::{
    guide::{
        band::bands,
        movement::{self, Share},
        slots::{self, Weights},
    },
    topology::literal::Weight,
};

type Cluster = BTreeMap<String, u64>;

/// Clusters of each size: their names are numbered, or look like parts of a hash.
const CLUSTERS: usize = 20;
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide.md");
const HEAD: &str = "| servers | change | least | moved | moved / least: median | 95th percentile | worst |\n";

fn cluster(number: usize, servers: usize) -> Cluster {
    let name = |server: usize| match number % 3 {
        0 => format!("s{server}-{number}"),
        1 => format!("n{:x}", (server as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ number as u64) >> 36),
        _ => format!("node{number}-{server:03}"),
    };
    (0..servers).map(|server| (name(server), 1_000_000)).collect()
}

fn weights(cluster: &Cluster) -> Weights<'_> {
    cluster.iter().map(|(name, weight)| (name.as_str(), Weight(*weight))).collect()
}

fn owners(cluster: &Cluster) -> Vec<&str> {
    let weights = weights(cluster);
    let names: Vec<&str> = weights.keys().copied().collect();
    slots::table(&weights).into_iter().map(|owner| names[owner]).collect()
}

/// How few slots must move, and how many do.
fn moved(before: &[&str], after: &Cluster) -> (usize, usize) {
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for &owner in before {
        shares.entry(owner).or_insert(Share::exactly(0, 0)).before += 1;
    }
    let weights = weights(after);
    for (name, band) in weights.keys().zip(bands(&weights)) {
        let share = shares.entry(name).or_insert(Share::exactly(0, 0));
        (share.fewest, share.most) = (band.fewest, band.most);
    }
    let moved = before.iter().zip(owners(after)).filter(|(before, after)| *before != after).count();
    (movement::least(shares.into_values()), moved)
}

/// Of one size and one change: least and moved of each cluster, by their ratio.
struct Row {
    servers: usize,
    change: &'static str,
    moves: Vec<(usize, usize)>,
}

impl Row {
    fn ratio(&self, part: f64) -> f64 {
        let (least, moved) = self.moves[((self.moves.len() - 1) as f64 * part).round() as usize];
        moved as f64 / least as f64
    }
}

fn rows(servers: usize) -> [Row; 3] {
    let row = |change| Row { servers, change, moves: Vec::new() };
    let mut rows = [row("one added"), row("one removed"), row("one at half its weight")];
    for number in 0..CLUSTERS {
        let base = cluster(number, servers);
        let before = owners(&base);
        let changed = base.keys().nth(number * 7 % servers).expect("a server").clone();
        let added = cluster(number, servers + 1);
        let mut removed = base.clone();
        removed.remove(&changed);
        let mut halved = base.clone();
        halved.insert(changed, 500_000);
        for (row, after) in rows.iter_mut().zip([added, removed, halved]) {
            row.moves.push(moved(&before, &after));
        }
    }
    for row in &mut rows {
        row.moves.sort_by(|(least, moved), (other_least, other)| (moved * other_least).cmp(&(other * least)));
    }
    rows
}

#[test]
fn the_table_in_the_documentation_is_true_and_keeps_its_promises() {
    let mut text = HEAD.to_owned() + "| ---: | --- | ---: | ---: | ---: | ---: | ---: |\n";
    for row in [3, 10, 50, 200].into_iter().flat_map(rows) {
        let (least, moved) = row.moves[row.moves.len() / 2];
        let (median, most, worst) = (row.ratio(0.5), row.ratio(0.95), row.ratio(1.0));
        writeln!(
            text,
            "| {} | {} | {least} | {moved} | {median:.2} | {most:.2} | {worst:.2} |",
            row.servers, row.change
        )
        .expect("text grows");
        let promised = match row.servers {
            ..=10 => 1.15,
            50 => 2.0,
            _ => continue,
        };
        assert!(median <= promised, "{} servers, {}: {median:.3} × the least", row.servers, row.change);
    }
    let document = fs::read_to_string(DOCUMENT).expect("docs/guide.md");
    let begin = document.find(HEAD).expect("the table's head");
    let length = document[begin..].find("\n\n").expect("an empty line after the table") + 1;
    if env::var_os("WALDO_UPDATE_EXPECTED").is_some() {
        fs::write(DOCUMENT, document[..begin].to_owned() + &text + &document[begin + length..])
            .expect("write docs/guide.md");
        return;
    }
    assert_eq!(
        document[begin..begin + length],
        text,
        "docs/guide.md isn't up to date: WALDO_UPDATE_EXPECTED=1 writes it"
    );
}
