//! The language as a JSON Schema (draft 7, which editors know best), made from the table that the readers use.
//!
//! It checks shapes: fields, kinds and literals. It demands no field, as a file may be a part of a topology, and it can't know
//! whether names fit together: that is for `waldo check`.

use serde_json::{Map, Value, json};

use crate::topology::language::{Field, TOP, Takes, changeable};

/// Where the schema is known by.
const ID: &str = "https://json-schema.org/draft-07/schema#";
/// A name in the language.
const NAME: &str = "^[a-z][a-z0-9_-]{0,31}$";

/// The schema of a topology's file.
pub fn topology() -> Value {
    let mut schema = object(TOP, "A waldo topology, or a part of one.");
    schema["$schema"] = json!(ID);
    schema["title"] = json!("waldo topology");
    // Free for anchors, notes and other tools; and YAML's merge key.
    schema["patternProperties"] = json!({ "^x-": true });
    schema["definitions"] = json!({
        "text": { "type": ["string", "number", "boolean"] },
        // A variable of the environment may stand for any single value.
        "variable": { "type": "string", "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}" },
    });
    schema
}

fn object(fields: &[Field], about: &str) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    json!({ "type": ["object", "null"], "description": about, "additionalProperties": false, "properties": properties })
}

fn property(field: &Field) -> Value {
    let mut schema = takes(&field.takes);
    schema["description"] = json!(field.about);
    schema
}

/// A single value of this form, or a variable in its place.
fn single(mut schemas: Vec<Value>) -> Value {
    schemas.push(json!({ "$ref": "#/definitions/variable" }));
    // Nothing counts as not written; in a namespace it removes.
    schemas.push(json!({ "type": "null" }));
    json!({ "anyOf": schemas })
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn texts() -> Value {
    json!({ "type": ["array", "null"], "items": { "$ref": "#/definitions/text" } })
}

fn takes(takes: &Takes) -> Value {
    match takes {
        Takes::Text => single(vec![json!({ "$ref": "#/definitions/text" })]),
        Takes::Name => single(vec![pattern(NAME)]),
        Takes::Duration => single(vec![pattern("^[0-9]+(ms|s|m|h)$")]),
        Takes::Size => single(vec![
            json!({ "type": "integer", "minimum": 0 }),
            pattern("^[0-9]+(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$"),
        ]),
        Takes::Decimal => single(vec![json!({ "type": "number", "minimum": 0 }), pattern("^[0-9]+(\\.[0-9]{1,6})?$")]),
        Takes::Count(least, most) => {
            single(vec![json!({ "type": "integer", "minimum": least, "maximum": most }), pattern("^[0-9]+$")])
        }
        Takes::Switch => single(vec![json!({ "enum": [true, false, "true", "false"] })]),
        Takes::Word(words) => {
            let signals: Vec<String> = words.iter().map(|word| format!("SIG{word}")).collect();
            let is_signal = words.contains(&"TERM");
            let all: Vec<&str> =
                words.iter().copied().chain(signals.iter().filter(|_| is_signal).map(String::as_str)).collect();
            single(vec![json!({ "enum": all })])
        }
        Takes::Texts => texts(),
        Takes::OneOrMoreTexts => {
            json!({ "anyOf": [{ "$ref": "#/definitions/text" }, texts()] })
        }
        Takes::Fields(fields) => object(fields, ""),
        Takes::Named(fields) => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": NAME },
            "additionalProperties": object(fields, ""),
        }),
        Takes::Texting => {
            json!({ "type": ["object", "null"], "additionalProperties": single(vec![json!({ "$ref": "#/definitions/text" })]) })
        }
        Takes::Either(forms) => json!({ "anyOf": forms.iter().map(self::takes).collect::<Vec<_>>() }),
        Takes::List(item) => json!({ "type": ["array", "null"], "items": self::takes(item) }),
        Takes::Pair => json!({
            "type": ["array", "null"],
            "items": { "type": ["integer", "string"] },
            "minItems": 2,
            "maxItems": 2,
        }),
        Takes::Namespaces(own) => {
            let properties: Map<String, Value> =
                own.iter().chain(changeable()).map(|field| (field.name.to_owned(), property(field))).collect();
            json!({
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME },
                "additionalProperties": {
                    "type": ["object", "null"],
                    "additionalProperties": false,
                    "properties": properties,
                },
            })
        }
        Takes::Anything => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_description() {
        fn look(schema: &Value, path: &str) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}/{name}");
                assert!(property["description"].as_str().is_some_and(|about| about.len() > 10), "{path}");
                look(property, &path);
                for form in property["anyOf"].as_array().into_iter().flatten() {
                    look(form, &path);
                }
                look(&property["additionalProperties"], &path);
                look(&property["items"], &path);
            }
        }
        look(&topology(), "");
    }
}
