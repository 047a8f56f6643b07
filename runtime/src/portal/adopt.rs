//! A portal lives by another plan: doors, flows, consumers and guide change in place; memory and spool are kept.

use std::sync::Arc;

use waldo_sdk::{
    Result,
    control::FromProcess,
    guide::{FlowGuide, Guide, ServerIndex},
    page::{Kind as SlotKind, Page},
    service::{Control, read_next},
    wiring::{Carried, Doors, Place, Placed},
};

use super::{
    Portal,
    destination::{Destination, Opening},
    flow::Flow,
    greatest_message, io,
    passage::{Mark, Passage, may_lose},
    rates::{FlowRates, Measurements},
    shelf::Shelf,
    transition::{Asked, Transition, UnderWay},
};
use crate::spool::{Budget, Bytes};

/// The name, among a flow's destinations, of what is set aside. No stage can have it.
const ASIDE: &str = "(aside)";

impl Portal {
    /// Does as the launcher says: lives by the wiring that it has put in place, or says why not.
    pub(super) fn adopt(&mut self, control: &mut Control, generation: u64) -> Result<()> {
        if generation < control.generation() {
            return Ok(());
        }
        if generation > control.generation() {
            let next = match self.next(generation) {
                Ok(next) => next,
                Err(text) => {
                    control.say(FromProcess::Refused { generation, text });
                    return Ok(());
                }
            };
            let (place, doors, guide) = next;
            self.live_by(place, doors, guide)?;
        }
        control.say_adopted(generation);
        Ok(())
    }

    /// What is to be adopted, if it can be. Nothing has changed but that new doors are open.
    fn next(&mut self, generation: u64) -> std::result::Result<(Place, Doors, Guide), String> {
        if self.transition.is_some() {
            return Err(format!("the rollout to generation {} isn't settled", self.place.generation));
        }
        let (Placed { place, wiring, .. }, guide) = read_next(&self.place, generation)?;
        let Some(doors) = wiring.portal else { return Err("not the wiring of a portal".to_owned()) };
        self.flows.iter().try_for_each(|flow| has_a_place(flow, &doors, &guide, &place))?;
        add_edges(&doors, &guide, &place, &self.page)?;
        let in_words = |error: waldo_sdk::Error| error.to_string();
        self.entrance.bind(&doors.links).map_err(in_words)?;
        self.bind_clients(&doors).map_err(in_words)?;
        let known = Transition::read(&place.spool).map_err(|error| error.to_string())?;
        if known.is_none_or(|known| known.generation != generation) {
            let carried = self.flows.iter().map(|flow| flow.carried.clone()).collect();
            Transition::new(generation, self.guide.as_ref().clone(), carried)
                .write(&place.spool)
                .map_err(|error| format!("note what the plan before said, in {}: {error}", place.spool.display()))?;
        }
        Ok((place, doors, guide))
    }

    fn live_by(&mut self, place: Place, doors: Doors, guide: Guide) -> Result<()> {
        let before = std::mem::replace(&mut self.doors, doors);
        let old = |before: &String, now: Option<&String>| (Some(before) != now).then(|| before.clone());
        let former = Arc::clone(&self.guide);
        self.transition = Some(UnderWay {
            old_links: old(&before.links, Some(&self.doors.links)).into_iter().collect(),
            old_clients: before.clients.iter().filter_map(|it| old(it, self.doors.clients.as_ref())).collect(),
            asked: Asked::Adopt,
            handed_over: false,
        });
        self.place = place;
        let greatest = greatest_message(&self.doors);
        if greatest > greatest_message(&before) {
            self.entrance.raise_greatest(greatest, &self.doors.links)?;
        }
        self.set_longest_of_clients();
        let carried = self.doors.flows.clone();
        self.rewire(&carried, guide, Some(&former), false)?;
        self.forget_draining();
        // What was too new for the guide before.
        self.entrance.ask_again();
        Ok(())
    }

    /// Carries these flows by this guide. With the former guide, flows whose guide differs begin their passage.
    /// `is_opening`: what the page says of destinations is from an earlier incarnation.
    pub(super) fn rewire(
        &mut self,
        carried: &[Carried],
        guide: Guide,
        former: Option<&Arc<Guide>>,
        is_opening: bool,
    ) -> Result<()> {
        let mut before = std::mem::take(&mut self.flows);
        self.outlet.begin_rewiring();
        self.links.begin_rewiring();
        self.guide = Arc::new(guide);
        self.budget.set_limits(self.doors.spool);
        self.entrance.set_servers(&self.guide.servers, former.map_or(&[], |guide| &guide.servers));
        for carried in carried {
            let known = before.iter().position(|flow| flow.carried.flow == carried.flow);
            let known = known.map(|index| before.swap_remove(index));
            self.carry(carried.clone(), known, former, is_opening)?;
        }
        for flow in before {
            if former.is_some() && self.guide.flows.contains_key(&flow.carried.flow) {
                // It goes elsewhere now. Whatever still comes here is passed on.
                self.carry(Carried { consumers: Vec::new(), ..flow.carried.clone() }, Some(flow), former, is_opening)?;
            } else {
                flow.part(&mut self.budget)?;
            }
        }
        self.measurements = Measurements::new(&self.place, self.flows.len());
        self.outlet.end_rewiring()
    }

    fn carry(
        &mut self,
        carried: Carried,
        before: Option<Flow>,
        former: Option<&Arc<Guide>>,
        is_opening: bool,
    ) -> Result<()> {
        let guide = Arc::clone(&self.guide);
        let Some(flow_guide) = guide.flows.get(&carried.flow).cloned() else {
            let reason = format!("no guide for flow {}", carried.flow);
            return Err(waldo_sdk::Error::File { path: self.place.guide.clone(), reason });
        };
        let own = own_index(&guide, &flow_guide, &self.place);
        let (mut old_locals, mut old_portals, mut rates) = match before {
            Some(flow) => (flow.locals, flow.forwards.into_iter().flatten().collect(), flow.rates),
            None => (Vec::new(), Vec::new(), FlowRates::new()),
        };
        rates.set_consumers(&carried.consumers);
        let mut at = Opening {
            context: &self.context,
            place: &self.place,
            page: &self.page,
            guide: &guide,
            outlet: &mut self.outlet,
            links: &mut self.links,
            budget: &mut self.budget,
        };
        let mut locals = Vec::with_capacity(carried.consumers.len());
        for consumer in &carried.consumers {
            locals.push(match take_named(&mut old_locals, &consumer.stage) {
                Some(mut local) => {
                    at.local_again(&mut local, consumer)?;
                    local
                }
                None => at.local(&carried.flow, consumer)?,
            });
        }
        let mut forwards: Vec<Option<Destination>> = guide.servers.iter().map(|_| None).collect();
        let owners = guide.owners(&flow_guide);
        for &owner in owners.iter().filter(|&&owner| Some(owner) != own) {
            let name = format!("{}/{}", guide.servers[usize::from(owner)], flow_guide.portal);
            forwards[usize::from(owner)] = Some(match take_named(&mut old_portals, &name) {
                Some(mut forward) => {
                    at.forward_again(&mut forward, &flow_guide, owner)?;
                    forward
                }
                None => at.forward(&carried.flow, &flow_guide, owner)?,
            });
        }
        let owns_some = own.is_some_and(|own| owners.contains(&own));
        let departing = self.let_go(old_locals, owns_some)?;
        let name = carried.flow.clone();
        let count = |what: &str| {
            let name = format!("{what} {name}");
            self.page.slot(SlotKind::Count, &name).map_err(io(name))
        };
        let mut flow = Flow {
            received: count("received")?,
            from_clients: count("clients")?,
            rejected: count("rejected")?,
            carried,
            guide: flow_guide,
            own,
            locals,
            forwards,
            passage: None,
            rates,
        };
        let former = former.and_then(|guide| guide.flows.get(&name).map(|flow| (guide, flow.clone())));
        if let Some((former_guide, former)) = former.filter(|(_, former)| former.version != flow.guide.version) {
            for portal in &old_portals {
                if let Some((link, index)) = portal.link() {
                    self.links.keep(&self.page, (link, index), &name, flow.guide.version)?;
                }
            }
            let former_own = own_index(former_guide, &former, &self.place);
            let aside = Shelf::open(&self.place, &self.page, &name, ASIDE, &mut self.budget)?;
            if !is_opening {
                aside.set_ever_appended(0);
            }
            let mut passage = Passage {
                former_own,
                former_portals: former_guide.servers.iter().map(|it| format!("{it}/{}", former.portal)).collect(),
                is_sorting: may_lose((former_guide, &former, former_own), (&guide, &flow.guide, own)),
                former,
                former_guide: Arc::clone(former_guide),
                aside,
                departing,
                leaving: old_portals,
                reguided: count("reguided")?,
                handed: count("handed")?,
                older: Vec::new(),
                last: None,
            };
            let portals = flow.forwards.iter_mut().flatten().chain(&mut passage.leaving);
            passage.older = portals.map(Mark::behind).collect();
            flow.passage = Some(passage);
        } else {
            for destination in departing.into_iter().chain(old_portals) {
                destination.part(&mut self.budget)?;
            }
        }
        let taken = self.entrance.accepted(&name) + flow.from_clients.done();
        flow.balance(taken, is_opening);
        self.flows.push(flow);
        Ok(())
    }

    /// Gives up the consumers that are gone; answers those that merely aren't here any more, whose records are handed over.
    fn let_go(&mut self, locals: Vec<Destination>, owns_some: bool) -> Result<Vec<Destination>> {
        let (cut, locals): (Vec<_>, Vec<_>) = locals.into_iter().partition(Destination::is_done);
        for local in cut {
            local.give_up_the_rest(&mut self.budget)?;
        }
        if !owns_some {
            return Ok(locals);
        }
        // Where this server owns keys, a consumer that is gone has nothing held: that was asked before.
        for local in locals {
            local.part(&mut self.budget)?;
        }
        Ok(Vec::new())
    }

    /// Goes on with a transition; to be called once in a round.
    pub(super) fn go_on(&mut self, control: &mut Control) -> Result<bool> {
        if !control.is_flushed() {
            self.flush(control);
        }
        let Some(under_way) = &self.transition else { return Ok(false) };
        let asked = under_way.asked;
        let generation = self.place.generation;
        let Self { flows, place, page, guide, budget, .. } = self;
        for flow in &mut *flows {
            flow.sort((place, page, generation), guide, budget)?;
        }
        if flows.iter().any(|flow| flow.passage.as_ref().is_some_and(|passage| passage.is_sorting)) {
            return Ok(true);
        }
        let mut moved = false;
        if asked >= Asked::HandOver {
            moved |= self.hand_over(control);
        }
        if asked == Asked::Settle {
            moved |= self.settle(control)?;
        }
        Ok(moved)
    }

    /// What a transition has left aside that nobody will settle any more, as all portals were started anew by another plan:
    /// to the consumers.
    pub(super) fn recover_aside(&mut self) -> Result<()> {
        for flow in &mut self.flows {
            let name = &flow.carried.flow;
            if !Shelf::is_there(&self.place, &self.page, name, ASIDE) {
                continue;
            }
            let mut aside = Shelf::open(&self.place, &self.page, name, ASIDE, &mut self.budget)?;
            // Where the page knows them, they count as put aside so far.
            let is_known = !aside.is_new();
            let locals = &mut flow.locals;
            let mut to_locals = |bytes: &Bytes, count: u32, budget: &mut Budget| {
                for local in &mut *locals {
                    if is_known {
                        local.append(bytes, count, budget);
                    } else {
                        local.last().append_again(bytes, count, budget);
                    }
                }
            };
            while aside.move_front(&mut self.budget, &mut to_locals)? > 0 {}
            aside.set_ever_appended(0);
            aside.close(&mut self.budget)?;
        }
        Ok(())
    }

    fn flush(&mut self, control: &mut Control) {
        let mut flushed = self.links.are_flushed();
        for flow in &mut self.flows {
            flushed &= flow.have_passed(false, &mut self.links);
        }
        if flushed {
            control.say_flushed();
        }
    }

    fn hand_over(&mut self, control: &mut Control) -> bool {
        let Some(under_way) = &mut self.transition else { return false };
        if under_way.handed_over || !control.is_flushed() {
            return false;
        }
        let mut done = true;
        for flow in &mut self.flows {
            flow.mark_last();
            done &= flow.have_passed(true, &mut self.links);
        }
        under_way.handed_over = done;
        if done {
            control.say(FromProcess::HandedOver { generation: self.place.generation });
        }
        done
    }

    fn settle(&mut self, control: &mut Control) -> Result<bool> {
        let mut done = self.transition.as_ref().is_some_and(|under_way| under_way.handed_over);
        let mut moved = false;
        for flow in &mut self.flows {
            let before = flow.aside_held();
            done &= flow.take_from_aside(&mut self.budget)?;
            moved |= flow.aside_held() < before;
            // What isn't carried any more is passed on to the last record.
            let is_carried = self.doors.flows.iter().any(|carried| carried.flow == flow.carried.flow);
            done &= is_carried || flow.has_passed_on_all(&mut self.links);
        }
        if !done {
            return Ok(moved);
        }
        let Some(under_way) = self.transition.take() else { return Ok(false) };
        self.forget_the_former()?;
        for endpoint in &under_way.old_links {
            self.entrance.unbind(endpoint);
        }
        self.unbind_clients(&under_way.old_clients);
        Transition::remove(&self.place.spool).map_err(io("forget the plan before"))?;
        control.say(FromProcess::Settled { generation: self.place.generation });
        Ok(true)
    }

    /// Ends all passages: nothing is aside, and nothing is left for portals that the guide doesn't name.
    fn forget_the_former(&mut self) -> Result<()> {
        self.links.begin_rewiring();
        for mut flow in std::mem::take(&mut self.flows) {
            let name = flow.carried.flow.clone();
            if let Some(Passage { aside, departing, leaving, .. }) = flow.passage.take() {
                for destination in departing.into_iter().chain(leaving) {
                    destination.part(&mut self.budget)?;
                }
                aside.set_ever_appended(0);
                aside.close(&mut self.budget)?;
            }
            if !self.doors.flows.iter().any(|carried| carried.flow == name) {
                flow.part(&mut self.budget)?;
                continue;
            }
            for forward in flow.forwards.iter().flatten() {
                if let Some(link) = forward.link() {
                    self.links.keep(&self.page, link, &name, flow.guide.version)?;
                }
            }
            let taken = self.entrance.accepted(&name) + flow.from_clients.done();
            flow.balance(taken, false);
            self.flows.push(flow);
        }
        Ok(())
    }
}

fn own_index(guide: &Guide, flow: &FlowGuide, place: &Place) -> Option<ServerIndex> {
    let index = guide.servers.iter().position(|server| *server == place.server)?;
    (flow.portal == place.process).then_some(index as ServerIndex)
}

fn take_named(destinations: &mut Vec<Destination>, name: &str) -> Option<Destination> {
    let index = destinations.iter().position(|destination| destination.name() == name)?;
    Some(destinations.swap_remove(index))
}

/// Whether what is held of a flow has somewhere to go by the new plan; what came for a consumer after its cut has gone with it.
fn has_a_place(flow: &Flow, doors: &Doors, guide: &Guide, place: &Place) -> std::result::Result<(), String> {
    let name = &flow.carried.flow;
    let Some(flow_guide) = guide.flows.get(name) else {
        return match flow.held() {
            0 => Ok(()),
            held => Err(format!("{held} records of flow {name} are held, which the new plan doesn't have")),
        };
    };
    let owns_some = own_index(guide, flow_guide, place).is_some_and(|own| guide.owners(flow_guide).contains(&own));
    if !owns_some {
        return Ok(());
    }
    let carried = doors.flows.iter().find(|carried| carried.flow == *name);
    let consumes = |stage: &str| carried.is_some_and(|it| it.consumers.iter().any(|consumer| consumer.stage == stage));
    match flow.locals.iter().find(|local| !consumes(local.name()) && local.held() > 0 && !local.is_done()) {
        None => Ok(()),
        Some(local) => Err(format!(
            "{} records of flow {name} are held for stage {}, which doesn't receive it any more by the new plan",
            local.held(),
            local.name()
        )),
    }
}

/// Adds the slots of all edges to the page, so that nothing can fail for want of one when half of the way is gone.
fn add_edges(doors: &Doors, guide: &Guide, place: &Place, page: &Page) -> std::result::Result<(), String> {
    let add = |kind: SlotKind, name: String| {
        page.slot(kind, &name).map(drop).map_err(|error| format!("add edge {name}: {error}"))
    };
    for carried in &doors.flows {
        let flow = &carried.flow;
        let Some(flow_guide) = guide.flows.get(flow) else { return Err(format!("no guide for flow {flow}")) };
        for receiver in carried.consumers.iter().flat_map(|consumer| &consumer.receivers) {
            add(SlotKind::Sent, format!("{flow}>{}", receiver.process))?;
        }
        let own = own_index(guide, flow_guide, place);
        for owner in guide.owners(flow_guide).into_iter().filter(|&owner| Some(owner) != own) {
            let server = &guide.servers[usize::from(owner)];
            let portal = &flow_guide.portal;
            if !guide.portals.get(server).is_some_and(|portals| portals.contains_key(portal)) {
                return Err(format!("no portal {server}/{portal} for flow {flow}"));
            }
            add(SlotKind::Link, format!("{flow}>{server}/{portal}"))?;
        }
        for what in ["received", "clients", "rejected", "reguided", "handed"] {
            add(SlotKind::Count, format!("{what} {flow}"))?;
        }
    }
    Ok(())
}
