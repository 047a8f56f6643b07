//! The fewest flows without which a tangle has no cycle.
//!
//! A flow may be part of many cycles, and many flows of one, so this is a hitting set, and nobody knows a way that is quick
//! for all. First comes a small set that is found quickly: flows are put back one by one unless they close a cycle (in a large
//! tangle only those that lead back in a walk, the others being there already). Then every smaller size is tried: some
//! flow of each cycle must go, so take one cycle and try each of its flows. Both are bounded by a budget; where it runs out,
//! the small set stands, and isn't called the smallest.

use std::collections::{BTreeMap, VecDeque};

use super::Graph;

/// Flows without which a tangle has no cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend<'t> {
    /// The flows, by name.
    pub flows: Vec<&'t str>,
    /// Whether no smaller set would do; else it wasn't looked for to the end.
    pub is_smallest: bool,
}

/// How many ends of channels are looked at, at most, before the search for the smallest set is given up.
const BUDGET: usize = 4_000_000;
/// The same for the small set.
const BUDGET_OF_FIRST: usize = 24_000_000;
/// From how many channels a short cycle is looked for.
const MOST_STARTS: usize = 24;

/// Flows without which the tangle has no cycle: the fewest, or few. Where several sets are as small, flows that are liked
/// are more likely in it. All tangles of a topology, so many, share one budget.
pub fn mend<'t>(tangle: &Graph<'t>, tangles: usize, is_liked: impl Fn(&str) -> bool) -> Mend<'t> {
    let mut flows: Vec<&str> = tangle.flows().into_iter().collect();
    // In the order in which they are tried.
    flows.sort_by_key(|flow| (!is_liked(flow), *flow));
    let knot = Knot::new(tangle, &flows);
    let (mut chosen, is_minimal) = knot.few(&flows, BUDGET_OF_FIRST / tangles.max(1), &is_liked);
    let mut search =
        Search { knot: &knot, spent: 0, budget: BUDGET / tangles.max(1), roles: vec![Role::Free; flows.len()] };
    let mut is_smallest = is_minimal && chosen.len() <= 1;
    if !is_smallest {
        is_smallest = search.smaller_than(&mut chosen);
    }
    let mut flows: Vec<&str> = chosen.into_iter().map(|flow| flows[flow]).collect();
    flows.sort_unstable();
    Mend { flows, is_smallest }
}

/// A tangle by numbers.
struct Knot {
    /// The flow, the senders and the receivers of each channel.
    channels: Vec<(usize, Vec<usize>, Vec<usize>)>,
    /// The channels that each stage sends to.
    sends: Vec<Vec<usize>>,
    /// The channels that each stage receives from.
    receives: Vec<Vec<usize>>,
}

/// What the search has decided on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Free,
    /// Taken away.
    Away,
    /// Not to be taken away: that has been tried.
    Kept,
}

impl Knot {
    fn new(tangle: &Graph<'_>, flows: &[&str]) -> Self {
        let number: BTreeMap<&str, usize> = flows.iter().enumerate().map(|(number, flow)| (*flow, number)).collect();
        let channels: Vec<_> = tangle
            .channels
            .iter()
            .map(|channel| (number[channel.flow], channel.senders.clone(), channel.receivers.clone()))
            .collect();
        let mut sends = vec![Vec::new(); tangle.stages.len()];
        let mut receives = vec![Vec::new(); tangle.stages.len()];
        for (index, (_, senders, receivers)) in channels.iter().enumerate() {
            for stage in senders {
                sends[*stage].push(index);
            }
            for stage in receivers {
                receives[*stage].push(index);
            }
        }
        Self { channels, sends, receives }
    }

    /// A set that is found by putting flows back as long as they close no cycle; and whether all were tried, so that every
    /// flow of it is needed.
    fn few(&self, flows: &[&str], budget: usize, is_liked: impl Fn(&str) -> bool) -> (Vec<usize>, bool) {
        let mut ways = vec![0_usize; flows.len()];
        for (flow, senders, receivers) in &self.channels {
            ways[*flow] = ways[*flow].saturating_add(senders.len().saturating_mul(receivers.len()));
        }
        let ends: usize = self.channels.iter().map(|(_, senders, receivers)| senders.len() + receivers.len()).sum();
        let is_large = flows.len().saturating_mul(ends) > budget;
        let mut is_away = if is_large { self.that_lead_back(flows.len()) } else { vec![true; flows.len()] };
        // Those come back first that aren't liked, and that close the fewest ways.
        let mut order: Vec<usize> = (0..flows.len()).filter(|flow| is_away[*flow]).collect();
        order.sort_by_key(|flow| (is_liked(flows[*flow]), ways[*flow], *flow));
        let affordable = budget / ends.max(1);
        for &flow in order.iter().take(affordable) {
            is_away[flow] = false;
            is_away[flow] = !self.core(|flow| is_away[flow]).is_empty();
        }
        ((0..flows.len()).filter(|flow| is_away[*flow]).collect(), order.len() <= affordable)
    }

    /// The flows that lead back to where a walk in depth is already: without them there is no cycle.
    fn that_lead_back(&self, flows: usize) -> Vec<bool> {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Visit {
            Not,
            OnTheWay,
            Done,
        }
        let mut is_away = vec![false; flows];
        let mut channels = vec![Visit::Not; self.channels.len()];
        let mut stages = vec![Visit::Not; self.sends.len()];
        for start in 0..stages.len() {
            if stages[start] != Visit::Not {
                continue;
            }
            stages[start] = Visit::OnTheWay;
            // A stage; the channel that it is in the middle of, and how far.
            let mut way = vec![(start, 0, 0)];
            while let Some((stage, sent, received)) = way.last_mut() {
                let Some(&channel) = self.sends[*stage].get(*sent) else {
                    stages[*stage] = Visit::Done;
                    way.pop();
                    continue;
                };
                let (flow, _, receivers) = &self.channels[channel];
                if *received == 0 {
                    is_away[*flow] |= channels[channel] == Visit::OnTheWay;
                    if channels[channel] != Visit::Not {
                        *sent += 1;
                        continue;
                    }
                    channels[channel] = Visit::OnTheWay;
                }
                let Some(&next) = receivers.get(*received) else {
                    channels[channel] = Visit::Done;
                    (*sent, *received) = (*sent + 1, 0);
                    continue;
                };
                *received += 1;
                match stages[next] {
                    Visit::OnTheWay => is_away[*flow] = true,
                    Visit::Done => {}
                    Visit::Not => {
                        stages[next] = Visit::OnTheWay;
                        way.push((next, 0, 0));
                    }
                }
            }
        }
        is_away
    }

    /// The channels that are left when all that lead nowhere, or that nothing leads to, are taken away again and again; none
    /// if there is no cycle.
    fn core(&self, is_away: impl Fn(usize) -> bool) -> Vec<usize> {
        let is_in: Vec<bool> = self.channels.iter().map(|(flow, ..)| !is_away(*flow)).collect();
        // Forwards, then backwards over what is left.
        let forwards =
            Self::peel(is_in, &self.receives, |channel| &self.channels[channel].1, |channel| &self.channels[channel].2);
        let both =
            Self::peel(forwards, &self.sends, |channel| &self.channels[channel].2, |channel| &self.channels[channel].1);
        (0..self.channels.len()).filter(|channel| both[*channel]).collect()
    }

    /// Takes away the channels into which no stage sends that is itself reached, again and again.
    fn peel<'k>(
        mut is_in: Vec<bool>,
        receives: &[Vec<usize>],
        senders: impl Fn(usize) -> &'k [usize],
        receivers: impl Fn(usize) -> &'k [usize],
    ) -> Vec<bool>
    where
        Self: 'k,
    {
        // How many channels reach a stage, and how many such stages send into a channel.
        let mut reached: Vec<usize> =
            receives.iter().map(|channels| channels.iter().filter(|channel| is_in[**channel]).count()).collect();
        let mut fed: Vec<usize> = (0..is_in.len())
            .map(|channel| senders(channel).iter().filter(|stage| reached[**stage] > 0).count())
            .collect();
        let mut next: Vec<usize> = (0..is_in.len()).filter(|channel| is_in[*channel] && fed[*channel] == 0).collect();
        let mut feeds: Vec<Vec<usize>> = vec![Vec::new(); reached.len()];
        for channel in (0..is_in.len()).filter(|channel| is_in[*channel]) {
            for stage in senders(channel) {
                feeds[*stage].push(channel);
            }
        }
        while let Some(channel) = next.pop() {
            is_in[channel] = false;
            for stage in receivers(channel) {
                reached[*stage] -= 1;
                if reached[*stage] > 0 {
                    continue;
                }
                for &fed_by in &feeds[*stage] {
                    fed[fed_by] -= 1;
                    if fed[fed_by] == 0 && is_in[fed_by] {
                        next.push(fed_by);
                    }
                }
            }
        }
        is_in
    }
}

struct Search<'k> {
    knot: &'k Knot,
    /// Ends of channels looked at.
    spent: usize,
    /// How many may be.
    budget: usize,
    roles: Vec<Role>,
}

/// The budget is used up.
struct Spent;

impl Search<'_> {
    /// Replaces the set by the smallest; says whether it is that.
    fn smaller_than(&mut self, chosen: &mut Vec<usize>) -> bool {
        for size in 1..chosen.len() {
            match self.within(size) {
                Ok(false) => {}
                Ok(true) => {
                    *chosen = (0..self.roles.len()).filter(|flow| self.roles[*flow] == Role::Away).collect();
                    return true;
                }
                Err(Spent) => return false,
            }
        }
        true
    }

    /// Whether at most so many further flows, taken away, leave no cycle; they are then marked.
    fn within(&mut self, size: usize) -> Result<bool, Spent> {
        let Some(cycle) = self.cycle(&self.roles.clone())? else { return Ok(true) };
        let choices: Vec<usize> = cycle.into_iter().filter(|flow| self.roles[*flow] == Role::Free).collect();
        if size == 0 || choices.is_empty() || self.needs_more_than(size)? {
            return Ok(false);
        }
        for &flow in &choices {
            self.roles[flow] = Role::Away;
            if self.within(size - 1)? {
                return Ok(true);
            }
            self.roles[flow] = Role::Kept;
        }
        for flow in &choices {
            self.roles[*flow] = Role::Free;
        }
        Ok(false)
    }

    /// Whether there are more cycles than that of which no two have a free flow in common: each needs one of its own.
    fn needs_more_than(&mut self, size: usize) -> Result<bool, Spent> {
        let mut roles = self.roles.clone();
        for _ in 0..=size {
            let Some(cycle) = self.cycle(&roles)? else { return Ok(false) };
            let free: Vec<usize> = cycle.into_iter().filter(|flow| roles[*flow] == Role::Free).collect();
            if free.is_empty() {
                return Ok(true);
            }
            for flow in free {
                roles[flow] = Role::Away;
            }
        }
        Ok(true)
    }

    /// The flows of a cycle with few free ones among them, by number; `None` if there is no cycle.
    fn cycle(&mut self, roles: &[Role]) -> Result<Option<Vec<usize>>, Spent> {
        self.spent +=
            self.knot.sends.iter().chain(&self.knot.receives).map(|channels| channels.len() + 1).sum::<usize>();
        if self.spent > self.budget {
            return Err(Spent);
        }
        let core = self.knot.core(|flow| roles[flow] == Role::Away);
        let Some(&first) = core.first() else { return Ok(None) };
        let mut best: Option<(usize, Vec<usize>)> = None;
        for &start in core.iter().take(MOST_STARTS) {
            if self.spent > self.budget {
                return Err(Spent);
            }
            if let Some(found) = self.cycle_from(start, roles)
                && best.as_ref().is_none_or(|best| found.0 < best.0)
            {
                best = Some(found);
            }
        }
        let flows = best.map_or_else(|| self.cycle_along(first, &core, roles), |(_, flows)| flows);
        Ok(Some(flows))
    }

    /// The cycle through a channel that has the fewest free flows, and how many; a flow that comes twice counts twice.
    fn cycle_from(&mut self, start: usize, roles: &[Role]) -> Option<(usize, Vec<usize>)> {
        let knot = self.knot;
        let cost = |channel: usize| usize::from(roles[knot.channels[channel].0] == Role::Free);
        let mut by: Vec<Option<usize>> = vec![None; knot.channels.len()];
        let mut settled = vec![false; knot.channels.len()];
        let mut seen = vec![false; knot.sends.len()];
        let mut queue = VecDeque::from([(start, cost(start))]);
        while let Some((channel, free)) = queue.pop_front() {
            if std::mem::replace(&mut settled[channel], true) {
                continue;
            }
            self.spent += knot.channels[channel].2.len();
            for &stage in &knot.channels[channel].2 {
                // Whoever comes first to a stage comes with the fewest.
                if std::mem::replace(&mut seen[stage], true) {
                    continue;
                }
                self.spent += knot.sends[stage].len();
                for &next in &knot.sends[stage] {
                    if next == start {
                        let mut flows = vec![knot.channels[channel].0];
                        let mut at = channel;
                        while let Some(before) = by[at].filter(|_| at != start) {
                            at = before;
                            flows.push(knot.channels[at].0);
                        }
                        flows.sort_unstable();
                        flows.dedup();
                        return Some((free, flows));
                    }
                    if roles[knot.channels[next].0] == Role::Away
                        || settled[next]
                        || by[next].is_some() && cost(next) > 0
                    {
                        continue;
                    }
                    by[next] = Some(channel);
                    if cost(next) == 0 {
                        queue.push_front((next, free));
                    } else {
                        queue.push_back((next, free + 1));
                    }
                }
            }
        }
        None
    }

    /// A cycle found by going on within the core until a channel comes again: from each one leads on.
    fn cycle_along(&self, first: usize, core: &[usize], roles: &[Role]) -> Vec<usize> {
        let knot = self.knot;
        let is_core =
            |channel: &usize| core.binary_search(channel).is_ok() && roles[knot.channels[*channel].0] != Role::Away;
        let mut way = vec![first];
        loop {
            let at = way[way.len() - 1];
            let next = knot.channels[at].2.iter().flat_map(|stage| &knot.sends[*stage]).find(|next| is_core(next));
            let Some(&next) = next else { return Vec::new() };
            if let Some(begin) = way.iter().position(|channel| *channel == next) {
                let mut flows: Vec<usize> = way[begin..].iter().map(|channel| knot.channels[*channel].0).collect();
                flows.sort_unstable();
                flows.dedup();
                return flows;
            }
            way.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tangle in which every stage sends on flows of its own to a few that are spread over all.
    fn tangle(names: &[String], by: &[usize]) -> Vec<(String, usize, usize)> {
        let stage = |from: usize| by.iter().map(move |by| (from, (from * 7 + by) % names.len()));
        (0..names.len()).flat_map(stage).map(|(from, to)| (format!("{from}-{to}"), from, to)).collect()
    }

    #[test]
    fn what_leads_back_in_a_walk_breaks_all_cycles() {
        for (count, by) in [(1, vec![0]), (5, vec![1]), (30, vec![1, 4]), (200, vec![1, 5, 11])] {
            let names: Vec<String> = (0..count).map(|stage| format!("s{stage}")).collect();
            let edges = tangle(&names, &by);
            let channels = edges
                .iter()
                .map(|(flow, from, to)| (flow.as_str(), vec![names[*from].as_str()], vec![names[*to].as_str()]));
            for tangle in Graph::new(names.iter().map(String::as_str), channels).tangles() {
                let flows: Vec<&str> = tangle.flows().into_iter().collect();
                let knot = Knot::new(&tangle, &flows);
                let away = knot.that_lead_back(flows.len());
                assert!(!knot.core(|_| false).is_empty(), "a tangle has a cycle");
                assert!(knot.core(|flow| away[flow]).is_empty(), "{count} {by:?}");
                assert!(away.iter().any(|away| !away) || flows.len() == 1);
            }
        }
    }
}
