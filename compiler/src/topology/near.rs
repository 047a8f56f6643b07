//! Literals that waldo doesn't take, but whose meaning is plain: what to write instead.

/// A duration in other words: `30`, `5 seconds`, `1m30s`, `1.5s`.
pub fn duration(text: &str) -> Option<String> {
    let mut milliseconds = 0.0;
    for (number, unit) in parts(text)? {
        let factor = match unit.as_str() {
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1.0,
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
            "m" | "min" | "mins" | "minute" | "minutes" => 60e3,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600e3,
            "d" | "day" | "days" => 86_400e3,
            _ => return None,
        };
        milliseconds += number * factor;
    }
    let milliseconds = whole(milliseconds)?;
    let (unit, factor) = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
        .into_iter()
        .find(|(_, factor)| milliseconds % factor == 0 && (milliseconds > 0 || *factor == 1_000))?;
    Some(format!("{}{unit}", milliseconds / factor))
}

/// A size in other words: `64k`, `2G`, `64 MB`, `1.5GiB`. What might be of 1,000 or of 1,024 is taken for the latter.
pub fn size(text: &str) -> Option<String> {
    let [(number, unit)] = &parts(text)?[..] else { return None };
    let (base, letters) = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('i')) {
        Some(letter) => (1024, letter),
        None => (if unit.ends_with('b') { 1000 } else { 1024 }, unit.strip_suffix('b').unwrap_or(unit)),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == letters)?;
    let mut power = u32::try_from(power).ok()?;
    let mut number = *number;
    while number.fract() != 0.0 && power > 0 {
        number *= f64::from(base);
        power -= 1;
    }
    let number = whole(number)?;
    let letter = ["", "K", "M", "G", "T"][power as usize];
    let end = match (power, base) {
        (0, _) => "",
        (_, 1000) => "B",
        _ => "iB",
    };
    Some(format!("{number}{letter}{end}"))
}

/// A decimal number in other words: `50%`, `.5`, `1e3`, `500m`.
pub fn decimal(text: &str) -> Option<String> {
    let number = match (text.strip_suffix('%'), text.strip_suffix('m')) {
        (Some(percent), _) => percent.trim().parse::<f64>().ok()? / 100.0,
        (_, Some(thousandths)) => thousandths.trim().parse::<f64>().ok()? / 1_000.0,
        _ => text.trim().parse().ok()?,
    };
    (number.is_finite() && (0.0..1e6).contains(&number)).then(|| {
        let text = format!("{number:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    })
}

/// A whole number within bounds in other words: `1e3`, `1_000`, `two`, `1000 records`.
pub fn count(text: &str, least: u64, most: u64) -> Option<String> {
    const WORDS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let plain = text.trim().to_lowercase().replace(['_', ','], "");
    let number = match WORDS.iter().position(|word| *word == plain) {
        Some(number) => number as u64,
        None => whole(plain.split([' ', '/']).next()?.parse().ok()?)?,
    };
    (least..=most).contains(&number).then(|| number.to_string())
}

/// A JSON pointer in other words: `caller`, `$.caller.id`.
pub fn json_pointer(text: &str) -> Option<String> {
    let path = text.trim().trim_start_matches('$').trim_start_matches(['.', '/']);
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    let parts: Vec<&str> = path.split(['.', '/']).collect();
    parts.iter().all(|part| plain(part)).then(|| format!("/{}", parts.join("/")))
}

/// A signal in small letters.
pub fn signal(text: &str) -> Option<String> {
    Some(text.trim().to_uppercase())
}

/// An address without scheme and port.
pub fn address(text: &str) -> Option<&str> {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = host.split('/').next()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => host.split_once(':').filter(|(_, port)| !port.contains(':')).map_or(host, |(host, _)| host),
    };
    (!host.is_empty() && host != text).then_some(host)
}

/// Numbers and the words behind them, in lower case.
fn parts(text: &str) -> Option<Vec<(f64, String)>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && parts.len() < 8 {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(rest.len());
        parts.push((number, rest[..end].to_lowercase()));
        rest = rest[end..].trim_start();
    }
    (!parts.is_empty() && rest.is_empty()).then_some(parts)
}

fn whole(number: f64) -> Option<u64> {
    let rounded = number.round();
    (number.is_finite() && (0.0..9e15).contains(&rounded) && (number - rounded).abs() < 1e-6).then_some(rounded as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::literal;

    #[test]
    fn what_was_meant_is_guessed_and_can_be_read() {
        for (text, meant) in [
            ("30", "30s"),
            ("5 seconds", "5s"),
            ("1m30s", "90s"),
            ("1.5s", "1500ms"),
            ("2 Min", "2m"),
            ("0", "0s"),
            ("1d", "24h"),
        ] {
            assert_eq!(duration(text).as_deref(), Some(meant), "{text}");
            assert!(literal::duration(meant).is_ok());
        }
        for (text, meant) in [
            ("64k", "64KiB"),
            ("2G", "2GiB"),
            ("64 MB", "64MB"),
            ("64mb", "64MB"),
            ("1.5GiB", "1536MiB"),
            ("1 Gi", "1GiB"),
            ("0.5kb", "500"),
        ] {
            assert_eq!(size(text).as_deref(), Some(meant), "{text}");
            assert!(literal::size(meant).is_ok());
        }
        for (text, meant) in [("50%", "0.5"), (".5", "0.5"), ("1e3", "1000"), ("500m", "0.5")] {
            assert_eq!(decimal(text).as_deref(), Some(meant), "{text}");
            assert!(literal::millionths(meant).is_ok());
        }
        for (text, meant) in [("1e3", "1000"), ("1_000", "1000"), ("two", "2"), ("7001/tcp", "7001")] {
            assert_eq!(count(text, 1, 10_000).as_deref(), Some(meant), "{text}");
        }
        for (text, meant) in [("caller", "/caller"), ("$.call.id", "/call/id"), ("call/id", "/call/id")] {
            assert_eq!(json_pointer(text).as_deref(), Some(meant), "{text}");
        }
        for (text, meant) in
            [("10.0.0.1:80", "10.0.0.1"), ("tcp://s2.example.org:7001", "s2.example.org"), ("[::1]:80", "::1")]
        {
            assert_eq!(address(text), Some(meant));
        }
    }

    #[test]
    fn nothing_is_guessed_where_nothing_is_plain() {
        assert_eq!(["soon", "", "5 parsecs", "1..2s", "-1s"].map(duration), [const { None }; 5]);
        assert_eq!(["ten GiB", "", "1x", "1 GB 2 MB", "GiB"].map(size), [const { None }; 5]);
        assert_eq!(["none", "0", "20000", "-1"].map(|text| count(text, 1, 10_000)), [const { None }; 4]);
        assert_eq!(["much", "-1", "inf", "NaN"].map(decimal), [const { None }; 4]);
        assert_eq!(["10.0.0.1", "::1", "", "a b"].map(address), [None; 4]);
        assert_eq!(["", "$", "a b", "a..b"].map(json_pointer), [const { None }; 4]);
    }
}
