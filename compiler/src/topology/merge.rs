//! A namespace's changes merged into a topology: maps merge, lists and scalars replace, nothing removes, another kind
//! replaces. Every value keeps its own place.

use std::collections::{HashMap, HashSet};

use crate::source::node::{Entry, Node, Shape};

/// The base with the changes merged in.
pub fn merge(base: &Node, changes: &Node) -> Node {
    let (Shape::Map(entries), Shape::Map(changed)) = (&base.shape, &changes.shape) else {
        return changes.clone();
    };
    let changes: HashMap<&str, &Entry> = changed.iter().map(|change| (change.key.as_str(), change)).collect();
    let mut known = HashSet::with_capacity(entries.len());
    let mut merged = Vec::with_capacity(entries.len());
    for entry in entries {
        known.insert(entry.key.as_str());
        match changes.get(entry.key.as_str()) {
            None => merged.push(entry.clone()),
            Some(change) if change.value.is_null() => {}
            Some(change) => merged.push(Entry { value: merge(&entry.value, &change.value), ..entry.clone() }),
        }
    }
    let fresh = changed.iter().filter(|change| !change.value.is_null() && !known.contains(change.key.as_str()));
    merged.extend(fresh.cloned());
    Node { shape: Shape::Map(merged), place: base.place }
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

    fn merged(base: &str, changes: &str) -> String {
        let tree =
            |text: &str| yaml::parse(&Source::new("t", text), &Unaided, &mut Diagnostics::default()).expect("is YAML");
        plain(&merge(&tree(base), &tree(changes)))
    }

    #[test]
    fn maps_merge_lists_and_scalars_replace_null_removes_another_kind_replaces() {
        assert_eq!(merged("{a: {b: 1, c: 2}}", "{a: {c: 3, d: 4}}"), "{a:{b:1 c:3 d:4}}");
        assert_eq!(merged("{a: [1, 2]}", "{a: [3]}"), "{a:[3]}");
        assert_eq!(merged("{a: {b: 1}, e: 1}", "{a: ~}"), "{e:1}");
        assert_eq!(merged("{a: {b: 1}}", "{a: [1]}"), "{a:[1]}");
        assert_eq!(merged("{a: hash}", "{a: {table: {}}}"), "{a:{table:{}}}");
        assert_eq!(merged("{a: 1}", "{b: ~}"), "{a:1}");
    }
}
