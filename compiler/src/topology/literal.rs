//! Literals: durations, sizes, signals, weights. Each function says in words what it expected.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server's weight in millionths: decimals, without a float's surprises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Weight(pub u64);

impl Weight {
    /// The weight of a server that states none.
    pub const ONE: Self = Self(1_000_000);
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let text = format!("{whole}.{fraction:06}");
        formatter.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The signals that can ask a program to stop, without `SIG`.
pub const SIGNALS: [&str; 11] = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "ALRM", "ABRT", "PWR", "WINCH", "CONT"];

const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
/// A hundred years: beyond it sums of durations would need care.
const LONGEST: u64 = 100 * 366 * 24 * 3_600_000;

/// A duration in milliseconds.
pub fn duration(text: &str) -> Result<u64, &'static str> {
    let expected = "a duration such as `250ms`, `5s`, `2m` or `1h`";
    with_unit(text, &DURATIONS).filter(|&duration| duration <= LONGEST).ok_or(expected)
}

/// A size in bytes.
pub fn size(text: &str) -> Result<u64, &'static str> {
    with_unit(text, &SIZES)
        .filter(|&size| i64::try_from(size).is_ok())
        .ok_or("a size such as `512KiB`, `64MiB`, `2GB`, or a number of bytes")
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// An endpoint to connect to.
pub fn endpoint_to_connect(text: &str) -> Result<String, &'static str> {
    match endpoint(text) {
        Some((host, _)) if host != "*" => Ok(text.to_owned()),
        _ => Err("where a PULL socket is bound, such as `tcp://10.0.0.9:9000`"),
    }
}

/// An endpoint to bind.
pub fn endpoint_to_bind(text: &str) -> Result<String, &'static str> {
    match endpoint(text) {
        Some((host, _)) if host == "*" || host.parse::<std::net::IpAddr>().is_ok() => Ok(text.to_owned()),
        _ => Err("an address of this server and a port, such as `tcp://10.0.0.1:9000` or `tcp://*:9000`"),
    }
}

/// The host, without brackets, and the port of `tcp://HOST:PORT`.
fn endpoint(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.strip_prefix("tcp://")?.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|host| host.contains(':'))?,
        None => host,
    };
    let is_host = !host.is_empty() && host.chars().all(|one| one.is_ascii_alphanumeric() || ".:-_*".contains(one));
    is_host.then_some((host, port))
}

/// A signal's name without `SIG`.
pub fn signal(text: &str) -> Result<String, &'static str> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if SIGNALS.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err("a signal that a program can answer, such as `TERM`, `INT`, `HUP` or `USR1`")
    }
}

/// A decimal number of at least 0, in millionths.
pub fn millionths(text: &str) -> Result<u64, &'static str> {
    let expected = "a decimal number of at least 0, such as `1` or `0.5`, with at most six decimals";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 || whole.len() > 6 {
        return Err(expected);
    }
    let whole: u64 = whole.parse().map_err(|_| expected)?;
    let fraction: u64 = format!("{fraction:0<6}").parse().map_err(|_| expected)?;
    Ok(whole * 1_000_000 + fraction)
}

/// A whole number within bounds.
pub fn count(text: &str, least: u64, most: u64) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|number| (least..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_the_language_says() {
        assert_eq!(["250ms", "5s", "2m", "1h"].map(duration), [Ok(250), Ok(5000), Ok(120_000), Ok(3_600_000)]);
        assert_eq!(
            ["512KiB", "64MiB", "2GB", "17"].map(size),
            [Ok(524_288), Ok(67_108_864), Ok(2_000_000_000), Ok(17)]
        );
        assert_eq!(["TERM", "SIGTERM"].map(signal), [Ok("TERM".to_owned()), Ok("TERM".to_owned())]);
        assert_eq!(["0", "1", "0.5", "2.000001"].map(millionths), [Ok(0), Ok(1_000_000), Ok(500_000), Ok(2_000_001)]);
    }

    #[test]
    fn a_weight_is_written_as_it_can_be_read() {
        for (millionths, written) in
            [(0, "0"), (1, "0.000001"), (500_000, "0.5"), (1_000_000, "1"), (12_340_000, "12.34")]
        {
            assert_eq!(Weight(millionths).to_string(), written);
            assert_eq!(super::millionths(written), Ok(millionths));
        }
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        for text in ["", "5", "s", "-1s", "5 s", "1.5s", "5S", "99999999999999999999h", "9000000000000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1kib", "99999999TiB", "0x10"] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["KILL", "STOP", "SIG", "term", "15"] {
            assert!(signal(text).is_err(), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "1e3", "1.0000001", "12345678", ".nan", "1.2.3"] {
            assert!(millionths(text).is_err(), "{text}");
        }
    }
}
