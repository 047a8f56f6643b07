//! Escapes for the formats that templates write: no value can break out of where it lands.

/// A word of a POSIX shell script: in single quotes, whatever it contains.
pub fn shell(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Text in a systemd unit, such as a description: specifiers (`%`) are doubled, control characters become blanks, and a
/// backslash at the end can't continue the line.
pub fn unit_text(value: &str) -> String {
    let mut text: String = value
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect::<String>()
        .replace('%', "%%");
    if text.ends_with('\\') {
        // Blanks at the end of a line are dropped when it is read, so this one only keeps the line from going on.
        text.push(' ');
    }
    text
}

/// A word of a command in a systemd unit (`ExecStart=`): quoted, with neither specifiers (`%`) nor variables (`$`) in it.
/// See systemd.service(5), "Command lines".
pub fn unit_word(value: &str) -> String {
    quoted(value, true)
}

/// A word of a setting in a systemd unit that isn't a command, such as `Environment=`: there `$` is as any other.
pub fn unit_value(value: &str) -> String {
    quoted(value, false)
}

fn quoted(value: &str, command: bool) -> String {
    let mut word = String::with_capacity(value.len() + 2);
    word.push('"');
    for character in value.chars() {
        match character {
            '"' => word.push_str("\\\""),
            '\\' => word.push_str("\\\\"),
            '%' => word.push_str("%%"),
            '$' if command => word.push_str("$$"),
            control if control.is_ascii_control() => word.push_str(&format_escape(control)),
            other => word.push(other),
        }
    }
    word.push('"');
    word
}

/// systemd knows no raw control characters; NUL can be in no argument and is left out.
fn format_escape(control: char) -> String {
    if control == '\0' { String::new() } else { format!("\\x{:02x}", u32::from(control)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What systemd makes of quoted words, by systemd.syntax(7) and systemd.service(5): quotes, C escapes, `%%`, and in
    /// commands `$$`.
    fn read_unit_words(line: &str, command: bool) -> Option<Vec<String>> {
        let mut words = Vec::new();
        let mut rest = line.chars().peekable();
        while let Some(first) = rest.next() {
            if first == ' ' {
                continue;
            }
            if first != '"' {
                return None;
            }
            let mut word = Vec::new();
            loop {
                match rest.next()? {
                    '"' => break,
                    '\n' => return None,
                    '%' => word.extend((rest.next()? == '%').then_some(b'%')?.to_le_bytes()),
                    '$' if command => word.extend((rest.next()? == '$').then_some(b'$')?.to_le_bytes()),
                    '\\' => match rest.next()? {
                        '"' => word.push(b'"'),
                        '\\' => word.push(b'\\'),
                        'x' => {
                            let digits: String = rest.by_ref().take(2).collect();
                            word.push(u8::from_str_radix(&digits, 16).ok()?);
                        }
                        _ => return None,
                    },
                    other => word.extend(other.to_string().into_bytes()),
                }
            }
            words.push(String::from_utf8(word).ok()?);
        }
        Some(words)
    }

    proptest! {
        #[test]
        fn a_word_of_a_unit_is_read_back_as_it_was(words in prop::collection::vec("[^\0]*", 0..5)) {
            let line: Vec<String> = words.iter().map(|word| unit_word(word)).collect();
            prop_assert_eq!(read_unit_words(&line.join(" "), true), Some(words.clone()));
            let line: Vec<String> = words.iter().map(|word| unit_value(word)).collect();
            prop_assert_eq!(read_unit_words(&line.join(" "), false), Some(words));
        }

        #[test]
        fn text_of_a_unit_stays_on_its_line_and_has_no_specifiers(text in "\\PC*|[\\\\%\"'$\n\r ]*") {
            let written = unit_text(&text);
            prop_assert!(!written.contains(['\n', '\r']) && !written.ends_with('\\'));
            prop_assert!(!written.replace("%%", "").contains('%'));
        }

        #[test]
        fn a_word_of_a_shell_is_read_back_as_it_was(words in prop::collection::vec("[^\0]*", 0..5)) {
            let line: Vec<String> = words.iter().map(|word| shell(word)).collect();
            prop_assert_eq!(shell_words::split(&line.join(" ")).ok(), Some(words));
        }
    }

    #[test]
    fn no_value_breaks_out_of_a_shell_word() {
        for value in ["", "plain", "a b", "it's", "$(reboot)", "`x`", "a\nb", "\\", "';rm -rf /;'", "\"", "é"] {
            let split = shell_words::split(&shell(value)).expect("is closed");
            assert_eq!(split, [value]);
        }
    }

    #[test]
    fn a_shell_itself_reads_back_what_was_quoted() {
        let words = ["", "a b", "it's", "$(exit 3)", "`x`", "a\nb", "\\", "';exit 3;'", "\"", "é", "*", "~", "$HOME"];
        let line: Vec<String> = words.iter().map(|word| shell(word)).collect();
        let script = format!("printf '%s\\0' {}", line.join(" "));
        let printed = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh").stdout;
        assert_eq!(String::from_utf8(printed).expect("UTF-8"), words.map(|word| format!("{word}\0")).concat());
    }
}
