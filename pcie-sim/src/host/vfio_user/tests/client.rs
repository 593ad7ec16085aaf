//! A client as a script: each call one message and its answer. What the card asks meanwhile is kept.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::message::{
    Body, Command, DmaRange, HEADER_BYTES, Header, Kind, Message, RegionRange,
};
use super::{event, message};
use crate::spec::pci::{command, header};

/// Longer than any of these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Client {
    stream: UnixStream,
    path: PathBuf,
    next_id: u16,
    asked: VecDeque<Message>,
}

impl Client {
    pub(super) fn connect(path: impl AsRef<Path>) -> Self {
        let stream = UnixStream::connect(&path).expect("a server");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let path = path.as_ref().to_path_buf();
        Self { stream, path, next_id: 100, asked: VecDeque::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Agrees on a version and places the BAR.
    pub(super) fn start(&mut self) {
        let capabilities = b"{}".to_vec();
        let version = Body::Version { major: 0, minor: 3, capabilities };
        let answer = self.ask(Command::Version, version).expect("a version");
        assert!(matches!(answer, Body::Version { major: 0, minor: 1, .. }), "{answer:?}");
        self.place();
    }

    pub(super) fn place(&mut self) {
        self.write(7, u64::from(header::BAR0), &0x1000_0000_u32.to_le_bytes());
        self.write(7, u64::from(header::COMMAND), &command::MEMORY_SPACE.to_le_bytes());
    }

    /// Sends a command and takes its answer.
    pub(super) fn ask(&mut self, command: Command, body: Body) -> Result<Body, u32> {
        let id = self.id();
        self.send(&message(id, command, Kind::Ask, body));
        self.answer(id)
    }

    /// The same with bytes of one's own.
    pub(super) fn raw(&mut self, command: u16, body: &[u8]) -> Result<Body, u32> {
        let id = self.id();
        let mut bytes = Vec::new();
        message(id, Command::Version, Kind::Ask, Body::Other(body.to_vec())).emit(&mut bytes);
        bytes[2..4].copy_from_slice(&command.to_le_bytes());
        self.send_bytes(&bytes);
        let (header, _) = self.receive();
        assert_eq!((header.id, header.command), (id, command));
        match header.kind {
            Kind::Refuse(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn tell(&mut self, command: Command, body: Body) {
        let id = self.id();
        self.send(&message(id, command, Kind::Tell, body));
    }

    pub(super) fn reply(&mut self, id: u16, command: Command, body: Body) {
        self.send(&message(id, command, Kind::Reply, body));
    }

    pub(super) fn refuse(&mut self, id: u16, command: Command, error: u32) {
        self.send(&message(id, command, Kind::Refuse(error), Body::Empty));
    }

    pub(super) fn read(&mut self, region: u32, offset: u64, count: u32) -> Vec<u8> {
        let range = RegionRange { offset, region, count };
        match self.ask(Command::RegionRead, Body::Region(range)) {
            Ok(Body::RegionData(answered, data)) if answered == range => data,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        let range = RegionRange { offset, region, count: data.len() as u32 };
        let answer = self.ask(Command::RegionWrite, Body::RegionData(range, data.to_vec()));
        assert_eq!(answer, Ok(Body::Region(range)));
    }

    pub(super) fn map(&mut self, range: DmaRange, file: Option<&OwnedFd>) {
        let id = self.id();
        let fds: Vec<BorrowedFd<'_>> = file.iter().map(|file| file.as_fd()).collect();
        self.send_with(&message(id, Command::DmaMap, Kind::Ask, Body::DmaMap(range)), &fds);
        assert_eq!(self.answer(id), Ok(Body::Empty));
    }

    /// Asks to be told of a vector.
    pub(super) fn arm(&mut self, vector: u32) -> OwnedFd {
        let signal = event();
        self.arm_with(vector, &signal);
        signal
    }

    pub(super) fn arm_with(&mut self, vector: u32, signal: &OwnedFd) {
        let id = self.id();
        let (flags, index, start, count, data) = (0x24, 2, vector, 1, Vec::new());
        let body = Body::SetIrqs { flags, index, start, count, data };
        self.send_with(&message(id, Command::SetIrqs, Kind::Ask, body), &[signal.as_fd()]);
        assert_eq!(self.answer(id), Ok(Body::Empty));
    }

    /// What the card asks next.
    pub(super) fn next(&mut self) -> Message {
        while self.asked.is_empty() {
            let (header, body) = self.receive();
            self.keep(&header, &body);
        }
        self.asked.pop_front().expect("there is one")
    }

    pub(super) fn dma_read(&mut self) -> (u16, u64, u32) {
        match self.next() {
            Message { id, body: Body::Dma { address, count }, .. } => (id, address, count),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn dma_write(&mut self) -> (u16, u64, Vec<u8>) {
        match self.next() {
            Message { id, body: Body::DmaData { address, data }, .. } => (id, address, data),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it is taken");
    }

    /// The server closes the connection without a word.
    pub(super) fn expect_end(mut self) {
        assert_eq!(self.stream.read(&mut [0]).expect("an end"), 0);
    }

    fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    fn send(&mut self, message: &Message) {
        self.send_with(message, &[]);
    }

    fn send_with(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let sent =
            sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::empty());
        assert_eq!(sent, Ok(bytes.len()));
    }

    fn answer(&mut self, id: u16) -> Result<Body, u32> {
        loop {
            let (header, body) = self.receive();
            match header.kind {
                Kind::Reply if header.id == id => {
                    return Ok(Message::parse(&header, &body).expect("a message").body);
                }
                Kind::Refuse(error) if header.id == id => return Err(error),
                _ => self.keep(&header, &body),
            }
        }
    }

    fn keep(&mut self, header: &Header, body: &[u8]) {
        assert_eq!(header.kind, Kind::Ask);
        self.asked.push_back(Message::parse(header, body).expect("a message"));
    }

    fn receive(&mut self) -> (Header, Vec<u8>) {
        let mut bytes = [0; HEADER_BYTES];
        self.stream.read_exact(&mut bytes).expect("a header");
        let header = Header::parse(&bytes).expect("a header");
        let mut body = vec![0; header.body_bytes()];
        self.stream.read_exact(&mut body).expect("a body");
        (header, body)
    }
}

/// Whether an event was signalled.
pub(super) fn is_raised(signal: &OwnedFd) -> bool {
    rustix::io::read(signal, &mut [0; 8]).is_ok()
}

/// Waits until it is.
pub(super) fn wait_for(signal: &OwnedFd) {
    let limit = Timespec { tv_sec: LIMIT.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(signal, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "it is raised in time");
    assert!(is_raised(signal));
}
