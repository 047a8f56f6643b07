//! YAML as a tree of nodes that know where they stand: what topologies are read from, and what namespaces merge into.

use super::Place;

/// A value in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What kind of value, and its content.
    pub shape: Shape,
    /// Where it stands: for a list or map, where it begins.
    pub place: Place,
}

/// The kinds of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Nothing: empty, `~` or `null`, as written.
    Null(String),
    /// Text as written, whether YAML takes it for a number, a boolean or a string.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key's text as written.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// What kind of value this is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.shape {
            Shape::Null(_) => "nothing",
            Shape::Scalar(_) => "a single value",
            Shape::List(_) => "a list",
            Shape::Map(_) => "a map",
        }
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self.shape, Shape::Null(_))
    }

    /// The entries of a map; none for any other kind.
    pub fn entries(&self) -> &[Entry] {
        match &self.shape {
            Shape::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key in a map.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// How many values it is and holds.
    pub fn values(&self) -> usize {
        match &self.shape {
            Shape::Null(_) | Shape::Scalar(_) => 1,
            Shape::List(items) => 1 + items.iter().map(Self::values).sum::<usize>(),
            Shape::Map(entries) => 1 + entries.iter().map(|entry| entry.value.values()).sum::<usize>(),
        }
    }
}
