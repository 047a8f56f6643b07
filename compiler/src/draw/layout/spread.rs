//! Heights: every item moves towards the middle of its neighbours, as far as its layer's order and the gaps let it.
//!
//! The best heights of one layer for given wishes are a least-squares problem with order constraints: isotonic regression,
//! solved exactly by pooling neighbours that are in each other's way.

use super::{Item, Size};

/// Between boxes, between a box and a bend, and between bends. Pixels.
const BOX_GAP: f64 = 22.0;
const BEND_GAP: f64 = 10.0;
/// How often layers are moved towards their neighbours, there and back.
const SWEEPS: usize = 24;

/// The height of each item's middle.
pub fn centres(items: &[Item], layers: &[Vec<usize>], connections: &[(usize, usize)]) -> Vec<f64> {
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    for &(from, to) in connections {
        neighbours[from].push(to);
        neighbours[to].push(from);
    }
    let mut centres = vec![0.0; items.len()];
    for layer in layers {
        let wishes = vec![0.0; layer.len()];
        place(items, layer, &wishes, &mut centres);
    }
    for sweep in 0..SWEEPS {
        let order: Vec<&Vec<usize>> =
            if sweep % 2 == 0 { layers.iter().collect() } else { layers.iter().rev().collect() };
        for layer in order {
            let wish = |&item: &usize| {
                let of = &neighbours[item];
                if of.is_empty() {
                    return centres[item];
                }
                of.iter().map(|&other| centres[other]).sum::<f64>() / of.len() as f64
            };
            let wishes: Vec<f64> = layer.iter().map(wish).collect();
            place(items, layer, &wishes, &mut centres);
        }
    }
    close_gaps(items, &mut centres);
    centres
}

/// Takes out what is empty from side to side, as between parts that no arrow joins.
fn close_gaps(items: &[Item], centres: &mut [f64]) {
    let top = |item: usize, centres: &[f64]| centres[item] - items[item].size.height / 2.0;
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|&a, &b| top(a, centres).total_cmp(&top(b, centres)));
    let (mut taken, mut bottom) = (0.0, f64::INFINITY);
    for item in order {
        let empty = top(item, centres) - taken - bottom;
        if empty > BOX_GAP {
            taken += empty - BOX_GAP;
        }
        centres[item] -= taken;
        let end = centres[item] + items[item].size.height / 2.0;
        bottom = if bottom.is_finite() { bottom.max(end) } else { end };
    }
}

/// The heights of a layer nearest to its wishes.
fn place(items: &[Item], layer: &[usize], wishes: &[f64], centres: &mut [f64]) {
    // With the gaps taken off, what must be kept is the order alone.
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(layer.len());
    for (at, &item) in layer.iter().enumerate() {
        if at > 0 {
            offset += distance(&items[layer[at - 1]], &items[item]);
        }
        offsets.push(offset);
    }
    // Blocks of items that move together: the sum of their wishes, and how many they are.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (wish, offset) in wishes.iter().zip(&offsets) {
        blocks.push((wish - offset, 1));
        while let [.., (upper, above), (lower, below)] = blocks[..]
            && upper / above as f64 > lower / below as f64
        {
            blocks.truncate(blocks.len() - 2);
            blocks.push((upper + lower, above + below));
        }
    }
    let means = blocks.into_iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / count as f64, count));
    for ((mean, offset), &item) in means.zip(offsets).zip(layer) {
        centres[item] = mean + offset;
    }
}

/// How far the middles of two items must be apart.
fn distance(upper: &Item, lower: &Item) -> f64 {
    let gap = if upper.is_box && lower.is_box { BOX_GAP } else { BEND_GAP };
    let half = |size: Size| size.height / 2.0;
    half(upper.size) + half(lower.size) + gap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_empty_from_side_to_side_but_a_gap() {
        let item = |layer| Item { layer, size: Size { width: 10.0, height: 20.0 }, is_box: true };
        let mut centres = [0.0, 500.0, 510.0];
        close_gaps(&[item(0), item(0), item(1)], &mut centres);
        assert_eq!(centres.map(|centre| centre as i64), [0, 42, 52]);
    }

    #[test]
    fn items_stand_where_they_wish_unless_they_are_in_each_others_way() {
        let item = Item { layer: 0, size: Size { width: 10.0, height: 20.0 }, is_box: true };
        let items = [item; 3];
        let mut centres = [0.0; 3];
        place(&items, &[0, 1, 2], &[0.0, 10.0, 200.0], &mut centres);
        // The first two are 42 apart at least: each gives way by the same.
        assert_eq!(centres.map(|centre| centre as i64), [-16, 26, 200]);
    }
}
