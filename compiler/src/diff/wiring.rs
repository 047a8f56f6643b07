//! Why a process has to adopt another wiring.

use std::collections::BTreeMap;

use waldo_sdk::wiring::{Carried, Consumer, Doors, Egress, KeyRule, LoopStep, Output, Wiring};

use super::{
    Because,
    words::{listed, size, word},
};

/// Adds what differs. Two wirings that aren't equal differ in something that is told.
pub(super) fn compare(old: &Wiring, new: &Wiring, reasons: &mut Vec<Because>) {
    let before = reasons.len();
    each(&by(&old.inputs, |input| &input.flow), &by(&new.inputs, |input| &input.flow), "input ", reasons, {
        |flow, from, to, reasons| {
            let names = |from: &[String]| listed(&from.iter().map(String::as_str).collect::<Vec<_>>());
            let (old, new) = (names(&from.from), names(&to.from));
            reasons.push(if old == new {
                Because::changed(format!("senders of {flow}"), from.from.len(), to.from.len())
            } else {
                Because::changed(format!("{flow} comes from"), old, new)
            });
        }
    });
    each(
        &by(&old.outputs, |output| &output.flow),
        &by(&new.outputs, |output| &output.flow),
        "output ",
        reasons,
        outputs,
    );
    match (&old.portal, &new.portal) {
        (Some(old), Some(new)) => doors(old, new, reasons),
        (None, None) => {}
        (None, Some(_)) => reasons.push(Because::Added("doors".to_owned())),
        (Some(_), None) => reasons.push(Because::Removed("doors".to_owned())),
    }
    match (&old.egress, &new.egress) {
        (Some(old), Some(new)) if old != new => reasons.push(Because::changed("to", leads_to(old), leads_to(new))),
        (None, Some(new)) => reasons.push(Because::Added(format!("to {}", leads_to(new)))),
        (Some(old), None) => reasons.push(Because::Removed(format!("to {}", leads_to(old)))),
        _ => {}
    }
    if reasons.len() == before {
        reasons.push(Because::Reordered("flows and stages"));
    }
}

fn leads_to(egress: &Egress) -> String {
    match egress {
        Egress::Connect(endpoint) => endpoint.clone(),
        Egress::Bind(endpoint) => format!("whoever connects to {endpoint}"),
    }
}

type ByName<'w, T> = BTreeMap<&'w str, &'w T>;

fn by<T>(all: &[T], name: impl Fn(&T) -> &String) -> ByName<'_, T> {
    all.iter().map(|one| (name(one).as_str(), one)).collect()
}

/// Compares two maps: what is added, what is removed, and for what differs whatever `changed` finds.
fn each<T: PartialEq>(
    old: &ByName<'_, T>,
    new: &ByName<'_, T>,
    what: &str,
    reasons: &mut Vec<Because>,
    changed: impl Fn(&str, &T, &T, &mut Vec<Because>),
) {
    for (name, after) in new {
        match old.get(name) {
            None => reasons.push(Because::Added(format!("{what}{name}"))),
            Some(before) if before != after => changed(name, before, after, reasons),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    reasons.extend(gone.map(|name| Because::Removed(format!("{what}{name}"))));
}

fn outputs(flow: &str, from: &Output, to: &Output, reasons: &mut Vec<Because>) {
    if from.key != to.key {
        let words = |rule: &Option<KeyRule>| rule.as_ref().map_or_else(|| "none".to_owned(), word);
        reasons.push(Because::changed(format!("key of {flow}"), words(&from.key), words(&to.key)));
    }
    if from.max_record != to.max_record {
        reasons.push(Because::changed(format!("max_record of {flow}"), size(from.max_record), size(to.max_record)));
    }
    if from.loops != to.loops {
        let step = |step: &LoopStep| {
            let first = if step.first { ", counted here" } else { "" };
            format!("{} of {}{first}", step.passes, step.name)
        };
        let words = |loops: &[LoopStep]| match loops {
            [] => "none".to_owned(),
            loops => loops.iter().map(step).collect::<Vec<_>>().join(" and "),
        };
        reasons.push(Because::changed(format!("passes of {flow}"), words(&from.loops), words(&to.loops)));
    }
    consumers(flow, &from.consumers, &to.consumers, reasons);
}

fn consumers(flow: &str, old: &[Consumer], new: &[Consumer], reasons: &mut Vec<Because>) {
    let what = format!("{flow} to ");
    each(&by(old, |consumer| &consumer.stage), &by(new, |consumer| &consumer.stage), &what, reasons, {
        |stage, from, to, reasons| {
            if from.spread != to.spread {
                let what = format!("spread of {flow} in {stage}");
                reasons.push(Because::changed(what, word(&from.spread), word(&to.spread)));
            }
            if from.receivers.len() != to.receivers.len() {
                let what = format!("instances of {stage} for {flow}");
                reasons.push(Because::changed(what, from.receivers.len(), to.receivers.len()));
            }
            if let (Some(from), Some(to)) = (from.receivers.first(), to.receivers.first())
                && from.share != to.share
            {
                let what = format!("share of {flow} in the queue of {stage}");
                reasons.push(Because::changed(what, from.share, to.share));
            }
        }
    });
}

fn doors(old: &Doors, new: &Doors, reasons: &mut Vec<Because>) {
    if old.links != new.links {
        reasons.push(Because::changed("links", &old.links, &new.links));
    }
    if old.clients != new.clients {
        let words = |doors: &Doors| doors.clients.clone().unwrap_or_else(|| "none".to_owned());
        reasons.push(Because::changed("clients", words(old), words(new)));
    }
    if old.spool != new.spool {
        let words = |doors: &Doors| format!("{} and {} on disk", size(doors.spool.memory), size(doors.spool.disk));
        reasons.push(Because::changed("spool", words(old), words(new)));
    }
    each(&by(&old.flows, |carried| &carried.flow), &by(&new.flows, |carried| &carried.flow), "flow ", reasons, {
        |flow, from: &Carried, to: &Carried, reasons| {
            if from.key != to.key {
                reasons.push(Because::changed(format!("key of {flow}"), word(&from.key), word(&to.key)));
            }
            if from.max_record != to.max_record {
                let what = format!("max_record of {flow}");
                reasons.push(Because::changed(what, size(from.max_record), size(to.max_record)));
            }
            if from.from_clients != to.from_clients {
                let words = |carried: &Carried| if carried.from_clients { "clients and stages" } else { "stages" };
                reasons.push(Because::changed(format!("{flow} comes from"), words(from), words(to)));
            }
            consumers(flow, &from.consumers, &to.consumers, reasons);
        }
    });
}
