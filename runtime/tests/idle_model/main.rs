//! An exhaustive model of the idle proof: every interleaving of an observer's reads with the steps of a small system.
//!
//! ```text
//!                  back
//!             ┌───────────┐
//!             ▼           │
//! injector ─▶ router ─▶ again        the injector is gated before the observer begins;
//!        in   │     round            the router may drop a record, send it round the loop (`passes` times) or out
//!             └──────▶ sink
//!               out
//! ```
//!
//! A step is one thing that others can see: a counter that grows, a record that enters or leaves a queue. The observer
//! reads one counter at a time (for the wrong rules even two at once), in any order that its rule allows, and begins
//! anew after each "not idle". The right rule must never say "idle" while a record is queued or in work; each of the
//! wrong ones must be caught doing so, with the shortest story of how, which is printed.

mod explore;
mod observer;
mod system;

use std::collections::HashSet;

use explore::{Found, State, explore};
use observer::{Observation, Observer, Rule};
use system::{EDGES, Hand, System};

fn print_story(rule: Rule, found: &Found) {
    let Some((events, system)) = &found.wrong else { return };
    println!("{rule:?} is unsafe ({} states until this was found):", found.states);
    for event in events {
        println!("  {event}");
    }
    let queued: usize = system.inboxes.iter().flatten().flatten().count();
    let in_work = system.hands.iter().filter(|hand| **hand != Hand::Empty).count();
    println!("  … and it says \"idle\", with {queued} queued and {in_work} in work\n");
}

fn is_unsafe_in_any_order(rule: Rule) {
    let found = explore(&Observation::in_any_order(rule));
    print_story(rule, &found);
    assert!(found.wrong.is_some(), "{rule:?} was never caught in {} states", found.states);
}

fn orders() -> Vec<Vec<usize>> {
    let places = 0..EDGES.len();
    let words = places.clone().flat_map(|a| (0..4).flat_map(move |b| (0..16).map(move |c| vec![a, b, c / 4, c % 4])));
    words.filter(|order| places.clone().all(|place| order.contains(&place))).collect()
}

fn is_unsafe_in_every_order(rule: Rule) {
    is_unsafe_in_any_order(rule);
    for order in orders() {
        let found = explore(&Observation::in_order(rule, &order));
        assert!(found.wrong.is_some(), "{rule:?} was never caught in order {order:?}, {} states", found.states);
    }
}

#[test]
fn every_done_and_then_every_sent_never_calls_a_busy_system_idle() {
    let found = explore(&Observation::in_any_order(Rule::DoneBeforeSent));
    print_story(Rule::DoneBeforeSent, &found);
    println!("DoneBeforeSent is safe: {} states, {} true proofs", found.states, found.proofs);
    assert!(found.wrong.is_none());
    assert!(found.proofs > 0, "the model never gets idle");
}

#[test]
fn every_done_and_then_every_sent_calls_every_idle_system_idle() {
    let observation = Observation::in_any_order(Rule::DoneBeforeSent);
    let mut known = HashSet::from([System::new()]);
    let mut open = vec![System::new()];
    let mut idle = 0;
    while let Some(system) = open.pop() {
        let mut stuck = true;
        system.successors(|_, next| {
            stuck = false;
            if known.insert(next) {
                open.push(next);
            }
        });
        assert_eq!(stuck, system.is_idle(), "the system comes to rest when it is idle and only then: {system:?}");
        if system.is_idle() {
            idle += 1;
            let mut state = State { system, observer: Observer::default() };
            while let Some(&place) = observation.next_reads(&state.observer).first() {
                state = observation.look(&state, place).0;
            }
            assert_eq!(observation.verdict(&state.observer), Some(true), "idle and not called so: {system:?}");
        }
    }
    println!("{} states of the system, {idle} of them idle, all called so", known.len());
    assert!(idle > 1);
}

#[test]
fn no_data_since_the_last_heartbeat_is_unsafe() {
    is_unsafe_in_any_order(Rule::NoDataSinceTheLastHeartbeat);
}

#[test]
fn one_scan_of_receipts_is_unsafe() {
    is_unsafe_in_every_order(Rule::OneScanOfReceipts);
}

#[test]
fn one_scan_of_completions_is_unsafe() {
    is_unsafe_in_every_order(Rule::OneScanOfCompletions);
}

#[test]
fn two_waves_of_receipts_are_unsafe() {
    is_unsafe_in_every_order(Rule::TwoWavesOfReceipts);
}

#[test]
fn every_sent_and_then_every_done_is_unsafe() {
    is_unsafe_in_every_order(Rule::SentBeforeDone);
}
