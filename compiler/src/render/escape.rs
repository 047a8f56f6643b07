//! Escapes for the formats that templates write: no value can break out of where it lands.

/// A word of a POSIX shell script: in single quotes, whatever it contains.
pub fn shell(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_breaks_out_of_a_shell_word() {
        for value in ["", "plain", "a b", "it's", "$(reboot)", "`x`", "a\nb", "\\", "';rm -rf /;'", "\"", "é"] {
            let split = shell_words::split(&shell(value)).expect("is closed");
            assert_eq!(split, [value]);
        }
    }
}
