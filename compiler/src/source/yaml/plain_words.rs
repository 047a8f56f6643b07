//! What the YAML parser says, in plain words.

/// What the parser's messages begin with, and what is said instead: the first that fits.
const WORDS: [(&str, &str); 62] = [
    ("unexpected EOF while parsing a flow sequence", "the file ends within `[…]`"),
    ("unexpected EOF while parsing a flow mapping", "the file ends within `{…}`"),
    ("unexpected EOF while parsing an implicit flow mapping", "the file ends within `[…]`"),
    ("unexpected EOF", "the file ends too early"),
    ("unexpected eof", "the file ends too early"),
    ("unexpected end of input", "the file ends too early"),
    ("did not find expected <document start>", "the topology has ended, and something follows"),
    ("invalid content after document end marker", "something stands behind `...`, which ends the topology"),
    ("unsupported YAML major version", DIRECTIVE),
    ("duplicate version directive", DIRECTIVE),
    ("the TAG directive", DIRECTIVE),
    ("missing explicit document end marker before directive", DIRECTIVE),
    ("YAML directives are disallowed", DIRECTIVE),
    ("while scanning a directive", DIRECTIVE),
    ("while scanning a YAML directive", DIRECTIVE),
    ("while scanning TAG", DIRECTIVE),
    ("while parsing a tag directive", DIRECTIVE),
    ("directive exceeds", DIRECTIVE),
    ("reserved directive exceeds", DIRECTIVE),
    ("while parsing a node, did not find expected node content", VALUE),
    ("unexpected end of plain scalar", VALUE),
    ("while parsing a block mapping", "a key was expected; is the line indented too little or too much?"),
    ("while parsing a flow mapping", "within `{…}` a `,` or the closing `}` was expected"),
    ("while parsing a flow sequence", "within `[…]` a `,` or the closing `]` was expected"),
    ("while parsing a block collection", "an item with `- ` was expected; all items of a list are indented alike"),
    ("simple key expected", "a key without its `:`, or one of more than 1,024 characters"),
    ("simple key is no longer valid", "a key and its `:` stand on one line, and a key has 1,024 characters at most"),
    ("invalid indentation in multiline quoted scalar", "a quoted text goes on in a line that is indented too little"),
    ("invalid indentation", "the line is indented too little or too much"),
    ("a BOM must not appear", "a byte order mark in the middle of the text"),
    ("unexpected character: `\\", "a control character"),
    ("unexpected character", "no text begins with this character; put it into quotes"),
    ("tabs disallowed", TAB),
    ("tab cannot be used", TAB),
    ("a block scalar content cannot start with a tab", TAB),
    ("while scanning a plain scalar, found a tab", TAB),
    ("comment intercepting", "a comment in the middle of a text of several lines"),
    ("expected whitespace", "a blank is missing"),
    ("comments must be separated", "a blank is missing before `#`"),
    ("while scanning an anchor or alias", "`&` or `*` without a name; a text that begins with one needs quotes"),
    ("misplaced bracket", "a closing bracket that none opens"),
    ("recursion limit exceeded", DEPTH),
    ("\"-\" is only valid inside a block", "`- ` within brackets; items there are separated by `,`"),
    ("block sequence entries are not allowed", "`- ` can't stand here; a list begins on a line of its own"),
    ("'-' must be followed", "a blank is missing after `-`"),
    ("while scanning a block scalar", "behind `|` or `>` the line ends; the text begins on the next one"),
    ("wrongly indented line in block scalar", "a line of the text after `|` or `>` is indented too little or too much"),
    ("while scanning a quoted scalar", "a quote isn't closed before `---` or `...`"),
    ("unclosed quote", "a quote isn't closed"),
    ("invalid trailing content after", "something stands behind the closing quote"),
    (
        "while parsing a quoted scalar, found unknown escape",
        "an unknown escape; a backslash within \"…\" is written `\\\\`",
    ),
    ("while parsing a quoted scalar", "an escape that stands for no character"),
    ("plain scalar cannot start with", "a text that begins like a list's item; put it into quotes"),
    ("mapping values are not allowed", COLON),
    ("mapping keys are not allowed", COLON),
    ("illegal placement of ':'", COLON),
    ("':' may not precede", "a blank is missing after `:`"),
    ("':' must be followed", "a blank is missing after `:`"),
    ("the handle wasn't declared", TAG),
    ("unsupported tag", TAG),
    ("while scanning a", TAG),
    ("while parsing a tag", TAG),
];

const DIRECTIVE: &str = "a line that begins with `%`, which a topology doesn't need";
const VALUE: &str = "a value was expected";
const TAB: &str = "a tab where only blanks may indent";
const TAG: &str = "a tag (`!…`) that means nothing here; a text that begins with `!` needs quotes";
const COLON: &str =
    "a `:` that belongs to no key; is a blank missing after an earlier `:`, or quotes around a text with `: ` in it?";
/// What is said of lists and maps in lists and maps in lists and maps.
pub(super) const DEPTH: &str = "lists and maps are nested too deep";
/// What is said where there is nothing better.
const ELSE: &str = "it can't be made out from here on";

/// The parser's message in plain words.
pub(super) fn plain(message: &str) -> String {
    if let Some(brackets) = message.strip_prefix("unclosed bracket ") {
        return format!("`{}` isn't closed", brackets.trim_matches('\''));
    }
    if let Some((open, close)) =
        message.strip_prefix("mismatched bracket ").and_then(|brackets| brackets.split_once(" closed by "))
    {
        return format!("`{}` is closed by `{}`", open.trim_matches('\''), close.trim_matches('\''));
    }
    let found = WORDS.iter().find(|(begin, _)| message.starts_with(begin));
    found.map_or(ELSE, |(_, words)| words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_reached_and_brackets_are_named() {
        for (at, (begin, words)) in WORDS.iter().enumerate() {
            let hidden = WORDS[..at].iter().find(|(earlier, _)| begin.starts_with(earlier));
            assert_eq!(hidden, None, "{begin}");
            assert_eq!(plain(begin), *words);
        }
        assert_eq!(plain("unclosed bracket '['"), "`[` isn't closed");
        assert_eq!(plain("mismatched bracket '[' closed by '}'"), "`[` is closed by `}`");
        assert_eq!(plain("E0001: panicked in module"), ELSE);
    }
}
