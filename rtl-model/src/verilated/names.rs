//! What an interface calls its signals, and what a design calls its ports.
//!
//! ```toml
//! [ports]                          # signal of the interface = port of the design
//! "*" = ["*_i", "*_o"]             # the first of several that the design has
//! "rx_*" = "s_axis_rx_t*"          # what * stands for on the left stands there on the right
//! rx_sop = "s_axis_rx_tuser_first"
//! rx_np_ok = false                 # the design has no such port
//! ```
//!
//! The longest left side that fits a signal decides. A signal that no left side fits is called the same.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::pins::{PortDirection, PortInfo};

/// What a signal may be called in the design.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// The first of these that there is; `*` in them stands for what it stood for on the left.
    OneOf(Vec<String>),
    /// The design does not have it.
    Absent,
}

/// Which port of the design is which signal of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortNames {
    rules: BTreeMap<String, Names>,
}

/// A port is not there, or is not what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The design has no port of this name.
    #[error(
        "{top} has no port {} for `{signal}`{}",
        quoted(tried),
        if near.is_empty() { String::new() } else { format!("; near it: {}", near.join(", ")) }
    )]
    Missing {
        /// The design.
        top: String,
        /// The signal of the interface, or the key of the manifest.
        signal: String,
        /// The names that were looked for.
        tried: Vec<String>,
        /// Ports with names like it.
        near: Vec<String>,
    },
    /// The manifest says that there is no such port, and one is needed.
    #[error("`{signal}` is said not to be there, and is needed")]
    Needed {
        /// The signal.
        signal: String,
    },
    /// It is an input and should be an output, or the other way round.
    #[error("{top}.{port} (`{signal}`) is {} and has to be {}", way(*has), way(has.opposite()))]
    Direction {
        /// The design.
        top: String,
        /// The signal of the interface.
        signal: String,
        /// The port.
        port: String,
        /// What it is.
        has: PortDirection,
    },
    /// It has another width.
    #[error("{top}.{port} (`{signal}`) has {has} bits, and must have {wants}")]
    Width {
        /// The design.
        top: String,
        /// The signal of the interface.
        signal: String,
        /// The port.
        port: String,
        /// Its width in bits.
        has: u32,
        /// What would be right.
        wants: String,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn way(direction: PortDirection) -> &'static str {
    match direction {
        PortDirection::Input => "an input",
        PortDirection::Output => "an output",
    }
}

impl PortNames {
    /// Puts one rule there, in place of one with the same left side.
    pub fn set(&mut self, signal: &str, names: Names) {
        self.rules.insert(signal.to_owned(), names);
    }

    /// The names of ports that `signal` may have, best first; `None` when there is no such port.
    #[must_use]
    pub fn of(&self, signal: &str) -> Option<Vec<String>> {
        let fits =
            self.rules.iter().filter_map(|(left, names)| Some((left, star(left, signal)?, names)));
        match fits.max_by_key(|(left, _, _)| (!left.contains('*'), left.len())) {
            None => Some(vec![signal.to_owned()]),
            Some((_, _, Names::Absent)) => None,
            Some((_, stands, Names::OneOf(names))) => {
                Some(names.iter().map(|name| name.replace('*', stands)).collect())
            }
        }
    }

    /// The manifest has a line for this very signal.
    #[must_use]
    pub fn names_it(&self, signal: &str) -> bool {
        self.rules.contains_key(signal)
    }

    /// The port's name for `signal`: the first that there is, or the first of all when there is none of them, so
    /// that it can be asked for and missed; `None` when the manifest says that there is no such port.
    #[must_use]
    pub fn pick(&self, signal: &str, ports: &[PortInfo]) -> Option<String> {
        let tried = self.of(signal)?;
        let there = |name: &&String| ports.iter().any(|port| port.name == **name);
        tried.iter().find(there).or(tried.first()).cloned()
    }

    /// The port of `signal`; `Ok(None)` when the manifest says that there is none.
    ///
    /// # Errors
    /// [`PortError::Missing`], with names like it.
    pub fn find<'p>(
        &self,
        signal: &str,
        top: &str,
        ports: &'p [PortInfo],
    ) -> Result<Option<&'p PortInfo>, PortError> {
        let Some(tried) = self.of(signal) else { return Ok(None) };
        let found = tried.iter().find_map(|name| ports.iter().find(|port| port.name == *name));
        found.map(Some).ok_or_else(|| missing(top, signal, tried, ports))
    }

    /// The port of `signal`, which goes this way and has this width, when one is given.
    ///
    /// # Errors
    /// When it is not there, or is something else.
    pub fn require<'p>(
        &self,
        signal: &str,
        top: &str,
        ports: &'p [PortInfo],
        direction: PortDirection,
        bits: Option<u32>,
    ) -> Result<&'p PortInfo, PortError> {
        let found = self.find(signal, top, ports)?;
        let port = found.ok_or_else(|| PortError::Needed { signal: signal.to_owned() })?;
        let (top, signal, name) = (top.to_owned(), signal.to_owned(), port.name.clone());
        if port.direction != direction {
            return Err(PortError::Direction { top, signal, port: name, has: port.direction });
        }
        match bits {
            Some(wants) if wants != port.bits => {
                let wants = wants.to_string();
                Err(PortError::Width { top, signal, port: name, has: port.bits, wants })
            }
            _ => Ok(port),
        }
    }
}

/// That no port has one of these names, and which come near.
#[must_use]
pub fn missing(top: &str, signal: &str, tried: Vec<String>, ports: &[PortInfo]) -> PortError {
    let names = ports.iter().map(|port| port.name.as_str());
    let near = tried.first().map(|name| near(name, names)).unwrap_or_default();
    PortError::Missing { top: top.to_owned(), signal: signal.to_owned(), tried, near }
}

/// What `*` in `pattern` stands for in `name`; empty when there is none, and they are the same.
fn star<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    match pattern.split_once('*') {
        None => (pattern == name).then_some(""),
        Some((before, after)) => name.strip_prefix(before)?.strip_suffix(after),
    }
}

/// Up to four of `names` that look like `name`, the likest first.
#[must_use]
pub fn near<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut all: Vec<(usize, &str)> = names.map(|other| (distance(name, other), other)).collect();
    all.sort();
    let bound = 2 + name.len() / 3;
    all.iter()
        .filter(|(far, _)| *far <= bound)
        .take(4)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Levenshtein's distance of two names, in letters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl<'de> Deserialize<'de> for PortNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = BTreeMap::<String, Names>::deserialize(deserializer)?;
        let bad = |text: &str| text.is_empty() || text.matches('*').count() > 1;
        for (left, names) in &rules {
            let rights = match names {
                Names::OneOf(names) => names.as_slice(),
                Names::Absent => &[],
            };
            if bad(left) || rights.iter().any(|name| bad(name)) {
                return Err(D::Error::custom(format!(
                    "`{left}`: one * at most on each side, and a name"
                )));
            }
        }
        Ok(Self { rules })
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a port, several of which the first is taken that there is, or false")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names::OneOf(vec![name.to_owned()]))
            }
            fn visit_bool<E: Error>(self, there: bool) -> Result<Names, E> {
                match there {
                    false => Ok(Names::Absent),
                    true => Err(E::invalid_value(serde::de::Unexpected::Bool(true), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                if names.is_empty() {
                    return Err(A::Error::invalid_length(0, &self));
                }
                Ok(Names::OneOf(names))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
