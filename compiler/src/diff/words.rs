//! Values and names as they are shown in a diff: on one line, and no longer than a person reads.

/// The longest value that is shown whole. Characters.
const LONGEST: usize = 60;
/// How much of what two long values have in common is left before the place where they part. Characters.
const COMMON: usize = 12;
/// The most names that are listed one by one.
const NAMES: usize = 4;

/// Two values as they are shown. Of long ones the place where they part is shown, wherever it is.
pub fn shortened(from: &str, to: &str) -> (String, String) {
    let clean = |value: &str| value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<Vec<char>>();
    let (from, to) = (clean(from), clean(to));
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let longest = from.len().max(to.len());
    let skipped = if longest > LONGEST { common.saturating_sub(COMMON) } else { 0 };
    let shown = |value: &[char]| {
        let (mut text, rest) = if skipped > 0 { ("…".to_owned(), &value[skipped..]) } else { (String::new(), value) };
        let room = LONGEST - usize::from(skipped > 0);
        if rest.len() <= room {
            text.extend(rest);
        } else {
            text.extend(&rest[..room - 1]);
            text.push('…');
        }
        text
    };
    (shown(&from), shown(&to))
}

/// `a, b, c and 7 others`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() <= NAMES => names.join(", "),
        names => format!("{} and {} others", names[..NAMES - 1].join(", "), names.len() - (NAMES - 1)),
    }
}

/// The plan's own word for a value that is one.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Milliseconds as the topology would say them.
pub(super) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0s".to_owned(),
        whole if whole % 60_000 == 0 => format!("{}m", whole / 60_000),
        whole if whole % 1000 == 0 => format!("{}s", whole / 1000),
        whole => format!("{whole}ms"),
    }
}

/// Bytes as the topology would say them.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Processors as the topology would say them, from millionths.
pub(super) fn processors(millionths: u64) -> String {
    let fraction = format!("{:06}", millionths % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    let whole = millionths / 1_000_000;
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

/// What is said of a value that may be none.
pub(super) fn or_none(value: Option<u64>, words: impl Fn(u64) -> String) -> String {
    value.map_or_else(|| "none".to_owned(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_strange_values_are_shown_on_one_line() {
        let (from, to) = shortened("a\nb", &"x".repeat(1000));
        assert_eq!(from, "a b");
        assert_eq!((to.chars().count(), to.chars().last()), (LONGEST, Some('…')));
    }

    #[test]
    fn of_long_values_the_place_where_they_part_is_shown() {
        let common = "x".repeat(200);
        let (from, to) = shortened(&format!("{common}small"), &format!("{common}big"));
        assert_eq!((from.as_str(), to.as_str()), ("…xxxxxxxxxxxxsmall", "…xxxxxxxxxxxxbig"));
    }

    #[test]
    fn sizes_durations_and_processors_are_written_as_in_a_topology() {
        assert_eq!([size(0), size(64 << 20), size(1500)], ["0 bytes", "64MiB", "1500 bytes"]);
        assert_eq!([duration(0), duration(90_000), duration(120_000), duration(250)], ["0s", "90s", "2m", "250ms"]);
        assert_eq!([processors(500_000), processors(8_000_000), processors(1_250_000)], ["0.5", "8", "1.25"]);
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(listed(&["a", "b", "c", "d"]), "a, b, c, d");
        assert_eq!(listed(&["a", "b", "c", "d", "e"]), "a, b, c and 2 others");
    }
}
