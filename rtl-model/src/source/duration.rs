//! A time in a text of the user's.

use std::fmt;

use pcie_sim::time::Span;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A time, written `"5 us"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration(pub Span);

impl Duration {
    /// Reads `"250 ps"`, `"100 ns"`, `"5us"`, `"1 ms"`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let ps: u64 = match unit.trim() {
            "ps" => 1,
            "ns" => 1_000,
            "us" => 1_000_000,
            "ms" => 1_000_000_000,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(ps).map(|ps| Self(Span::from_ps(ps)))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time, such as \"5 us\" (ps, ns, us, ms)")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
