//! Text → nodes, by `serde-saphyr`: the only room that knows it.

mod broken;
mod plain_words;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Error, Location, Options, Spanned,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use super::{
    Place, Source,
    environment::Environment,
    node::{Entry, Node, Shape},
    substitution,
};
use crate::{
    check::{duplicate_key, syntax, variable_in_key, wrong_kind},
    diagnostic::Diagnostics,
};

/// How deep lists and maps may nest: far more than any topology needs, far less than the stack bears.
const MAX_DEPTH: usize = 64;
/// How many values a topology's files may hold together after their aliases are followed.
pub(crate) const MAX_NODES: usize = 500_000;

/// Reads a source into a tree, its variables filled in; `room` is how many values may yet come. `None`, with diagnostics, if
/// it isn't YAML.
pub fn parse(
    source: &Source,
    environment: &dyn Environment,
    room: &mut usize,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    if source.text.trim().is_empty() {
        diagnostics.push(syntax::empty(Place::at(source.id, 0)));
        return None;
    }
    if let Some(at) = source.text.find('\0') {
        diagnostics.push(syntax::unreadable("a NUL byte", Place { file: source.id, start: at, end: at + 1 }));
        return None;
    }
    match read(&source.text, *room) {
        Ok(written) => {
            let last = Place::at(source.id, 0);
            Some(Reader { source, environment, room, diagnostics, last }.value(written))
        }
        Err(error) => {
            broken::tell(source, &error, diagnostics);
            None
        }
    }
}

fn read(text: &str, room: usize) -> Result<Written, Error> {
    serde_saphyr::from_str_with_options(text, options(room))
}

fn options(room: usize) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: room,
            max_events: 3 * MAX_NODES,
            max_aliases: MAX_NODES,
            max_anchors: MAX_NODES,
            max_merge_keys: MAX_NODES,
            // One anchor may serve a thousand stages; what its aliases stand for is counted.
            enforce_alias_anchor_ratio: false,
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: 256 << 20,
            max_recorded_anchor_events: MAX_NODES / 2,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        emit_comments: false,
    }
}

fn bytes_of(location: Location) -> Option<(usize, usize)> {
    let span = location.span();
    let (start, length) = (span.byte_offset()? as usize, span.byte_len()? as usize);
    Some((start, start.saturating_add(length)))
}

/// A value as the parser hands it out, before its text is looked up in the source.
enum Raw {
    Null,
    /// YAML takes it for a boolean or a number: what counts is the text as written.
    Plain,
    Text(String),
    List(Vec<Written>),
    Map(Vec<(Written, Written)>),
}

/// The same, and where it stands, in bytes: small, as there are many.
struct Written {
    raw: Raw,
    place: Option<(u32, u32)>,
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Raw>::deserialize(deserializer)?;
        let place = bytes_of(spanned.defined).map(|(start, end)| (start as u32, end as u32));
        Ok(Self { raw: spanned.value, place })
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Looks up what was written, and finds keys written twice.
struct Reader<'a> {
    source: &'a Source,
    environment: &'a dyn Environment,
    room: &'a mut usize,
    diagnostics: &'a mut Diagnostics,
    /// The last place that is known.
    last: Place,
}

impl Reader<'_> {
    fn value(&mut self, written: Written) -> Node {
        let mut node = self.node(written);
        if let Shape::Scalar(text) = &mut node.shape {
            let written = std::mem::take(text);
            let scalar = substitution::Scalar { source: self.source, place: node.place };
            *text = substitution::substitute(written, &scalar, self.environment, self.diagnostics);
        }
        node
    }

    /// As written, variables and all.
    fn node(&mut self, written: Written) -> Node {
        let length = self.source.text.len();
        let mut place = match written.place {
            Some((start, end)) => Place {
                file: self.source.id,
                start: self.source.boundary(start as usize),
                end: self.source.boundary(end as usize),
            },
            None => Place::at(self.source.id, self.last.end),
        };
        self.last = place;
        *self.room = self.room.saturating_sub(1);
        let shape = match written.raw {
            Raw::Null => Shape::Null(self.source.text_at(place).to_owned()),
            Raw::Plain => Shape::Scalar(self.source.text_at(place).to_owned()),
            Raw::Text(text) => Shape::Scalar(text),
            Raw::List(items) => {
                place.end = place.end.max((place.start + 1).min(length));
                Shape::List(items.into_iter().map(|item| self.value(item)).collect())
            }
            Raw::Map(entries) => Shape::Map(self.entries(entries)),
        };
        Node { shape, place }
    }

    fn entries(&mut self, raw: Vec<(Written, Written)>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut known = std::collections::HashMap::with_capacity(raw.len());
        for (key, value) in raw {
            let (key, value) = (self.node(key), self.value(value));
            let (Shape::Scalar(text) | Shape::Null(text)) = key.shape else {
                self.diagnostics.push(wrong_kind::key(&key));
                continue;
            };
            if substitution::is_in(&text) {
                self.diagnostics.push(variable_in_key::key(&text, key.place));
            }
            let text = text.replace("$${", "${");
            if let Some(&first) = known.get(&text) {
                self.diagnostics.push(duplicate_key::twice(&text, key.place, first));
                continue;
            }
            known.insert(text.clone(), key.place);
            entries.push(Entry { key: text, key_place: key.place, value });
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Unaided;

    fn parsed(text: &str) -> (Option<Node>, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        let node = parse(&Source::new("t.yaml", text), &Unaided, &mut 1_000, &mut diagnostics);
        (node, diagnostics)
    }

    fn scalar(node: &Node) -> &str {
        match &node.shape {
            Shape::Scalar(text) | Shape::Null(text) => text,
            _ => panic!("not a scalar: {node:?}"),
        }
    }

    #[test]
    fn text_is_kept_as_written_whatever_yaml_makes_of_it() {
        let text = "on: 010\nyes: 1_000\n\"q\": 1e999\nn: ~\nr: {5: s2, 0x1F: \"a\\tb\"}\nt: .nan\n";
        let (node, diagnostics) = parsed(text);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let node = node.expect("is YAML");
        let keys: Vec<_> = node.entries().iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["on", "yes", "q", "n", "r", "t"]);
        let value = |key| scalar(&node.get(key).expect("is there").value).to_owned();
        assert_eq!([value("on"), value("yes"), value("q"), value("n")], ["010", "1_000", "1e999", "~"]);
        let inner: Vec<_> =
            node.entries()[4].value.entries().iter().map(|entry| (entry.key.clone(), scalar(&entry.value))).collect();
        assert_eq!(inner, [("5".to_owned(), "s2"), ("0x1F".to_owned(), "a\tb")]);
    }

    #[test]
    fn every_value_knows_its_place_also_through_aliases_and_merge_keys() {
        let text = "x-a: &a {queue: 5}\nb:\n  <<: *a\n  é: [p, q]\nc: *a\n";
        let (node, _) = parsed(text);
        let node = node.expect("is YAML");
        let source = Source::new("t.yaml", text);
        let b = &node.get("b").expect("is there").value;
        assert_eq!(source.text_at(b.get("queue").expect("merged in").value.place), "5");
        let list = &b.get("é").expect("is there").value;
        let Shape::List(items) = &list.shape else { panic!("a list") };
        assert_eq!(source.text_at(items[1].place), "q");
        assert_eq!(source.position(items[1].place.start), crate::source::Position { line: 4, column: 10 });
        assert_eq!(scalar(&node.get("c").expect("is there").value.get("queue").expect("aliased").value), "5");
    }

    #[test]
    fn every_duplicate_key_is_found() {
        let (_, diagnostics) = parsed("a: 1\nb: {c: 1, c: 2}\na: 2\n");
        assert_eq!(diagnostics.len(), 2);
    }

    #[test]
    fn broken_yaml_is_one_error_and_no_panic() {
        for (text, expected) in [
            ("a\n---\nb", "a second document begins"),
            ("a: *x", "an alias (`*name`) without an anchor"),
            ("a: !!int b", "the value doesn't fit its tag"),
            (&format!("a: {}{}", "[".repeat(100), "]".repeat(100)), "nested too deep"),
        ] {
            let message = parsed(text).1.iter().next().map(|found| found.message.clone()).unwrap_or_default();
            assert!(message.contains(expected), "{message}");
        }
        for text in ["a: [1, 2", "a: b: c", "- *x", "a: \"b", "%", "? [a]: b", "a: &a [*a]", "a\n---\nb"] {
            let (node, diagnostics) = parsed(text);
            assert!(node.is_none() || !diagnostics.is_empty() || text == "- *x" || text == "%", "{text:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parsed(&deep).1.len(), 1);
    }
}
