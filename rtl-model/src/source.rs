//! A TOML text and where it came from, so that a complaint can say file, line and key.

mod duration;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::duration::Duration;

/// What is wrong in a file that the user wrote. Exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InputError {
    /// The file, or the option, that holds the mistake.
    pub origin: String,
    /// The line, counted from 1, when it is known.
    pub line: Option<usize>,
    /// The key in full, `card.queue_size`, when there is one.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl InputError {
    /// A complaint about something as a whole: a file that cannot be read, an option.
    pub fn whole(origin: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { origin: origin.to_string(), line: None, key: None, message: message.to_string() }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A TOML text with its origin.
#[derive(Debug, Clone)]
pub struct Source {
    origin: String,
    folder: PathBuf,
    text: String,
}

impl Source {
    /// A text that the program carries in itself. Relative paths in it start at the current folder.
    #[must_use]
    pub fn built_in(origin: &str, text: &str) -> Self {
        Self { origin: origin.to_owned(), folder: PathBuf::new(), text: text.to_owned() }
    }

    /// Reads a file. Relative paths in it start at its own folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| InputError::whole(&origin, format!("cannot be read: {error}")))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { origin, folder, text })
    }

    /// The file's name, or what stands for it.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where a path in this text leads.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The text as a `T`.
    ///
    /// # Errors
    /// With line and key, when it is not TOML or does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        toml::from_str(&self.text).map_err(|error| self.misfit(&error))
    }

    /// A complaint about the key at `path`, which need not be in the text: then its nearest parent's
    /// line is given.
    #[must_use]
    pub fn complain(&self, path: &str, message: impl fmt::Display) -> InputError {
        InputError {
            origin: self.origin.clone(),
            line: self.line_of_key(path),
            key: Some(path.to_owned()),
            message: message.to_string(),
        }
    }

    fn misfit(&self, error: &toml::de::Error) -> InputError {
        let offset = error.span().map(|span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        InputError {
            origin: self.origin.clone(),
            line: offset.map(|offset| self.line_of_offset(offset)),
            key: offset.and_then(|offset| self.key_at(offset)),
            message,
        }
    }

    fn line_of_offset(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|&&byte| byte == b'\n').count()
    }

    fn line_of_key(&self, path: &str) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut table = root.get_ref();
        let mut line = None;
        let mut rest = path;
        while !rest.is_empty() {
            // A quoted key may hold dots itself: the whole rest is tried before its first part.
            let (part, after) = rest.split_once('.').unwrap_or((rest, ""));
            let named = |name: &str| table.iter().find(|(key, _)| key.get_ref() == name);
            let Some((key, value)) = named(rest).or_else(|| named(part)) else { break };
            rest = if key.get_ref() == rest { "" } else { after };
            line = Some(self.line_of_offset(key.span().start));
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        line
    }

    fn key_at(&self, offset: usize) -> Option<String> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut path = Vec::new();
        key_path(root.get_ref(), offset, &mut path);
        (!path.is_empty()).then(|| path.join("."))
    }
}

/// Walks down to the deepest entry whose key or value covers `offset`.
fn key_path(table: &DeTable<'_>, offset: usize, path: &mut Vec<String>) {
    let covers = |span: Range<usize>| span.contains(&offset) || span.start == offset;
    let within = |key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>| {
        covers(key.span()) || covers(value.span()) || holds(value.get_ref(), offset)
    };
    if let Some((key, value)) = table.iter().find(|(key, value)| within(key, value)) {
        path.push(key.get_ref().to_string());
        if let DeValue::Table(inner) = value.get_ref() {
            key_path(inner, offset, path);
        }
    }
}

/// Whether something inside `value` covers `offset`: a table's own span may be its heading alone.
fn holds(value: &DeValue<'_>, offset: usize) -> bool {
    match value {
        DeValue::Table(table) => table.iter().any(|(key, value)| {
            key.span().contains(&offset)
                || value.span().contains(&offset)
                || holds(value.get_ref(), offset)
        }),
        DeValue::Array(values) => values
            .iter()
            .any(|value| value.span().contains(&offset) || holds(value.get_ref(), offset)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        size: u8,
    }

    #[test]
    fn a_wrong_type_is_reported_with_file_line_and_key() {
        let source = Source::built_in("a.toml", "# heading\n[inner]\nsize = \"big\"\n");
        let error = source.parse::<Outer>().unwrap_err();
        assert_eq!((error.line, error.key.as_deref()), (Some(3), Some("inner.size")));
        assert!(error.to_string().starts_with("a.toml:3: inner.size: invalid type"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_reported_with_those_that_exist() {
        let source = Source::built_in("a.toml", "[inner]\nsize = 1\nsise = 2\n");
        let error = source.parse::<Outer>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a.toml:3: inner.sise: unknown field `sise`, expected `size`"
        );
    }

    #[test]
    fn a_complaint_about_an_absent_key_points_at_its_table() {
        let source = Source::built_in("a.toml", "x = 1\n\n[inner]\n");
        assert_eq!(source.complain("inner.size", "missing").line, Some(3));
    }
}
