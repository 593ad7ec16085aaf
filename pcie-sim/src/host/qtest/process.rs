//! QEMU as a child of this program: started with a socket in its hand, ended when it is dropped.
//!
//! The socket is one of a pair and QEMU's standard input, so it has no name: nobody else can connect, and
//! two runs never meet. What QEMU says on standard error is kept for the day it dies.
//!
//! This program is the CPU, so QEMU's own must do nothing: its firmware is one instruction that halts it.
//! A machine that is not started at all (`-S`) will not do, since a virtio network device then sends nothing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command as Program, Stdio};
use std::time::Duration;

use super::codec::{self, Command};
use super::connection::{Break, Connection};
use super::error::QtestError;

/// Bytes of QEMU's last words that are told.
const LAST_WORDS: u64 = 2000;
/// Bytes of the firmware; QEMU wants a multiple of this.
const FIRMWARE_BYTES: usize = 64 << 10;
/// What is at the reset vector, 16 bytes before the end: `cli`, `hlt`, and back to `hlt`.
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];
/// Said by a QEMU that was built without the first accelerator of two, and takes the second.
const NO_ACCELERATOR: &str = "invalid accelerator qtest";

/// A running QEMU and the connection to it.
#[derive(Debug)]
pub struct Qemu {
    connection: Connection,
    child: Option<Child>,
    said: Option<File>,
    status: String,
    /// Read by QEMU while it starts; it goes with the process.
    _firmware: Option<tempfile::NamedTempFile>,
}

impl Qemu {
    /// Starts `program` with `arguments` and a connection in which no reply takes longer than `limit`.
    /// The arguments are those of devices; what makes it a q35 without any, whose CPU halts and which
    /// speaks the protocol, is added here.
    ///
    /// # Errors
    /// [`QtestError::NotStarted`]; what is wrong with the arguments shows when it is first asked something.
    pub fn start(
        program: &OsStr,
        arguments: &[OsString],
        limit: Duration,
    ) -> Result<Self, QtestError> {
        let not_started = |error: std::io::Error| QtestError::NotStarted {
            program: program.to_string_lossy().into_owned(),
            why: error.to_string(),
        };
        let (ours, theirs) = UnixStream::pair().map_err(not_started)?;
        let said = tempfile::tempfile().map_err(not_started)?;
        let firmware = halting_firmware().map_err(not_started)?;
        let theirs = Stdio::from(OwnedFd::from(theirs));
        let stderr = said.try_clone().map_err(not_started)?;
        let child = Program::new(program)
            .args(["-machine", "q35", "-nodefaults", "-display", "none"])
            .args(["-accel", "qtest", "-accel", "tcg"])
            .args(["-chardev", "socket,id=qtest,fd=0"])
            .args(["-qtest", "chardev:qtest", "-qtest-log", "none", "-bios"])
            .arg(firmware.path())
            .args(arguments)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(not_started)?;
        let connection = Connection::new(ours, limit).map_err(not_started)?;
        Ok(Self {
            connection,
            child: Some(child),
            said: Some(said),
            status: String::new(),
            _firmware: Some(firmware),
        })
    }

    /// Somebody who speaks the protocol and is no child of this program.
    ///
    /// # Errors
    /// What the system says of the limit.
    pub fn connected(stream: UnixStream, limit: Duration) -> std::io::Result<Self> {
        let connection = Connection::new(stream, limit)?;
        let status = "no child of this program".to_owned();
        Ok(Self { connection, child: None, said: None, status, _firmware: None })
    }

    /// Replies that have come.
    #[must_use]
    pub const fn replies(&self) -> u64 {
        self.connection.replies()
    }

    /// Sends a command whose reply says nothing but that it was done; an error shows with a later one.
    ///
    /// # Errors
    /// [`QtestError`].
    pub fn post(&mut self, command: &Command<'_>) -> Result<(), QtestError> {
        let posted = self.connection.post(command);
        posted.map_err(|broken| self.explain(broken))
    }

    /// Waits until all that was posted is done.
    ///
    /// # Errors
    /// [`QtestError`].
    pub fn settle(&mut self) -> Result<(), QtestError> {
        let settled = self.connection.settle();
        settled.map_err(|broken| self.explain(broken))
    }

    /// Sends a command and gives the number that it answers.
    ///
    /// # Errors
    /// [`QtestError`].
    pub fn number(&mut self, command: &Command<'_>) -> Result<u64, QtestError> {
        let answer = self.connection.ask(command, codec::value);
        answer.map_err(|broken| self.explain(broken))
    }

    /// Reads a block of memory.
    ///
    /// # Errors
    /// [`QtestError`].
    pub fn read_block(
        &mut self,
        address: crate::address::PhysAddr,
        into: &mut [u8],
    ) -> Result<(), QtestError> {
        let command = Command::ReadBlock { address, len_bytes: into.len() };
        let answer = self.connection.ask(&command, |text| codec::block(text, into));
        answer.map_err(|broken| self.explain(broken))
    }

    fn explain(&mut self, broken: Break) -> QtestError {
        match broken {
            Break::Said(error) => error,
            Break::Closed => {
                self.end();
                QtestError::Gone { status: self.status.clone(), last_words: self.last_words() }
            }
            Break::Silent => {
                self.end();
                QtestError::Silent {
                    asked: "a command".to_owned(),
                    limit: self.connection.limit(),
                    last_words: self.last_words(),
                }
            }
        }
    }

    /// Ends the child, if it still runs.
    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Of one that has ended by itself the status is its own, whatever is sent to it now.
        let _ = child.kill();
        self.status = match child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
    }

    fn last_words(&mut self) -> String {
        let Some(said) = &mut self.said else { return "none".to_owned() };
        let mut bytes = Vec::new();
        let end = said.seek(SeekFrom::End(0)).unwrap_or(0);
        let _ = said.seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS)));
        let _ = said.take(LAST_WORDS).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let is_news = |line: &&str| !line.is_empty() && !line.contains(NO_ACCELERATOR);
        let words: Vec<&str> = text.lines().map(str::trim).filter(is_news).collect();
        if words.is_empty() { "none".to_owned() } else { words.join("; ") }
    }
}

/// Firmware that halts the CPU with interrupts off.
fn halting_firmware() -> std::io::Result<tempfile::NamedTempFile> {
    let mut image = vec![HALT[1]; FIRMWARE_BYTES];
    image[FIRMWARE_BYTES - 16..][..HALT.len()].copy_from_slice(&HALT);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&image)?;
    file.flush()?;
    Ok(file)
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.end();
    }
}
