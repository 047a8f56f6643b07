//! What comes later merged into what came before, files and the changes of a namespace alike: maps merge, lists and scalars
//! replace, nothing removes what was there, another kind replaces. Every value keeps its own place.

use std::collections::HashMap;

use crate::source::{
    Place,
    node::{Entry, Node, Shape},
};

/// The map of what namespaces change: what is removed in it is yet to be removed, when the namespace is merged.
const NAMESPACES: &str = "namespaces";

/// What merging has removed, and where that was written: who misses it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// By the keys on the way to it.
    by_path: HashMap<Vec<String>, Place>,
    /// By the place of the key of the map that it was in, and its own key.
    by_owner: HashMap<(Place, String), Place>,
}

impl Removed {
    /// Where a thing of a name was removed from a section of the topology.
    pub fn named(&self, section: &str, name: &str) -> Option<Place> {
        self.by_path.get([section, name].map(str::to_owned).as_slice()).copied()
    }

    /// Where a field of what is named at a place was removed.
    pub fn field(&self, owner: Place, field: &str) -> Option<Place> {
        self.by_owner.get(&(owner, field.to_owned())).copied()
    }
}

/// The base with the changes merged in.
pub fn merge(base: Node, changes: Node, removed: &mut Removed) -> Node {
    let owner = base.place;
    Merging { removed, path: Vec::new() }.node(base, changes, owner)
}

struct Merging<'r> {
    removed: &'r mut Removed,
    /// The keys on the way to what is being merged.
    path: Vec<String>,
}

impl Merging<'_> {
    fn node(&mut self, base: Node, changes: Node, owner: Place) -> Node {
        let (entries, changed) = match (base.shape, changes.shape) {
            (Shape::Map(entries), Shape::Map(changed)) => (entries, changed),
            (_, shape) => return Node { shape, ..changes },
        };
        let mut fresh: Vec<Option<Entry>> = changed.into_iter().map(Some).collect();
        let keys: Vec<String> = fresh.iter().flatten().map(|change| change.key.clone()).collect();
        let at: HashMap<&str, usize> = keys.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
        let mut merged = Vec::with_capacity(entries.len());
        for entry in entries {
            match at.get(entry.key.as_str()).and_then(|&at| fresh[at].take()) {
                None => merged.push(entry),
                Some(change) => merged.extend(self.entry(entry, change, owner)),
            }
        }
        for change in fresh.into_iter().flatten() {
            self.path.push(change.key.clone());
            let is_gone = change.value.is_null() && self.removed.by_path.contains_key(&self.path);
            if !is_gone {
                self.removed.by_path.remove(&self.path);
                merged.push(change);
            }
            self.path.pop();
        }
        Node { shape: Shape::Map(merged), place: base.place }
    }

    /// What a change makes of an entry.
    fn entry(&mut self, entry: Entry, change: Entry, owner: Place) -> Option<Entry> {
        let Entry { key, key_place, value } = entry;
        self.path.push(key.clone());
        let is_later_change = self.path.len() > 2 && self.path[0] == NAMESPACES;
        let value = if !change.value.is_null() {
            Some(self.node(value, change.value, key_place))
        } else if is_later_change {
            Some(change.value)
        } else {
            self.removed.by_path.insert(self.path.clone(), change.key_place);
            self.removed.by_owner.insert((owner, key.clone()), change.key_place);
            None
        };
        self.path.pop();
        value.map(|value| Entry { key, key_place, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnostic::Diagnostics,
        source::{Source, Unaided, yaml},
    };

    fn plain(node: &Node) -> String {
        match &node.shape {
            Shape::Null(_) => "~".to_owned(),
            Shape::Scalar(text) => text.clone(),
            Shape::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
            Shape::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|entry| format!("{}:{}", entry.key, plain(&entry.value))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    fn tree(text: &str) -> Node {
        yaml::parse(&Source::new("t", text), &Unaided, &mut 1_000, &mut Diagnostics::default()).expect("is YAML")
    }

    fn all(texts: &[&str]) -> (String, Removed) {
        let mut removed = Removed::default();
        let mut texts = texts.iter().map(|text| tree(text));
        let first = texts.next().expect("one at least");
        let merged = texts.fold(first, |base, changes| merge(base, changes, &mut removed));
        (plain(&merged), removed)
    }

    fn merged(base: &str, changes: &str) -> String {
        all(&[base, changes]).0
    }

    #[test]
    fn maps_merge_lists_and_scalars_replace_null_removes_another_kind_replaces() {
        assert_eq!(merged("{a: {b: 1, c: 2}}", "{a: {c: 3, d: 4}}"), "{a:{b:1 c:3 d:4}}");
        assert_eq!(merged("{a: [1, 2]}", "{a: [3]}"), "{a:[3]}");
        assert_eq!(merged("{a: {b: 1}, e: 1}", "{a: ~}"), "{e:1}");
        assert_eq!(merged("{a: {b: 1}}", "{a: [1]}"), "{a:[1]}");
        assert_eq!(merged("{a: hash}", "{a: {table: {}}}"), "{a:{table:{}}}");
    }

    #[test]
    fn null_where_nothing_was_is_nothing_written_and_removing_twice_is_removing() {
        assert_eq!(merged("{flows: {a: {}}}", "{flows: {tick: }}"), "{flows:{a:{} tick:~}}");
        assert_eq!(all(&["{f: {a: 1}}", "{f: {a: ~}}", "{f: {a: ~}}"]).0, "{f:{}}");
        assert_eq!(all(&["{f: {a: 1}}", "{f: {a: ~}}", "{f: {a: 2}}", "{g: ~}"]).0, "{f:{a:2} g:~}");
    }

    #[test]
    fn what_a_namespace_removes_stays_to_be_removed_in_it() {
        let dev = "{namespaces: {dev: {stages: {s: {instances: 1}}}}}";
        assert_eq!(merged(dev, "{namespaces: {dev: {stages: {s: ~}}}}"), "{namespaces:{dev:{stages:{s:~}}}}");
        assert_eq!(merged(dev, "{namespaces: {dev: ~}}"), "{namespaces:{}}");
    }

    #[test]
    fn where_something_was_removed_is_known() {
        let base = "{flows: {x: {}}, stages: {s: {run: a}}}";
        let changes = "{flows: {x: ~}, stages: {s: {run: ~}}}";
        let (_, removed) = all(&[base, changes]);
        let at = |found: Option<Place>| found.map(|place| place.start);
        assert_eq!(at(removed.named("flows", "x")), changes.find("x: ~"));
        let owner = Place { start: base.find("s: {run").expect("is there"), ..Place::default() };
        let owner = Place { end: owner.start + 1, ..owner };
        assert_eq!(at(removed.field(owner, "run")), changes.find("run"));
        let (_, removed) = all(&[base, changes, "{flows: {x: {}}}"]);
        assert_eq!(removed.named("flows", "x"), None, "it was added again");
    }
}
