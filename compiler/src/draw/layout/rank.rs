//! An order of boxes in which few arrows go back, and the layers that follow from it.

use std::collections::VecDeque;

/// A place for each box in a sequence, such that few arrows go back: the greedy heuristic of Eades, Lin and Smyth, "A fast
/// and effective heuristic for the feedback arc set problem" (1993). Of equals the one given first comes first.
pub fn sequence(count: usize, arrows: &[(usize, usize)]) -> Vec<usize> {
    let (mut into, mut out) = (vec![0_usize; count], vec![0_usize; count]);
    for &(from, to) in arrows {
        out[from] += 1;
        into[to] += 1;
    }
    let mut left: Vec<usize> = (0..count).collect();
    let (mut front, mut back) = (Vec::with_capacity(count), VecDeque::new());
    while !left.is_empty() {
        let source = left.iter().position(|&at| into[at] == 0);
        let sink = left.iter().rposition(|&at| out[at] == 0);
        let taken = match (source, sink) {
            (Some(at), _) => {
                front.push(left[at]);
                at
            }
            (None, Some(at)) => {
                back.push_front(left[at]);
                at
            }
            (None, None) => {
                let surplus = |&at: &usize| out[at] as i64 - into[at] as i64;
                let best = left.iter().map(surplus).max().unwrap_or(0);
                let at = left.iter().position(|at| surplus(at) == best).unwrap_or(0);
                front.push(left[at]);
                at
            }
        };
        let gone = left.remove(taken);
        for &(from, to) in arrows {
            if from == gone && left.contains(&to) {
                into[to] -= 1;
            }
            if to == gone && left.contains(&from) {
                out[from] -= 1;
            }
        }
    }
    let mut place = vec![0; count];
    for (at, node) in front.into_iter().chain(back).enumerate() {
        place[node] = at;
    }
    place
}

/// The layer of each box: one beyond the last of those that lead to it; what nothing leads to moves up to what it leads to.
pub fn layers(count: usize, arrows: &[(usize, usize)], sequence: &[usize]) -> Vec<usize> {
    let mut by_place: Vec<usize> = (0..count).collect();
    by_place.sort_by_key(|&node| sequence[node]);
    let mut layer = vec![0; count];
    for &node in &by_place {
        for &(_, to) in arrows.iter().filter(|(from, _)| *from == node) {
            layer[to] = layer[to].max(layer[node] + 1);
        }
    }
    for &node in by_place.iter().rev() {
        let is_first = !arrows.iter().any(|&(_, to)| to == node);
        let next = arrows.iter().filter(|(from, _)| *from == node).map(|&(_, to)| layer[to]).min();
        if let (true, Some(next)) = (is_first, next) {
            layer[node] = next - 1;
        }
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arrow_that_closes_a_cycle_goes_back() {
        let arrows = [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4)];
        let place = sequence(5, &arrows);
        let back: Vec<_> = arrows.iter().filter(|(from, to)| place[*from] > place[*to]).collect();
        assert_eq!(back.len(), 1);
    }

    #[test]
    fn what_nothing_leads_to_stands_beside_what_it_leads_to() {
        let arrows = [(0, 1), (1, 2), (3, 2)];
        assert_eq!(layers(4, &arrows, &sequence(4, &arrows)), [0, 1, 2, 1]);
    }
}
