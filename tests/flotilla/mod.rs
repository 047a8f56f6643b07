//! A flotilla under load, whose records are counted without asking waldo, and what has to be true of it after a rollout.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod blow;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use waldo_compiler::plan::{Plan, ServerPlan};
use waldo_runtime::{
    cluster,
    control::{Condition, ServerStatus, Stand},
    ledger,
    paths::Paths,
};
use waldo_tally::{Count, Expected, Laps, Sent};

use crate::playground::{Outcome, Playground, free_ports, program, wait_until};

/// How often a record goes round at most, as `waldo.yaml` says to the sources.
const LAPS: u64 = 3;
/// Keys of the records of each source, as `waldo.yaml` says to them.
pub const KEYS: u64 = 64;
/// Records that each source sends in a second. All stages together handle about five times as many.
pub const RATE: u64 = 2_000;

/// What every stage has to see: as long as a test doesn't take it away.
const EXPECTED: [Expected; 4] = [
    Expected { book: "enter", each: 1, laps: Laps::First },
    Expected { book: "lap", each: 1, laps: Laps::Each },
    Expected { book: "keep", each: 1, laps: Laps::Last },
    Expected { book: "file", each: 10, laps: Laps::First },
];

/// The flow that each book's stage receives, by whose guide a record comes to its server.
const FLOWS: [(&str, &str); 4] = [("enter", "call"), ("lap", "turn"), ("keep", "kept"), ("file", "plain")];

/// A flotilla in a directory of its own.
pub struct Flotilla {
    pub playground: Playground,
    pub count: Count,
    pub expected: Vec<Expected>,
    /// Books whose stages have several instances that may get any record: they have no order.
    pub unordered: BTreeSet<String>,
}

/// What a process is now: started anew, it has another pid or incarnation.
pub type Identities = BTreeMap<String, (i64, u64)>;

/// A rollout that has been made.
pub struct Rollout {
    /// What `waldo diff` had said of it.
    pub diff: Value,
    /// How `waldo deploy` ended.
    pub outcome: Outcome,
    /// The processes before and after it.
    pub identities: [Identities; 2],
}

impl Flotilla {
    /// The flotilla of `waldo.yaml`, not yet running, whose sources send so many records a second each.
    pub fn new(rate: u64) -> Self {
        Self::with_laps(rate, LAPS)
    }

    /// The same, whose records go round the loop so often at most.
    pub fn with_laps(rate: u64, laps: u64) -> Self {
        let playground = Playground::copy_of("hello");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flotilla");
        fs::copy(shipped.join("ask.py"), playground.path().join("ask.py")).expect("a copy");
        let text = fs::read_to_string(shipped.join("waldo.yaml")).expect("YAML");
        let text = text.replace("TALLY", &program("tally").display().to_string());
        let text = text.replace("RATE", &rate.to_string()).replace("PORTS", &free_ports().to_string());
        let books = playground.path().join("books");
        fs::create_dir(&books).expect("a directory");
        let text = text.replace("BOOKS", &books.display().to_string()).replace("laps=3", &format!("laps={laps}"));
        fs::write(playground.path().join("waldo.yaml"), text).expect("YAML");
        let count = Count::of(&books, laps);
        Self { playground, count, expected: EXPECTED.to_vec(), unordered: BTreeSet::new() }
    }

    /// A count of the same books from their beginning.
    pub fn new_count(&self) -> Count {
        Count::of(&self.playground.path().join("books"), LAPS)
    }

    /// Changes the topology.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        self.playground.edit("waldo.yaml", from, to);
    }

    /// The topology's text.
    pub fn text(&self) -> String {
        fs::read_to_string(self.topology()).expect("YAML")
    }

    /// The topology's file.
    pub fn topology(&self) -> PathBuf {
        self.playground.path().join("waldo.yaml")
    }

    /// Runs it, until records have come to every stage.
    pub fn up(&mut self) {
        self.playground.run(self.playground.waldo(&["up", "--detach", "--quiet"])).code(0);
        self.wait_for_load("up");
    }

    /// Waits until every stage has received records that were not sent yet when this was called.
    #[track_caller]
    pub fn wait_for_load(&mut self, after: &str) {
        let before = self.received();
        wait_until(&format!("{after}: records in every stage"), || {
            let now = self.received();
            self.expected.iter().all(|expected| now.get(expected.book) > before.get(expected.book))
        });
    }

    /// How many records each book has.
    pub fn received(&mut self) -> BTreeMap<String, u64> {
        self.count.read().expect("books");
        self.count.books().map(|(name, book)| (name.to_owned(), book.received.values().sum())).collect()
    }

    /// How far the sources are.
    pub fn sent(&self) -> Sent {
        self.count.sent().expect("books")
    }

    /// `waldo deploy`.
    pub fn deploy(&self, arguments: &[&str]) -> Command {
        let mut deploy = self.playground.waldo(&[&["deploy", "--yes", "--json"], arguments].concat());
        deploy.env("WALDO_DISK_FULL_FILE", self.disk_full_file());
        deploy
    }

    /// Fills the disk on which deployers write things down, or makes room again.
    pub fn fill_disk(&self, full: bool) {
        let file = self.disk_full_file();
        if full { fs::write(file, "") } else { fs::remove_file(file) }.expect("a file");
    }

    fn disk_full_file(&self) -> PathBuf {
        self.playground.path().join("disk-is-full")
    }

    /// The plan that is live.
    pub fn plan(&self) -> Plan {
        let path = self.playground.path().join(".waldo/test/live.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("a plan")
    }

    /// Address and port of a portal's door for clients, as the plan of a generation has it.
    pub fn door_for_clients_in_plan(&self, generation: u64, server: &str, portal: &str) -> String {
        let path = self.playground.path().join(format!(".waldo/test/store/plans/{generation}.json"));
        let plan: Plan = serde_json::from_str(&fs::read_to_string(path).expect("a plan")).expect("a plan");
        let portal = plan.servers[server].processes.iter().find(|process| process.name == portal).expect("a portal");
        let door = portal.wiring.portal.as_ref().and_then(|doors| doors.clients.clone()).expect("a door");
        door.trim_start_matches("tcp://").to_owned()
    }

    /// The pid and incarnation of every process that runs: server/process.
    pub fn identities(&self) -> Identities {
        identities_of(&self.playground.status())
    }

    /// Rolls out the topology as it is now, and asserts all that has to be true of any rollout that ends with `exit`.
    #[track_caller]
    pub fn roll_out(&mut self, change: &str, exit: i32) -> Rollout {
        let diff = self.playground.run(self.playground.waldo(&["diff", "--json"]));
        assert!(matches!(diff.code, Some(0 | 2)), "{change}: {}", diff.stderr);
        let diff: Value = serde_json::from_str(&diff.stdout).expect("one JSON document");
        self.take_moves();
        let before = self.playground.status();
        let outcome = self.playground.run(self.deploy(&[]));
        assert_eq!(outcome.code, Some(exit), "{change}\n{}\n{}", outcome.stdout, outcome.stderr);
        self.wait_until_whole(change);
        let identities = [identities_of(&before), self.identities()];
        let rollout = Rollout { diff, outcome, identities };
        if exit == 0 {
            self.assert_as_said(change, &rollout, &before);
        } else {
            assert_eq!(identities_without(&rollout.identities[0], ""), rollout.identities[1], "{change}");
        }
        let ledger = rollout.outcome.ledger();
        assert_eq!(ledger["exit"], exit, "{change}: {ledger}");
        for (flow, account) in ledger["flows"].as_object().into_iter().flatten() {
            let count = |what: &str| account[what].as_u64().unwrap_or(u64::MAX);
            assert_eq!((count("lost"), count("repeated")), (0, 0), "{change}: {flow}: {ledger}");
        }
        rollout
    }

    /// Asserts that the rollout has done what `waldo diff` said, and nothing else.
    #[track_caller]
    fn assert_as_said(&self, change: &str, rollout: &Rollout, before: &Value) {
        let after = self.playground.status();
        assert_eq!(after["state"], "flowing", "{change}: {after}");
        let grown = u64::from(rollout.diff["equal"] != true);
        assert_eq!(
            after["generation"].as_u64(),
            before["generation"].as_u64().map(|generation| generation + grown),
            "{change}: the generation grows by one with a difference, and by none without"
        );
        let [old, new] = &rollout.identities;
        let mut expected = BTreeSet::new();
        for process in rollout.diff["processes"].as_array().expect("an array") {
            let text = |field: &str| process[field].as_str().expect("text");
            let name = format!("{}/{}", text("server"), text("process"));
            let (was, is) = (old.get(&name), new.get(&name));
            let holds = match text("action") {
                "keep" | "rewire" => was.is_some() && was == is,
                "restart" => was.is_some() && is.is_some() && was != is,
                "start" => is.is_some(),
                "stop" => is.is_none(),
                other => panic!("{change}: no action {other}"),
            };
            assert!(holds, "{change}: {process}, but {was:?} became {is:?}");
            if text("action") != "stop" {
                expected.insert(name);
            }
        }
        assert_eq!(expected, new.keys().cloned().collect(), "{change}: what runs is what the plan says");
        let paused: BTreeSet<String> = keys_of(&rollout.outcome.ledger()["pause_ms"]);
        let hold: BTreeSet<String> = rollout.diff["hold"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        assert_eq!(paused, hold, "{change}: only those pause that must hold");
    }

    /// Waits until all that has been sent so far has come to where it belongs, and each key to its owner; asserts that
    /// nothing has come twice or out of order.
    #[track_caller]
    pub fn wait_until_whole(&mut self, change: &str) {
        let sent = self.sent();
        let mut missing = Vec::new();
        let whole = crate::playground::comes_about(|| {
            self.count.read().expect("books");
            missing = self
                .expected
                .iter()
                .map(|expected| (expected.book, self.count.missing(expected, &sent).expect("books")))
                .filter(|(_, missing)| missing.count > 0)
                .collect();
            missing.is_empty()
        });
        assert!(whole, "{change}: lost {missing:?} of {sent:?}\n{}", self.playground.status());
        self.assert_in_order(change);
        let plan = self.plan();
        let mut elsewhere = String::new();
        let owned = crate::playground::comes_about(|| {
            self.count.read().expect("books");
            elsewhere = self.elsewhere(&plan);
            elsewhere.is_empty()
        });
        assert!(owned, "{change}: {elsewhere}");
    }

    /// Asserts that nothing has come twice, late or out of order.
    #[track_caller]
    pub fn assert_in_order(&mut self, change: &str) {
        for (name, book) in self.count.books() {
            assert_eq!(book.repeated.count, 0, "{change}: {name}: repeated {:?}", book.repeated.examples);
            assert_eq!(book.late.count, 0, "{change}: {name}: came after all {:?}", book.late.examples);
            if !self.unordered.contains(name) {
                assert_eq!(book.disordered.count, 0, "{change}: {name}: disordered {:?}", book.disordered.examples);
            }
        }
    }

    /// Keys that were last received elsewhere than the plan says; empty if there are none.
    fn elsewhere(&mut self, plan: &Plan) -> String {
        let mut elsewhere = Vec::new();
        for (book, flow) in FLOWS {
            let Some(guide) = plan.guide.flows.get(flow) else { continue };
            for (key, server) in self.count.book(book).places() {
                let owner = &plan.guide.servers[usize::from(plan.guide.owner(guide, key.as_bytes()))];
                if owner != server {
                    elsewhere.push(format!("{flow} {key} came to {server}, not to {owner}"));
                }
            }
        }
        elsewhere.join("\n")
    }

    /// Keys that have come to another server since this was asked last, by book; asserts that none has gone to and fro.
    #[track_caller]
    pub fn take_moves(&mut self) -> BTreeMap<String, usize> {
        let mut moves = BTreeMap::new();
        for (book, _) in FLOWS {
            let taken = self.count.book(book).take_moves();
            let keys: BTreeSet<_> = taken.iter().map(|moved| &moved.key).collect();
            assert_eq!(keys.len(), taken.len(), "{book}: two owners in one rollout: {taken:?}");
            moves.insert(book.to_owned(), keys.len());
        }
        moves
    }

    /// Forgets which keys have come to another server: several rollouts may have moved them to and fro.
    pub fn forget_moves(&mut self) {
        for (book, _) in FLOWS {
            self.count.book(book).take_moves();
        }
    }

    /// Lets sources send nothing until [`Flotilla::resume`], and waits until all is received.
    pub fn pause(&mut self, change: &str) {
        fs::write(self.playground.path().join("books/pause"), "").expect("a file");
        self.wait_until_whole(change);
    }

    /// Lets sources send again.
    pub fn resume(&self) {
        fs::remove_file(self.playground.path().join("books/pause")).expect("a file");
    }

    /// What waldo says has become of the records of each flow since it runs.
    pub fn accounts(&self) -> BTreeMap<String, ledger::Account> {
        let flows = self.plan().flows.into_keys().collect::<Vec<_>>();
        ledger::accounts(flows.iter().map(String::as_str), &self.statuses(), ledger::When::Running)
    }

    /// What every launcher that answers says.
    pub fn statuses(&self) -> Vec<ServerStatus> {
        let path = self.playground.path();
        let paths = Paths::new(&path.join("run"), path, "flotilla", "test");
        cluster::connect(&paths).iter_mut().filter_map(|client| client.status().ok()).collect()
    }

    /// What isn't as the live plan wants it; empty if everything runs, once, under one plan, and nothing else does.
    pub fn what_is_not_well(&self) -> String {
        let plan = self.plan();
        let statuses = self.statuses();
        let mut wrong = String::new();
        let generations: BTreeSet<u64> = statuses.iter().map(|status| status.generation).collect();
        if generations.len() != 1 {
            let _ = writeln!(wrong, "plans {generations:?} are live");
        }
        let mut groups = BTreeSet::new();
        for server in plan.servers.keys() {
            let launchers = self.playground.launchers_of(server);
            if launchers.len() != 1 {
                let _ = writeln!(wrong, "{server} has launchers {launchers:?}");
            }
            groups.extend(launchers.into_iter().map(group_of));
        }
        let mut running = BTreeSet::new();
        for status in &statuses {
            if status.phase != Stand::Flowing || status.digest != plan.digest {
                let _ = writeln!(wrong, "{} is {} with plan {}", status.server, status.phase, status.digest);
            }
            for process in &status.processes {
                let name = format!("{}/{}", status.server, process.name);
                if process.state == Condition::Stopped {
                    continue;
                }
                if process.state != Condition::Ready || process.gate_closed {
                    let gate = if process.gate_closed { ", its gate closed" } else { "" };
                    let _ = writeln!(wrong, "{name} is {}{gate}", process.state);
                }
                groups.extend(process.pid.map(group_of));
                running.insert(name);
            }
        }
        let processes = |(server, about): (&String, &ServerPlan)| -> Vec<String> {
            about.processes.iter().map(|process| format!("{server}/{}", process.name)).collect()
        };
        let wanted: BTreeSet<String> = plan.servers.iter().flat_map(processes).collect();
        if running != wanted {
            let _ = writeln!(wrong, "{running:?} run in place of {wanted:?}");
        }
        for (pid, words) in self.playground.processes() {
            // One that has just ended has no group.
            if !groups.contains(&group_of(pid)) && group_of(pid) != 0 {
                let _ = writeln!(wrong, "{pid} belongs to no process of the plan: {words}");
            }
        }
        wrong
    }

    /// Lets everything come to its end, counts what hasn't come, by book, and asserts that it doesn't come later.
    #[track_caller]
    pub fn book_losses(&mut self, change: &str) -> BTreeMap<&'static str, u64> {
        fs::write(self.playground.path().join("books/pause"), "").expect("a file");
        // Quiet, as waldo says: nothing is queued anywhere, and nothing is sent any more.
        let mut before = None;
        wait_until(&format!("{change}: quiet"), || {
            let statuses = self.statuses();
            let queued: u64 = statuses.iter().map(ledger::queued).sum();
            let now = Some((self.sent(), self.received(), queued));
            let quiet = queued == 0 && now == before;
            before = now;
            quiet
        });
        let sent = self.sent();
        let mut lost = BTreeMap::new();
        for expected in self.expected.clone() {
            let missing = self.count.book_as_lost(&expected, &sent).expect("books");
            lost.insert(expected.book, missing.count);
        }
        self.resume();
        lost
    }

    /// Takes it down, and asserts that nothing is left of it, and that nothing has come twice till the end.
    #[track_caller]
    pub fn down(mut self) {
        self.pause("down");
        self.playground.run(self.playground.waldo(&["down"])).code(0);
        self.wait_until_whole("down");
        self.playground.assert_nothing_left();
    }
}

/// The process group of a process; 0 if there is none any more.
fn group_of(pid: i32) -> i32 {
    nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).map_or(0, nix::unistd::Pid::as_raw)
}

fn identities_of(status: &Value) -> Identities {
    let mut identities = Identities::new();
    for (server, about) in status["servers"].as_object().into_iter().flatten() {
        for (process, about) in about["processes"].as_object().into_iter().flatten() {
            if let (Some(pid), Some(incarnation)) = (about["pid"].as_i64(), about["incarnation"].as_u64()) {
                identities.insert(format!("{server}/{process}"), (pid, incarnation));
            }
        }
    }
    identities
}

/// All but one process.
pub fn identities_without(identities: &Identities, process: &str) -> Identities {
    identities.iter().filter(|(name, _)| *name != process).map(|(name, is)| (name.clone(), *is)).collect()
}

fn keys_of(object: &Value) -> BTreeSet<String> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}
