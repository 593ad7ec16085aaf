//! What can be wrong with a log of block commands.

use std::io;

use thiserror::Error;

/// Why a log cannot be used. Lines are counted from 1.
#[derive(Debug, Error)]
pub enum IologError {
    /// The file cannot be opened.
    #[error("{file}: cannot be opened: {source}")]
    Open {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Reading failed in the middle.
    #[error("{file}:{line}: cannot be read: {source}")]
    Read {
        /// The file.
        file: String,
        /// The line that was being read.
        line: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{file}:{line}: {mistake}")]
    Line {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong with it.
        mistake: Mistake,
    },
}

/// What is wrong with a line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mistake {
    /// The first line is not the one that fio writes.
    #[error("not a fio log: the first line must be `fio version 2 iolog` or `fio version 3 iolog`")]
    Header,
    /// The log ends without a command.
    #[error("the log is empty: no command up to here")]
    Empty,
    /// The line has more than 4096 bytes.
    #[error("the line is longer than 4096 bytes")]
    LineTooLong,
    /// The line is not text.
    #[error("the line is not text")]
    NotText,
    /// The action takes another number of fields.
    #[error("`{action}` with {found} fields; this version has `{form}`")]
    Fields {
        /// The action, or what stands in its place.
        action: String,
        /// Fields found.
        found: usize,
        /// Fields expected.
        form: &'static str,
    },
    /// A field is no number.
    #[error("the {field} `{text}` is not a whole number of 64 bits")]
    Number {
        /// The field's name.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// The action is not one of fio's.
    #[error(
        "unknown action `{action}` (known: read, write, trim, sync, datasync, add, open, close)"
    )]
    Action {
        /// What stands there.
        action: String,
    },
    /// Version 3 has no wait.
    #[error("`wait` is not allowed in version 3, whose lines have a time")]
    Wait,
    /// An offset or a length that is no whole sector.
    #[error("the {field} {bytes} is not a multiple of 512 bytes")]
    Unaligned {
        /// The field's name.
        field: &'static str,
        /// Its value, in bytes.
        bytes: u64,
    },
    /// A read, write or trim of nothing.
    #[error("`{action}` of 0 bytes")]
    Nothing {
        /// The action.
        action: String,
    },
    /// The command goes past the end of the disk.
    #[error("{len} bytes at {offset} go past the end of the disk, which has {capacity} bytes")]
    PastTheEnd {
        /// Offset of the command, in bytes.
        offset: u64,
        /// Its length, in bytes.
        len: u64,
        /// Size of the disk, in bytes.
        capacity: u64,
    },
    /// A second file is read or written.
    #[error("a command for `{second}` after commands for `{first}`: the bench has one disk")]
    SecondFile {
        /// The file of the commands before.
        first: String,
        /// The file of this command.
        second: String,
    },
}
