//! What is still on its way to the inbox of a process that leaves.
//!
//! A process that is asked to end says in its page that it is leaving. From then on its senders begin nothing more for it;
//! what they have begun they hand on within a moment. So when no sender has anything begun, what has been sent is all
//! that will ever come, and once all of that is done, the process can end without losing anything.
//!
//! A sender that was killed, or is stopped, may never hand on what it has begun or counted. It is waited for as long as
//! anything moves, and [`AT_MOST`] beyond that; what is missing then is lost, and settled as after a death.

use std::time::{Duration, Instant};

use crate::{
    page::{Kind, Page, Slot},
    wiring::{Place, Wiring},
};

/// How long a process that leaves waits for senders from whom nothing comes.
const AT_MOST: Duration = Duration::from_secs(2);

/// One flow on its way from one sender to this process.
struct Edge {
    flow: String,
    sender: String,
    page: Option<Page>,
    sent: Option<Slot>,
    done: Option<Slot>,
}

/// A process's leaving, from when it said so.
pub struct Leaving {
    place: Place,
    own_page: Page,
    edges: Vec<Edge>,
    missing: u64,
    moved: Instant,
}

impl Leaving {
    /// Of the process at `place`, which has said in its page that it is leaving.
    pub fn new(place: &Place, wiring: &Wiring, page: &Page, now: Instant) -> Self {
        let mut edges = Vec::new();
        let mut add = |flow: &str, sender: &str| {
            if !edges.iter().any(|edge: &Edge| edge.flow == flow && edge.sender == sender) {
                let (flow, sender) = (flow.to_owned(), sender.to_owned());
                edges.push(Edge { flow, sender, page: None, sent: None, done: None });
            }
        };
        for input in &wiring.inputs {
            input.from.iter().for_each(|sender| add(&input.flow, sender));
        }
        // An earlier wiring may have had others.
        for index in 0..page.len() {
            if let (Some(Kind::Done), name) = page.name(index)
                && let Some((flow, sender)) = name.split_once('<')
            {
                add(flow, sender);
            }
        }
        Self { place: place.clone(), own_page: page.clone(), edges, missing: 0, moved: now }
    }

    /// Whether nothing more comes, and all that has come is done; or it has been waited for long enough. To be asked
    /// while the inbox is dry and nothing is in hand.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let Self { place, own_page, edges, .. } = self;
        let missing = edges.iter_mut().map(|edge| edge.missing(place, own_page)).sum();
        if missing == 0 {
            return true;
        }
        if missing != self.missing {
            (self.missing, self.moved) = (missing, now);
        }
        if now.duration_since(self.moved) < AT_MOST {
            return false;
        }
        for edge in &mut self.edges {
            let missing = edge.missing(&self.place, &self.own_page);
            if missing > 0 {
                eprintln!(
                    "waldo: leaves without what {} has sent of flow {} and doesn't hand on: {missing} records or more",
                    edge.sender, edge.flow
                );
            }
        }
        true
    }
}

impl Edge {
    /// How many records have been sent and neither come nor been written off. At least 1 while the sender has a batch
    /// begun, as that may get more.
    fn missing(&mut self, place: &Place, own_page: &Page) -> u64 {
        if self.page.is_none() {
            self.page = Page::open(&place.page(&self.sender)).ok();
        }
        let Some(page) = &self.page else { return 0 };
        if self.sent.is_none() {
            self.sent = page.find(Kind::Sent, &format!("{}>{}", self.flow, place.process));
        }
        let Some(sent) = &self.sent else { return 0 };
        // What a killed sender had begun nobody goes on with.
        let begun = sent.begun();
        let is_begun = begun != 0 && begun == page.incarnation();
        if self.done.is_none() {
            self.done = own_page.find(Kind::Done, &format!("{}<{}", self.flow, self.sender));
        }
        let settled = self.done.as_ref().map_or(0, |done| done.done() + done.written_off());
        // After `begun`: what was begun has been counted when it has ended.
        sent.sent().saturating_sub(settled).max(u64::from(is_begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::Input;

    /// `b.0`, which receives flow `f` from `a.0`, and the page of `a.0` with the slot of its edge.
    fn leaving(directory: &std::path::Path, now: Instant) -> (Leaving, Page, Slot) {
        let place = Place {
            topology: "t".into(),
            namespace: "n".into(),
            server: "s".into(),
            process: "b.0".into(),
            generation: 1,
            run: directory.to_owned(),
            guide: directory.join("guide.json"),
            state: directory.join("state"),
            spool: directory.join("spool"),
        };
        let page = |process: &str| {
            std::fs::create_dir(directory.join(process)).unwrap();
            Page::create(&place.page(process), 4).unwrap()
        };
        let (sender, own) = (page("a.0"), page("b.0"));
        sender.begin_incarnation(3);
        let slot = sender.slot(Kind::Sent, "f>b.0").unwrap();
        let inputs = vec![Input { flow: "f".into(), from: vec!["a.0".into()] }];
        let wiring = Wiring { stage: "b".into(), inputs, ..Wiring::default() };
        own.set_bound(5);
        own.set_leaving(5);
        (Leaving::new(&place, &wiring, &own, now), sender, slot)
    }

    #[test]
    fn a_batch_that_is_begun_is_waited_for_and_so_is_what_it_has_become() {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let (mut leaving, _, slot) = leaving(directory.path(), now);
        slot.begin(3);
        assert!(!leaving.is_over(now), "nothing is counted yet, but will be");
        slot.add_sent(7);
        slot.end();
        assert!(!leaving.is_over(now), "7 records are on their way");
        leaving.own_page.slot(Kind::Done, "f<a.0").unwrap().add_done(6);
        assert!(!leaving.is_over(now), "one is still missing");
        leaving.own_page.slot(Kind::Done, "f<a.0").unwrap().add_done(1);
        assert!(leaving.is_over(now));
    }

    #[test]
    fn a_sender_that_hands_nothing_on_is_waited_for_as_long_as_anything_moves_and_a_bounded_time_beyond() {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let (mut leaving, _, slot) = leaving(directory.path(), now);
        slot.add_sent(2);
        assert!(!leaving.is_over(now));
        leaving.own_page.slot(Kind::Done, "f<a.0").unwrap().add_done(1);
        let later = now + AT_MOST * 2;
        assert!(!leaving.is_over(later), "one has come meanwhile");
        assert!(!leaving.is_over(later + AT_MOST / 2));
        assert!(leaving.is_over(later + AT_MOST));
    }

    #[test]
    fn what_a_killed_sender_had_begun_is_not_waited_for_once_it_has_a_successor() {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let (mut leaving, sender, slot) = leaving(directory.path(), now);
        slot.begin(3);
        assert!(!leaving.is_over(now));
        sender.begin_incarnation(4);
        assert!(leaving.is_over(now));
    }

    #[test]
    fn a_sender_that_begins_sees_who_leaves_until_there_is_a_successor() {
        let directory = tempfile::tempdir().unwrap();
        let (leaving, ..) = leaving(directory.path(), Instant::now());
        let page = &leaving.own_page;
        assert!(page.is_leaving());
        page.begin_incarnation(6);
        assert!(page.is_leaving(), "the next one hasn't bound its inbox yet");
        page.set_bound(6);
        assert!(!page.is_leaving());
    }
}
