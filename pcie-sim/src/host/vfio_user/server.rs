//! The side of the simulation: what the client asks is done one after the other, what the card asks is
//! passed on, and neither waits for the other.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;

use crossbeam::channel::TryRecvError;

use super::irqs::{BY_EVENT, Irqs, KINDS};
use super::maps::{Maps, Reached};
use super::message::errno::{EINVAL, ENOSYS, ENOTSUP};
use super::message::{Body, Command, Kind, LONGEST_DATA_BYTES, Message, MessageError, RegionRange};
use super::regions::{self, RegionAccess};
use super::socket::{Connection, Gone, Incoming, MOST_FDS, Socket};
use crate::endpoint::Tap;
use crate::live::{Answer, LiveSlot, ReadId, Request, Step};
use crate::tlp::CompletionStatus;

/// The protocol's version.
const VERSION: (u16, u16) = (0, 1);
/// In the flags of the device: it can be reset, it is on PCI.
const DEVICE_FLAGS: u32 = 0b11;
/// In the flags of a region: it may be read and written.
const READ_WRITE: u32 = 0b11;
/// Requests of the card that may be with the client at a time.
const MOST_REQUESTS: usize = 1024;
/// Writes to neighbouring addresses go as one message, up to a page.
const PAGE_BYTES: u64 = 4096;

/// How the card reaches the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dma {
    /// Every request is a message, which the client translates.
    #[default]
    Messages,
    /// Where the client shares memory, there; elsewhere by messages.
    Shared,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why nothing more came.
    pub gone: Gone,
    /// Messages that were refused because they make no sense.
    pub refused: u64,
    /// Others who wanted to be the client.
    pub sent_away: u64,
    /// Requests of the card for memory that went as messages.
    pub by_message: u64,
    /// Those that were done in shared memory.
    pub in_shared_memory: u64,
}

/// A request of the card that is with the client.
#[derive(Debug)]
enum WithClient {
    Read(ReadId, u32),
    Write(u64, u32),
}

/// A write that the client has not acknowledged, or an interrupt that comes behind it.
#[derive(Debug)]
enum Posted {
    Write(u16),
    Acknowledged,
    Interrupt(u32),
}

/// What is being done for the client.
#[derive(Debug)]
struct Serving {
    id: u16,
    command: Command,
    kind: Kind,
    access: RegionAccess,
}

/// A card with one client.
pub struct Server<T: Tap> {
    slot: LiveSlot<T>,
    dma: Dma,
    connection: Connection,
    maps: Maps,
    irqs: Irqs,
    resets: u64,
    has_version: bool,
    waiting: VecDeque<(Message, Vec<OwnedFd>)>,
    serving: Option<Serving>,
    /// What is under way is of our own accord, and its answer nobody's.
    own_access: bool,
    with_client: BTreeMap<u16, WithClient>,
    next_id: u16,
    posted: VecDeque<Posted>,
    /// Writes of the card, gathered while they follow one another.
    gathered: Option<(u64, Vec<u8>)>,
    end: End,
}

impl<T: Tap> Server<T> {
    /// Waits for a client to come to `socket`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn accept(socket: Socket, slot: LiveSlot<T>, dma: Dma) -> io::Result<Self> {
        let connection = socket.accept()?;
        let irqs = Irqs::new(slot.facts().msix);
        Ok(Self {
            dma,
            connection,
            maps: Maps::default(),
            irqs,
            resets: slot.resets(),
            slot,
            has_version: false,
            waiting: VecDeque::new(),
            serving: None,
            own_access: false,
            with_client: BTreeMap::new(),
            next_id: 0,
            posted: VecDeque::new(),
            gathered: None,
            end: End {
                gone: Gone::Closed,
                refused: 0,
                sent_away: 0,
                by_message: 0,
                in_shared_memory: 0,
            },
        })
    }

    /// Serves the client until it goes. The slot comes back for whoever wants to know more.
    pub fn serve(mut self) -> (LiveSlot<T>, End) {
        let gone = loop {
            if let Err(gone) = self.turn() {
                break gone;
            }
        };
        self.end.gone = gone;
        (self.slot, self.end)
    }

    fn turn(&mut self) -> Result<(), Gone> {
        loop {
            match self.connection.incoming.try_recv() {
                Ok(incoming) => self.take(incoming)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(Gone::Closed),
            }
        }
        self.attend()?;
        // An answer that the guest waits for is worth more than the right time of a read.
        let patient = !self.slot.is_asked() && self.serving.is_none() && self.waiting.is_empty();
        let step = if self.is_congested() { Step::Waits } else { self.slot.step(patient) };
        self.pass_on()?;
        if step == Step::Idle && self.is_held_up() {
            self.slot.give_card_up();
        } else if step != Step::Moved && !self.can_attend() {
            self.flush()?;
            let incoming = self.connection.incoming.recv().map_err(|_| Gone::Closed)?;
            self.take(incoming)?;
        }
        Ok(())
    }

    /// As much is with the client as may be.
    fn is_congested(&self) -> bool {
        self.with_client.len() >= MOST_REQUESTS && !self.slot.is_asked()
    }

    /// Something is to be sent down, and the card does not take what was sent before.
    fn is_held_up(&self) -> bool {
        let has_more = self.serving.is_some() || !self.waiting.is_empty();
        has_more && !self.slot.is_asked() && !self.slot.accepts()
    }

    fn can_attend(&self) -> bool {
        let has_more = self.serving.is_some() || !self.waiting.is_empty() || self.own_access;
        self.slot.accepts() && has_more || self.has_other()
    }

    /// What comes next does not go over the link, so it need not wait for it.
    fn has_other(&self) -> bool {
        let is_other = |(message, _): &(Message, Vec<OwnedFd>)| {
            !matches!(
                message.command,
                Command::RegionRead | Command::RegionWrite | Command::DeviceReset
            )
        };
        self.serving.is_none() && self.waiting.front().is_some_and(is_other)
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), Gone> {
        match incoming {
            Incoming::Message(message, fds) => match message.kind {
                Kind::Ask | Kind::Tell => self.waiting.push_back((message, fds)),
                Kind::Reply | Kind::Refuse(_) => self.client_has(message)?,
            },
            Incoming::Bad(header, error) => {
                self.end.refused += 1;
                match header.kind {
                    Kind::Ask => {
                        let unknown = matches!(error, MessageError::Command(_));
                        let errno = if unknown { ENOSYS } else { EINVAL };
                        self.connection.refuse(&header, errno)?;
                    }
                    Kind::Tell => {}
                    // Without it what waits for it would wait for ever.
                    Kind::Reply | Kind::Refuse(_) => self.client_refuses(header.id),
                }
            }
            Incoming::SecondClient => self.end.sent_away += 1,
            Incoming::Gone(gone) => return Err(gone),
        }
        Ok(())
    }

    /// Goes on with what the client asks, as far as the link takes it.
    fn attend(&mut self) -> Result<(), Gone> {
        loop {
            if let Some(answer) = self.slot.take_answer()
                && !std::mem::take(&mut self.own_access)
                && let Some(serving) = &mut self.serving
            {
                let data = match &answer {
                    Answer::Done(data) => Some(&data[..]),
                    Answer::Failed => None,
                };
                serving.access.brought(data);
            }
            if !self.slot.accepts() {
                match self.has_other().then(|| self.waiting.pop_front()).flatten() {
                    Some((message, fds)) => self.begin(message, fds)?,
                    None => return Ok(()),
                }
                continue;
            }
            if let Some(access) = self.slot.next_restore() {
                self.own_access = true;
                self.slot.begin(access);
                continue;
            }
            if self.write_table() {
                continue;
            }
            match self.serving.take() {
                Some(serving) if serving.access.is_done() => self.served(serving)?,
                Some(mut serving) => {
                    if let Some(access) = serving.access.next(&self.slot) {
                        self.slot.begin(access);
                    }
                    self.serving = Some(serving);
                }
                None => match self.waiting.pop_front() {
                    Some((message, fds)) => self.begin(message, fds)?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Brings an entry of the card's MSI-X table up to date, if one is not and can be reached.
    fn write_table(&mut self) -> bool {
        if self.resets != self.slot.resets() {
            self.resets = self.slot.resets();
            self.irqs.forgotten();
        }
        let bar = self.irqs.bar().and_then(|bar| self.slot.bar_address(bar));
        let Some(writes) = bar.and_then(|bar| self.irqs.next_writes(bar)) else { return false };
        writes.into_iter().for_each(|write| self.slot.begin(write));
        true
    }

    fn served(&mut self, serving: Serving) -> Result<(), Gone> {
        let Serving { id, command, kind, access } = serving;
        let range = access.range();
        let body = if access.is_write() {
            Body::Region(range)
        } else {
            Body::RegionData(range, access.into_data())
        };
        self.reply(id, command, kind, Ok(body))
    }

    fn reply(
        &mut self,
        id: u16,
        command: Command,
        asked: Kind,
        outcome: Result<Body, u32>,
    ) -> Result<(), Gone> {
        self.end.refused += u64::from(outcome.is_err());
        if asked == Kind::Tell {
            return Ok(());
        }
        let (kind, body) = match outcome {
            Ok(body) => (Kind::Reply, body),
            Err(errno) => (Kind::Refuse(errno), Body::Empty),
        };
        self.connection.send(&Message { id, command, kind, body })
    }

    /// Begins a command; all but the accesses to registers are done at once.
    fn begin(&mut self, message: Message, fds: Vec<OwnedFd>) -> Result<(), Gone> {
        let Message { id, command, kind, body } = message;
        if !self.has_version && command != Command::Version {
            return self.reply(id, command, kind, Err(EINVAL));
        }
        let outcome = match body {
            Body::Region(range) => self.access(id, command, kind, range, None),
            Body::RegionData(range, data) => self.access(id, command, kind, range, Some(data)),
            body => self.perform(command, body, fds).map(Some),
        };
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(body)) => self.reply(id, command, kind, Ok(body)),
            Err(errno) => self.reply(id, command, kind, Err(errno)),
        }
    }

    fn access(
        &mut self,
        id: u16,
        command: Command,
        kind: Kind,
        range: RegionRange,
        data: Option<Vec<u8>>,
    ) -> Result<Option<Body>, u32> {
        let access = RegionAccess::new(self.slot.facts(), range, data).ok_or(EINVAL)?;
        self.serving = Some(Serving { id, command, kind, access });
        Ok(None)
    }

    fn perform(&mut self, command: Command, body: Body, fds: Vec<OwnedFd>) -> Result<Body, u32> {
        match body {
            Body::Version { major, minor, .. } => self.version(major, minor),
            Body::DmaMap(range) => {
                let file = fds.into_iter().next().filter(|_| self.dma == Dma::Shared);
                self.maps.map(&range, file)?;
                Ok(Body::Empty)
            }
            Body::DmaUnmap(range) => {
                self.maps.unmap(&range)?;
                Ok(Body::DmaUnmap(range))
            }
            Body::DeviceInfo { .. } => {
                Ok(Body::DeviceInfo { flags: DEVICE_FLAGS, regions: regions::REGIONS, irqs: KINDS })
            }
            Body::RegionInfo { index, .. } => {
                let len_bytes = regions::len_bytes(self.slot.facts(), index).ok_or(EINVAL)?;
                let flags = if len_bytes == 0 { 0 } else { READ_WRITE };
                Ok(Body::RegionInfo { flags, index, len_bytes, offset: 0 })
            }
            Body::IrqInfo { index, .. } => {
                let count = self.irqs.count(index).ok_or(EINVAL)?;
                Ok(Body::IrqInfo { flags: BY_EVENT, index, count })
            }
            Body::SetIrqs { flags, index, start, count, .. } => {
                self.irqs.set((flags, index), (start, count), fds)?;
                Ok(Body::Empty)
            }
            Body::Empty if command == Command::DeviceReset => {
                self.slot.reset();
                Ok(Body::Empty)
            }
            // The card's commands are the card's.
            Body::Dma { .. } | Body::DmaData { .. } => Err(ENOSYS),
            Body::Empty | Body::Other(_) | Body::Region(_) | Body::RegionData(..) => Err(ENOTSUP),
        }
    }

    fn version(&mut self, major: u16, minor: u16) -> Result<Body, u32> {
        if major != VERSION.0 || self.has_version {
            return Err(EINVAL);
        }
        self.has_version = true;
        let minor = minor.min(VERSION.1);
        let capabilities = format!(
            "{{\"capabilities\":{{\"max_msg_fds\":{MOST_FDS},\
             \"max_data_xfer_size\":{LONGEST_DATA_BYTES},\"pgsizes\":{PAGE_BYTES}}}}}"
        );
        Ok(Body::Version { major, minor, capabilities: capabilities.into_bytes() })
    }

    /// Passes on what the card wants.
    fn pass_on(&mut self) -> Result<(), Gone> {
        while let Some(request) = self.slot.take_request() {
            match request {
                Request::Write { address, data } => self.gather(address, &data)?,
                Request::Read { id, address, len_bytes } => {
                    self.flush()?;
                    self.read(id, address, len_bytes)?;
                }
                Request::Interrupt { data } => {
                    self.flush()?;
                    self.posted.push_back(Posted::Interrupt(data));
                    self.raise();
                }
            }
        }
        Ok(())
    }

    /// Adds a write to those that go together, which does not go beyond a page: one page is translated,
    /// or refused, as a whole.
    fn gather(&mut self, address: u64, data: &[u8]) -> Result<(), Gone> {
        if let Some((start, gathered)) = &mut self.gathered
            && *start + gathered.len() as u64 == address
            && !address.is_multiple_of(PAGE_BYTES)
        {
            gathered.extend(data);
            return Ok(());
        }
        self.flush()?;
        self.gathered = Some((address, data.to_vec()));
        Ok(())
    }

    /// Passes on the writes gathered.
    fn flush(&mut self) -> Result<(), Gone> {
        let Some((address, data)) = self.gathered.take() else { return Ok(()) };
        let len_bytes = data.len() as u32;
        match self.in_shared(|maps| maps.write(address, &data)) {
            Reached::All => Ok(()),
            Reached::Refused => {
                self.slot.write_refused(address, len_bytes);
                Ok(())
            }
            Reached::NotShared => {
                let body = Body::DmaData { address, data };
                let with_client = WithClient::Write(address, len_bytes);
                let id = self.ask(Command::DmaWrite, body, with_client)?;
                self.posted.push_back(Posted::Write(id));
                Ok(())
            }
        }
    }

    fn read(&mut self, id: ReadId, address: u64, len_bytes: u16) -> Result<(), Gone> {
        let mut data = vec![0; usize::from(len_bytes)];
        match self.in_shared(|maps| maps.read(address, &mut data)) {
            Reached::All => self.slot.answer_read(id, Ok(data)),
            Reached::Refused => {
                self.slot.answer_read(id, Err(CompletionStatus::UnsupportedRequest));
            }
            Reached::NotShared => {
                let count = u32::from(len_bytes);
                let body = Body::Dma { address, count };
                self.ask(Command::DmaRead, body, WithClient::Read(id, count))?;
            }
        }
        Ok(())
    }

    fn in_shared(&mut self, access: impl FnOnce(&Maps) -> Reached) -> Reached {
        if self.dma == Dma::Messages || !self.maps.shares() {
            return Reached::NotShared;
        }
        let reached = access(&self.maps);
        self.end.in_shared_memory += u64::from(reached == Reached::All);
        reached
    }

    fn ask(&mut self, command: Command, body: Body, what: WithClient) -> Result<u16, Gone> {
        // Fewer are under way than there are numbers.
        while self.with_client.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.with_client.insert(id, what);
        self.end.by_message += 1;
        self.connection.send(&Message { id, command, kind: Kind::Ask, body })?;
        Ok(id)
    }

    /// The client has done what the card asked, or refuses.
    fn client_has(&mut self, message: Message) -> Result<(), Gone> {
        let Message { id, kind, body, .. } = message;
        match (self.with_client.get(&id), kind, body) {
            (Some(&WithClient::Read(read, count)), Kind::Reply, Body::DmaData { data, .. })
                if data.len() == count as usize =>
            {
                self.with_client.remove(&id);
                self.slot.answer_read(read, Ok(data));
            }
            (Some(WithClient::Write(..)), Kind::Reply, Body::Dma { .. }) => {
                self.with_client.remove(&id);
                self.acknowledged(id);
            }
            // Nobody has asked, or this is no answer to it.
            _ => {
                self.end.refused += u64::from(kind == Kind::Reply);
                self.client_refuses(id);
            }
        }
        Ok(())
    }

    fn client_refuses(&mut self, id: u16) {
        match self.with_client.remove(&id) {
            Some(WithClient::Read(read, _)) => {
                self.slot.answer_read(read, Err(CompletionStatus::UnsupportedRequest));
            }
            Some(WithClient::Write(address, len_bytes)) => {
                self.slot.write_refused(address, len_bytes);
                self.acknowledged(id);
            }
            None => {}
        }
    }

    fn acknowledged(&mut self, id: u16) {
        let same = |posted: &&mut Posted| matches!(posted, Posted::Write(other) if *other == id);
        if let Some(posted) = self.posted.iter_mut().find(same) {
            *posted = Posted::Acknowledged;
        }
        self.raise();
    }

    /// Raises the interrupts before which nothing is left to be acknowledged.
    fn raise(&mut self) {
        while let Some(next) = self.posted.front() {
            match *next {
                Posted::Write(_) => return,
                Posted::Acknowledged => {}
                Posted::Interrupt(vector) => self.irqs.raise(vector),
            }
            self.posted.pop_front();
        }
    }

    /// What the card is plugged into.
    #[must_use]
    pub const fn slot(&self) -> &LiveSlot<T> {
        &self.slot
    }
}
