//! Reads stages.

use std::collections::BTreeMap;

use waldo_sdk::wiring::Spread;

use super::fields::{Fields, Reader};
use crate::{
    check::{bad_literal, environment, missing_field, wrong_kind},
    plan::{Alive, RestartPolicy, Speaks, Stalled},
    source::{
        Located, Place,
        node::{Node, Shape},
    },
    topology::{
        Input, Limits, Restart, Stage, Stop,
        language::{self, names},
        literal, near,
    },
};

pub(super) const READY_TIMEOUT: u64 = 10_000;
pub(super) const QUEUE: u64 = 1000;
const MOST_INSTANCES: u64 = 10_000;
pub(super) const LONGEST_QUEUE: u64 = 1 << 32;
const SPREADS: [(&str, Spread); 3] = [("any", Spread::Any), ("key", Spread::Key), ("all", Spread::All)];
const POLICIES: [(&str, RestartPolicy); 3] =
    [("always", RestartPolicy::Always), ("on-failure", RestartPolicy::OnFailure), ("never", RestartPolicy::Never)];
const SPEAKS: [(&str, Speaks); 3] = [("sdk", Speaks::Sdk), ("lines", Speaks::Lines), ("ack", Speaks::Ack)];

/// What people write into `on` who don't mean a server of that name.
const WORDS_FOR_ALL: [&str; 9] = ["*", "all", "any", "every", "false", "no", "on", "true", "yes"];

impl Reader<'_> {
    pub fn stage(&mut self, owner: String, place: Place, node: &Node) -> Option<Stage> {
        let fields = self.fields(node, owner, place, &names(language::STAGE))?;
        let run = self.required(&fields, "run", "run: ./bin/program").and_then(|(node, what)| self.run(node, &what));
        let instances = self.count(fields.get("instances"), 1, MOST_INSTANCES);
        Some(Stage {
            place,
            run: run.unwrap_or_else(|| Located::new(Vec::new(), place)),
            inputs: self.inputs(&fields),
            outputs: fields.get("out").and_then(|(node, what)| self.texts(node, &what, "flows")).unwrap_or_default(),
            instances: instances.map_or(Located::new(1, place), |count| count.map(|count| count as u32)),
            on: self.on(&fields),
            env: self.environment(&fields),
            restart: self.restart(&fields),
            alive: self.alive(&fields),
            stop: self.stop(&fields),
            ready_timeout: self.ready(&fields),
            queue: self.count(fields.get("queue"), 1, LONGEST_QUEUE).map_or(QUEUE, |queue| queue.value),
            limits: self.limits(&fields),
            user: fields.get("user").and_then(|(node, what)| self.text(node, &what)),
            cwd: fields
                .get("cwd")
                .and_then(|(node, what)| self.text(node, &what))
                .map_or_else(|| ".".to_owned(), |cwd| cwd.value),
            speaks: self.choice(fields.get("speaks"), &SPEAKS).unwrap_or(Located::new(Speaks::Sdk, place)),
        })
    }

    fn run(&mut self, node: &Node, what: &str) -> Option<Located<Vec<String>>> {
        let argv = match &node.shape {
            Shape::Scalar(text) => {
                let Ok(argv) = shell_words::split(text) else {
                    let expected = "a command whose quotes are closed";
                    self.report(bad_literal::literal(what, text, node.place, expected));
                    return None;
                };
                argv
            }
            Shape::List(items) => {
                let item = format!("an argument in {what}");
                items.iter().filter_map(|node| self.verbatim(node, &item)).map(|text| text.value).collect()
            }
            _ => {
                self.report(wrong_kind::value(node, what, "a command, or a list of a program and its arguments"));
                return None;
            }
        };
        if argv.first().is_none_or(String::is_empty) {
            self.report(missing_field::program(what, node.place));
            return None;
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            self.report(bad_literal::literal(what, "\\0", node.place, "arguments without NUL characters"));
            return None;
        }
        Some(Located::new(argv, node.place))
    }

    fn inputs(&mut self, fields: &Fields<'_>) -> Vec<Input> {
        let Some((node, what)) = fields.get("in") else { return Vec::new() };
        let Some(items) = self.list(node, &what, "flows") else { return Vec::new() };
        items.iter().filter_map(|item| self.input(item, &what)).collect()
    }

    fn input(&mut self, node: &Node, what: &str) -> Option<Input> {
        if let Shape::Scalar(flow) = &node.shape {
            let flow = Located::new(flow.clone(), node.place);
            return Some(Input { spread: Located::new(Spread::Any, node.place), flow });
        }
        let owner = format!("an item of {what}");
        if !matches!(node.shape, Shape::Map(_)) {
            self.report_hole(wrong_kind::value(node, &owner, "a flow, or `{flow: NAME, spread: key}`"));
            return None;
        }
        let fields = self.fields(node, owner, node.place, &names(language::INPUT))?;
        let Some((flow, what)) = self.required(&fields, "flow", "{flow: NAME, spread: key}") else {
            self.has_holes = true;
            return None;
        };
        let flow = self.text(flow, &what)?;
        let spread = self.choice(fields.get("spread"), &SPREADS).unwrap_or(Located::new(Spread::Any, flow.place));
        Some(Input { flow, spread })
    }

    pub(super) fn on(&mut self, fields: &Fields<'_>) -> Option<Located<Vec<Located<String>>>> {
        let (node, what) = fields.get("on")?;
        if let Shape::Scalar(word) = &node.shape
            && WORDS_FOR_ALL.contains(&word.to_lowercase().as_str())
        {
            self.report_hole(wrong_kind::everywhere(node, &what));
            return None;
        }
        let names = self.texts(node, &what, "servers or labels")?;
        if names.is_empty() {
            self.report_hole(missing_field::empty_on(&what, node.place));
        }
        Some(Located::new(names, node.place))
    }

    fn environment(&mut self, fields: &Fields<'_>) -> BTreeMap<String, Located<String>> {
        let Some((node, what)) = fields.get("env") else { return BTreeMap::new() };
        let Shape::Map(entries) = &node.shape else {
            self.report(wrong_kind::variables(node, &what));
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for entry in entries {
            let Some(value) = self.verbatim(&entry.value, &format!("variable `{}`", entry.key)) else { continue };
            match environment::flaw(&entry.key, &value.value, &fields.owner, entry.key_place) {
                Some(flaw) => self.report(flaw),
                None => drop(variables.insert(entry.key.clone(), value)),
            }
        }
        variables
    }

    fn restart(&mut self, fields: &Fields<'_>) -> Restart {
        let Some((node, what)) = fields.get("restart") else { return Restart::default() };
        if matches!(node.shape, Shape::Scalar(_)) {
            let policy = self.choice(Some((node, what)), &POLICIES).map(|policy| policy.value);
            return Restart { policy, ..Restart::default() };
        }
        if !matches!(node.shape, Shape::Map(_)) {
            let expected = "`always`, `on-failure`, `never`, or a map of `policy`, `backoff`, `max` and `window`";
            self.report(wrong_kind::value(node, &what, expected));
            return Restart::default();
        }
        let Some(fields) = self.fields(node, what, node.place, &names(language::RESTART)) else {
            return Restart::default();
        };
        Restart {
            policy: self.choice(fields.get("policy"), &POLICIES).map(|policy| policy.value),
            backoff: self.near(fields.get("backoff"), literal::duration, near::duration).map(|backoff| backoff.value),
            max: self.count(fields.get("max"), 1, u64::from(u32::MAX)).map(|max| max.value as u32),
            window: self.near(fields.get("window"), positive_duration, near::duration).map(|window| window.value),
        }
    }

    fn stop(&mut self, fields: &Fields<'_>) -> Stop {
        let Some((node, what)) = fields.get("stop") else { return Stop::default() };
        let Some(fields) = self.fields(node, what, node.place, &names(language::STOP)) else { return Stop::default() };
        Stop {
            signal: self.near(fields.get("signal"), literal::signal, near::signal).map(|signal| signal.value),
            grace: self.near(fields.get("grace"), literal::duration, near::duration).map(|grace| grace.value),
        }
    }

    fn ready(&mut self, fields: &Fields<'_>) -> u64 {
        let timeout = fields.get("ready").and_then(|(node, what)| {
            let fields = self.fields(node, what, node.place, &names(language::READY))?;
            self.near(fields.get("timeout"), positive_duration, near::duration)
        });
        timeout.map_or(READY_TIMEOUT, |timeout| timeout.value)
    }

    fn alive(&mut self, fields: &Fields<'_>) -> Option<Located<Alive>> {
        let (node, what) = fields.get("alive")?;
        let place = fields.entry("alive")?.key_place;
        let alive = self.fields(node, what, place, &names(language::ALIVE))?;
        let within = self.required(&alive, "within", "alive: {within: 30s}");
        let within = self.near(within, positive_duration, near::duration)?.value;
        let then = self.choice(alive.get("then"), &[("report", Stalled::Report), ("restart", Stalled::Restart)]);
        Some(Located::new(Alive { within, then: then.map(|then| then.value).unwrap_or_default() }, place))
    }

    fn limits(&mut self, fields: &Fields<'_>) -> Limits {
        let Some((node, what)) = fields.get("limits") else { return Limits::default() };
        let Some(fields) = self.fields(node, what, node.place, &names(language::LIMITS)) else {
            return Limits::default();
        };
        Limits {
            nofile: self.count(fields.get("nofile"), 16, 1 << 30).map(|nofile| nofile.value),
            memory: self.near(fields.get("memory"), literal::size, near::size),
            cpu: self.near(fields.get("cpu"), literal::millionths, near::decimal),
        }
    }
}

fn positive_duration(text: &str) -> Result<u64, &'static str> {
    match literal::duration(text)? {
        0 => Err("a duration above 0"),
        duration => Ok(duration),
    }
}
