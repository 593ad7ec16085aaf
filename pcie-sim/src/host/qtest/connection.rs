//! One end of the protocol: commands out, replies in, each within its time.
//!
//! Writes are posted: their replies are taken with the next read, so that a block of writes costs one wait.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::codec::{self, Command, Line};
use super::error::QtestError;

/// Replies that may be outstanding. They must fit the socket's buffer, or both ends wait for each other.
const MOST_POSTED: usize = 64;
/// The longest line that is taken: a block of 1 MiB in base64 has 1.4 million bytes.
const LONGEST_LINE: usize = 4 << 20;
/// Bytes of a garbled line that are told.
const TOLD: usize = 80;

/// What stopped a connection, without what only the process can tell.
#[derive(Debug)]
pub(super) enum Break {
    /// The other end is closed.
    Closed,
    /// Nothing came in time.
    Silent,
    /// The rest is known.
    Said(QtestError),
}

/// A socket to QEMU with what has come and not been taken.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    limit: Duration,
    /// What has come.
    heard: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
    /// Commands whose replies are outstanding.
    posted: usize,
    /// The line of the command, reused.
    line: Vec<u8>,
    /// Replies taken, for whoever counts.
    replies: u64,
}

impl Connection {
    /// A connection over `stream`, in which no reply may take longer than `limit`.
    ///
    /// # Errors
    /// What the system says of the limit.
    pub fn new(stream: UnixStream, limit: Duration) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self {
            stream,
            limit,
            heard: Vec::new(),
            taken: 0,
            posted: 0,
            line: Vec::new(),
            replies: 0,
        })
    }

    /// How long a reply may take.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Replies that have come.
    #[must_use]
    pub const fn replies(&self) -> u64 {
        self.replies
    }

    /// Sends a command whose reply says nothing but that it was done, and goes on.
    pub(super) fn post(&mut self, command: &Command<'_>) -> Result<(), Break> {
        if self.posted >= MOST_POSTED {
            self.settle()?;
        }
        self.send(command)?;
        self.posted += 1;
        Ok(())
    }

    /// Waits for the replies to all that was posted.
    pub(super) fn settle(&mut self) -> Result<(), Break> {
        while self.posted > 0 {
            self.posted -= 1;
            self.reply("an earlier write", |_| Ok(()))?;
        }
        Ok(())
    }

    /// Sends a command and gives its reply to `take`.
    pub(super) fn ask<T>(
        &mut self,
        command: &Command<'_>,
        take: impl FnOnce(&str) -> Result<T, codec::CodecError>,
    ) -> Result<T, Break> {
        self.send(command)?;
        self.settle()?;
        let asked = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.reply(&asked, take)
    }

    fn send(&mut self, command: &Command<'_>) -> Result<(), Break> {
        self.line.clear();
        command.encode(&mut self.line);
        self.stream.write_all(&self.line).map_err(|error| broken(&error))
    }

    fn reply<T>(
        &mut self,
        asked: &str,
        take: impl FnOnce(&str) -> Result<T, codec::CodecError>,
    ) -> Result<T, Break> {
        loop {
            let end = self.next_line()?;
            let line = &self.heard[self.taken..end];
            self.taken = end + 1;
            let garbled = |why: codec::CodecError| {
                let line = String::from_utf8_lossy(&line[..line.len().min(TOLD)]).into_owned();
                let (asked, why) = (asked.to_owned(), why.to_string());
                Break::Said(QtestError::Garbled { asked, line, why })
            };
            match codec::parse_line(line).map_err(garbled)? {
                Line::Irq { .. } => {}
                Line::Ok(rest) => {
                    self.replies += 1;
                    return take(rest).map_err(garbled);
                }
                Line::Failed(why) => {
                    let (asked, why) = (asked.to_owned(), why.to_owned());
                    return Err(Break::Said(QtestError::Refused { asked, why }));
                }
            }
        }
    }

    /// Where the next line ends in what has come; more is read until there is one.
    fn next_line(&mut self) -> Result<usize, Break> {
        let mut looked = self.taken;
        loop {
            if let Some(at) = self.heard[looked..].iter().position(|&byte| byte == b'\n') {
                return Ok(looked + at);
            }
            self.heard.drain(..self.taken);
            self.taken = 0;
            looked = self.heard.len();
            if looked > LONGEST_LINE {
                let line = String::from_utf8_lossy(&self.heard[..TOLD]).into_owned();
                let (asked, why) = ("a command".to_owned(), "it does not end".to_owned());
                return Err(Break::Said(QtestError::Garbled { asked, line, why }));
            }
            let mut room = [0; 16 << 10];
            match self.stream.read(&mut room) {
                Ok(0) => return Err(Break::Closed),
                Ok(some) => self.heard.extend_from_slice(&room[..some]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }
}

fn broken(error: &std::io::Error) -> Break {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Break::Silent,
        _ => Break::Closed,
    }
}
