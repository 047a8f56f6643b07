//! Portals, stages and sources of the model: what they hold, and how they live by a plan.

use std::{collections::VecDeque, rc::Rc};

use waldo_runtime::launcher::Role;
use waldo_sdk::control::{FromProcess, ToProcess};

use crate::{
    account::Record,
    plan::{FLOWS, Live},
    world::{Event, Moment, World, Wrong},
};

/// Records that a stage's inbox holds.
const QUEUE: usize = 3;
/// Records that a portal takes from a link in one go.
const BATCH: usize = 3;
/// How often a record may go round.
const PASSES: u8 = 2;

/// What is on its way to a portal. The sender keeps it until the portal has it.
#[derive(Debug, Default)]
pub struct Link {
    pub to: u16,
    /// With the version of the guide that each was sent by.
    pub queue: VecDeque<(Record, u64)>,
    sent: u64,
    taken: u64,
    /// What was sent when the sender adopted its plan.
    older: u64,
    /// What was sent when nothing of an older guide could come any more.
    last: u64,
    pumping: bool,
}

/// How far a portal was asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Adopt,
    HandOver,
    Settle,
}

#[derive(Debug)]
pub struct Process {
    pub role: Role,
    pub up: bool,
    pub ready: bool,
    pub incarnation: u64,
    /// It has been stopped by a signal until then.
    pub frozen_until: Moment,
    pub lives: Live,
    /// What its launcher has put in place for it.
    pub installed: Live,
    pub was_killed: bool,
    /// What it had in hand when it was killed isn't settled until the next one is ready.
    unsettled: bool,
    pub gate_closed: bool,
    /// Flows that are delivered behind a closed gate.
    pub but: [bool; FLOWS],
    pub links: Vec<Link>,
    numbers: u32,
    /// The generation of the plan by which it has said that it is flushed.
    pub flushed: u64,
    leaving: bool,
    /// The launcher that it is connected to.
    pub connected: u64,
    /// When the last thing that it says will be heard, as nothing overtakes.
    pub heard_at: Moment,
    pub told_at: Moment,
    /// Of a stage.
    pub inbox: VecDeque<Record>,
    pub hand: Option<Record>,
    /// Of a source: records that it still sends.
    pub budget: u32,
    emitting: bool,
    /// Of a portal: what it holds for the stage, and what is aside.
    pub locals: [VecDeque<Record>; FLOWS],
    pub aside: [VecDeque<Record>; FLOWS],
    /// The plan that it lived by before, until it has settled.
    pub former: Option<Live>,
    asked: Asked,
    handed: bool,
    marked: bool,
}

impl Process {
    pub fn new(role: Role, live: Live) -> Self {
        Self {
            role,
            up: false,
            ready: false,
            incarnation: 0,
            frozen_until: 0,
            flushed: live.generation,
            lives: live.clone(),
            installed: live,
            was_killed: false,
            unsettled: false,
            gate_closed: false,
            but: [false; FLOWS],
            links: Vec::new(),
            numbers: 0,
            leaving: false,
            connected: 1,
            heard_at: 0,
            told_at: 0,
            inbox: VecDeque::new(),
            hand: None,
            budget: 0,
            emitting: false,
            locals: Default::default(),
            aside: Default::default(),
            former: None,
            asked: Asked::Adopt,
            handed: false,
            marked: false,
        }
    }

    fn owner(live: &Live, record: Record) -> Option<u16> {
        live.plan.flows[usize::from(record.flow)].as_ref().map(|guide| guide.owners[usize::from(record.slot)])
    }

    fn version(live: &Live, flow: u8) -> Option<u64> {
        live.plan.flows[usize::from(flow)].as_ref().map(|guide| guide.version)
    }

    /// The former guide's owner of a record whose flow is between two guides.
    fn former_owner(&self, record: Record) -> Option<u16> {
        let former = self.former.as_ref()?;
        (Self::version(former, record.flow)? != Self::version(&self.lives, record.flow)?)
            .then(|| Self::owner(former, record))?
    }

    fn link(&mut self, to: u16) -> usize {
        self.links.iter().position(|link| link.to == to).unwrap_or_else(|| {
            self.links.push(Link { to, ..Link::default() });
            self.links.len() - 1
        })
    }

    pub fn holds_of(&self, flow: usize) -> bool {
        let of = |record: &Record| usize::from(record.flow) == flow;
        !self.locals[flow].is_empty()
            || !self.aside[flow].is_empty()
            || self.inbox.iter().any(of)
            || self.hand.as_ref().is_some_and(of)
            || self.links.iter().any(|link| link.queue.iter().any(|(record, _)| of(record)))
    }

    pub fn holds_something(&self) -> bool {
        (0..FLOWS).any(|flow| self.holds_of(flow))
    }
}

/// The number of a server's process: portal, stage, source.
pub fn who(server: usize, role: Role) -> usize {
    server * 3
        + match role {
            Role::Portal => 0,
            Role::Stage => 1,
            Role::Source => 2,
        }
}

impl World {
    /// Sends a record by the guide that the sender lives by.
    fn send(&mut self, who: usize, flow: u8, slot: u16, passes: u8) {
        let process = &mut self.processes[who];
        process.numbers += 1;
        let record = self.account.sent(flow, slot, who as u32, process.numbers, passes);
        match (Process::owner(&process.lives, record), Process::version(&process.lives, flow)) {
            (Some(owner), Some(version)) => self.push(who, owner, record, version),
            _ => self.account.refused(record, "its sender has no guide for it"),
        }
    }

    fn push(&mut self, who: usize, to: u16, record: Record, version: u64) {
        let process = &mut self.processes[who];
        let at = process.link(to);
        let link = &mut process.links[at];
        link.queue.push_back((record, version));
        link.sent += 1;
        if !std::mem::replace(&mut link.pumping, true) {
            let delay = self.weather.link(&mut self.rng);
            self.later(delay, Event::Pump { who, to });
        }
    }

    /// A portal takes what has come to it on a link.
    pub fn pump(&mut self, who: usize, to: u16) {
        let at = self.processes[who].link(to);
        self.processes[who].links[at].pumping = false;
        let portal = usize::from(to) * 3;
        for _ in 0..BATCH {
            let Some(&(record, version)) = self.processes[who].links[at].queue.front() else { break };
            let receiver = &self.processes[portal];
            let known = Process::version(&receiver.lives, record.flow).unwrap_or(receiver.lives.generation);
            let is_too_new = version > known && self.wrong != Wrong::SendersFirst;
            if !self.processes[who].up || !receiver.up || !receiver.ready || is_too_new {
                break;
            }
            let link = &mut self.processes[who].links[at];
            link.queue.pop_front();
            link.taken += 1;
            self.keep(usize::from(to), record, version, who);
        }
        let link = &mut self.processes[who].links[at];
        if !link.queue.is_empty() {
            link.pumping = true;
            let delay = self.weather.link(&mut self.rng) + if self.processes[portal].up { 5 } else { 100 };
            self.later(delay, Event::Pump { who, to });
        }
        self.deliver(usize::from(to));
        self.advance(who);
    }

    /// A portal puts a record where it belongs.
    fn keep(&mut self, server: usize, record: Record, version: u64, sender: usize) {
        let portal = &mut self.processes[server * 3];
        let flow = usize::from(record.flow);
        let (Some(owner), Some(own_version)) =
            (Process::owner(&portal.lives, record), Process::version(&portal.lives, record.flow))
        else {
            self.account.refused(record, "its flow isn't there any more");
            return;
        };
        let is_own = usize::from(owner) == server;
        if !is_own {
            self.push(server * 3, owner, record, own_version);
            return;
        }
        if let Some(former) = portal.former_owner(record).map(usize::from) {
            let is_handed_over = sender == former * 3;
            let waits = former != server && version >= own_version && !is_handed_over;
            if waits && self.wrong != Wrong::NothingAside {
                portal.aside[flow].push_back(record);
                return;
            }
        }
        portal.locals[flow].push_back(record);
    }

    /// A portal gives the server's stage what it has room for.
    pub fn deliver(&mut self, server: usize) {
        let (portal, stage) = (server * 3, server * 3 + 1);
        for flow in 0..FLOWS {
            loop {
                let from = &self.processes[portal];
                let to = &self.processes[stage];
                let is_open = !from.gate_closed || from.but[flow];
                let has_room = to.inbox.len() + usize::from(to.hand.is_some()) < QUEUE;
                if !(from.up && from.ready && is_open && to.up && to.ready && !to.leaving && has_room) {
                    break;
                }
                let Some(record) = self.processes[portal].locals[flow].pop_front() else { break };
                let (from, to) = (&self.processes[portal], &self.processes[stage]);
                if Process::owner(&from.lives, record) != Some(server as u16) {
                    self.account.breaks(|| format!("server {server} delivers what it doesn't own: {record:?}"));
                }
                if to.lives.plan.flows[flow].is_none() {
                    self.account.breaks(|| format!("server {server}: a stage without this flow is given {record:?}"));
                }
                self.account.handed_in(record, server);
                self.processes[stage].inbox.push_back(record);
                self.begin(stage);
            }
        }
    }

    fn begin(&mut self, who: usize) {
        let process = &mut self.processes[who];
        if process.hand.is_some() || !process.up || process.leaving {
            return;
        }
        if let Some(record) = process.inbox.pop_front() {
            process.hand = Some(record);
            let incarnation = process.incarnation;
            self.account.handled(record);
            let time = self.weather.handler(&mut self.rng);
            self.later(time, Event::Handled { who, incarnation });
        }
    }

    /// A stage's handler is over: it may have sent something.
    pub fn handled(&mut self, who: usize, incarnation: u64) {
        if self.processes[who].incarnation != incarnation {
            return;
        }
        let Some(record) = self.processes[who].hand else { return };
        if record.passes < PASSES && self.rng.u8(..) < 100 && self.account.sent_count() < self.most_records {
            let flow = self.some_flow(who);
            let slot = self.rng.u16(..self.slots);
            self.send(who, flow, slot, record.passes + 1);
        }
        self.processes[who].hand = None;
        self.account.out_of_hands(record);
        self.begin(who);
        self.deliver(who / 3);
        self.advance(who);
    }

    fn some_flow(&mut self, who: usize) -> u8 {
        u8::from(self.processes[who].lives.plan.flows[1].is_some() && self.rng.bool())
    }

    pub fn emit(&mut self, who: usize) {
        let process = &mut self.processes[who];
        process.emitting = false;
        if !process.up || !process.ready || process.gate_closed || process.budget == 0 || process.leaving {
            return;
        }
        process.budget -= 1;
        let flow = self.some_flow(who);
        let slot = self.rng.u16(..self.slots);
        self.send(who, flow, slot, 0);
        self.wake_source(who);
    }

    pub fn wake_source(&mut self, who: usize) {
        let process = &mut self.processes[who];
        let may = process.role == Role::Source && process.up && process.ready && !process.gate_closed;
        if may && process.budget > 0 && !std::mem::replace(&mut process.emitting, true) {
            let pause = self.weather.pause(&mut self.rng);
            self.later(pause, Event::Emit { who });
        }
    }

    /// What its launcher says to a process.
    pub fn told(&mut self, who: usize, incarnation: u64, message: &ToProcess) {
        let process = &mut self.processes[who];
        if !process.up || process.incarnation != incarnation {
            return;
        }
        match *message {
            ToProcess::Gate { closed, ref but } => {
                process.gate_closed = closed;
                process.but = [but.iter().any(|flow| flow == "0"), but.iter().any(|flow| flow == "1")];
                self.say(who, FromProcess::Gate { closed });
                self.deliver(who / 3);
                self.wake_source(who);
            }
            ToProcess::Adopt { generation } => self.adopt(who, generation),
            ToProcess::HandOver { generation } if generation == process.lives.generation => {
                process.asked = process.asked.max(Asked::HandOver);
                if process.former.is_none() || process.handed {
                    self.say(who, FromProcess::HandedOver { generation });
                }
            }
            ToProcess::Settle { generation } if generation == process.lives.generation => {
                process.asked = Asked::Settle;
                if process.former.is_none() {
                    self.say(who, FromProcess::Settled { generation });
                }
            }
            ToProcess::Stop => process.leaving = true,
            ToProcess::HandOver { .. } | ToProcess::Settle { .. } | ToProcess::Finish => {}
        }
        self.advance(who);
    }

    fn adopt(&mut self, who: usize, generation: u64) {
        let process = &mut self.processes[who];
        if generation < process.lives.generation {
            return;
        }
        if generation > process.lives.generation {
            if process.role == Role::Portal {
                let has_no_place =
                    |flow: &usize| process.holds_of(*flow) && process.installed.plan.flows[*flow].is_none();
                if process.former.is_some() || (0..FLOWS).any(|flow| has_no_place(&flow)) {
                    let why = if process.former.is_some() { "isn't settled" } else { "holds what has no place" };
                    self.account.breaks(|| format!("portal of server {} {why}: it can't adopt {generation}", who / 3));
                    return;
                }
            }
            self.live_by_installed(who);
        }
        self.say(who, FromProcess::Adopted { generation });
        if self.processes[who].flushed >= generation {
            self.say(who, FromProcess::Flushed { generation });
        }
    }

    fn live_by_installed(&mut self, who: usize) {
        let process = &mut self.processes[who];
        let before = std::mem::replace(&mut process.lives, process.installed.clone());
        process.links.iter_mut().for_each(|link| link.older = link.sent);
        if process.role != Role::Portal {
            return;
        }
        process.former = Some(before);
        (process.asked, process.handed, process.marked) = (Asked::Adopt, false, false);
        for flow in 0..FLOWS {
            // What has moved goes to its new owner.
            for record in std::mem::take(&mut self.processes[who].locals[flow]) {
                let process = &mut self.processes[who];
                let version = Process::version(&process.lives, record.flow).unwrap_or(0);
                match Process::owner(&process.lives, record) {
                    Some(owner) if usize::from(owner) * 3 == who => process.locals[flow].push_back(record),
                    Some(owner) => self.push(who, owner, record, version),
                    None => self.account.refused(record, "its flow was taken away"),
                }
            }
        }
        let process = &mut self.processes[who];
        process.links.iter_mut().for_each(|link| link.older = link.sent);
    }

    /// A process goes on with a change, or leaves.
    pub fn advance(&mut self, who: usize) {
        let process = &mut self.processes[who];
        if !process.up || (!process.ready && !process.leaving) {
            return;
        }
        let generation = process.lives.generation;
        if process.flushed < generation && process.links.iter().all(|link| link.taken >= link.older) {
            process.flushed = generation;
            self.say(who, FromProcess::Flushed { generation });
        }
        let process = &mut self.processes[who];
        if process.role == Role::Portal && process.former.is_some() {
            let is_flushed = process.flushed >= generation;
            let wrong = self.wrong == Wrong::SettleBeforeHandOver;
            if process.asked >= Asked::HandOver && is_flushed && !process.handed {
                if !std::mem::replace(&mut process.marked, true) {
                    process.links.iter_mut().for_each(|link| link.last = link.sent);
                }
                process.handed = process.links.iter().all(|link| link.taken >= link.last);
                if process.handed {
                    self.say(who, FromProcess::HandedOver { generation });
                }
            }
            let process = &mut self.processes[who];
            if process.asked == Asked::Settle && (process.handed || wrong) {
                for flow in 0..FLOWS {
                    let aside = std::mem::take(&mut process.aside[flow]);
                    process.locals[flow].extend(aside);
                }
                process.former = None;
                self.say(who, FromProcess::Settled { generation });
                self.deliver(who / 3);
            }
        }
        let process = &self.processes[who];
        if process.leaving && process.hand.is_none() && process.links.iter().all(|link| link.queue.is_empty()) {
            let incarnation = process.incarnation;
            self.ends(who, false);
            self.later(1, Event::Ended { who, incarnation });
        }
    }

    /// It begins to run; what it holds on disk is there again.
    pub fn starts(&mut self, who: usize, incarnation: u64, gated: bool) {
        let process = &mut self.processes[who];
        process.up = true;
        process.ready = false;
        process.frozen_until = 0;
        process.incarnation = incarnation;
        process.connected = self.launchers[who / 3].incarnation;
        process.leaving = false;
        process.gate_closed = gated;
        process.but = [false; FLOWS];
        process.flushed = 0;
        process.links.iter_mut().for_each(|link| link.older = link.sent);
        (process.asked, process.handed, process.marked) = (Asked::Adopt, false, false);
        if process.role != Role::Portal {
            process.lives = process.installed.clone();
        } else if process.lives.generation < process.installed.generation {
            if process.former.is_some() {
                self.account.breaks(|| format!("portal of server {} begins anew and isn't settled", who / 3));
            }
            self.live_by_installed(who);
        }
    }

    pub fn gets_ready(&mut self, who: usize, incarnation: u64) {
        let process = &mut self.processes[who];
        if !process.up || process.incarnation != incarnation {
            return;
        }
        process.ready = true;
        process.unsettled = false;
        self.say(who, FromProcess::Hello { process: String::new(), pid: 0, ready: false });
        self.say(who, FromProcess::Ready);
        self.deliver(who / 3);
        self.wake_source(who);
        self.advance(who);
    }

    /// It has ended: what it had in memory is gone.
    fn ends(&mut self, who: usize, killed: bool) {
        let process = &mut self.processes[who];
        process.up = false;
        process.ready = false;
        process.was_killed = killed;
        let in_hands: Vec<Record> = process.hand.take().into_iter().chain(process.inbox.drain(..)).collect();
        for record in in_hands {
            self.account.out_of_hands(record);
            if !killed {
                self.account.breaks(|| format!("lost: {record:?} was in the hands of a stage that was asked to leave"));
            }
        }
    }

    /// It is killed: what it had in hand is lost, within bounds.
    pub fn killed(&mut self, who: usize) {
        let keeps_disk = self.rng.bool();
        let process = &mut self.processes[who];
        if !process.up {
            return;
        }
        let mut gone: Vec<Record> = process.hand.iter().chain(&process.inbox).copied().collect();
        if process.role != Role::Portal || !keeps_disk {
            for link in &mut process.links {
                gone.extend(link.queue.drain(..).map(|(record, _)| record));
                link.taken = link.sent;
            }
            for queue in process.locals.iter_mut().chain(&mut process.aside) {
                gone.extend(queue.drain(..));
            }
        }
        process.unsettled |= !gone.is_empty();
        for record in gone {
            self.account.killed(record);
        }
        let incarnation = self.processes[who].incarnation;
        self.ends(who, true);
        self.later(3, Event::Ended { who, incarnation });
    }

    /// What a launcher that has just come hears of a process, which has read all that the one before had said.
    pub fn greets(&mut self, who: usize, incarnation: u64) {
        let launcher = self.launchers[who / 3].incarnation;
        let process = &mut self.processes[who];
        if !process.up || process.incarnation != incarnation || process.connected == launcher {
            return;
        }
        process.connected = launcher;
        let (ready, flushed, generation) = (process.ready, process.flushed, process.lives.generation);
        self.say(who, FromProcess::Hello { process: String::new(), pid: 0, ready });
        if ready {
            self.say(who, FromProcess::Ready);
            if flushed >= generation {
                self.say(who, FromProcess::Flushed { generation });
            }
        }
    }

    /// Whether a server's stage has nothing queued or in hand, and all that earlier ones had is settled.
    pub fn is_idle(&self, server: usize) -> bool {
        let stage = &self.processes[who(server, Role::Stage)];
        stage.hand.is_none() && stage.inbox.is_empty() && !stage.unsettled
    }

    pub fn installs(&mut self, who: usize, live: &Live) {
        self.processes[who].installed = Live { generation: live.generation, plan: Rc::clone(&live.plan) };
    }
}
