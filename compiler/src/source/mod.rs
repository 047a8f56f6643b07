//! A topology's text: its files, places in them, and what a value may ask of the environment.

pub mod edit;
pub mod environment;
pub mod files;
pub mod node;
pub mod recorded;
mod substitution;
pub mod yaml;

pub use environment::{Environment, Missing, Unaided};
pub use files::{MOST_BYTES, MOST_FILES, Sources};
pub use recorded::Recorded;

/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Between two counted bytes. Bytes.
const STRIDE: usize = 1_024;

/// One file of a topology as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name, as people know it.
    pub name: String,
    /// What it says, without a byte order mark; what isn't UTF-8 is replaced.
    pub text: String,
    /// Which of a topology's files it is.
    pub id: FileId,
    /// What in it isn't text.
    pub flaw: Option<Flaw>,
    /// Where each line but the first begins. A topology is far smaller than 4 GiB.
    lines: Vec<u32>,
    /// How many characters stand before every [`STRIDE`]th byte: columns are counted also in a line of megabytes.
    characters: Vec<u32>,
}

/// What makes a file no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It is in UTF-16.
    Utf16,
    /// These bytes of the text stand for some that aren't UTF-8: the first ones.
    NotUtf8 {
        /// The first.
        start: usize,
        /// The one after the last.
        end: usize,
    },
}

/// One of a topology's files, by the order in which they were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u16);

/// A stretch of a file's text, in bytes, half-open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Of which file.
    pub file: FileId,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A value that knows where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Source {
    /// A source; a byte order mark at its start is dropped.
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        Self::of_text(name.into(), text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).to_owned(), None)
    }

    /// A source from what is in its file, whatever that is.
    pub fn of_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
        let (mut text, mut flaw) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let start = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                (text, Some(Flaw::NotUtf8 { start, end: start + char::REPLACEMENT_CHARACTER.len_utf8() }))
            }
        };
        if is_utf16 {
            flaw = Some(Flaw::Utf16);
        }
        if text.starts_with(BYTE_ORDER_MARK) {
            let length = BYTE_ORDER_MARK.len_utf8();
            text.drain(..length);
            if let Some(Flaw::NotUtf8 { start, end }) = &mut flaw {
                (*start, *end) = (*start - length, *end - length);
            }
        }
        Self::of_text(name.into(), text, flaw)
    }

    fn of_text(name: String, text: String, flaw: Option<Flaw>) -> Self {
        let mut lines = Vec::new();
        let mut characters = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut count = 0;
        for (at, byte) in text.bytes().enumerate() {
            if at % STRIDE == 0 {
                characters.push(count);
            }
            count += u32::from(begins_character(byte));
            if byte == b'\n' {
                lines.push(at as u32 + 1);
            }
        }
        Self { name, text, id: FileId::default(), flaw, lines, characters }
    }

    /// The text at a place.
    pub fn text_at(&self, place: Place) -> &str {
        self.text.get(place.start..place.end).unwrap_or_default()
    }

    /// Line and column of a byte.
    pub fn position(&self, byte: usize) -> Position {
        let end = self.boundary(byte);
        let line = self.lines.partition_point(|&start| start as usize <= end) + 1;
        Position { line, column: self.characters_before(end) - self.characters_before(self.line(line).start) + 1 }
    }

    /// The bytes of a line, from 1, without its end.
    pub fn line(&self, line: usize) -> std::ops::Range<usize> {
        let begin = |line: usize| self.lines.get(line).map(|&start| start as usize);
        let start = if line <= 1 { 0 } else { begin(line - 2).unwrap_or(self.text.len()) };
        let end = begin(line.max(1) - 1).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }

    /// The boundary of a character at or before a byte.
    pub fn boundary(&self, byte: usize) -> usize {
        let mut boundary = byte.min(self.text.len());
        while !self.text.is_char_boundary(boundary) {
            boundary -= 1;
        }
        boundary
    }

    /// The byte at which a character begins, counted from a byte.
    pub(crate) fn byte_of_character(&self, from: usize, character: usize) -> usize {
        let wanted = self.characters_before(from) + character;
        let counted = self.characters.partition_point(|&count| count as usize <= wanted).saturating_sub(1);
        let start = self.boundary(counted * STRIDE);
        let rest = wanted - self.characters_before(start).min(wanted);
        self.text[start..].char_indices().nth(rest).map_or(self.text.len(), |(byte, _)| start + byte)
    }

    fn characters_before(&self, byte: usize) -> usize {
        let counted = (byte / STRIDE).min(self.characters.len().saturating_sub(1));
        let count = self.characters.get(counted).map_or(0, |&count| count as usize);
        let rest = self.text.as_bytes().get(counted * STRIDE..byte).unwrap_or_default();
        count + rest.iter().filter(|&&byte| begins_character(byte)).count()
    }
}

/// In UTF-8 only the bytes within a character begin with the bits 10.
fn begins_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

impl Place {
    /// A place of no length.
    pub fn at(file: FileId, byte: usize) -> Self {
        Self { file, start: byte, end: byte }
    }
}

impl<T> Located<T> {
    /// A value and where it stands.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    /// The same place, another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), place: self.place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("a.yaml", "\u{feff}ab\r\ncdé f\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(source.text.find('f').expect("is there")), Position { line: 2, column: 5 });
        assert_eq!(source.position(10_000), Position { line: 3, column: 1 });
        assert_eq!([1, 2, 3, 9].map(|line| &source.text[source.line(line)]), ["ab\r", "cdé f", "", ""]);
        assert_eq!(Source::new("a.yaml", "").position(0), Position { line: 1, column: 1 });
    }

    #[test]
    fn columns_count_characters_also_far_into_a_long_line() {
        let text = format!("a\n{}\nb", "é1".repeat(5_000));
        let source = Source::new("a.yaml", &text);
        for byte in [0, 1, 2, 3, 4, 1_023, 1_024, 1_025, 1_026, 9_000, text.len() - 2, text.len()] {
            let at = source.boundary(byte);
            let line = text[..at].matches('\n').count() + 1;
            let column = text[..at].rsplit('\n').next().map_or(0, |before| before.chars().count()) + 1;
            assert_eq!(source.position(byte), Position { line, column }, "{byte}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_told() {
        let flaw = |bytes: &[u8]| Source::of_bytes("a.yaml", bytes.to_vec()).flaw;
        assert_eq!(flaw("\u{feff}a: é".as_bytes()), None);
        assert_eq!(flaw(b"a: caf\xe9\n"), Some(Flaw::NotUtf8 { start: 6, end: 9 }));
        assert_eq!(flaw(b"\xef\xbb\xbfa\xe9"), Some(Flaw::NotUtf8 { start: 1, end: 4 }));
        assert_eq!(flaw(b"\xff\xfea\0"), Some(Flaw::Utf16));
        assert_eq!(Source::of_bytes("a.yaml", b"\xef\xbb\xbfa\xe9".to_vec()).text, "a\u{fffd}");
    }
}
