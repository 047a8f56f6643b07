//! Names: what they look like, and which are taken by the language.

/// Names that the language uses itself.
pub const RESERVED: [&str; 15] = [
    "hash", "all", "any", "key", "default", "sender", "clients", "waldo", "true", "false", "yes", "no", "on", "off",
    "null",
];
/// The greatest length of a name.
pub const LONGEST: usize = 32;

/// What keeps a text from being a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It doesn't look like one.
    Shape,
    /// The language uses it.
    Reserved,
}

/// What keeps a text from being a name, if anything.
pub fn flaw(name: &str) -> Option<Flaw> {
    let bytes = name.as_bytes();
    let shaped = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.len() <= LONGEST
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(byte));
    if !shaped {
        Some(Flaw::Shape)
    } else if RESERVED.contains(&name) {
        Some(Flaw::Reserved)
    } else {
        None
    }
}

/// A name like the text, if one can be made of it.
pub fn mended(text: &str) -> Option<String> {
    let mended: String = text
        .chars()
        .flat_map(char::to_lowercase)
        .map(|character| if character.is_ascii_alphanumeric() || "_-".contains(character) { character } else { '-' })
        .skip_while(|character| !character.is_ascii_lowercase())
        .take(LONGEST)
        .collect();
    flaw(&mended).is_none().then_some(mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_words_that_the_language_leaves_free() {
        for name in ["a", "score-2", "a_b", &"x".repeat(32)] {
            assert_eq!(flaw(name), None, "{name}");
        }
        for name in ["", "A", "2a", "-a", "a.b", "a/b", "é", "a b", &"x".repeat(33)] {
            assert_eq!(flaw(name), Some(Flaw::Shape), "{name}");
        }
        for name in ["hash", "waldo", "null", "on"] {
            assert_eq!(flaw(name), Some(Flaw::Reserved), "{name}");
        }
        assert_eq!(mended("My Stage.2").as_deref(), Some("my-stage-2"));
    }
}
