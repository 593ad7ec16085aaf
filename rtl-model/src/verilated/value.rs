//! A value that a manifest hands to Verilog: of a parameter, a define, an input that is tied off.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A flag, a number, or text in Verilog's own spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// `64`
    Number(i64),
    /// `"48'h02_00"`
    Text(String),
}

impl Value {
    /// The value as 32-bit words, low word first, when it is a number, a flag, or text such as `0x1f`,
    /// `0b101`, `17`.
    #[must_use]
    pub fn words(&self) -> Option<Vec<u32>> {
        match self {
            Self::Flag(flag) => Some(vec![u32::from(*flag)]),
            Self::Number(number) => {
                let bits = u64::try_from(*number).ok()?;
                Some(vec![bits as u32, (bits >> 32) as u32])
            }
            Self::Text(text) => words_of_text(text),
        }
    }
}

fn words_of_text(text: &str) -> Option<Vec<u32>> {
    let (digits, bits_of_digit) = match text.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 4),
        Some(("0b", digits)) => (digits, 1),
        _ => {
            let number = text.parse::<u64>().ok()?;
            return Some(vec![number as u32, (number >> 32) as u32]);
        }
    };
    let digits: Vec<u32> = digits
        .chars()
        .filter(|&digit| digit != '_')
        .map(|digit| digit.to_digit(1 << bits_of_digit))
        .collect::<Option<_>>()?;
    let in_word = 32 / bits_of_digit;
    let word = |chunk: &[u32]| chunk.iter().fold(0, |word, digit| word << bits_of_digit | digit);
    (!digits.is_empty()).then(|| digits.rchunks(in_word).map(word).collect())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{}", u8::from(*flag)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, true, false, or text such as \"48'h0200\"")
            }
            fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Flag(flag))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tied_value_is_as_wide_as_its_digits() {
        let words = |text: &str| Value::Text(text.to_owned()).words();
        assert_eq!(words("0x1_2345_6789"), Some(vec![0x2345_6789, 1]));
        assert_eq!(words("0b101"), Some(vec![5]));
        assert_eq!(words("17"), Some(vec![17, 0]));
        assert_eq!(Value::Flag(true).words(), Some(vec![1]));
        for no in ["", "0x", "0b12", "4'h1", "-1"] {
            assert_eq!(words(no), None, "{no}");
        }
        assert_eq!(Value::Number(-1).words(), None);
    }
}
