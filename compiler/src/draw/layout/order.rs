//! The order within each layer: few crossings, by the barycentre heuristic, sweeping right and left.

use super::Item;

/// How often layers are ordered by their neighbours, there and back.
const SWEEPS: usize = 12;

/// The items of each layer, from top to bottom.
pub fn layers(items: &[Item], connections: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let count = items.iter().map(|item| item.layer + 1).max().unwrap_or(0);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); count];
    let (mut before, mut after) = (vec![Vec::new(); items.len()], vec![Vec::new(); items.len()]);
    for &(from, to) in connections {
        after[from].push(to);
        before[to].push(from);
    }
    // Depth first, so that what hangs together begins together.
    let mut seen = vec![false; items.len()];
    let mut roots: Vec<usize> = (0..items.len()).collect();
    roots.sort_by_key(|&item| items[item].layer);
    for root in roots {
        let mut stack = vec![root];
        while let Some(item) = stack.pop() {
            if !std::mem::replace(&mut seen[item], true) {
                layers[items[item].layer].push(item);
                stack.extend(after[item].iter().rev());
            }
        }
    }
    let mut best = layers.clone();
    let mut fewest = crossings(&best, &after, items.len());
    for sweep in 0..SWEEPS {
        if fewest == 0 {
            break;
        }
        if sweep % 2 == 0 {
            for at in 1..count {
                reorder(&mut layers, at, at - 1, &before, items.len());
            }
        } else {
            for at in (0..count.saturating_sub(1)).rev() {
                reorder(&mut layers, at, at + 1, &after, items.len());
            }
        }
        let crossed = crossings(&layers, &after, items.len());
        if crossed < fewest {
            fewest = crossed;
            best.clone_from(&layers);
        }
    }
    best
}

/// Orders a layer by the mean place of each item's neighbours in another; what has none keeps its place.
fn reorder(layers: &mut [Vec<usize>], at: usize, by: usize, neighbours: &[Vec<usize>], count: usize) {
    let place = places(&layers[by], count);
    let mean = |(own, item): (usize, &usize)| {
        let of = &neighbours[*item];
        let mean = if of.is_empty() {
            own as f64
        } else {
            of.iter().map(|&other| place[other] as f64).sum::<f64>() / of.len() as f64
        };
        (mean, own, *item)
    };
    let mut keyed: Vec<(f64, usize, usize)> = layers[at].iter().enumerate().map(mean).collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    layers[at] = keyed.into_iter().map(|(.., item)| item).collect();
}

fn places(layer: &[usize], count: usize) -> Vec<usize> {
    let mut place = vec![0; count];
    for (at, &item) in layer.iter().enumerate() {
        place[item] = at;
    }
    place
}

fn crossings(layers: &[Vec<usize>], after: &[Vec<usize>], count: usize) -> usize {
    let mut crossed = 0;
    for pair in layers.windows(2) {
        let place = places(&pair[1], count);
        let ends: Vec<Vec<usize>> =
            pair[0].iter().map(|&item| after[item].iter().map(|&to| place[to]).collect()).collect();
        for (at, lower) in ends.iter().enumerate() {
            for upper in &ends[..at] {
                crossed += upper.iter().map(|end| lower.iter().filter(|other| *other < end).count()).sum::<usize>();
            }
        }
    }
    crossed
}
