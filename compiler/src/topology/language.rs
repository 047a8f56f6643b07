//! The fields of the language, each with what it takes and what it is for: what readers know, suggestions are made from, and
//! the schema says.

use super::literal::SIGNALS;

/// A field of a map.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it is for, in a sentence or two.
    pub about: &'static str,
}

/// What a field takes.
#[derive(Debug)]
pub enum Takes {
    /// Any single value.
    Text,
    /// A name.
    Name,
    /// `250ms`, `5s`, `2m`, `1h`.
    Duration,
    /// `512KiB`, `64MiB`, `2GB`, or bytes.
    Size,
    /// A decimal number of at least 0.
    Decimal,
    /// A whole number within these bounds.
    Count(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of single values.
    Texts,
    /// One or more single values: alone, or as a list.
    OneOrMoreTexts,
    /// A map of these fields.
    Fields(&'static [Field]),
    /// A map from names to maps of these fields.
    Named(&'static [Field]),
    /// A map from any keys to single values.
    Texting,
    /// One of several forms.
    Either(&'static [Takes]),
    /// A list, each item of this form.
    List(&'static Takes),
    /// A list of exactly two whole numbers.
    Pair,
    /// Namespaces: like the topology itself, but for what only that has, and with fields of their own.
    Namespaces(&'static [Field]),
    /// Anything: the version doesn't support it yet.
    Anything,
}

use Takes::{
    Anything, Count, Decimal, Duration, Either, Fields, List, Name, Named, Namespaces, OneOrMoreTexts, Pair, Size,
    Switch, Text, Texting, Texts, Word,
};

/// The names of fields.
pub fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name).collect()
}

const fn field(name: &'static str, takes: Takes, about: &'static str) -> Field {
    Field { name, takes, about }
}

/// The kinds of things that have a field of this name.
pub fn owners(field: &str) -> Vec<&'static str> {
    let kinds = [
        ("flow", FLOW),
        ("stage", STAGE),
        ("loop", LOOP),
        ("portal", PORTAL),
        ("server", SERVER),
        ("namespace", OWN),
        ("topology", TOP),
    ];
    kinds
        .into_iter()
        .filter(|(_, fields)| fields.iter().any(|known| known.name == field))
        .map(|(kind, _)| kind)
        .collect()
}

/// The greatest port.
const PORTS: u64 = 65_535;

/// The fields at the top of a topology.
pub static TOP: &[Field] = &[
    field("topology", Name, "The topology's name."),
    field(
        "include",
        OneOrMoreTexts,
        "Files to read first, as patterns seen from this file; what this file says is merged into them.",
    ),
    field("flows", Named(FLOW), "The kinds of data, by name."),
    field("stages", Named(STAGE), "The programs that work on them, by name."),
    field("loops", Named(LOOP), "Where the flow runs in circles: every cycle is declared, and bounded."),
    field(
        "portals",
        Named(PORTAL),
        "The processes through which keyed flows enter a server. Flows that aren't named here go to a default one: `intake` if clients send them, else `relay`.",
    ),
    field("servers", Named(SERVER), "Where it runs, by name. Left out: one server, `here`, on loopback."),
    field(
        "namespaces",
        Namespaces(OWN),
        "Named copies of the topology: each is the topology with these changes merged in. Maps merge, lists and single values replace, null removes.",
    ),
    field("defaults", Fields(DEFAULTS), "What holds for the whole topology."),
    field("rebalance", Fields(REBALANCE), "Within which limits servers' weights are changed by what portals measure."),
    field("files", Texts, "What a deployment ships to each server: patterns of files below the topology's directory."),
    field("security", Anything, "How data between servers is protected. Not supported yet."),
];

/// The fields that only a namespace has.
pub static OWN: &[Field] = &[
    field("local", Switch, "Puts every server on this machine, each with its own directory and ports."),
    field(
        "ports",
        Count(1, PORTS),
        "The first of the block of ports that this copy uses; written ports are replaced too.",
    ),
];

/// The fields of a namespace that a topology has as well.
pub fn changeable() -> impl Iterator<Item = &'static Field> {
    TOP.iter().filter(|field| !["topology", "namespaces", "include"].contains(&field.name))
}

/// The fields of `defaults`.
pub static DEFAULTS: &[Field] = &[field(
    "idle_timeout",
    Duration,
    "How long a server may take to become idle before a change is given up. Default 30s.",
)];

/// The fields of `rebalance`.
pub static REBALANCE: &[Field] = &[
    field("auto", Switch, "Whether weights are changed, and that rolled out, without being asked for. Default false."),
    field("every", Duration, "With `auto`: how far apart that is done at least. Default 10m."),
    field("slots", Count(1, 4_096), "How many slots of a flow may move at once. Default: as many as it takes."),
    field("lowest", Decimal, "The lowest weight that a server may be given."),
    field("highest", Decimal, "The highest weight that a server may be given."),
];

/// The fields of a flow.
pub static FLOW: &[Field] = &[
    field(
        "key",
        Either(&[Word(&["sender"]), Fields(KEY)]),
        "Where the key is: `sender` (the sender states it, the default), or where in the payload it is found.",
    ),
    field(
        "guide",
        Either(&[Word(&["hash"]), Fields(GUIDE)]),
        "Which key lives on which server. A flow with a guide is keyed: it crosses servers, through portals.",
    ),
    field("from", Word(&["clients"]), "`clients`: records may also come from outside."),
    field("max_record", Size, "Records with a longer key and payload together are refused. Default 1MiB."),
    field("to", Fields(TO), "Where the flow leaves the topology: its records are pushed there, as three frames."),
];

/// The fields of a flow's `to`.
pub static TO: &[Field] = &[
    field("connect", Text, "The endpoint that a PULL socket is bound to: tcp://HOST:PORT."),
    field("bind", Text, "The endpoint to bind, for PULL sockets that connect: tcp://ADDRESS:PORT, or tcp://*:PORT."),
    field("on", Texts, "The servers, or labels of servers, that it leaves from. Default: every server."),
    field("queue", Count(1, 1 << 32), "How many records wait at most before those who send do. Default 1000."),
];

/// The fields of a flow's `key`.
pub static KEY: &[Field] = &[
    field("json", Text, "The JSON pointer of the key in the payload, such as /caller."),
    field("column", Count(1, 4_294_967_295), "The number of the column that is the key, from 1."),
    field("separator", Text, "What stands between columns. Default: a tab."),
    field(
        "bytes",
        Pair,
        "The bytes of the payload that are the key: from the first up to, not including, the second, counted from 0.",
    ),
];

/// The fields of a flow's `guide`.
pub static GUIDE: &[Field] = &[
    field(
        "ranges",
        Texting,
        "Start of a range → server: a key lives on the server of the greatest start that isn't above it. One start must be \"\".",
    ),
    field("table", Texting, "Key → server."),
    field("default", Text, "With `table`: where all other keys live: a server, or `hash`."),
];

/// The fields of a stage.
pub static STAGE: &[Field] = &[
    field(
        "run",
        Either(&[Text, Texts]),
        "The program and its arguments: a list, or a text that is split as a shell would, though no shell runs.",
    ),
    field("in", List(&Either(&[Text, Fields(INPUT)])), "The flows that it receives. A stage without is a source."),
    field("out", Texts, "The flows that it sends."),
    field("instances", Count(1, 10_000), "How many processes run on each server that it is placed on. Default 1."),
    field("on", Texts, "The servers, or labels of servers, that it runs on. Default: every server."),
    field("env", Texting, "Variables added to the environment."),
    field(
        "restart",
        Either(&[Word(POLICIES), Fields(RESTART)]),
        "When it is started again. Default: always; for sources on-failure.",
    ),
    field("alive", Fields(ALIVE), "How long it may go without progress."),
    field("stop", Fields(STOP), "How it is stopped."),
    field("ready", Fields(READY), "How long it may take to get ready."),
    field("queue", Count(1, 1 << 32), "How many records an instance's inbox holds. Default 1000."),
    field("limits", Fields(LIMITS), "What each of its processes may use."),
    field("user", Text, "The user that it runs as; only root can start it then."),
    field("cwd", Text, "The directory that it runs in. Default: the topology's directory."),
    field(
        "speaks",
        Word(&["sdk", "ack", "lines"]),
        "How it speaks: over waldo's SDK (the default), in lines that are each answered, or as an ordinary filter.",
    ),
];

/// The words for when a process is started again.
pub static POLICIES: &[&str] = &["always", "on-failure", "never"];

/// The fields of an item of a stage's `in`.
pub static INPUT: &[Field] = &[
    field("flow", Text, "The flow's name."),
    field(
        "spread",
        Word(&["any", "key", "all"]),
        "Who gets a record among the instances on a server: any one (the default), the one of its key, or all.",
    ),
];

/// The fields of a stage's `restart`.
pub static RESTART: &[Field] = &[
    field("policy", Word(POLICIES), "After which ends."),
    field("backoff", Duration, "The greatest pause before a start; pauses grow from nothing."),
    field("max", Count(1, 4_294_967_295), "How many starts are allowed within `window`."),
    field("window", Duration, "The time within which starts are counted."),
];

/// The fields of a stage's `alive`.
pub static ALIVE: &[Field] = &[
    field("within", Duration, "For how long its heartbeat may stand still."),
    field("then", Word(&["report", "restart"]), "What happens then. Default: report."),
];

/// The fields of a stage's `stop`.
pub static STOP: &[Field] = &[
    field("signal", Word(&SIGNALS), "The signal that asks it to stop, with or without SIG. Default TERM."),
    field("grace", Duration, "How long it may take before it is killed."),
];

/// The fields of a stage's `ready`.
pub static READY: &[Field] = &[field("timeout", Duration, "How long it may take. Default 10s.")];

/// The fields of a stage's `limits`.
pub static LIMITS: &[Field] = &[
    field("nofile", Count(16, 1 << 30), "How many files it may have open."),
    field("memory", Size, "How much memory it may write to."),
    field("cpu", Decimal, "How many processors it is meant to use."),
];

/// The fields of a loop.
pub static LOOP: &[Field] = &[
    field("flows", Texts, "All flows of the cycle, in order. Sending on the first is a pass."),
    field("passes", Count(1, 65_535), "How often a record may go round."),
];

/// The fields of a portal.
pub static PORTAL: &[Field] = &[
    field("flows", Texts, "The flows that it carries."),
    field("port", Count(1, PORTS), "Its port: for clients if it takes any, else for links."),
    field("link", Count(1, PORTS), "Its port for links, if it takes clients."),
    field("spool", Fields(SPOOL), "How much it may keep while receivers are slow or it holds."),
];

/// The fields of a portal's `spool`.
pub static SPOOL: &[Field] = &[
    field("memory", Size, "In memory. Default 64MiB."),
    field("disk", Size, "On disk, once memory is full. Default 10GiB."),
    field("sync", Anything, "When it is synced to disk. Not supported yet."),
];

/// The fields of a server.
pub static SERVER: &[Field] = &[
    field("address", Text, "Where others reach it: an IP address or a host name."),
    field("listen", Text, "What its portals bind, if not the address."),
    field("ssh", Text, "Where a deployment logs in: HOST or USER@HOST."),
    field("weight", Decimal, "How many keys it owns, against the others. Default 1."),
    field("labels", Texts, "Names that stages may be placed on."),
    field("memory", Size, "How much memory it has."),
    field("cpu", Decimal, "How many processors it has."),
    field("state", Word(&["active", "drained"]), "`drained`: out of action; it runs nothing and owns no keys."),
];
