//! A small cluster in this process: portals, sources and sinks in threads of their own, over real sockets and pages, and a
//! launcher that says what a rollout says.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::ports::free_port;
use waldo_runtime::{
    idle::{Pages, Scope, Verdict},
    portal::{self, Transition},
};
use waldo_sdk::{
    Stage,
    control::{Envelope, FromProcess, ToProcess},
    guide::{self, Endpoints, FlowGuide, Guide, Map, SLOTS},
    page::{Kind, Page},
    wiring::{
        self, Carried, Consumer, Doors, Input, KeyRule, Output, Place, Placed, Receiver, SpoolLimits, Spread, Wiring,
    },
};

pub const ANY: Spread = Spread::Any;
pub const KEY: Spread = Spread::Key;

const BOUND: Duration = Duration::from_secs(60);

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come about in {BOUND:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn limits(memory: u64, disk: u64) -> SpoolLimits {
    SpoolLimits { memory, disk }
}

/// Lets the test of this name be a portal, where [`Cluster::start_portal_process`] has started it to be one.
pub fn be_a_portal() {
    if std::env::var_os("WALDO_AS_PORTAL").is_some() {
        portal::run().unwrap();
    }
}

/// One server as a plan has it.
#[derive(Clone)]
pub struct ServerPlan {
    pub name: &'static str,
    pub link: u16,
    pub clients: u16,
    /// Consumer stages of `call`, how their records are spread, and how many instances they have.
    pub consumers: Vec<(&'static str, Spread, usize)>,
    pub spool: SpoolLimits,
}

impl ServerPlan {
    pub fn new(name: &'static str) -> Self {
        let consumers = vec![("score", Spread::Any, 1)];
        let spool = SpoolLimits { memory: 1 << 20, disk: 1 << 30 };
        Self { name, link: free_port(), clients: free_port(), consumers, spool }
    }
}

/// A plan of one keyed flow, `call`.
#[derive(Clone)]
pub struct Plan {
    pub generation: u64,
    pub servers: Vec<ServerPlan>,
    /// The generation in which the flow's guide last changed.
    pub version: u64,
    pub map: Map,
    pub tables: Vec<Vec<u16>>,
    /// How large a record of the flow may be.
    pub max_record: u64,
    /// The server of each process that only sends, and its name.
    pub sources: Vec<(&'static str, &'static str)>,
}

impl Plan {
    /// Every slot's server by `owner`.
    pub fn by_slot(servers: Vec<ServerPlan>, owner: impl Fn(usize) -> u16) -> Self {
        let tables = vec![(0..SLOTS).map(owner).collect()];
        Self { generation: 1, servers, version: 1, map: Map::Hash(0), tables, max_record: 1 << 20, sources: vec![] }
    }

    /// The next plan, with another table.
    pub fn moved(&self, owner: impl Fn(usize) -> u16) -> Self {
        let generation = self.generation + 1;
        let tables = vec![(0..SLOTS).map(owner).collect()];
        Self { generation, version: generation, tables, map: Map::Hash(0), ..self.clone() }
    }

    /// The next plan, with the same guide.
    pub fn next(&self) -> Self {
        Self { generation: self.generation + 1, ..self.clone() }
    }

    pub fn guide(&self) -> Guide {
        let portals = self.servers.iter().map(|server| {
            let endpoints = Endpoints {
                links: format!("tcp://127.0.0.1:{}", server.link),
                clients: Some(format!("tcp://127.0.0.1:{}", server.clients)),
            };
            (server.name.to_owned(), BTreeMap::from([("relay".to_owned(), endpoints)]))
        });
        let flow = FlowGuide { version: self.version, portal: "relay".into(), map: self.map.clone() };
        Guide {
            format: guide::FORMAT,
            servers: self.servers.iter().map(|server| server.name.to_owned()).collect(),
            tables: self.tables.clone(),
            flows: BTreeMap::from([("call".to_owned(), flow)]),
            portals: portals.collect(),
        }
    }

    pub fn owner(&self, key: &[u8]) -> &'static str {
        let guide = self.guide();
        self.servers[usize::from(guide.owner(&guide.flows["call"], key))].name
    }

    fn portal(&self, server: &ServerPlan) -> Wiring {
        let doors = Doors {
            links: format!("tcp://127.0.0.1:{}", server.link),
            clients: Some(format!("tcp://127.0.0.1:{}", server.clients)),
            flows: self.carried(server),
            spool: server.spool,
        };
        Wiring { stage: "relay".into(), portal: Some(doors), ..Wiring::default() }
    }

    pub fn carried(&self, server: &ServerPlan) -> Vec<Carried> {
        let consumers = server.consumers.iter().map(|&(stage, spread, instances)| Consumer {
            stage: stage.into(),
            spread,
            receivers: (0..instances).map(|n| Receiver { process: format!("{stage}.{n}"), share: 100 }).collect(),
        });
        let consumers: Vec<Consumer> = consumers.collect();
        let flow = Carried {
            flow: "call".into(),
            key: KeyRule::Sender,
            max_record: self.max_record,
            from_clients: true,
            consumers,
        };
        vec![flow]
    }
}

fn source_wiring(plan: &Plan) -> Wiring {
    let call = Output {
        flow: "call".into(),
        key: Some(KeyRule::Sender),
        max_record: plan.max_record,
        loops: vec![],
        consumers: vec![],
    };
    Wiring { stage: "wanted".into(), outputs: vec![call], ..Wiring::default() }
}

fn sink_wiring(stage: &str) -> Wiring {
    let input = Input { flow: "call".into(), from: vec!["relay".into()] };
    Wiring { stage: stage.into(), inputs: vec![input], ..Wiring::default() }
}

/// A record that a sink has handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    pub server: &'static str,
    pub stage: &'static str,
    pub instance: usize,
    pub key: Vec<u8>,
    pub sender: u8,
    pub number: u64,
}

/// All that sinks have handled, in the order in which they have.
pub type Log = Arc<Mutex<Vec<Handled>>>;

pub fn payload(sender: u8, number: u64) -> Vec<u8> {
    let mut payload = vec![sender];
    payload.extend_from_slice(&number.to_le_bytes());
    payload
}

type Members = Arc<Mutex<HashMap<String, (UnixStream, Vec<Envelope<FromProcess>>)>>>;

/// A server's run directory, and its launcher.
pub struct Server {
    pub name: &'static str,
    directory: tempfile::TempDir,
    members: Members,
}

impl Server {
    fn new(name: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let members = Members::default();
        let listener = UnixListener::bind(directory.path().join("processes.sock")).unwrap();
        let known = Arc::clone(&members);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, known) = (stream.unwrap(), Arc::clone(&known));
                std::thread::spawn(move || listen(&stream, &known));
            }
        });
        Self { name, directory, members }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn spool(&self) -> PathBuf {
        self.path().join("spool/relay")
    }

    fn place(&self, process: &str, generation: u64) -> Place {
        Place {
            topology: "test".into(),
            namespace: "default".into(),
            server: self.name.into(),
            process: process.into(),
            generation,
            run: self.path().into(),
            guide: self.path().join(format!("guide-{generation}.json")),
            state: self.path().join("state").join(process),
            spool: self.path().join("spool").join(process),
        }
    }

    /// Makes a process's directory, page and wiring, as a launcher does.
    fn prepare(&self, process: &str, plan: &Plan, wiring: Wiring) -> Placed {
        let place = self.place(process, plan.generation);
        std::fs::create_dir_all(place.directory(process)).unwrap();
        std::fs::create_dir_all(&place.state).unwrap();
        replace(&place.guide, &serde_json::to_vec(&plan.guide()).unwrap());
        let placed = Placed { format: wiring::FORMAT, place, wiring };
        replace(&placed.place.wiring(), &serde_json::to_vec(&placed).unwrap());
        Page::create(&placed.place.page(process), 256).unwrap();
        placed
    }

    pub fn page(&self, process: &str) -> Page {
        Page::open(&self.path().join(process).join("page")).unwrap()
    }

    /// Says something to a process.
    pub fn tell(&self, process: &str, message: ToProcess) {
        wait_until(&format!("a connection of {process}"), || self.members.lock().unwrap().contains_key(process));
        let incarnation = self.page(process).incarnation();
        let mut line = serde_json::to_vec(&Envelope { generation: 1, incarnation, message }).unwrap();
        line.push(b'\n');
        self.members.lock().unwrap().get_mut(process).unwrap().0.write_all(&line).unwrap();
    }

    /// Everything that a process has said on its latest connection.
    pub fn said(&self, process: &str) -> Vec<FromProcess> {
        let members = self.members.lock().unwrap();
        members.get(process).map_or(vec![], |(_, said)| said.iter().map(|said| said.message.clone()).collect())
    }

    /// Waits until a process says this.
    pub fn hears(&self, process: &str, expected: &FromProcess) {
        wait_until(&format!("{}/{process}: {expected:?}", self.name), || {
            let said = self.said(process);
            let refused = said.iter().find(|said| matches!(said, FromProcess::Refused { .. }));
            assert!(refused.is_none() || matches!(expected, FromProcess::Refused { .. }), "{process}: {refused:?}");
            said.contains(expected)
        });
    }

    pub fn gate(&self, process: &str, closed: bool) {
        let before = self.said(process).len();
        self.tell(process, ToProcess::gate(closed));
        wait_until("an answer of the gate", || {
            self.said(process).iter().skip(before).any(|said| *said == FromProcess::Gate { closed })
        });
    }

    /// A counter of the portal's page.
    pub fn count(&self, name: &str) -> u64 {
        self.page("relay").find(Kind::Count, name).map_or(0, |slot| slot.done())
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn listen(stream: &UnixStream, members: &Members) {
    let mut process = String::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let envelope: Envelope<FromProcess> = serde_json::from_str(&line).unwrap();
        let mut members = members.lock().unwrap();
        if let FromProcess::Hello { process: name, .. } = &envelope.message {
            process.clone_from(name);
            members.insert(process.clone(), (stream.try_clone().unwrap(), Vec::new()));
        }
        members.get_mut(&process).unwrap().1.push(envelope);
    }
}

struct Sink {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sink {
    fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
    }
}

enum Running {
    Thread(Arc<AtomicBool>, JoinHandle<()>),
    Process(Child),
}

/// Servers with portals, sources and sinks.
pub struct Cluster {
    pub plan: Plan,
    pub servers: Vec<Server>,
    portals: BTreeMap<&'static str, (u64, Running)>,
    sinks: BTreeMap<(&'static str, String), Sink>,
    /// Servers that the plan doesn't have any more.
    retired: Vec<&'static str>,
    pub log: Log,
    /// Whether instances of the stage `slow` take their time.
    pub is_slow: Arc<AtomicBool>,
}

impl Cluster {
    /// The portals of a plan; nobody sends, and nobody receives yet.
    pub fn new(plan: Plan) -> Self {
        let servers = plan.servers.iter().map(|server| Server::new(server.name)).collect();
        let mut cluster = Self {
            plan,
            servers,
            portals: BTreeMap::new(),
            sinks: BTreeMap::new(),
            retired: Vec::new(),
            log: Log::default(),
            is_slow: Arc::default(),
        };
        for server in cluster.plan.servers.clone() {
            cluster.start_portal(server.name);
        }
        cluster
    }

    pub fn server(&self, name: &str) -> &Server {
        self.servers.iter().find(|server| server.name == name).unwrap()
    }

    fn portal_placed(&self, name: &'static str) -> Placed {
        let server = self.plan.servers.iter().find(|server| server.name == name).unwrap();
        self.server(name).prepare("relay", &self.plan, self.plan.portal(server))
    }

    fn next_incarnation(&mut self, name: &'static str, placed: &Placed) -> u64 {
        let incarnation = self.portals.get(name).map_or(1, |(incarnation, _)| incarnation + 1);
        Page::open(&placed.place.page("relay")).unwrap().begin_incarnation(incarnation);
        self.server(name).members.lock().unwrap().remove("relay");
        incarnation
    }

    /// Starts the portal of a server, by the plan as it is.
    pub fn start_portal(&mut self, name: &'static str) {
        let placed = self.portal_placed(name);
        let incarnation = self.next_incarnation(name, &placed);
        let term = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&term);
        let thread = std::thread::spawn(move || portal::run_at(placed, incarnation, &flag).unwrap());
        self.portals.insert(name, (incarnation, Running::Thread(term, thread)));
        self.server(name).hears("relay", &FromProcess::Ready);
    }

    /// The same, in a process of its own, so that it can be killed: this program, as the test of that name.
    pub fn start_portal_process(&mut self, name: &'static str, test: &str) {
        let placed = self.portal_placed(name);
        let incarnation = self.next_incarnation(name, &placed);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("WALDO_WIRING", placed.place.wiring())
            .env("WALDO_INCARNATION", incarnation.to_string())
            .env("WALDO_AS_PORTAL", "1")
            .spawn()
            .unwrap();
        self.portals.insert(name, (incarnation, Running::Process(child)));
        self.server(name).hears("relay", &FromProcess::Ready);
    }

    pub fn stop_portal(&mut self, name: &str) {
        match &mut self.portals.get_mut(name).unwrap().1 {
            Running::Process(child) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Running::Thread(term, thread) => {
                term.store(true, Ordering::Release);
                std::mem::replace(thread, std::thread::spawn(|| {})).join().unwrap();
            }
        }
    }

    /// Starts an instance that handles what comes, and writes it down.
    pub fn sink(&mut self, name: &'static str, stage: &'static str, instance: usize) {
        let process = format!("{stage}.{instance}");
        let server = self.server(name);
        let placed = server.prepare(&process, &self.plan, sink_wiring(stage));
        let page = server.page(&process);
        let incarnation = page.incarnation() + 1;
        page.begin_incarnation(incarnation);
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, log, is_slow) = (Arc::clone(&stop), Arc::clone(&self.log), Arc::clone(&self.is_slow));
        let thread = std::thread::spawn(move || {
            let mut stage_ = Stage::open_at(placed.place, placed.wiring, incarnation).unwrap();
            loop {
                let Some(record) = stage_.try_receive().unwrap() else {
                    if flag.load(Ordering::Acquire) {
                        break;
                    }
                    stage_.wait_for_input(5).unwrap();
                    continue;
                };
                if stage == "slow" && is_slow.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_micros(500));
                }
                let number = u64::from_le_bytes(record.payload()[1..9].try_into().unwrap());
                let (key, sender) = (record.key().to_vec(), record.payload()[0]);
                log.lock().unwrap().push(Handled { server: name, stage, instance, key, sender, number });
            }
            stage_.finish().unwrap();
        });
        self.sinks.insert((name, process), Sink { stop, thread });
    }

    /// All sinks of the plan that aren't there yet.
    pub fn all_sinks(&mut self) {
        for server in self.plan.servers.clone() {
            for (stage, _, instances) in server.consumers {
                for instance in 0..instances {
                    if !self.sinks.contains_key(&(server.name, format!("{stage}.{instance}"))) {
                        self.sink(server.name, stage, instance);
                    }
                }
            }
        }
    }

    /// Stops the sinks that the plan doesn't have.
    fn stop_sinks(&mut self) {
        let plan = self.plan.clone();
        let is_wanted = |(name, process): &(&str, String)| {
            plan.servers.iter().any(|server| {
                let names = server.consumers.iter().flat_map(|&(stage, _, instances)| {
                    (0..instances).map(move |instance| format!("{stage}.{instance}"))
                });
                server.name == *name && names.into_iter().any(|wanted| wanted == *process)
            })
        };
        let gone: Vec<_> = self.sinks.keys().filter(|sink| !is_wanted(sink)).cloned().collect();
        for sink in gone {
            self.sinks.remove(&sink).unwrap().end();
        }
    }

    /// A stage that only sends, as the test says.
    pub fn source(&mut self, server: &'static str, process: &'static str) -> Stage {
        self.plan.sources.push((server, process));
        let server = self.server(server);
        let placed = server.prepare(process, &self.plan, source_wiring(&self.plan));
        let page = server.page(process);
        page.begin_incarnation(page.incarnation() + 1);
        Stage::open_at(placed.place, placed.wiring, page.incarnation()).unwrap()
    }

    pub fn hold(&self, servers: &[&str]) {
        for name in servers {
            self.server(name).gate("relay", true);
        }
        for name in servers {
            let server = self.server(name);
            let mut pages = Pages::new(name);
            for process in std::fs::read_dir(server.path()).unwrap() {
                let process = process.unwrap().file_name().into_string().unwrap();
                if server.path().join(&process).join("page").is_file() {
                    pages.watch(&process, server.page(&process));
                }
            }
            wait_until(&format!("{name} idle"), || pages.prove(Scope::Stages) == Verdict::Idle);
        }
    }

    pub fn release(&self) {
        for server in &self.plan.servers {
            self.server(server.name).gate("relay", false);
        }
    }

    /// Puts the next plan's files where a launcher would, and starts what has no predecessor. Answers who is to adopt.
    pub fn replace_files(&mut self, plan: &Plan) -> Vec<&'static str> {
        let former = std::mem::replace(&mut self.plan, plan.clone());
        let mut adopters = Vec::new();
        for server in &plan.servers {
            let before = former.servers.iter().find(|known| known.name == server.name);
            let carried = before.map_or(vec![], |before| former.carried(before));
            let transition = Transition::new(plan.generation, former.guide(), carried);
            if before.is_none() {
                self.servers.push(Server::new(server.name));
            }
            transition.write(&self.server(server.name).spool()).unwrap();
            if before.is_none() {
                self.start_portal(server.name);
                self.server(server.name).gate("relay", true);
            } else {
                self.portal_placed(server.name);
                adopters.push(server.name);
            }
        }
        for before in &former.servers {
            if !plan.servers.iter().any(|server| server.name == before.name) {
                let transition = Transition::new(plan.generation, former.guide(), former.carried(before));
                transition.write(&self.server(before.name).spool()).unwrap();
                let mut wiring = former.portal(before);
                wiring.portal = wiring.portal.map(|doors| Doors { clients: None, flows: vec![], ..doors });
                self.server(before.name).prepare("relay", plan, wiring);
                adopters.push(before.name);
                self.retired.push(before.name);
            }
        }
        adopters
    }

    /// The servers that have portals.
    fn with_portals(&self) -> Vec<&Server> {
        let names = self.plan.servers.iter().map(|server| server.name).chain(self.retired.iter().copied());
        names.map(|name| self.server(name)).collect()
    }

    /// Lets the portals adopt what stands in their files.
    pub fn adopt_portals(&self, adopters: &[&str]) {
        let generation = self.plan.generation;
        for name in adopters {
            self.server(name).tell("relay", ToProcess::Adopt { generation });
        }
        for name in adopters {
            self.server(name).hears("relay", &FromProcess::Adopted { generation });
        }
    }

    /// Lets the sources and sinks adopt, and waits until everything that was sent before is in portals' hands.
    pub fn switch(&mut self) {
        self.switch_without_portals();
        let generation = self.plan.generation;
        for server in self.with_portals() {
            server.hears("relay", &FromProcess::Flushed { generation });
        }
    }

    /// The same, whatever the portals do.
    pub fn switch_without_portals(&mut self) {
        let generation = self.plan.generation;
        self.stop_sinks();
        let kept: Vec<_> = self.sinks.keys().cloned().collect();
        for (name, process) in &kept {
            let stage = process.split_once('.').unwrap().0;
            self.server(name).prepare(process, &self.plan, sink_wiring(stage));
        }
        for (name, process) in &self.plan.sources {
            self.server(name).prepare(process, &self.plan, source_wiring(&self.plan));
        }
        let all: Vec<_> =
            kept.into_iter().chain(self.plan.sources.iter().map(|&(name, it)| (name, it.into()))).collect();
        for (name, process) in &all {
            self.server(name).tell(process, ToProcess::Adopt { generation });
        }
        for (name, process) in &all {
            self.server(name).hears(process, &FromProcess::Adopted { generation });
            self.server(name).hears(process, &FromProcess::Flushed { generation });
        }
        self.all_sinks();
    }

    /// Lets one source adopt.
    pub fn switch_source(&self, name: &str, process: &str) {
        let generation = self.plan.generation;
        self.server(name).prepare(process, &self.plan, source_wiring(&self.plan));
        self.server(name).tell(process, ToProcess::Adopt { generation });
        self.server(name).hears(process, &FromProcess::Adopted { generation });
    }

    pub fn hand_over(&self) {
        let generation = self.plan.generation;
        for server in self.with_portals() {
            server.tell("relay", ToProcess::HandOver { generation });
        }
        for server in self.with_portals() {
            server.hears("relay", &FromProcess::HandedOver { generation });
        }
    }

    pub fn settle(&self) {
        let generation = self.plan.generation;
        for server in self.with_portals() {
            server.tell("relay", ToProcess::Settle { generation });
        }
        for server in self.with_portals() {
            server.hears("relay", &FromProcess::Settled { generation });
        }
    }

    /// A whole rollout.
    pub fn roll_out(&mut self, plan: &Plan, hold: &[&str]) {
        self.hold(hold);
        let adopters = self.replace_files(plan);
        self.adopt_portals(&adopters);
        self.switch();
        self.hand_over();
        self.settle();
        self.release();
    }

    /// How many records a consumer stage has handled.
    pub fn handled_by(&self, stage: &str) -> u64 {
        self.log.lock().unwrap().iter().filter(|handled| handled.stage == stage).count() as u64
    }

    /// Waits until a consumer has handled so many records.
    pub fn all_handled(&self, stage: &str, count: u64) {
        wait_until(&format!("{count} records at {stage}"), || self.handled_by(stage) >= count);
    }

    /// Ends everything, and answers what was handled.
    pub fn end(mut self) -> Vec<Handled> {
        std::mem::take(&mut self.sinks).into_values().for_each(Sink::end);
        let names: Vec<_> = self.portals.keys().copied().collect();
        for name in names {
            self.stop_portal(name);
        }
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, running) in self.portals.values_mut() {
            match running {
                Running::Process(child) => {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                Running::Thread(term, _) => term.store(true, Ordering::Release),
            }
        }
    }
}

/// Asserts that a stage has handled the records of each sender and key in order, and each at most once; answers how many.
pub fn assert_in_order(handled: &[Handled], stage: &str) -> u64 {
    let mut last: BTreeMap<(u8, &[u8]), u64> = BTreeMap::new();
    let mut count = 0;
    for record in handled.iter().filter(|record| record.stage == stage) {
        let last = last.insert((record.sender, &record.key), record.number);
        assert!(last.is_none_or(|last| last < record.number), "{record:?} came after {last:?}");
        count += 1;
    }
    count
}

/// Asserts that a stage has handled the records of each sender and key from 0 on, each once, in order.
pub fn assert_exact(handled: &[Handled], stage: &str, sent: &BTreeMap<(u8, Vec<u8>), u64>) {
    let mut next: BTreeMap<(u8, Vec<u8>), u64> = BTreeMap::new();
    for record in handled.iter().filter(|record| record.stage == stage) {
        let number = next.entry((record.sender, record.key.clone())).or_default();
        assert_eq!(
            record.number,
            *number,
            "stage {stage}, sender {}, key {:?}: record {} came where {number} was due, on {}",
            record.sender,
            String::from_utf8_lossy(&record.key),
            record.number,
            record.server
        );
        *number += 1;
    }
    let sent: BTreeMap<_, _> = sent.iter().filter(|(_, count)| **count > 0).map(|(k, v)| (k.clone(), *v)).collect();
    assert_eq!(next, sent, "stage {stage}: all that was sent has been handled");
}
