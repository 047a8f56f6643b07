//! Reads flows: keys and guides.

use waldo_sdk::wiring::KeyRule;

use super::fields::{Fields, Reader};
use crate::{
    check::{bad_literal, missing_field, wrong_kind},
    source::{
        Located, Place,
        node::{Node, Shape},
    },
    topology::{
        Flow, Guide, TableDefault,
        language::{self, names},
        literal, near,
    },
};

const MAX_RECORD: u64 = 1 << 20;
/// Records travel in one message, with 32-bit lengths.
const LARGEST_RECORD: u64 = 1 << 30;
const KEY: &str = "`sender`, `{json: POINTER}`, `{column: N}` or `{bytes: [from, to]}`";
const GUIDE: &str = "`hash`, `{ranges: {...}}` or `{table: {...}, default: ...}`";

impl Reader<'_> {
    pub fn flow(&mut self, owner: String, place: Place, node: &Node) -> Option<Flow> {
        let fields = self.fields(node, owner, place, &names(language::FLOW))?;
        Some(Flow {
            place: fields.place,
            key: fields.get("key").and_then(|(node, what)| self.key(node, what)),
            guide: fields.get("guide").and_then(|(node, what)| self.guide(node, what)),
            from_clients: self.choice(fields.get("from"), &[("clients", ())]).map(|from| from.place),
            max_record: self
                .near(fields.get("max_record"), record_size, near::size)
                .map_or(MAX_RECORD, |size| size.value),
            to: fields.get("to").and_then(|(node, what)| {
                let place = fields.entry("to").map_or(node.place, |entry| entry.key_place);
                self.egress(node, what, place)
            }),
        })
    }

    fn key(&mut self, node: &Node, what: String) -> Option<Located<KeyRule>> {
        let place = node.place;
        if let Shape::Scalar(text) = &node.shape {
            if text == "sender" {
                return Some(Located::new(KeyRule::Sender, place));
            }
            self.report_hole(bad_literal::literal(&what, text, place, KEY));
            return None;
        }
        let fields = self.fields(node, what, place, &names(language::KEY))?;
        let stated: Vec<_> =
            ["json", "column", "bytes"].into_iter().filter(|field| fields.entry(field).is_some()).collect();
        let [rule] = stated[..] else {
            self.report_hole(wrong_kind::value(node, &fields.owner, KEY));
            return None;
        };
        if rule != "column"
            && let Some(separator) = fields.entry("separator")
        {
            self.report(crate::check::unknown_field::field("separator", separator.key_place, &fields.owner, &[rule]));
        }
        let rule = match rule {
            "json" => KeyRule::Json(self.near(fields.get("json"), json_pointer, near::json_pointer)?.value),
            "column" => KeyRule::Column {
                number: self.count(fields.get("column"), 1, u64::from(u32::MAX))?.value as u32,
                separator: match fields.get("separator") {
                    None => "\t".to_owned(),
                    found => self.literal(found, separator)?.value,
                },
            },
            _ => self.key_bytes(&fields)?,
        };
        Some(Located::new(rule, place))
    }

    fn key_bytes(&mut self, fields: &Fields<'_>) -> Option<KeyRule> {
        let (node, what) = fields.get("bytes")?;
        let ends = self.texts(node, &what, "two numbers")?;
        let number = |end: &Located<String>| literal::count(&end.value, 0, u64::from(u32::MAX));
        match &ends[..] {
            [from, to] => match (number(from), number(to)) {
                (Some(from), Some(to)) if from < to => return Some(KeyRule::Bytes { from, to }),
                _ => self.report_hole(bad_literal::literal(
                    &what,
                    &format!("[{}, {}]", from.value, to.value),
                    node.place,
                    "two whole numbers, the first below the second: the bytes from the first up to, not including, the \
                     second, counted from 0",
                )),
            },
            _ => self.report_hole(wrong_kind::value(node, &what, "a list of two numbers")),
        }
        None
    }

    fn guide(&mut self, node: &Node, what: String) -> Option<Located<Guide>> {
        let place = node.place;
        if let Shape::Scalar(text) = &node.shape {
            if text == "hash" {
                return Some(Located::new(Guide::Hash, place));
            }
            self.report_hole(bad_literal::literal(&what, text, place, GUIDE));
            return None;
        }
        let fields = self.fields(node, what, place, &names(language::GUIDE))?;
        match (fields.entry("ranges"), fields.entry("table")) {
            (Some(entry), None) => {
                if let Some(default) = fields.entry("default") {
                    let known = ["ranges"];
                    let unknown = crate::check::unknown_field::field;
                    self.report(unknown("default", default.key_place, &fields.owner, &known));
                }
                let ranges = self.servers_by_key(&entry.value, &format!("`ranges` of {}", fields.owner))?;
                Some(Located::new(Guide::Ranges(ranges), entry.key_place))
            }
            (None, Some(entry)) => {
                let keys = self.servers_by_key(&entry.value, &format!("`table` of {}", fields.owner))?;
                let default = match fields.get("default") {
                    None => {
                        self.report_hole(missing_field::table_default(&fields.owner, entry.key_place));
                        None
                    }
                    Some((node, what)) => self.text(node, &what).map(|text| {
                        text.map(|text| if text == "hash" { TableDefault::Hash } else { TableDefault::Server(text) })
                    }),
                };
                Some(Located::new(Guide::Table { keys, default }, entry.key_place))
            }
            _ => {
                self.report_hole(wrong_kind::value(node, &fields.owner, GUIDE));
                None
            }
        }
    }

    fn servers_by_key(&mut self, node: &Node, what: &str) -> Option<Vec<(Located<String>, Located<String>)>> {
        let Shape::Map(entries) = &node.shape else {
            self.report_hole(wrong_kind::value(node, what, "a map from keys to servers"));
            return None;
        };
        let mut keys = Vec::with_capacity(entries.len());
        for entry in entries {
            let server = self.text(&entry.value, &format!("the server for key `{}` in {what}", entry.key))?;
            keys.push((Located::new(entry.key.clone(), entry.key_place), server));
        }
        Some(keys)
    }
}

fn record_size(text: &str) -> Result<u64, &'static str> {
    let size = literal::size(text)?;
    if (1..=LARGEST_RECORD).contains(&size) { Ok(size) } else { Err("a size from 1 byte to 1GiB") }
}

fn json_pointer(text: &str) -> Result<String, &'static str> {
    let escapes_end = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (text.is_empty() || text.starts_with('/')) && escapes_end {
        Ok(text.to_owned())
    } else {
        Err("a JSON pointer such as `/caller` or `/items/0/id`; in it `~` is written `~0` and `/` `~1`")
    }
}

fn separator(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("at least one character") } else { Ok(text.to_owned()) }
}
