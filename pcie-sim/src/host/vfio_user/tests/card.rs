//! A card with one BAR, MSI-X, and a register that makes it read or write memory.

use std::collections::VecDeque;

use crate::address::Bdf;
use crate::endpoint::{Endpoint, Port};
use crate::spec::pci::{bar, cap_id, command, header, msix};
use crate::time::Instant;
use crate::tlp::{
    Attributes, Completion, CompletionStatus, FlowClass, MemRead, MemWrite, Payload, Tag, Tlp,
};

/// Bytes of BAR0.
pub(super) const BAR_BYTES: u64 = 0x1000;
/// Vendor and device.
pub(super) const ID: u32 = 0x5678_1234;
/// Registers: where memory is, what is written there, what was read there, what is to be done.
pub(super) const ADDRESS: u64 = 0x00;
pub(super) const VALUE: u64 = 0x08;
pub(super) const RESULT: u64 = 0x10;
pub(super) const GO: u64 = 0x18;
/// What is to be done.
pub(super) const READ: u64 = 1;
pub(super) const WRITE_AND_INTERRUPT: u64 = 2;
pub(super) const READ_MANY: u64 = 3;
/// How many reads those are.
pub(super) const MANY: u16 = 30;
/// The result of a read that was refused.
pub(super) const REFUSED: u64 = 0xdead;
/// Where the MSI-X table is.
const TABLE: usize = 0x800;
const CARD: Bdf = Bdf::new(1, 0, 0);

#[derive(Debug)]
pub(super) struct SmallCard {
    config: [u8; 256],
    memory: Vec<u8>,
    out: VecDeque<Tlp>,
    /// Configuration requests that it still puts off after a reset.
    not_ready: u32,
}

impl SmallCard {
    pub(super) fn new() -> Self {
        let mut card = Self {
            config: [0; 256],
            memory: vec![0; BAR_BYTES as usize],
            out: VecDeque::new(),
            not_ready: 0,
        };
        card.reset();
        card
    }

    fn reset(&mut self) {
        self.config = [0; 256];
        self.memory.fill(0);
        self.config[..4].copy_from_slice(&ID.to_le_bytes());
        self.config[usize::from(header::BAR0) + 8] = bar::MEMORY_64 as u8;
        self.config[usize::from(header::CAPABILITIES)] = 0x40;
        self.config[0x40] = cap_id::MSIX;
        self.config[0x40 + usize::from(msix::CONTROL)] = 1;
        self.config[0x40 + usize::from(msix::TABLE) + 1] = (TABLE >> 8) as u8;
        for vector in 0..2 {
            self.memory[TABLE + 16 * vector + 12] = 1;
        }
    }

    fn config_dword(&self, offset: usize) -> u32 {
        let bytes = self.config.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    }

    fn base(&self) -> Option<u64> {
        let on = self.config[usize::from(header::COMMAND)] & command::MEMORY_SPACE as u8 != 0;
        let base = self.config_dword(usize::from(header::BAR0)) & !bar::FLAGS;
        on.then_some(u64::from(base))
    }

    fn register(&self, at: u64) -> u64 {
        let at = at as usize;
        u64::from_le_bytes(self.memory[at..at + 8].try_into().expect("8 bytes"))
    }

    fn take(&mut self, tlp: Tlp) {
        if self.not_ready > 0 && matches!(tlp, Tlp::ConfigRead(_) | Tlp::ConfigWrite(_)) {
            self.not_ready -= 1;
            let again = Completion::refusing(&tlp, CARD, CompletionStatus::RequestRetry);
            return self.out.extend(again.map(Tlp::Completion));
        }
        match tlp {
            Tlp::ConfigRead(read) => {
                let dword = self.config_dword(usize::from(read.offset & !3));
                self.answer(&Tlp::ConfigRead(read), Some(&dword.to_le_bytes()));
            }
            Tlp::ConfigWrite(write) => {
                for (at, &byte) in (usize::from(write.offset)..).zip(&write.data) {
                    let mask = match at {
                        0x04 => 0x06,
                        0x11 => !(BAR_BYTES as u16 - 1).to_le_bytes()[1],
                        0x12 | 0x13 => 0xff,
                        // BAR2, of 64 bits and 1 MiB, with nothing behind it.
                        0x1a => 0xf0,
                        0x1b..0x20 => 0xff,
                        _ => 0,
                    };
                    self.config[at] = self.config[at] & !mask | byte & mask;
                }
                self.answer(&Tlp::ConfigWrite(write), Some(&[]));
            }
            Tlp::MemRead(read) => {
                let at = self.base().and_then(|base| read.address.checked_sub(base));
                let at = at.map_or(usize::MAX / 2, |at| at as usize);
                let data =
                    self.memory.get(at..at + usize::from(read.len_bytes)).map(<[u8]>::to_vec);
                self.answer(&Tlp::MemRead(read), data.as_deref());
            }
            Tlp::MemWrite(write) => {
                let Some(at) = self.base().and_then(|base| write.address.checked_sub(base)) else {
                    return;
                };
                let at = at as usize;
                self.memory[at..at + write.data.len()].copy_from_slice(&write.data);
                if at as u64 == GO {
                    self.go();
                }
            }
            Tlp::Completion(completion) => {
                let value = match completion.status {
                    CompletionStatus::Success => completion.data.to_vec(),
                    _ => REFUSED.to_le_bytes().to_vec(),
                };
                self.memory[RESULT as usize..][..8].copy_from_slice(&value[..8]);
            }
            other => panic!("{other}"),
        }
    }

    fn go(&mut self) {
        let (address, attributes) = (self.register(ADDRESS), Attributes::default());
        let write = |address: u64, data: &[u8]| {
            let data = Payload::from_slice(data);
            Tlp::MemWrite(MemWrite { requester: CARD, tag: Tag(0), address, data, attributes })
        };
        if self.register(GO) == READ {
            let (requester, tag, len_bytes) = (CARD, Tag(5), 8);
            let read = MemRead { requester, tag, address, len_bytes, attributes };
            return self.out.push_back(Tlp::MemRead(read));
        }
        if self.register(GO) == READ_MANY {
            let (requester, len_bytes) = (CARD, 512);
            self.out.extend((0..MANY).map(|nth| {
                let (tag, address) = (Tag(nth), address + 512 * u64::from(nth));
                Tlp::MemRead(MemRead { requester, tag, address, len_bytes, attributes })
            }));
            return;
        }
        let value = self.register(VALUE).to_le_bytes();
        self.out.push_back(write(address, &value));
        if self.memory[TABLE + 12] & 1 == 0 {
            let message = self.register(TABLE as u64);
            let data = self.memory[TABLE + 8..TABLE + 12].to_vec();
            self.out.push_back(write(message, &data));
        }
    }

    fn answer(&mut self, request: &Tlp, data: Option<&[u8]>) {
        let status = CompletionStatus::UnsupportedRequest;
        let mut completion = Completion::refusing(request, CARD, status).expect("not posted");
        if let Some(data) = data {
            completion.status = CompletionStatus::Success;
            completion.data = Payload::from_slice(data);
        }
        self.out.push_back(Tlp::Completion(completion));
    }
}

impl Endpoint for SmallCard {
    fn advance(&mut self, _now: Instant, port: &mut dyn Port) {
        while let Some(tlp) = port.receive() {
            self.take(tlp);
        }
        while let Some(tlp) = self.out.front() {
            let class = tlp.flow_class();
            let data = if class == FlowClass::NonPosted { 0 } else { 1 };
            if !port.can_send(class, data) {
                return;
            }
            if let Some(tlp) = self.out.pop_front() {
                port.send(tlp);
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        None
    }

    fn hot_reset(&mut self, _now: Instant) {
        self.out.clear();
        self.reset();
        self.not_ready = 5;
    }
}
