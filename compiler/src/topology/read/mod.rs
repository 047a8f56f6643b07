//! Tree → typed topology. Mistakes become diagnostics; what could be read is read, so that all come in one run.

mod cluster;
mod egress;
mod fields;
mod flow;
mod rebalance;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use self::fields::{Fields, Reader, is_field_of, lacks_blank, misspellings};
use super::{
    DEFAULT_NAMESPACE, Ends, Namespace, Topology,
    language::{self, names},
    literal,
    merge::{Removed, merge},
    near,
};
use crate::{
    check::{many_namespaces, syntax, unknown_field, wrong_kind},
    diagnostic::Diagnostics,
    source::{
        Located, Place,
        node::{Entry, Node, Shape},
    },
};

/// How many values all namespaces of a topology may have together.
const MOST_VALUES: usize = 2_000_000;
/// How long a server may take to become idle. Milliseconds.
const IDLE_TIMEOUT: u64 = 30_000;

/// A file as far as it can be read before a namespace is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutline {
    base: Node,
    removed: Removed,
    name: Located<String>,
    namespaces: Vec<(Namespace, Option<Node>)>,
    declares_namespaces: bool,
    has_holes: bool,
}

impl FileOutline {
    /// The namespaces: the declared ones in the order of the file, or `default` alone.
    pub fn namespaces(&self) -> impl ExactSizeIterator<Item = &Namespace> {
        self.namespaces.iter().map(|(namespace, _)| namespace)
    }

    /// Whether the file declares namespaces, rather than having only `default`.
    pub fn declares_namespaces(&self) -> bool {
        self.declares_namespaces
    }

    /// The topology's name.
    pub fn name(&self) -> &Located<String> {
        &self.name
    }
}

/// Finds the namespaces of a file. `None` if it isn't a map.
pub fn outline(tree: &Node, removed: &Removed, diagnostics: &mut Diagnostics) -> Option<FileOutline> {
    let mut reader = Reader { diagnostics, removed, has_holes: false, told: BTreeSet::new() };
    let owner = "the topology".to_owned();
    let Shape::Map(entries) = &tree.shape else {
        reader.report(match tree.shape {
            Shape::Null(_) => syntax::empty(Place::at(tree.place.file, 0)),
            _ => wrong_kind::value(tree, &owner, "a map of fields, of which `topology` and `stages` are two"),
        });
        return None;
    };
    // Keys that begin with `x-` are free.
    let entries = entries.iter().filter(|entry| !entry.key.starts_with("x-")).cloned().collect();
    let mut base = Node { shape: Shape::Map(entries), place: tree.place };
    let top = reader.fields(&base, owner, tree.place, &names(language::TOP))?;
    let name = reader
        .required(&top, "topology", "topology: calls")
        .and_then(|(node, what)| reader.text(node, &what))
        .unwrap_or_else(|| Located::new("unnamed".to_owned(), tree.place));
    reader.name(&name.value, name.place, "topology");

    let declared = reader.named(top.get("namespaces"), "namespace");
    let mut namespaces: Vec<_> = declared.iter().filter_map(|entry| reader.namespace(entry)).collect();
    if namespaces.is_empty() {
        let default = Namespace { name: DEFAULT_NAMESPACE.to_owned(), place: name.place, local: false, ports: None };
        namespaces.push((default, None));
    }
    let values = base.values() * namespaces.len();
    if values > MOST_VALUES {
        let place = top.entry("namespaces").map_or(tree.place, |entry| entry.key_place);
        reader.report(many_namespaces::topology(namespaces.len(), values, MOST_VALUES, place));
        return None;
    }
    let declares_namespaces = !declared.is_empty();
    let has_holes = reader.has_holes;
    let meant = misspellings(base.entries(), &names(language::TOP));
    if let Shape::Map(entries) = &mut base.shape {
        rename(entries, meant);
        entries.retain(|entry| entry.key != "namespaces");
    }
    Some(FileOutline { base, removed: removed.clone(), name, namespaces, declares_namespaces, has_holes })
}

/// Spells fields as they were meant.
fn rename(entries: &mut [Entry], meant: Vec<(String, String)>) {
    for (field, written) in meant {
        entries.iter_mut().filter(|entry| entry.key == written).for_each(|entry| entry.key.clone_from(&field));
    }
}

/// Reads the topology with one of its namespaces merged in.
pub fn read(outline: &FileOutline, namespace: &Namespace, diagnostics: &mut Diagnostics) -> Topology {
    let changes = outline.namespaces.iter().find(|(known, _)| known == namespace).and_then(|(_, node)| node.as_ref());
    let mut removed = outline.removed.clone();
    let mut tree = outline.base.clone();
    if let Some(changes) = changes {
        tree = merge(tree, changes.clone(), &mut removed);
    }
    let mut reader = Reader { diagnostics, removed: &removed, has_holes: outline.has_holes, told: BTreeSet::new() };
    let top = Fields::new(&tree, "the topology".to_owned(), outline.name.place);
    let mut topology = Topology {
        name: outline.name.clone(),
        namespace: namespace.clone(),
        flows: reader.collection(&top, "flows", "flow", Reader::flow),
        stages: reader.collection(&top, "stages", "stage", Reader::stage),
        loops: reader.collection(&top, "loops", "loop", Reader::cycle),
        portals: reader.collection(&top, "portals", "portal", Reader::portal),
        servers: reader.collection(&top, "servers", "server", Reader::server),
        idle_timeout: reader.idle_timeout(&top),
        rebalance: reader.rebalance(&top),
        files: top.get("files").and_then(|(node, what)| {
            let files = reader.texts(node, &what, "patterns of files")?;
            Some(Located::new(files, top.entry("files")?.key_place))
        }),
        security: top.entry("security").map(|entry| entry.key_place),
        has_holes: false,
        ends: Ends::default(),
        removed: Removed::default(),
    };
    reader.add_egress(&topology.flows, &mut topology.stages);
    topology.ends = Ends::of(&topology.stages);
    if topology.servers.is_empty() && top.entry("servers").is_none() {
        topology.servers = BTreeMap::from([("here".to_owned(), cluster::here(topology.name.place))]);
    }
    topology.has_holes = reader.has_holes;
    topology.removed = removed;
    topology
}

impl Reader<'_> {
    fn namespace(&mut self, entry: &Entry) -> Option<(Namespace, Option<Node>)> {
        let owner = format!("namespace `{}`", entry.key);
        let known: Vec<_> = language::OWN.iter().chain(language::changeable()).map(|field| field.name).collect();
        let fields = self.fields(&entry.value, owner, entry.key_place, &known)?;
        let local = self.choice(fields.get("local"), &[("true", true), ("false", false)]);
        let ports = self.count(fields.get("ports"), 1, u64::from(u16::MAX));
        let namespace = Namespace {
            name: entry.key.clone(),
            place: entry.key_place,
            local: local.is_some_and(|local| local.value),
            ports: ports.map(|ports| ports.map(|port| port as u16)),
        };
        let mut changes = entry.value.entries().to_vec();
        rename(&mut changes, misspellings(entry.value.entries(), &known));
        changes.retain(|change| !names(language::OWN).contains(&change.key.as_str()));
        let changes = Node { shape: Shape::Map(changes), place: entry.value.place };
        Some((namespace, Some(changes)))
    }

    fn collection<T>(
        &mut self,
        top: &Fields<'_>,
        field: &str,
        kind: &str,
        read: fn(&mut Self, String, Place, &Node) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let mut all = BTreeMap::new();
        for entry in self.named(top.get(field), kind) {
            if is_field_of(kind, entry) {
                self.report_hole(unknown_field::not_indented(&entry.key, entry.key_place, kind));
                continue;
            }
            if lacks_blank(entry) {
                self.has_holes = true;
                continue;
            }
            let owner = format!("{kind} `{}`", entry.key);
            match read(self, owner, entry.key_place, &entry.value) {
                Some(value) => drop(all.insert(entry.key.clone(), value)),
                None => self.has_holes = true,
            }
        }
        all
    }

    fn idle_timeout(&mut self, top: &Fields<'_>) -> u64 {
        let Some((node, what)) = top.get("defaults") else { return IDLE_TIMEOUT };
        let place = top.entry("defaults").map_or(Place::default(), |entry| entry.key_place);
        let Some(defaults) = self.fields(node, what, place, &names(language::DEFAULTS)) else { return IDLE_TIMEOUT };
        self.near(defaults.get("idle_timeout"), literal::duration, near::duration)
            .map_or(IDLE_TIMEOUT, |timeout| timeout.value)
    }
}
