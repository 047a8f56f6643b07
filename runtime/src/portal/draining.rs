//! What a portal delivers though it holds, before a rollout is decided, as the plan to come has no place for it.
//!
//! A *flow* that goes is delivered to its end: the stages that send it are idle. Clients send whenever they like; so nothing is
//! taken from them until the rollout is decided or given up, and what they send waits with them. A flow that loses a *consumer* goes on;
//! so that consumer gets what was there when the portal was told, and what comes later is held for it: delivered to it should the
//! rollout be given up, and given up with it when the portal adopts the new plan.

use waldo_sdk::{
    Result,
    control::{FromProcess, one_consumer},
    service::Control,
};

use super::{Portal, flow::Flow};

/// What is to be delivered, as it was told last.
#[derive(Default)]
pub struct Draining {
    /// Flows, and flows with one of their consumers.
    what: Vec<String>,
    /// Whether it has been said that there is nothing left.
    said: bool,
}

impl Draining {
    /// Whether it is to be delivered.
    pub fn has(&self, what: &str) -> bool {
        self.what.iter().any(|known| known == what)
    }

    fn is_wanted(&self) -> bool {
        !self.what.is_empty()
    }
}

impl Portal {
    /// A gate was closed, but for this, or opened.
    pub(super) fn drain(&mut self, closed: bool, but: &[String]) {
        if !closed || but.is_empty() {
            self.forget_draining();
            return;
        }
        self.draining = Draining { what: but.to_vec(), said: false };
        for flow in &mut self.flows {
            for local in &mut flow.locals {
                if self.draining.has(&one_consumer(&flow.carried.flow, local.name())) {
                    local.cut();
                }
            }
        }
    }

    /// The rollout is decided, or given up.
    pub(super) fn forget_draining(&mut self) {
        self.draining = Draining::default();
        for local in self.flows.iter_mut().flat_map(|flow| &mut flow.locals) {
            local.forget_cut();
        }
    }

    /// Whether a flow that clients send is about to go.
    pub(super) fn keeps_clients_waiting(&self) -> bool {
        let goes = |flow: &Flow| flow.carried.from_clients && self.draining.has(&flow.carried.flow);
        self.draining.is_wanted() && self.flows.iter().any(goes)
    }

    /// Delivers to consumers that go what was there before the cut.
    pub(super) fn hand_on_before_cuts(&mut self) -> Result<bool> {
        let mut moved = false;
        if !self.draining.is_wanted() {
            return Ok(moved);
        }
        let Self { flows, outlet, links, budget, .. } = self;
        for local in flows.iter_mut().flat_map(|flow| &mut flow.locals).filter(|local| !local.is_done()) {
            if local.is_cut() {
                moved |= local.hand_on(outlet, links, budget)?;
            }
        }
        Ok(moved)
    }

    /// Whether consumers that go haven't got all that they are to get.
    pub(super) fn has_before_cuts(&self) -> bool {
        self.draining.is_wanted()
            && self.flows.iter().flat_map(|flow| &flow.locals).any(|local| local.is_cut() && !local.is_done())
    }

    /// Says, once, that consumers that go have got all that they are to get, and that clients wait.
    pub(super) fn say_drained(&mut self, control: &mut Control) {
        if self.draining.is_wanted() && !self.draining.said && !self.has_before_cuts() {
            self.draining.said = true;
            control.say(FromProcess::Drained { but: self.draining.what.clone() });
        }
    }
}
