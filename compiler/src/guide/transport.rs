//! Gives every slot to a server at the least total cost, so that every server owns as many slots as its band allows.
//!
//! This is the transportation problem, solved by successive shortest paths with potentials (Ahuja, Magnanti, Orlin: Network
//! Flows, 1993, chapter 9). Every slot begins at its best offer. Then one slot at a time is taken from a server that has
//! too many, or brought to one that has too few, along the cheapest chain of servers, each of which hands on one slot.
//! The table of least total cost is one only (costs are drawn from 64 bits), so nothing depends on the order of the steps.

use std::{cmp::Reverse, collections::BinaryHeap};

use waldo_sdk::guide::SLOTS;

use super::{band::Band, cost::Offers};

/// For each slot the server that owns it; `None` if there are too few offers to keep all bands.
pub fn cheapest(offers: &Offers, bands: &[Band]) -> Option<Vec<usize>> {
    let mut state = Assignment::first(offers, bands);
    for (server, band) in bands.iter().enumerate() {
        while state.holds(server) > band.most {
            state.shift(server, Direction::Away)?;
        }
    }
    for (server, band) in bands.iter().enumerate() {
        while state.holds(server) < band.fewest {
            state.shift(server, Direction::Towards)?;
        }
    }
    Some((0..SLOTS).map(|slot| state.owner(slot)).collect())
}

/// Which way a slot is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the server to one that may own more.
    Away,
    /// To the server from one that may own fewer.
    Towards,
}

/// A step of a chain: a slot and the place of the offer that it takes.
#[derive(Debug, Clone, Copy)]
struct Step {
    slot: u32,
    place: u32,
}

/// How a search came to a server.
#[derive(Debug, Clone, Copy)]
struct Reached {
    /// Over reduced costs.
    distance: i64,
    /// The server that it came from, and the slot that goes between; `None` where the search began.
    by: Option<(usize, Step)>,
    settled: bool,
}

struct Assignment<'a> {
    offers: &'a Offers,
    bands: &'a [Band],
    /// Slot → the place of the offer that it has taken.
    taken: Vec<u32>,
    /// Server → the slots that it owns, and slot → where among them.
    owned: Vec<Vec<u32>>,
    position: Vec<u32>,
    /// Server → all offers that it makes.
    made: Vec<Vec<Step>>,
    /// Server → its potential. Along every possible step, cost + from - to is never below 0, nor is it on the way into or out
    /// of the reserve: what servers within their bands could take or give, at the potential `reserve`.
    potential: Vec<i64>,
    reserve: i64,
    /// Of the search under way.
    reached: Vec<Option<Reached>>,
    touched: Vec<usize>,
}

impl<'a> Assignment<'a> {
    fn first(offers: &'a Offers, bands: &'a [Band]) -> Self {
        let servers = bands.len();
        let mut state = Self {
            offers,
            bands,
            taken: vec![0; SLOTS],
            owned: vec![Vec::new(); servers],
            position: vec![0; SLOTS],
            made: vec![Vec::new(); servers],
            potential: vec![0; servers],
            reserve: 0,
            reached: vec![None; servers],
            touched: Vec::new(),
        };
        for slot in 0..SLOTS {
            for (place, offer) in offers.of(slot).iter().enumerate() {
                state.made[offer.server as usize].push(Step { slot: slot as u32, place: place as u32 });
            }
            let owner = state.owner(slot);
            state.put(slot as u32, owner);
        }
        state
    }

    fn holds(&self, server: usize) -> usize {
        self.owned[server].len()
    }

    fn owner(&self, slot: usize) -> usize {
        self.offers.of(slot)[self.taken[slot] as usize].server as usize
    }

    fn put(&mut self, slot: u32, owner: usize) {
        self.position[slot as usize] = self.owned[owner].len() as u32;
        self.owned[owner].push(slot);
    }

    fn take(&mut self, step: Step) {
        let slot = step.slot as usize;
        let (before, position) = (self.owner(slot), self.position[slot] as usize);
        self.owned[before].swap_remove(position);
        if let Some(&moved) = self.owned[before].get(position) {
            self.position[moved as usize] = position as u32;
        }
        self.taken[slot] = step.place;
        let after = self.owner(slot);
        self.put(step.slot, after);
    }

    /// Moves one slot away from or towards a server along the cheapest chain; `None` if there is none.
    fn shift(&mut self, server: usize, direction: Direction) -> Option<()> {
        let found = self.search(server, direction);
        let chain = found.map(|(end, length)| (self.chain(end), length));
        for server in std::mem::take(&mut self.touched) {
            let reached = self.reached[server].take();
            if let (Some(reached), Some((_, length))) = (reached, &chain)
                && reached.settled
            {
                let shorter = length - reached.distance;
                self.potential[server] += if direction == Direction::Away { -shorter } else { shorter };
            }
        }
        for step in chain?.0 {
            self.take(step);
        }
        Some(())
    }

    /// The shortest chain over reduced costs (Dijkstra): the server at its other end, and its length.
    fn search(&mut self, start: usize, direction: Direction) -> Option<(usize, i64)> {
        let mut queue = BinaryHeap::new();
        self.reach(&mut queue, start, 0, None);
        let mut best: Option<(i64, usize)> = None;
        while let Some(Reverse((distance, server))) = queue.pop() {
            if best.is_some_and(|(length, _)| length <= distance) {
                break;
            }
            match &mut self.reached[server] {
                Some(reached) if !reached.settled && reached.distance == distance => reached.settled = true,
                _ => continue,
            }
            if let Some(toll) = self.toll(server, direction)
                && best.is_none_or(|best| (distance + toll, server) < best)
            {
                best = Some((distance + toll, server));
            }
            match direction {
                Direction::Away => self.reach_takers(&mut queue, server, distance),
                Direction::Towards => self.reach_givers(&mut queue, server, distance),
            }
        }
        best.map(|(length, server)| (server, length))
    }

    /// What it costs, reduced, to end at this server; `None` if it can't take or give any more.
    fn toll(&self, server: usize, direction: Direction) -> Option<i64> {
        let (holds, band) = (self.holds(server), self.bands[server]);
        match direction {
            Direction::Away => (holds < band.most).then(|| self.potential[server] - self.reserve),
            Direction::Towards => (holds > band.fewest).then(|| self.reserve - self.potential[server]),
        }
    }

    /// Those that could take a slot from this server.
    fn reach_takers(&mut self, queue: &mut Queue, server: usize, distance: i64) {
        let from = self.potential[server];
        for at in 0..self.owned[server].len() {
            let slot = self.owned[server][at];
            let offers = self.offers.of(slot as usize);
            let own = offers[self.taken[slot as usize] as usize].cost;
            for (place, offer) in offers.iter().enumerate() {
                let taker = offer.server as usize;
                let length = distance + offer.cost - own + from - self.potential[taker];
                self.reach(queue, taker, length, Some((server, Step { slot, place: place as u32 })));
            }
        }
    }

    /// Those that could give a slot to this server.
    fn reach_givers(&mut self, queue: &mut Queue, server: usize, distance: i64) {
        let to = self.potential[server];
        for at in 0..self.made[server].len() {
            let step = self.made[server][at];
            let offers = self.offers.of(step.slot as usize);
            let offer = offers[self.taken[step.slot as usize] as usize];
            let giver = offer.server as usize;
            let length = distance + offers[step.place as usize].cost - offer.cost + self.potential[giver] - to;
            self.reach(queue, giver, length, Some((server, step)));
        }
    }

    #[inline]
    fn reach(&mut self, queue: &mut Queue, server: usize, distance: i64, by: Option<(usize, Step)>) {
        match &self.reached[server] {
            Some(known) if known.distance <= distance => return,
            Some(_) => {}
            None => self.touched.push(server),
        }
        self.reached[server] = Some(Reached { distance, by, settled: false });
        queue.push(Reverse((distance, server)));
    }

    /// The steps on the way to where a search ended.
    fn chain(&self, end: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut server = end;
        while let Some((before, step)) = self.reached[server].and_then(|reached| reached.by) {
            steps.push(step);
            server = before;
        }
        steps
    }
}

type Queue = BinaryHeap<Reverse<(i64, usize)>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guide::{band, slots::Weights},
        topology::literal::Weight,
    };

    /// Handing slots round among servers is a cycle in a graph whose edges are the cheapest handing-on from server to server,
    /// with one more node for what servers within their bands could take or give: the table is the cheapest of all if and
    /// only if no cycle has a cost below 0 (found here by Floyd and Warshall).
    #[test]
    fn no_exchange_of_slots_would_be_cheaper() {
        let names: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
        for number in 0..6_u64 {
            let weights: Weights<'_> = names
                .iter()
                .zip(0..)
                .map(|(name, place)| (name.as_str(), Weight(1 + (place * 7 + number) % 5)))
                .collect();
            let (offers, bands) = (Offers::best(&weights, 9), band::bands(&weights));
            let table = cheapest(&offers, &bands).expect("every server makes an offer for every slot");
            let (servers, never) = (bands.len(), i64::MAX / 4);
            let mut cost = vec![vec![never; servers + 1]; servers + 1];
            for (slot, &owner) in table.iter().enumerate() {
                let of =
                    |server: usize| offers.of(slot).iter().find(|offer| offer.server as usize == server).unwrap().cost;
                for taker in (0..servers).filter(|&taker| taker != owner) {
                    cost[owner][taker] = cost[owner][taker].min(of(taker) - of(owner));
                }
            }
            for server in 0..servers {
                let owned = table.iter().filter(|&&owner| owner == server).count();
                if owned < bands[server].most {
                    cost[server][servers] = 0;
                }
                if owned > bands[server].fewest {
                    cost[servers][server] = 0;
                }
            }
            for by in 0..=servers {
                for from in 0..=servers {
                    for to in 0..=servers {
                        cost[from][to] = cost[from][to].min(cost[from][by] + cost[by][to]);
                    }
                }
            }
            assert!((0..=servers).all(|node| cost[node][node] >= 0), "{number}");
        }
    }
}
