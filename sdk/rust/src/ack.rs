//! The lines of `speaks: ack`: `flow<TAB>key<TAB>payload`, tab, newline and backslash in key and payload written `\t`,
//! `\n`, `\\`; an empty line means done.

/// Appends `bytes` with tab, newline and backslash escaped.
pub fn escape_into(line: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            _ => line.push(byte),
        }
    }
}

/// A record as a line, newline included.
pub fn line(flow: &str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(flow.len() + key.len() + payload.len() + 3);
    line.extend_from_slice(flow.as_bytes());
    line.push(b'\t');
    escape_into(&mut line, key);
    line.push(b'\t');
    escape_into(&mut line, payload);
    line.push(b'\n');
    line
}

/// What a program's line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// The record in hand is done.
    Done,
    /// It sends a record.
    Record {
        /// The flow's name.
        flow: &'a str,
        /// The key.
        key: Vec<u8>,
        /// The payload.
        payload: Vec<u8>,
    },
}

/// Reads a line, given without its newline.
///
/// # Errors
/// Says what is wrong with it.
pub fn read(line: &[u8]) -> Result<Said<'_>, String> {
    if line.is_empty() {
        return Ok(Said::Done);
    }
    let mut fields = line.splitn(3, |&byte| byte == b'\t');
    let (Some(flow), Some(key), Some(payload)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format!("expected flow<TAB>key<TAB>payload or an empty line, got {}", shown(line)));
    };
    let flow = std::str::from_utf8(flow).map_err(|_| format!("the flow's name is not UTF-8 in {}", shown(line)))?;
    Ok(Said::Record { flow, key: unescape(key, line)?, payload: unescape(payload, line)? })
}

fn unescape(field: &[u8], line: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'\\') => b'\\',
                _ => return Err(format!("a backslash that is not \\t, \\n or \\\\ in {}", shown(line))),
            },
            b'\t' => return Err(format!("a tab that is not written \\t in {}", shown(line))),
            _ => byte,
        });
    }
    Ok(bytes)
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(80)]);
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_comes_back_from_its_line(key in prop::collection::vec(any::<u8>(), 0..40),
                                             payload in prop::collection::vec(any::<u8>(), 0..80)) {
            let written = line("visit", &key, &payload);
            let (newline, text) = written.split_last().unwrap();
            prop_assert_eq!(*newline, b'\n');
            prop_assert!(!text.contains(&b'\n'));
            prop_assert_eq!(read(text).unwrap(), Said::Record { flow: "visit", key, payload });
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        assert!(read(b"visit").unwrap_err().contains("flow<TAB>key<TAB>payload"));
        assert!(read(b"visit\tk\ta\tb").unwrap_err().contains("tab"));
        assert!(read(b"visit\tk\ta\\b").unwrap_err().contains("backslash"));
        assert_eq!(read(b"").unwrap(), Said::Done);
    }
}
