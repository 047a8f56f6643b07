//! Finding the key of a record in its payload, by the rule of its flow.

use std::borrow::Cow;

use crate::wiring::KeyRule;

impl KeyRule {
    /// The key of `payload` under this rule; `None` for [`KeyRule::Sender`], where the sender states it.
    ///
    /// # Errors
    /// Says why there is no key.
    pub fn find<'a>(&self, payload: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, String> {
        match self {
            Self::Sender => Ok(None),
            Self::Json(pointer) => json(payload, pointer).map(Some),
            Self::Column { number, separator } => column(payload, *number, separator.as_bytes()).map(Some),
            Self::Bytes { from, to } => {
                let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
                let found = range.and_then(|(from, to)| payload.get(from..to));
                found
                    .map(|key| Some(Cow::Borrowed(key)))
                    .ok_or_else(|| format!("the payload has {} bytes, the key is in {from}..{to}", payload.len()))
            }
        }
    }
}

fn json<'a>(payload: &'a [u8], pointer: &str) -> Result<Cow<'a, [u8]>, String> {
    let document: serde_json::Value = serde_json::from_slice(payload).map_err(|error| format!("not JSON: {error}"))?;
    match document.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(Cow::Owned(text.clone().into_bytes())),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(Cow::Owned(value.to_string().into_bytes()))
        }
        Some(_) => Err(format!("`{pointer}` is not a string, number or boolean")),
        None => Err(format!("nothing at `{pointer}`")),
    }
}

fn column<'a>(payload: &'a [u8], number: u32, separator: &[u8]) -> Result<Cow<'a, [u8]>, String> {
    let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
    let mut rest = payload;
    for column in 1.. {
        let end = find(rest, separator);
        if column == number {
            return Ok(Cow::Borrowed(&rest[..end.unwrap_or(rest.len())]));
        }
        match end {
            Some(end) => rest = &rest[end + separator.len()..],
            None => return Err(format!("{column} columns, the key is in column {number}")),
        }
    }
    unreachable!("the loop ends at column {number}")
}

fn find(text: &[u8], separator: &[u8]) -> Option<usize> {
    if separator.is_empty() {
        return None;
    }
    text.windows(separator.len()).position(|window| window == separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rule: &KeyRule, payload: &str) -> Result<String, String> {
        rule.find(payload.as_bytes()).map(|key| String::from_utf8(key.unwrap_or_default().into_owned()).unwrap())
    }

    #[test]
    fn json_finds_strings_and_numbers_by_pointer() {
        let rule = KeyRule::Json("/call/from".into());
        assert_eq!(key(&rule, r#"{"call":{"from":"ab"}}"#).unwrap(), "ab");
        assert_eq!(key(&rule, r#"{"call":{"from":17}}"#).unwrap(), "17");
        assert!(key(&rule, r#"{"call":{}}"#).unwrap_err().contains("/call/from"));
        assert!(key(&rule, "rubbish").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn columns_count_from_one() {
        let rule = |number| KeyRule::Column { number, separator: "\t".into() };
        assert_eq!(key(&rule(1), "a\tb\tc").unwrap(), "a");
        assert_eq!(key(&rule(3), "a\tb\tc\n").unwrap(), "c");
        assert_eq!(key(&rule(2), "a\t\tc").unwrap(), "");
        assert!(key(&rule(4), "a\tb\tc").unwrap_err().contains("3 columns"));
    }

    #[test]
    fn bytes_are_half_open_from_zero() {
        let rule = KeyRule::Bytes { from: 1, to: 3 };
        assert_eq!(key(&rule, "abcd").unwrap(), "bc");
        assert!(key(&rule, "ab").unwrap_err().contains("2 bytes"));
    }
}
