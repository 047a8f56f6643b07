//! Changes one value in a topology's text and nothing else: comments, order and spelling stay.

use super::{
    FileId, Sources,
    node::{Node, Shape},
};

/// A file with a value changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Which.
    pub file: FileId,
    /// Its text now.
    pub text: String,
}

/// Sets the value at the end of a path of keys to a plain scalar. Where the path ends early, the rest of it is added as the
/// first entry of the last map that is there.
///
/// `None` where the text has no place for it: an alias, a variable, a value of another kind on the way. What the edited text
/// says must be looked at again in any case, as a map can be meant for several places (anchors, merge keys).
pub fn set(sources: &Sources, path: &[&str], value: &str) -> Option<Edited> {
    let mut node = sources.tree()?;
    let mut key_end = None;
    for (depth, key) in path.iter().enumerate() {
        let Some(entry) = node.get(key) else {
            return add(sources, node, key_end, &nested(&path[depth..], value)?);
        };
        key_end = Some((entry.key_place.file, entry.key_place.end));
        node = &entry.value;
    }
    let Shape::Scalar(_) = node.shape else { return None };
    let written = sources.file(node.place).text_at(node.place);
    let is_plain = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    if !is_plain {
        return None;
    }
    Some(replaced(sources, node.place.file, node.place.start..node.place.end, value))
}

/// `a: {b: {c: value}}`.
fn nested(keys: &[&str], value: &str) -> Option<String> {
    let (last, before) = keys.split_last()?;
    let inner = format!("{last}: {value}");
    Some(before.iter().rev().fold(inner, |inner, key| format!("{key}: {{{inner}}}")))
}

/// Adds an entry to a map, or to a value that is nothing, which stands behind the key that ends there.
fn add(sources: &Sources, node: &Node, key_end: Option<(FileId, usize)>, entry: &str) -> Option<Edited> {
    let file = node.place.file;
    let text = &sources.file(node.place).text;
    match &node.shape {
        Shape::Map(entries) if text[node.place.start..].starts_with('{') => {
            let at = node.place.start + 1;
            let separator = if entries.is_empty() { "" } else { ", " };
            Some(replaced(sources, file, at..at, &format!("{entry}{separator}")))
        }
        Shape::Map(entries) => {
            // Of what was merged in, only what stands in the map's own text is at its place.
            let first = entries.iter().find(|entry| entry.key_place.start == node.place.start)?.key_place;
            let line = text[..first.start].rfind('\n').map_or(0, |end| end + 1);
            let indent = " ".repeat(text[line..first.start].chars().count());
            Some(replaced(sources, first.file, first.start..first.start, &format!("{entry}\n{indent}")))
        }
        Shape::Null(written) if !written.is_empty() => {
            Some(replaced(sources, file, node.place.start..node.place.end, &format!("{{{entry}}}")))
        }
        Shape::Null(_) => {
            let (file, end) = key_end?;
            let text = &sources.files().get(usize::from(file.0))?.text;
            let colon = end + text[end..].find(':')? + 1;
            Some(replaced(sources, file, colon..colon, &format!(" {{{entry}}}")))
        }
        Shape::Scalar(_) | Shape::List(_) => None,
    }
}

fn replaced(sources: &Sources, file: FileId, bytes: std::ops::Range<usize>, by: &str) -> Edited {
    let mut text = sources.files()[usize::from(file.0)].text.clone();
    text.replace_range(bytes, by);
    Edited { file, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, path: &[&str]) -> Option<String> {
        set(&Sources::of("waldo.yaml", text), path, "0.5").map(|edited| edited.text)
    }

    #[test]
    fn a_value_is_replaced_and_everything_else_stays() {
        let text = "topology: t # the name\nservers:\n  s1: {address: 10.0.0.1,   weight: 2}  # big\n  # the slow one\n  s2:\n    weight: 1.25 # measured\n    address: x\n";
        let path = ["servers", "s1", "weight"];
        assert_eq!(edited(text, &path).unwrap(), text.replace("weight: 2}", "weight: 0.5}"));
        let path = ["servers", "s2", "weight"];
        assert_eq!(edited(text, &path).unwrap(), text.replace("1.25", "0.5"));
    }

    #[test]
    fn what_isnt_there_is_added_in_the_style_of_its_map() {
        let text =
            "topology: t\nservers:\n  s1: {address: a}\n  s2:\n    # here\n    address: b\n  s3: {}\n  s4:\n  s5: ~\n";
        for (server, from, to) in [
            ("s1", "s1: {address", "s1: {weight: 0.5, address"),
            ("s2", "    address: b", "    weight: 0.5\n    address: b"),
            ("s3", "s3: {}", "s3: {weight: 0.5}"),
            ("s4", "s4:\n", "s4: {weight: 0.5}\n"),
            ("s5", "s5: ~", "s5: {weight: 0.5}"),
        ] {
            assert_eq!(edited(text, &["servers", server, "weight"]).unwrap(), text.replace(from, to), "{server}");
        }
        let path = ["namespaces", "prod", "servers", "s1", "weight"];
        let text = "topology: t\nnamespaces:\n  prod:\n  test: {local: true}\n";
        assert_eq!(edited(text, &path).unwrap(), text.replace("prod:", "prod: {servers: {s1: {weight: 0.5}}}"));
        let expected = "namespaces: {prod: {servers: {s1: {weight: 0.5}}}}\ntopology: t\n";
        assert_eq!(edited("topology: t\n", &path).unwrap(), expected);
    }

    #[test]
    fn what_is_no_plain_value_is_left_alone() {
        for weight in ["${WEIGHT}", "'1'", "*one", "[1]"] {
            let text = format!("x-one: &one 1\ntopology: t\nservers: {{s1: {{weight: {weight}}}}}\n");
            let path = ["servers", "s1", "weight"];
            // Through an alias another place is changed: who edits sees that by what the text says then.
            if let Some(edited) = edited(&text, &path) {
                assert!(weight == "*one" && edited.contains("&one 0.5"), "{edited}");
            }
        }
    }
}
