//! Every kind of change to a topology, and all that a diff says of it. Each answer is the smallest disturbance that is safe:
//! `docs/rollout.md` argues for the rules.

use waldo_compiler::{
    Choice, PortChoice, Sources, compile_onto,
    diff::{Action, Diff, diff},
    plan::Plan,
};
use waldo_sdk::guide::Endpoints;

/// Clients send `call`; `feed` is a source on the first server. `score` and `audit` both get `suspect`, and `alert` has one owner.
const TOPOLOGY: &str = r#"
topology: calls
flows:
  call: {key: sender, guide: hash, from: clients}
  suspect: {key: sender, guide: hash}
  alert: {key: sender, guide: {table: {}, default: s1}}
  tick: {}
stages:
  feed: {run: ./feed, out: [suspect], "on": [s1]}
  parse: {run: ./parse, in: [call], out: [suspect, tick]}
  score: {run: ./score, in: [{flow: suspect, spread: key}, tick], out: [alert], instances: 2}
  audit: {run: ./audit, in: [suspect]}
  watch: {run: grep x, speaks: lines, in: [tick]}
  notify: {run: ./notify, in: [alert], "on": [s1]}
portals:
  intake: {flows: [call], port: 7001, link: 7101}
  relay: {flows: [suspect, alert]}
servers:
  s1: {address: 10.0.0.1}
  s2: {address: 10.0.0.2}
namespaces:
  prod: {}
"#;

fn compiled(text: &str, live: Option<&Plan>) -> Plan {
    let choice = PortChoice { base: None, live };
    let compiled = compile_onto(&Sources::of("t.yaml", text), Choice::Only, choice);
    compiled.unwrap_or_else(|refusal| panic!("{refusal:?}\n{text}")).plan
}

fn joined<T: ToString>(things: impl IntoIterator<Item = T>, between: &str) -> String {
    things.into_iter().map(|thing| thing.to_string()).collect::<Vec<_>>().join(between)
}

/// What is the same on several servers stands once.
#[derive(Default)]
struct Lines<'p>(Vec<(String, Vec<&'p str>)>);

impl<'p> Lines<'p> {
    fn add(&mut self, server: &'p str, line: String) {
        match self.0.iter_mut().find(|(known, _)| *known == line) {
            Some((_, servers)) => servers.push(server),
            None => self.0.push((line, vec![server])),
        }
    }
}

/// All that a diff says, a line for each thing.
fn told(found: &Diff<'_>) -> String {
    let mut lines = Lines::default();
    for change in &found.servers {
        lines.add(change.server, format!("is {:?}", change.change).to_lowercase());
    }
    for (server, reasons) in &found.hold {
        lines.add(server, format!("holds: {}", joined(reasons, "; ")));
    }
    for (server, drains) in &found.drain {
        lines.add(server, format!("drains {}", joined(drains, ", ")));
    }
    for server in &found.rewire {
        lines.add(server, "rewires".to_owned());
    }
    for server in &found.untouched {
        lines.add(server, "untouched".to_owned());
    }
    let mut processes: Vec<(&str, Action, String, Vec<&str>)> = Vec::new();
    for change in found.processes.iter().filter(|change| !change.because.is_empty()) {
        let because = joined(&change.because, "; ");
        match processes.iter_mut().find(|it| (it.0, it.1, &it.2) == (change.server, change.action, &because)) {
            Some(known) => known.3.push(change.process),
            None => processes.push((change.server, change.action, because, vec![change.process])),
        }
    }
    for (server, action, because, names) in processes {
        let action = format!("{action:?}").to_lowercase();
        lines.add(server, format!("{action} {}: {because}", names.join(" ")));
    }
    for change in &found.portals {
        let mut said = Vec::new();
        match (change.from, change.to) {
            (None, Some(to)) => said.push(format!("comes at {}", to.links)),
            (Some(_), None) => said.push("goes".to_owned()),
            (Some(from), Some(to)) => {
                let clients = |endpoints: &Endpoints| endpoints.clients.clone().unwrap_or_else(|| "none".to_owned());
                for (what, from, to) in
                    [("links", from.links.clone(), to.links.clone()), ("clients", clients(from), clients(to))]
                {
                    said.extend((from != to).then(|| format!("{what} {from} → {to}")));
                }
            }
            (None, None) => {}
        }
        let names = |flows| joined(flows, ", ");
        said.extend((!change.gained.is_empty()).then(|| format!("carries {} too", names(&change.gained))));
        said.extend((!change.lost.is_empty()).then(|| format!("carries {} no more", names(&change.lost))));
        said.extend(change.spool.map(|(from, to)| format!("spool {} → {} on disk", from.disk, to.disk)));
        lines.add(change.server, format!("portal {}: {}", change.portal, said.join("; ")));
    }
    let mut text: Vec<String> = lines.0.iter().map(|(line, servers)| format!("{} {line}", servers.join(" "))).collect();
    text.extend(found.guide.iter().map(|change| {
        let because =
            if change.because.is_empty() { String::new() } else { format!("; {}", joined(&change.because, "; ")) };
        let moved = format!("{} of {} move, least {}", change.moved, change.of, change.least);
        format!("keys of {}: {moved}{because}", change.flow)
    }));
    text.extend(found.settings.iter().map(|setting| format!("setting: {setting}")));
    text.extend(found.refusals.iter().map(|refusal| format!("refused: {refusal}")));
    text.join("\n")
}

/// A kind of change: what it is, the texts that are replaced in the topology before and after it, and what is told of it.
struct Kind {
    what: &'static str,
    /// In what is live.
    before: &'static [(&'static str, &'static str)],
    /// In what is to be.
    replaced: &'static [(&'static str, &'static str)],
    told: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { what: "nothing", before: &[], replaced: &[], told: "
            s1 s2 untouched" },
    Kind {
        what: "more instances",
        before: &[],
        replaced: &[("out: [alert], instances: 2", "out: [alert], instances: 3")],
        told: "
            s1 s2 holds: score.2 starts; suspect is spread otherwise in score; tick is spread otherwise in score
            s1 s2 rewire relay: instances of score for suspect: 2 → 3
            s1 s2 start score.2: new
            s1 s2 rewire parse.0: instances of score for tick: 2 → 3",
    },
    Kind {
        what: "fewer instances",
        before: &[],
        replaced: &[("out: [alert], instances: 2", "out: [alert], instances: 1")],
        told: "
            s1 s2 holds: score.1 stops; suspect is spread otherwise in score; tick is spread otherwise in score
            s1 s2 rewire relay: instances of score for suspect: 2 → 1
            s1 s2 rewire parse.0: instances of score for tick: 2 → 1
            s1 s2 stop score.1: not in the plan any more",
    },
    Kind {
        what: "more instances of a source",
        before: &[],
        replaced: &[("\"on\": [s1]}\n  parse", "\"on\": [s1], instances: 2}\n  parse")],
        told: "
            s1 rewires
            s2 untouched
            s1 start feed.1: new",
    },
    Kind {
        what: "limits",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, limits: {nofile: 100, memory: 1GiB, cpu: 0.5},")],
        told: "
            s1 s2 holds: audit.0 restarts
            s1 s2 restart audit.0: limits.nofile: none → 100; limits.memory: none → 1GiB; limits.cpu: none → 0.5",
    },
    Kind {
        what: "restart policy",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, restart: {policy: on-failure, backoff: 1s, max: 3},")],
        told: "
            s1 s2 rewires
            s1 s2 keep audit.0: restart: always, pauses up to 10s → on-failure, pauses up to 1s, at most 3 times in 1m",
    },
    Kind {
        what: "alive, stop and ready",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, alive: {within: 3s}, stop: {grace: 1s}, ready: {timeout: 3s},")],
        told: "
            s1 s2 rewires
            s1 s2 keep audit.0: stop: TERM, grace 5s → TERM, grace 1s; alive within: none → 3s, then report; ready timeout: 10s → 3s",
    },
    Kind {
        what: "max_record of a keyed flow",
        before: &[],
        replaced: &[("  suspect: {key: sender,", "  suspect: {max_record: 64KiB, key: sender,")],
        told: "
            s1 s2 rewires
            s1 rewire relay parse.0 feed.0: max_record of suspect: 1MiB → 64KiB
            s2 rewire relay parse.0: max_record of suspect: 1MiB → 64KiB",
    },
    Kind {
        what: "guide from hash to ranges",
        before: &[],
        replaced: &[(
            "suspect: {key: sender, guide: hash}",
            r#"suspect: {key: sender, guide: {ranges: {"": s1, m: s2}}}"#,
        )],
        told: "
            s1 s2 holds: it gives up keys of suspect
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 rewire relay parse.0: guide of suspect
            keys of suspect: 4096 of 4096 move, least 4096",
    },
    Kind {
        what: "guide from hash to a table",
        before: &[],
        replaced: &[(
            "suspect: {key: sender, guide: hash}",
            "suspect: {key: sender, guide: {table: {a: s2}, default: hash}}",
        )],
        told: "
            s1 holds: it gives up keys of suspect
            s2 rewires
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 rewire relay parse.0: guide of suspect
            keys of suspect: 1 of 4097 move, least 1",
    },
    Kind {
        what: "a table's default",
        before: &[],
        replaced: &[
            ("default: s1}}", "default: s2}}"),
            (r#"./notify, in: [alert], "on": [s1]"#, r#"./notify, in: [alert], "on": [s1, s2]"#),
        ],
        told: "
            s1 holds: it gives up keys of alert
            s2 holds: notify.0 starts
            s1 rewire relay score.0 score.1: guide of alert
            s2 rewire relay: + alert to notify; guide of alert
            s2 start notify.0: new
            s2 rewire score.0 score.1: guide of alert
            keys of alert: 4096 of 4096 move, least 4096",
    },
    Kind {
        what: "weights",
        before: &[],
        replaced: &[("s2: {address: 10.0.0.2}", "s2: {address: 10.0.0.2, weight: 2}")],
        told: "
            s1 holds: it gives up keys of call, suspect
            s2 rewires
            s1 s2 rewire intake: guide of call
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 rewire relay parse.0: guide of suspect
            keys of call: 683 of 4096 move, least 683
            keys of suspect: 683 of 4096 move, least 683",
    },
    Kind {
        what: "a server added",
        before: &[],
        replaced: &[("  s2: {address: 10.0.0.2}", "  s2: {address: 10.0.0.2}\n  s3: {address: 10.0.0.3}")],
        told: "
            s3 is added
            s1 s2 holds: it gives up keys of call, suspect
            s3 rewires
            s1 s2 rewire intake: guide of call
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 rewire relay parse.0: guide of suspect
            s3 start intake relay watch.0 score.0 score.1 audit.0 parse.0: its server is new
            s3 portal intake: comes at tcp://10.0.0.3:7101
            s3 portal relay: comes at tcp://10.0.0.3:7000
            keys of call: 1370 of 4096 move, least 1366
            keys of suspect: 1370 of 4096 move, least 1366",
    },
    Kind {
        what: "a server drained",
        before: &[],
        replaced: &[("s2: {address: 10.0.0.2}", "s2: {address: 10.0.0.2, state: drained}")],
        told: "
            s2 is drained
            s2 holds: it gives up keys of call, suspect; watch.0, score.0, score.1 and 2 others stop
            s1 rewires
            s1 rewire intake: guide of call
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 stop intake relay watch.0 score.0 score.1 audit.0 parse.0: its server is drained
            s2 portal intake: goes
            s2 portal relay: goes
            keys of call: 2048 of 4096 move, least 2048
            keys of suspect: 2048 of 4096 move, least 2048",
    },
    Kind {
        what: "a server in action again",
        before: &[("s2: {address: 10.0.0.2}", "s2: {address: 10.0.0.2, state: drained}")],
        replaced: &[],
        told: "
            s2 is returned
            s1 holds: it gives up keys of call, suspect
            s2 rewires
            s1 rewire intake: guide of call
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 start intake relay watch.0 score.0 score.1 audit.0 parse.0: its server is new
            s2 portal intake: comes at tcp://10.0.0.2:7101
            s2 portal relay: comes at tcp://10.0.0.2:7000
            keys of call: 2048 of 4096 move, least 2048
            keys of suspect: 2048 of 4096 move, least 2048",
    },
    Kind {
        what: "what is said of a server",
        before: &[],
        replaced: &[("s2: {address: 10.0.0.2}", "s2: {address: 10.0.0.2, memory: 16GiB, cpu: 8, ssh: ops@s2}")],
        told: "
            s1 s2 untouched
            setting: ssh of s2: 10.0.0.2 → ops@s2
            setting: memory of s2: none → 16GiB
            setting: cpu of s2: none → 8",
    },
    Kind {
        what: "a consumer added",
        before: &[],
        replaced: &[("  notify:", "  count: {run: ./count, in: [suspect]}\n  notify:")],
        told: "
            s1 s2 holds: count.0 starts
            s1 s2 rewire relay: + suspect to count
            s1 s2 start count.0: new
            setting: flow suspect is consumed by: audit, score → audit, count, score",
    },
    Kind {
        what: "a stage inserted between two",
        before: &[],
        replaced: &[
            ("out: [suspect, tick]", "out: [raw, tick]"),
            ("  score:", "  sift: {run: ./sift, in: [raw], out: [suspect]}\n  score:"),
            ("  tick: {}", "  tick: {}\n  raw: {}"),
        ],
        told: "
            s1 s2 holds: sift.0 starts; parse.0 sends fewer flows
            s1 s2 start sift.0: new
            s1 s2 rewire parse.0: + output raw; − output suspect
            setting: + flow raw
            setting: flow suspect is sent by: feed, parse → feed, sift",
    },
    Kind {
        what: "a stage removed from between two",
        before: &[
            ("out: [suspect, tick]", "out: [raw, tick]"),
            ("  score:", "  sift: {run: ./sift, in: [raw], out: [suspect]}\n  score:"),
            ("  tick: {}", "  tick: {}\n  raw: {}"),
        ],
        replaced: &[],
        told: "
            s1 s2 holds: sift.0 stops; parse.0 sends fewer flows
            s1 s2 rewire parse.0: + output suspect; − output raw
            s1 s2 stop sift.0: not in the plan any more
            setting: flow suspect is sent by: feed, sift → feed, parse
            setting: − flow raw",
    },
    Kind {
        what: "a stage moved to fewer servers",
        before: &[],
        replaced: &[(r#"run: ./notify, in: [alert], "on": [s1]"#, r#"run: ./notify, in: [alert], "on": [s1, s2]"#)],
        told: "
            s2 holds: notify.0 starts
            s1 untouched
            s2 rewire relay: + alert to notify
            s2 start notify.0: new",
    },
    Kind {
        what: "a flow added between processes that are there",
        before: &[],
        replaced: &[
            ("  tick: {}", "  tick: {}\n  tock: {}"),
            ("out: [suspect, tick]", "out: [suspect, tick, tock]"),
            ("in: [suspect]}", "in: [suspect, tock]}"),
        ],
        told: "
            s1 s2 holds: audit.0 receives other flows
            s1 s2 rewire relay: share of suspect in the queue of audit: 1000 → 500
            s1 s2 rewire audit.0: + input tock
            s1 s2 rewire parse.0: + output tock
            setting: + flow tock",
    },
    Kind {
        what: "a flow removed between processes that stay",
        before: &[
            ("  tick: {}", "  tick: {}\n  tock: {}"),
            ("out: [suspect, tick]", "out: [suspect, tick, tock]"),
            ("in: [suspect]}", "in: [suspect, tock]}"),
        ],
        replaced: &[],
        told: "
            s1 s2 holds: audit.0 receives other flows; parse.0 sends fewer flows
            s1 s2 rewire relay: share of suspect in the queue of audit: 500 → 1000
            s1 s2 rewire audit.0: − input tock
            s1 s2 rewire parse.0: − output tock
            setting: − flow tock",
    },
    Kind {
        what: "a flow from clients added with its consumer",
        before: &[],
        replaced: &[
            ("  tick: {}", "  tick: {}\n  ask: {key: sender, guide: hash, from: clients}"),
            ("  notify:", "  answer: {run: ./answer, in: [ask]}\n  notify:"),
            ("intake: {flows: [call],", "intake: {flows: [call, ask],"),
        ],
        told: "
            s1 s2 holds: answer.0 starts
            s1 s2 rewire intake: + flow ask
            s1 s2 start answer.0: new
            s1 s2 portal intake: carries ask too
            setting: + flow ask",
    },
    Kind {
        what: "a flow from clients removed with its consumer",
        before: &[
            ("  tick: {}", "  tick: {}\n  ask: {key: sender, guide: hash, from: clients}"),
            ("  notify:", "  answer: {run: ./answer, in: [ask]}\n  notify:"),
            ("intake: {flows: [call],", "intake: {flows: [call, ask],"),
        ],
        replaced: &[],
        told: "
            s1 s2 holds: records of ask must be delivered first; answer.0 stops
            s1 s2 drains ask
            s1 s2 rewire intake: − flow ask
            s1 s2 stop answer.0: not in the plan any more
            s1 s2 portal intake: carries ask no more
            setting: − flow ask",
    },
    Kind {
        what: "a flow from clients removed",
        before: &[],
        replaced: &[
            ("  call: {key: sender, guide: hash, from: clients}\n", ""),
            ("  intake: {flows: [call], port: 7001, link: 7101}\n", ""),
            (
                "  parse: {run: ./parse, in: [call], out: [suspect, tick]}\n",
                "  parse: {run: ./parse, out: [suspect, tick]}\n",
            ),
        ],
        told: "
            s1 s2 holds: records of call must be delivered first; parse.0 restarts
            s1 s2 drains call
            s1 s2 restart parse.0: restart: always, pauses up to 10s → on-failure, pauses up to 10s; − input call
            s1 s2 stop intake: not in the plan any more
            s1 s2 portal intake: goes
            setting: − flow call",
    },
    Kind {
        what: "a flow from clients comes instead of a source",
        before: &[
            ("  call: {key: sender, guide: hash, from: clients}\n", ""),
            ("  intake: {flows: [call], port: 7001, link: 7101}\n", ""),
            (
                "  parse: {run: ./parse, in: [call], out: [suspect, tick]}\n",
                "  parse: {run: ./parse, out: [suspect, tick]}\n",
            ),
        ],
        replaced: &[],
        told: "
            s1 s2 holds: parse.0 restarts
            s1 s2 start intake: new
            s1 s2 restart parse.0: restart: on-failure, pauses up to 10s → always, pauses up to 10s; + input call
            s1 portal intake: comes at tcp://10.0.0.1:7101
            s2 portal intake: comes at tcp://10.0.0.2:7101
            setting: + flow call",
    },
    Kind {
        what: "an output added",
        before: &[],
        replaced: &[(r#"out: [suspect], "on": [s1]"#, r#"out: [suspect, alert], "on": [s1]"#)],
        told: "
            s1 rewires
            s2 untouched
            s1 rewire feed.0: + output alert
            setting: flow alert is sent by: score → feed, score",
    },
    Kind {
        what: "an output of a receiver removed",
        before: &[],
        replaced: &[("out: [suspect, tick]", "out: [tick]")],
        told: "
            s1 s2 holds: parse.0 sends fewer flows
            s1 s2 rewire parse.0: − output suspect
            setting: flow suspect is sent by: feed, parse → feed
            setting: stages, as they are started and stopped, in another order",
    },
    Kind {
        what: "a filter gets its first output",
        before: &[],
        replaced: &[
            ("speaks: lines, in: [tick]", "speaks: lines, in: [tick], out: [seen]"),
            ("  tick: {}", "  tick: {}\n  seen: {}"),
            ("in: [suspect]}", "in: [suspect, seen]}"),
        ],
        told: "
            s1 s2 holds: watch.0 restarts; audit.0 receives other flows
            s1 s2 rewire relay: share of suspect in the queue of audit: 1000 → 500
            s1 s2 rewire audit.0: + input seen
            s1 s2 restart watch.0: + output seen; the output of a program that speaks lines is connected at its start
            setting: + flow seen
            setting: stages, as they are started and stopped, in another order",
    },
    Kind {
        what: "a filter loses its only output",
        before: &[
            ("speaks: lines, in: [tick]", "speaks: lines, in: [tick], out: [seen]"),
            ("  tick: {}", "  tick: {}\n  seen: {}"),
            ("in: [suspect]}", "in: [suspect, seen]}"),
        ],
        replaced: &[],
        told: "
            s1 s2 holds: watch.0 restarts; audit.0 receives other flows
            s1 s2 rewire relay: share of suspect in the queue of audit: 500 → 1000
            s1 s2 restart watch.0: − output seen; the output of a program that speaks lines is connected at its start
            s1 s2 rewire audit.0: − input seen
            setting: − flow seen
            setting: stages, as they are started and stopped, in another order",
    },
    Kind {
        what: "clients may send a flow that stages send",
        before: &[],
        replaced: &[("  suspect: {key: sender, guide: hash}", "  suspect: {key: sender, guide: hash, from: clients}")],
        told: "
            s1 s2 rewires
            s1 rewire relay: clients: none → tcp://10.0.0.1:7002; suspect comes from: stages → clients and stages
            s2 rewire relay: clients: none → tcp://10.0.0.2:7002; suspect comes from: stages → clients and stages
            s1 portal relay: clients none → tcp://10.0.0.1:7002
            s2 portal relay: clients none → tcp://10.0.0.2:7002
            setting: flow suspect comes from: stages → clients and stages",
    },
    Kind {
        what: "clients may not send a flow any more",
        before: &[("  suspect: {key: sender, guide: hash}", "  suspect: {key: sender, guide: hash, from: clients}")],
        replaced: &[],
        told: "
            s1 s2 rewires
            s1 rewire relay: clients: tcp://10.0.0.1:7000 → none; suspect comes from: clients and stages → stages
            s2 rewire relay: clients: tcp://10.0.0.2:7000 → none; suspect comes from: clients and stages → stages
            s1 portal relay: clients tcp://10.0.0.1:7000 → none
            s2 portal relay: clients tcp://10.0.0.2:7000 → none
            setting: flow suspect comes from: clients and stages → stages",
    },
    Kind {
        what: "an unkeyed flow gets a guide",
        before: &[],
        replaced: &[
            ("  tick: {}", "  tick: {key: sender, guide: hash}"),
            ("flows: [suspect, alert]", "flows: [suspect, alert, tick]"),
        ],
        told: "
            s1 s2 holds: watch.0, score.0, score.1 receive other flows
            s1 s2 rewire relay: + flow tick
            s1 s2 rewire watch.0 score.0 score.1: tick comes from: parse.0 → relay
            s1 s2 rewire parse.0: key of tick: none → sender; − tick to score; − tick to watch
            s1 s2 portal relay: carries tick too
            setting: flow tick goes through: one server → portals, by key",
    },
    Kind {
        what: "a flow loses its guide",
        before: &[
            ("  tick: {}", "  tick: {key: sender, guide: hash}"),
            ("flows: [suspect, alert]", "flows: [suspect, alert, tick]"),
        ],
        replaced: &[],
        told: "
            s1 s2 holds: records of tick must be delivered first; watch.0, score.0, score.1 receive other flows
            s1 s2 drains tick
            s1 s2 rewire relay: − flow tick
            s1 s2 rewire watch.0 score.0 score.1: tick comes from: relay → parse.0
            s1 s2 rewire parse.0: key of tick: sender → none; + tick to score; + tick to watch
            s1 s2 portal relay: carries tick no more
            setting: flow tick goes through: portals, by key → one server",
    },
    Kind {
        what: "a portal is split",
        before: &[],
        replaced: &[("  relay: {flows: [suspect, alert]}", "  relay: {flows: [suspect]}\n  urgent: {flows: [alert]}")],
        told: "
            s1 s2 holds: records of alert must be delivered first
            s1 s2 drains alert
            s1 s2 rewire relay: − flow alert
            s1 s2 start urgent: new
            s1 rewire notify.0: alert comes from: relay → urgent
            s1 s2 rewire score.0 score.1: guide of alert
            s1 s2 portal relay: carries alert no more
            s1 portal urgent: comes at tcp://10.0.0.1:7002
            s2 portal urgent: comes at tcp://10.0.0.2:7002
            keys of alert: 0 of 4096 move, least 0; portal: relay → urgent",
    },
    Kind {
        what: "a part of a portal goes into another",
        before: &[("  relay: {flows: [suspect, alert]}", "  relay: {flows: [suspect]}\n  urgent: {flows: [alert]}")],
        replaced: &[],
        told: "
            s1 s2 holds: records of alert must be delivered first
            s1 s2 drains alert
            s1 s2 rewire relay: + flow alert; guide of alert
            s1 rewire notify.0: alert comes from: urgent → relay
            s1 s2 rewire score.0 score.1: guide of alert
            s1 s2 stop urgent: not in the plan any more
            s1 s2 portal relay: carries alert too
            s1 s2 portal urgent: goes
            keys of alert: 0 of 4096 move, least 0; portal: urgent → relay",
    },
    Kind {
        what: "portals are merged",
        before: &[],
        replaced: &[(
            "  intake: {flows: [call], port: 7001, link: 7101}\n  relay: {flows: [suspect, alert]}",
            "  intake: {flows: [call, suspect, alert], port: 7001, link: 7101}",
        )],
        told: "
            s1 s2 holds: records of alert, suspect must be delivered first
            s1 s2 drains alert, suspect
            s1 s2 rewire intake: + flow alert; + flow suspect; guide of alert; guide of suspect
            s1 rewire notify.0: alert comes from: relay → intake
            s1 s2 rewire score.0 score.1: suspect comes from: relay → intake; guide of alert
            s1 s2 rewire audit.0: suspect comes from: relay → intake
            s1 rewire parse.0 feed.0: guide of suspect
            s1 s2 stop relay: not in the plan any more
            s2 rewire parse.0: guide of suspect
            s1 s2 portal intake: carries alert, suspect too
            s1 s2 portal relay: goes
            keys of alert: 0 of 4096 move, least 0; portal: relay → intake
            keys of suspect: 0 of 4096 move, least 0; portal: relay → intake",
    },
    Kind {
        what: "two portals exchange a port",
        before: &[],
        replaced: &[("port: 7001, link: 7101", "port: 7101, link: 7001")],
        told: "
            s1 s2 rewires
            s1 rewire intake: links: tcp://10.0.0.1:7101 → tcp://10.0.0.1:7001; clients: tcp://10.0.0.1:7001 → tcp://10.0.0.1:7101; intake of s1, s2 is reached elsewhere
            s2 rewire intake: links: tcp://10.0.0.2:7101 → tcp://10.0.0.2:7001; clients: tcp://10.0.0.2:7001 → tcp://10.0.0.2:7101; intake of s1, s2 is reached elsewhere
            s1 portal intake: links tcp://10.0.0.1:7101 → tcp://10.0.0.1:7001; clients tcp://10.0.0.1:7001 → tcp://10.0.0.1:7101
            s2 portal intake: links tcp://10.0.0.2:7101 → tcp://10.0.0.2:7001; clients tcp://10.0.0.2:7001 → tcp://10.0.0.2:7101
            refused: the doors of s1/intake would exchange tcp://10.0.0.1:7001, which stays bound until a rollout is over: give it other ports first
            refused: the doors of s1/intake would exchange tcp://10.0.0.1:7101, which stays bound until a rollout is over: give it other ports first
            refused: the doors of s2/intake would exchange tcp://10.0.0.2:7001, which stays bound until a rollout is over: give it other ports first
            refused: the doors of s2/intake would exchange tcp://10.0.0.2:7101, which stays bound until a rollout is over: give it other ports first",
    },
    Kind {
        what: "spool limits raised",
        before: &[],
        replaced: &[("flows: [suspect, alert]", "flows: [suspect, alert], spool: {disk: 20GiB}")],
        told: "
            s1 s2 rewires
            s1 s2 rewire relay: spool: 64MiB and 10GiB on disk → 64MiB and 20GiB on disk
            s1 s2 portal relay: spool 10737418240 → 21474836480 on disk",
    },
    Kind {
        what: "spool limits lowered",
        before: &[],
        replaced: &[("flows: [suspect, alert]", "flows: [suspect, alert], spool: {disk: 1GiB}")],
        told: "
            s1 s2 rewires
            s1 s2 rewire relay: spool: 64MiB and 10GiB on disk → 64MiB and 1GiB on disk
            s1 s2 portal relay: spool 10737418240 → 1073741824 on disk",
    },
    Kind {
        what: "spread with a single instance",
        before: &[],
        replaced: &[("run: ./audit, in: [suspect]", "run: ./audit, in: [{flow: suspect, spread: all}]")],
        told: "
            s1 s2 rewires
            s1 s2 rewire relay: spread of suspect in audit: any → all",
    },
    Kind {
        what: "idle_timeout",
        before: &[],
        replaced: &[("topology: calls", "topology: calls\ndefaults: {idle_timeout: 60s}")],
        told: "
            s1 s2 untouched
            setting: idle_timeout: 30s → 1m",
    },
    Kind {
        what: "another program",
        before: &[],
        replaced: &[("run: ./audit", "run: ./audit2")],
        told: "
            s1 s2 holds: audit.0 restarts
            s1 s2 restart audit.0: run: ./audit → ./audit2",
    },
    Kind {
        what: "another argument of a source",
        before: &[],
        replaced: &[("run: ./feed", "run: ./feed --more")],
        told: "
            s1 rewires
            s2 untouched
            s1 restart feed.0: run: ./feed → ./feed --more",
    },
    Kind {
        what: "env",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, env: {MODEL: big},")],
        told: "
            s1 s2 holds: audit.0 restarts
            s1 s2 restart audit.0: + MODEL=big",
    },
    Kind {
        what: "cwd",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, cwd: sub,")],
        told: "
            s1 s2 holds: audit.0 restarts
            s1 s2 restart audit.0: cwd: . → sub",
    },
    Kind {
        what: "user",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, user: nobody,")],
        told: "
            s1 s2 holds: audit.0 restarts
            s1 s2 restart audit.0: user: the launcher's → nobody",
    },
    Kind {
        what: "speaks",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, speaks: ack,")],
        told: "
            s1 s2 holds: audit.0 restarts
            s1 s2 restart audit.0: speaks: sdk → ack",
    },
    Kind {
        what: "queue",
        before: &[],
        replaced: &[("run: ./audit,", "run: ./audit, queue: 500,")],
        told: "
            s1 s2 rewires
            s1 s2 rewire relay: share of suspect in the queue of audit: 1000 → 500",
    },
    Kind {
        what: "max_record",
        before: &[],
        replaced: &[("  tick: {}", "  tick: {max_record: 64KiB}")],
        told: "
            s1 s2 rewires
            s1 s2 rewire parse.0: max_record of tick: 1MiB → 64KiB",
    },
    Kind {
        what: "key rule",
        before: &[],
        replaced: &[("  call: {key: sender,", "  call: {key: {json: /caller},")],
        told: "
            s1 s2 rewires
            s1 s2 rewire intake: key of call: sender → {\"json\":\"/caller\"}; guide of call
            keys of call: 0 of 4096 move, least 0; key: sender → {\"json\":\"/caller\"}",
    },
    Kind {
        what: "a server removed",
        before: &[],
        replaced: &[("  s2: {address: 10.0.0.2}\n", "")],
        told: "
            s2 is removed
            s2 holds: it gives up keys of call, suspect; watch.0, score.0, score.1 and 2 others stop
            s1 rewires
            s1 rewire intake: guide of call
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 stop intake relay watch.0 score.0 score.1 audit.0 parse.0: its server is gone
            s2 portal intake: goes
            s2 portal relay: goes
            keys of call: 2048 of 4096 move, least 2048
            keys of suspect: 2048 of 4096 move, least 2048",
    },
    Kind {
        what: "a server's address",
        before: &[],
        replaced: &[("10.0.0.2", "10.0.0.22")],
        told: "
            s1 s2 rewires
            s1 rewire intake: intake of s2 is reached elsewhere
            s1 rewire relay parse.0 feed.0: relay of s2 is reached elsewhere
            s2 rewire intake: links: tcp://10.0.0.2:7101 → tcp://10.0.0.22:7101; clients: tcp://10.0.0.2:7001 → tcp://10.0.0.22:7001; intake of s2 is reached elsewhere
            s2 rewire relay: links: tcp://10.0.0.2:7000 → tcp://10.0.0.22:7000; relay of s2 is reached elsewhere
            s2 rewire score.0 score.1 parse.0: relay of s2 is reached elsewhere
            s2 portal intake: links tcp://10.0.0.2:7101 → tcp://10.0.0.22:7101; clients tcp://10.0.0.2:7001 → tcp://10.0.0.22:7001
            s2 portal relay: links tcp://10.0.0.2:7000 → tcp://10.0.0.22:7000
            setting: address of s2: 10.0.0.2 → 10.0.0.22",
    },
    Kind {
        what: "a stage renamed",
        before: &[],
        replaced: &[("  audit:", "  check:")],
        told: "
            s1 s2 holds: records of suspect must be delivered first; check.0 starts; audit.0 stops
            s1 s2 drains suspect@audit
            s1 s2 rewire relay: + suspect to check; − suspect to audit
            s1 s2 start check.0: new
            s1 s2 stop audit.0: not in the plan any more
            setting: flow suspect is consumed by: audit, score → check, score",
    },
    Kind {
        what: "a portal's port for clients",
        before: &[],
        replaced: &[("port: 7001", "port: 7011")],
        told: "
            s1 s2 rewires
            s1 rewire intake: clients: tcp://10.0.0.1:7001 → tcp://10.0.0.1:7011
            s2 rewire intake: clients: tcp://10.0.0.2:7001 → tcp://10.0.0.2:7011
            s1 portal intake: clients tcp://10.0.0.1:7001 → tcp://10.0.0.1:7011
            s2 portal intake: clients tcp://10.0.0.2:7001 → tcp://10.0.0.2:7011",
    },
    Kind {
        what: "a portal's port for links",
        before: &[],
        replaced: &[("link: 7101", "link: 7111")],
        told: "
            s1 s2 rewires
            s1 rewire intake: links: tcp://10.0.0.1:7101 → tcp://10.0.0.1:7111; intake of s1, s2 is reached elsewhere
            s2 rewire intake: links: tcp://10.0.0.2:7101 → tcp://10.0.0.2:7111; intake of s1, s2 is reached elsewhere
            s1 portal intake: links tcp://10.0.0.1:7101 → tcp://10.0.0.1:7111
            s2 portal intake: links tcp://10.0.0.2:7101 → tcp://10.0.0.2:7111",
    },
    Kind {
        what: "a portal renamed",
        before: &[],
        replaced: &[("  relay: {", "  between: {")],
        told: "
            s1 s2 holds: records of alert, suspect must be delivered first
            s1 s2 drains alert, suspect
            s1 s2 start between: new
            s1 rewire notify.0: alert comes from: relay → between
            s1 s2 rewire score.0 score.1: suspect comes from: relay → between; guide of alert
            s1 s2 rewire audit.0: suspect comes from: relay → between
            s1 rewire parse.0 feed.0: guide of suspect
            s1 s2 stop relay: not in the plan any more
            s2 rewire parse.0: guide of suspect
            s1 portal between: comes at tcp://10.0.0.1:7002
            s1 s2 portal relay: goes
            s2 portal between: comes at tcp://10.0.0.2:7002
            keys of alert: 0 of 4096 move, least 0; portal: relay → between
            keys of suspect: 0 of 4096 move, least 0; portal: relay → between",
    },
    Kind {
        what: "spread among several",
        before: &[],
        replaced: &[("spread: key", "spread: any")],
        told: "
            s1 s2 holds: suspect is spread otherwise in score
            s1 s2 rewire relay: spread of suspect in score: key → any",
    },
    Kind {
        what: "spread: all among several",
        before: &[],
        replaced: &[("spread: key", "spread: all")],
        told: "
            s1 s2 holds: suspect is spread otherwise in score
            s1 s2 rewire relay: spread of suspect in score: key → all",
    },
    Kind {
        what: "files",
        before: &[],
        replaced: &[("topology: calls", "topology: calls\nfiles: [bin/**]")],
        told: "
            s1 s2 untouched
            setting: files:  → bin/**",
    },
    Kind {
        what: "a consumer removed",
        before: &[],
        replaced: &[("  audit: {run: ./audit, in: [suspect]}\n", "")],
        told: "
            s1 s2 holds: records of suspect must be delivered first; audit.0 stops
            s1 s2 drains suspect@audit
            s1 s2 rewire relay: − suspect to audit
            s1 s2 stop audit.0: not in the plan any more
            setting: flow suspect is consumed by: audit, score → score",
    },
    Kind {
        what: "the bound of a range",
        before: &[(
            "suspect: {key: sender, guide: hash}",
            r#"suspect: {key: sender, guide: {ranges: {"": s1, m: s2}}}"#,
        )],
        replaced: &[(
            "suspect: {key: sender, guide: hash}",
            r#"suspect: {key: sender, guide: {ranges: {"": s1, q: s2}}}"#,
        )],
        told: "
            s2 holds: it gives up keys of suspect
            s1 rewires
            s1 rewire relay parse.0 feed.0: guide of suspect
            s2 rewire relay parse.0: guide of suspect
            keys of suspect: 1 of 3 move, least 1",
    },
    Kind { what: "a base for ports", before: &[], replaced: &[("prod: {}", "prod: {ports: 9000}")], told: "
            s1 s2 rewires
            s1 rewire intake: links: tcp://10.0.0.1:7101 → tcp://10.0.0.1:9002; clients: tcp://10.0.0.1:7001 → tcp://10.0.0.1:9000; intake of s1, s2 is reached elsewhere
            s1 rewire relay: links: tcp://10.0.0.1:7000 → tcp://10.0.0.1:9001; relay of s1 is reached elsewhere; relay of s1, s2 is reached elsewhere
            s1 s2 rewire score.0 score.1: relay of s1 is reached elsewhere
            s1 rewire parse.0 feed.0: relay of s1, s2 is reached elsewhere
            s2 rewire intake: links: tcp://10.0.0.2:7101 → tcp://10.0.0.2:9002; clients: tcp://10.0.0.2:7001 → tcp://10.0.0.2:9000; intake of s1, s2 is reached elsewhere
            s2 rewire relay: links: tcp://10.0.0.2:7000 → tcp://10.0.0.2:9001; relay of s1 is reached elsewhere; relay of s1, s2 is reached elsewhere
            s2 rewire parse.0: relay of s1, s2 is reached elsewhere
            s1 portal intake: links tcp://10.0.0.1:7101 → tcp://10.0.0.1:9002; clients tcp://10.0.0.1:7001 → tcp://10.0.0.1:9000
            s1 portal relay: links tcp://10.0.0.1:7000 → tcp://10.0.0.1:9001
            s2 portal intake: links tcp://10.0.0.2:7101 → tcp://10.0.0.2:9002; clients tcp://10.0.0.2:7001 → tcp://10.0.0.2:9000
            s2 portal relay: links tcp://10.0.0.2:7000 → tcp://10.0.0.2:9001
            setting: ports: as written, others from 7000 → all from 9000" },
];

#[test]
fn every_kind_of_change_disturbs_what_it_must_and_no_more() {
    let mut wrong = Vec::new();
    for Kind { what, before, replaced, told: expected } in KINDS {
        let edited = |replaced: &[(&str, &str)]| {
            replaced.iter().fold(TOPOLOGY.to_owned(), |text, (from, to)| {
                assert!(text.contains(from), "{what}: nothing to replace: {from}");
                text.replace(from, to)
            })
        };
        let old = compiled(&edited(before), None);
        let new = compiled(&edited(replaced), Some(&old));
        let found = diff(&old, &new).unwrap();
        assert_eq!(found.apply(&old), new, "{what}");
        let said = told(&found);
        let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
        if said != expected.join("\n") {
            wrong.push(format!("== {what}\n{said}\n-- instead of\n{}", expected.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_passes_of_a_loop_concern_its_senders_alone() {
    let with = |passes: u8| {
        let text = TOPOLOGY
            .replace("audit: {run: ./audit, in: [suspect]}", "audit: {run: ./audit, in: [suspect], out: [call]}")
            .replace("portals:", &format!("loops:\n  again: {{flows: [suspect, call], passes: {passes}}}\nportals:"));
        compiled(&text, None)
    };
    let (old, new) = (with(4), with(3));
    let found = diff(&old, &new).unwrap();
    let senders = [
        "s1 s2 rewires",
        "s1 rewire parse.0 feed.0: passes of suspect: 4 of again, counted here → 3 of again, counted here",
        "s1 s2 rewire audit.0: passes of call: 4 of again → 3 of again",
        "s2 rewire parse.0: passes of suspect: 4 of again, counted here → 3 of again, counted here",
    ];
    assert_eq!(told(&found), senders.join("\n"));
}
