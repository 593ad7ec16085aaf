//! Two hosts joined by a non-transparent bridge, the far one playing the card.
//!
//! ```text
//!   near host                 │ bridge                  │ far host: software, modelled by an Endpoint
//!   driver hands over offset X ─────────────────────────▶ X, and its own bus address of it: F + X
//!   memory at N + X ◀─────────┤ F + X becomes N + X     ◀── access to F + X
//!   access to BAR, offset Y ──┤ Y becomes M + Y         ──▶ far memory at M + Y
//! ```
//!
//! The window through which the far host sees near memory begins at N on the near side and at F on the
//! far side. What the two hosts say to each other are offsets into it, so an address of the one never
//! means anything to the other: the far software never learns N, the near driver never learns F or M.
//! An access of the far software's that is not in the window goes nowhere, and is recorded.
//!
//! Interrupts are the bridge's own: the far software rings a doorbell of the bridge, which sends the message
//! that the near driver has programmed.
//!
//! Left out: configuration requests cross as slowly as everything else, although the bridge answers them;
//! the two hosts' requester ids are not translated, since each side of the link sees one function.

use std::collections::VecDeque;
use std::ops::Range;

use crate::endpoint::{Endpoint, Port};
use crate::root::inbound::INTERRUPT_RANGE;
use crate::spec::pci::header;
use crate::time::{Instant, Span};
use crate::tlp::{Completion, CompletionStatus, ConfigWrite, FlowClass, MemRead, Payload, Tlp};

/// TLPs that the bridge holds on their way up.
const BUFFERED: usize = 32;

/// How the bridge is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NtbConfig {
    /// N: where the window leads in the near host's memory, as a bus address of the near host; a multiple
    /// of 4 KiB.
    pub near: u64,
    /// F: where the window begins on the far host's bus; a multiple of 4 KiB.
    pub far: u64,
    /// The window's length in bytes.
    pub len_bytes: u64,
    /// M: where the far memory lies, on the far host's bus, that the near host sees in its BAR2.
    pub far_memory: u64,
    /// How much of it the near host sees.
    pub far_memory_bytes: u64,
    /// What one crossing of the bridge takes. Assumed by default: 250 ns, a switch's store-and-forward
    /// delay and the second link.
    pub crossing: Span,
    /// Near addresses at which a write is an interrupt of the bridge's.
    pub messages: Range<u64>,
    /// How many records of each kind the log keeps in detail; all are counted.
    pub records: usize,
}

impl NtbConfig {
    /// A window of `len_bytes` to `near`, the rest at its default.
    #[must_use]
    pub fn new(near: u64, len_bytes: u64) -> Self {
        Self {
            near,
            far: 0x60_0000_0000,
            len_bytes,
            far_memory: 0x1_4000_0000,
            far_memory_bytes: 1 << 20,
            crossing: Span::from_ns(250),
            messages: INTERRUPT_RANGE,
            records: 256,
        }
    }
}

/// Why a bridge cannot be set up so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NtbError {
    /// A window that is empty, no multiple of 4 KiB, or past the end of all addresses.
    #[error("the {name} window of {len_bytes:#x} bytes at {base:#x} is not whole 4-KiB pages")]
    Window {
        /// Which.
        name: &'static str,
        /// Where it was to begin.
        base: u64,
        /// Its length.
        len_bytes: u64,
    },
}

/// Which way an access crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// By the far software, to near memory.
    FarToNear,
    /// By the near driver, to far memory.
    NearToFar,
}

/// One access, and what its address was on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// Which way.
    pub crossing: Crossing,
    /// The offset in the window: all that both sides know.
    pub offset: u64,
    /// The address on the far host's bus.
    pub far: u64,
    /// The address on the near host's bus.
    pub near: u64,
    /// Bytes.
    pub len_bytes: u32,
}

/// An access of the far software's that is not in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtbRefused {
    /// When.
    pub at: Instant,
    /// The offset that it was handed.
    pub offset: u64,
    /// Bytes.
    pub len_bytes: u32,
    /// It was a write.
    pub write: bool,
}

/// What has crossed, and what was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NtbLog {
    /// The first accesses, in order, as many as are to be kept.
    pub translations: Vec<Translation>,
    /// How many there were.
    pub translated: u64,
    /// The first refusals, as many as are to be kept.
    pub refusals: Vec<NtbRefused>,
    /// How many there were.
    pub refused: u64,
    /// Interrupts of the bridge's.
    pub doorbells: u64,
}

/// The bridge, and behind it the far host's software as an endpoint.
#[derive(Debug)]
pub struct Ntb<E> {
    software: E,
    now: Instant,
    bridge: Bridge,
}

#[derive(Debug)]
struct Bridge {
    config: NtbConfig,
    /// BAR2 of the near side.
    bar: u64,
    down: VecDeque<(Instant, Tlp)>,
    up: VecDeque<(Instant, Tlp)>,
    log: NtbLog,
}

impl<E: Endpoint> Ntb<E> {
    /// Joins `software` to the link.
    pub fn new(config: NtbConfig, software: E) -> Result<Self, NtbError> {
        let windows = [
            ("near", config.near, config.len_bytes),
            ("far", config.far, config.len_bytes),
            ("far memory", config.far_memory, config.far_memory_bytes),
        ];
        for (name, base, len_bytes) in windows {
            let whole = (base | len_bytes).is_multiple_of(4096) && len_bytes != 0;
            if !whole || base.checked_add(len_bytes).is_none() {
                return Err(NtbError::Window { name, base, len_bytes });
            }
        }
        let (down, up) = (VecDeque::new(), VecDeque::new());
        let bridge = Bridge { config, bar: 0, down, up, log: NtbLog::default() };
        Ok(Self { software, now: Instant::ZERO, bridge })
    }

    /// How it is set up.
    #[must_use]
    pub fn config(&self) -> &NtbConfig {
        &self.bridge.config
    }

    /// What has crossed.
    #[must_use]
    pub fn log(&self) -> &NtbLog {
        &self.bridge.log
    }

    /// The far software.
    #[must_use]
    pub fn software(&self) -> &E {
        &self.software
    }
}

impl<E: Endpoint> Endpoint for Ntb<E> {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        self.now = now;
        let bridge = &mut self.bridge;
        while let Some(tlp) = port.receive() {
            bridge.down.push_back((now + bridge.config.crossing, tlp));
        }
        loop {
            self.software.advance(now, &mut FarPort { now, bridge });
            // The software may have more to say than there was room for.
            let full = bridge.up.len() >= BUFFERED;
            let sent = bridge.send_up(now, port);
            // A refused read is answered at once.
            let more = bridge.down.front().is_some_and(|(due, _)| *due <= now);
            if !(more || sent && full) {
                break;
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let down = self.bridge.down.front().map(|(due, _)| *due);
        // What is due already waits for a credit, and hears of it.
        let up = self.bridge.up.front().map(|(due, _)| *due).filter(|due| *due > self.now);
        [self.software.next_wake(), down, up].into_iter().flatten().min()
    }

    fn bypasses_translation(&self) -> bool {
        self.software.bypasses_translation()
    }
}

impl Bridge {
    fn send_up(&mut self, now: Instant, port: &mut dyn Port) -> bool {
        let mut sent = false;
        while let Some((due, tlp)) = self.up.front() {
            if *due > now || !port.can_send(tlp.flow_class(), tlp.data_credits()) {
                break;
            }
            if let Some((_, tlp)) = self.up.pop_front() {
                port.send(tlp);
                sent = true;
            }
        }
        sent
    }

    /// The far software accesses `offset`: where that is for the near host.
    fn reach_near(&mut self, at: Instant, offset: u64, len_bytes: u32, write: bool) -> Option<u64> {
        let inside =
            offset.checked_add(len_bytes.into()).is_some_and(|end| end <= self.config.len_bytes);
        if !inside {
            self.log.refused += 1;
            if self.log.refusals.len() < self.config.records {
                self.log.refusals.push(NtbRefused { at, offset, len_bytes, write });
            }
            return None;
        }
        // First the software: from the offset to its own bus. Then the bridge: to the near one.
        let far = self.config.far + offset;
        let near = far - self.config.far + self.config.near;
        let crossing = Crossing::FarToNear;
        self.record(Translation { crossing, offset, far, near, len_bytes });
        Some(near)
    }

    fn record(&mut self, translation: Translation) {
        self.log.translated += 1;
        if self.log.translations.len() < self.config.records {
            self.log.translations.push(translation);
        }
    }

    /// The near host accesses the BAR that shows far memory.
    fn note_near(&mut self, near: u64, len_bytes: u32) {
        let offset = near.wrapping_sub(self.bar);
        if self.bar != 0 && offset < self.config.far_memory_bytes {
            let far = self.config.far_memory + offset;
            let crossing = Crossing::NearToFar;
            self.record(Translation { crossing, offset, far, near, len_bytes });
        }
    }

    /// Learns where the near host's firmware puts BAR2.
    fn note_config(&mut self, write: &ConfigWrite) {
        let Ok(data) = <[u8; 4]>::try_from(&write.data[..]) else { return };
        let value = u64::from(u32::from_le_bytes(data));
        match write.offset.checked_sub(header::BAR0) {
            Some(8) => self.bar = self.bar >> 32 << 32 | value & !0xf,
            Some(12) => self.bar = self.bar & 0xffff_ffff | value << 32,
            _ => {}
        }
    }
}

/// The link as the far software sees it: the bridge is in between.
struct FarPort<'a> {
    now: Instant,
    bridge: &'a mut Bridge,
}

impl Port for FarPort<'_> {
    fn receive(&mut self) -> Option<Tlp> {
        if self.bridge.down.front()?.0 > self.now {
            return None;
        }
        let (_, tlp) = self.bridge.down.pop_front()?;
        match tlp.plain() {
            Tlp::MemRead(read) => self.bridge.note_near(read.address, read.len_bytes.into()),
            Tlp::MemWrite(write) => self.bridge.note_near(write.address, write.data.len() as u32),
            Tlp::ConfigWrite(write) => self.bridge.note_config(write),
            _ => {}
        }
        Some(tlp)
    }

    fn can_send(&self, _: FlowClass, _: u32) -> bool {
        self.bridge.up.len() < BUFFERED
    }

    fn send(&mut self, tlp: Tlp) {
        let bridge = &mut *self.bridge;
        let (mut tlp, extras) = tlp.into_parts();
        match &mut tlp {
            Tlp::MemRead(read) => {
                let len_bytes = read.len_bytes.into();
                match bridge.reach_near(self.now, read.address, len_bytes, false) {
                    Some(near) => read.address = near,
                    None => return bridge.down.push_front((self.now, refusal(read))),
                }
            }
            Tlp::MemWrite(write) if bridge.config.messages.contains(&write.address) => {
                bridge.log.doorbells += 1;
            }
            Tlp::MemWrite(write) => {
                let len_bytes = write.data.len() as u32;
                match bridge.reach_near(self.now, write.address, len_bytes, true) {
                    Some(near) => write.address = near,
                    None => return,
                }
            }
            // A bridge between two hosts has no way across for these.
            Tlp::Atomic(_) | Tlp::IoRead(_) | Tlp::IoWrite(_) => {
                let status = CompletionStatus::UnsupportedRequest;
                if let Some(refusal) = Completion::refusing(&tlp, tlp.requester(), status) {
                    bridge.down.push_front((self.now, Tlp::Completion(refusal)));
                }
                return;
            }
            _ => {}
        }
        bridge.up.push_back((self.now + bridge.config.crossing, tlp.with(extras)));
    }
}

/// The far host's own answer to an access that leads nowhere.
fn refusal(read: &MemRead) -> Tlp {
    Tlp::Completion(Completion {
        completer: read.requester,
        requester: read.requester,
        tag: read.tag,
        status: CompletionStatus::UnsupportedRequest,
        byte_count: read.len_bytes,
        lower_address: 0,
        data: Payload::new(),
        attributes: read.attributes,
    })
}
