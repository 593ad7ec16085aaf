//! What there is to see: scopes, the signals in them, and the values they take.

use std::collections::BTreeSet;

use crate::error::DeclareError;

/// The widest signal that can be declared, in bits: what IEEE 1364-2005 §4.3.1 ("Specifying vectors")
/// obliges every tool to handle.
pub const MAX_WIDTH_BITS: u32 = 65_536;

const MAX_NAME_BYTES: usize = 128;

/// A signal's number in the [`Tree`] that declared it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalId(pub(crate) u32);

/// A value for a signal, at most as wide as the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number; also fills a signal wider than 64 bits.
    Bits(u64),
    /// A number as bytes, most significant first.
    Wide(&'a [u8]),
    /// Printable ASCII, for a signal of text.
    Text(&'a str),
    /// Not known: every bit `x`.
    Unknown,
}

/// What a signal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bits,
    Text,
}

#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) width_bits: u32,
    /// How many scopes are around it.
    pub(crate) depth: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Item {
    Open(String),
    Signal(SignalId),
    Close,
}

/// The scopes and signals of one wave file, in the order in which a viewer lists them.
///
/// ```
/// let mut tree = waves::Tree::new();
/// let address = tree.scope("link", |link| link.bits("address", 64))?;
/// # let _ = address;
/// # Ok::<(), waves::DeclareError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tree {
    items: Vec<Item>,
    signals: Vec<Signal>,
    open: Vec<String>,
    paths: BTreeSet<String>,
}

impl Tree {
    /// A tree without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a scope, lets `declare` fill it, and closes it.
    ///
    /// # Errors
    /// [`DeclareError::BadName`], [`DeclareError::Twice`], and whatever `declare` returns.
    pub fn scope<T>(
        &mut self,
        name: &str,
        declare: impl FnOnce(&mut Self) -> Result<T, DeclareError>,
    ) -> Result<T, DeclareError> {
        self.claim(name)?;
        self.items.push(Item::Open(name.to_owned()));
        self.open.push(name.to_owned());
        let declared = declare(self);
        self.open.pop();
        self.items.push(Item::Close);
        declared
    }

    /// Declares a signal of `width_bits` bits, 1 to [`MAX_WIDTH_BITS`], in the open scope.
    ///
    /// # Errors
    /// Any [`DeclareError`].
    pub fn bits(&mut self, name: &str, width_bits: u32) -> Result<SignalId, DeclareError> {
        self.signal(name, Kind::Bits, u64::from(width_bits))
    }

    /// Declares a signal of text with room for `len_bytes` characters in the open scope.
    /// The file shows it as a vector of `8 * len_bytes` bits: text at the right, zeros before it
    /// (IEEE 1364-2005 §5.2.3.1, "String operations").
    ///
    /// # Errors
    /// Any [`DeclareError`].
    pub fn text(&mut self, name: &str, len_bytes: u32) -> Result<SignalId, DeclareError> {
        self.signal(name, Kind::Text, 8 * u64::from(len_bytes))
    }

    fn signal(
        &mut self,
        name: &str,
        kind: Kind,
        width_bits: u64,
    ) -> Result<SignalId, DeclareError> {
        if self.open.is_empty() {
            return Err(DeclareError::Unscoped { name: name.to_owned() });
        }
        let path = self.claim(name)?;
        let narrow = u32::try_from(width_bits).ok().filter(|&w| (1..=MAX_WIDTH_BITS).contains(&w));
        let Some(width_bits) = narrow else {
            return Err(DeclareError::BadWidth { path, width_bits });
        };
        let id = SignalId(self.signals.len() as u32);
        let depth = self.open.len() as u32;
        self.signals.push(Signal { name: name.to_owned(), path, kind, width_bits, depth });
        self.items.push(Item::Signal(id));
        Ok(id)
    }

    /// Checks a name and reserves its path.
    fn claim(&mut self, name: &str) -> Result<String, DeclareError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(good) {
            return Err(DeclareError::BadName { name: name.to_owned() });
        }
        let mut path = self.open.join(".");
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        if !self.paths.insert(path.clone()) {
            return Err(DeclareError::Twice { path });
        }
        Ok(path)
    }

    /// What is left of it when only so many levels of scopes are shown; ids are numbered anew.
    pub(crate) fn cut(&self, depth: u32) -> Self {
        let mut cut = Self::default();
        let mut open = 0;
        for item in &self.items {
            match item {
                Item::Open(_) => open += 1,
                Item::Close => {
                    open -= 1;
                    if open < depth {
                        cut.items.push(Item::Close);
                    }
                    continue;
                }
                Item::Signal(_) => {}
            }
            match item {
                _ if open > depth => {}
                Item::Signal(id) => {
                    cut.items.push(Item::Signal(SignalId(cut.signals.len() as u32)));
                    cut.signals.push(self.signals[id.0 as usize].clone());
                }
                other => cut.items.push(other.clone()),
            }
        }
        cut
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(crate) fn signals(&self) -> &[Signal] {
        &self.signals
    }
}

impl Signal {
    /// How a file names it: a vector with its range, as simulators write it, so that every viewer
    /// calls the signal the same in both kinds of file.
    pub(crate) fn reference(&self) -> String {
        match self.width_bits {
            1 => self.name.clone(),
            width => format!("{} [{}:0]", self.name, width - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_break_a_header_is_refused() {
        let mut tree = Tree::new();
        for name in ["", "two words", "a.b", "$end ", "naïve", "tab\t"] {
            let refused = tree.scope(name, |_| Ok(()));
            assert_eq!(refused, Err(DeclareError::BadName { name: name.to_owned() }));
        }
    }

    #[test]
    fn two_signals_of_one_path_are_refused() {
        let mut tree = Tree::new();
        let refused = tree.scope("link", |link| {
            link.bits("busy", 1)?;
            link.bits("busy", 2)
        });
        assert_eq!(refused, Err(DeclareError::Twice { path: "link.busy".to_owned() }));
    }

    #[test]
    fn a_signal_has_a_scope_and_a_width() {
        let mut tree = Tree::new();
        assert_eq!(tree.bits("a", 1), Err(DeclareError::Unscoped { name: "a".to_owned() }));
        let bad = |width_bits| Err(DeclareError::BadWidth { path: "s.a".to_owned(), width_bits });
        assert_eq!(Tree::new().scope("s", |s| s.bits("a", 0)), bad(0));
        assert_eq!(Tree::new().scope("s", |s| s.bits("a", 65_537)), bad(65_537));
        assert_eq!(Tree::new().scope("s", |s| s.text("a", u32::MAX)), bad(8 * u64::from(u32::MAX)));
    }
}
