//! A host made of a vector of bytes, a link that delays, and just enough of a driver.

use std::collections::VecDeque;

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::spec::virtio_pci::{CommonReg, status};
use pcie_sim::spec::virtq::{self, SplitDesc};
use pcie_sim::spec::{features, pci};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, FlowClass, MemRead,
    MemWrite, Payload, Tag, Tlp,
};
use rtl_model::{Card, CardConfig};

pub(crate) const CARD: Bdf = Bdf::new(1, 0, 0);
pub(crate) const ROOT: Bdf = Bdf::new(0, 0, 0);
pub(crate) const BAR0: u64 = 0xe000_0000;
pub(crate) const BAR1: u64 = 0xe001_0000;
pub(crate) const BAR2: u64 = 0x80_0000_0000;
/// Host memory is above 4 GiB, so that every address takes its 64 bits.
pub(crate) const HOST: u64 = 0x1_0000_0000;
pub(crate) const HOST_BYTES: usize = 8 << 20;
pub(crate) const MSI: u64 = 0xfee0_0000;
pub(crate) const NOTIFY: u64 = 0x3000;
pub(crate) const DEVICE: u64 = 0x2000;
pub(crate) const ISR: u64 = 0x1000;
pub(crate) const BASE_FEATURES: u64 = features::VERSION_1 | features::ACCESS_PLATFORM;

/// What a TLP of the card's is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    AvailIdx,
    AvailEntry,
    Suppression,
    Descriptor,
    Read,
    UsedElement,
    UsedIdx,
    AvailEvent,
    Write,
    Message,
}

#[derive(Default)]
pub(crate) struct TestPort {
    pub(crate) inbox: VecDeque<Tlp>,
    pub(crate) sent: Vec<Tlp>,
    pub(crate) no_posted: bool,
    pub(crate) no_non_posted: bool,
}

impl Port for TestPort {
    fn receive(&mut self) -> Option<Tlp> {
        self.inbox.pop_front()
    }

    fn can_send(&self, class: FlowClass, _: u32) -> bool {
        match class {
            FlowClass::Posted => !self.no_posted,
            FlowClass::NonPosted => !self.no_non_posted,
            FlowClass::Completion => true,
        }
    }

    fn send(&mut self, tlp: Tlp) {
        self.sent.push(tlp);
    }
}

pub(crate) struct Rig<E = Card> {
    pub(crate) card: E,
    pub(crate) port: TestPort,
    pub(crate) now: Instant,
    pub(crate) memory: Vec<u8>,
    /// Requests of the card's, in the order in which they left.
    pub(crate) log: Vec<(Instant, Tlp)>,
    pub(crate) answers: VecDeque<Completion>,
    /// From a read's departure to its first answer.
    pub(crate) delay: Span,
    /// Bytes of one completion at most.
    pub(crate) part_bytes: usize,
    /// Reads that are longer than a descriptor are answered only after this is over.
    pub(crate) hold_payloads: bool,
    /// Reads are not answered.
    pub(crate) silent: bool,
    /// TLPs must leave on the edges of the card's clock.
    pub(crate) clocked: bool,
    returning: VecDeque<(Instant, Tlp)>,
    next_tag: u16,
}

impl Rig {
    pub(crate) fn new(config: CardConfig) -> Self {
        Self::of(Card::new(config).expect("the parameters fit"))
    }

    /// A card whose BARs are placed and that may master the bus, all vectors open.
    pub(crate) fn placed(config: CardConfig) -> Self {
        let mut rig = Self::new(config);
        rig.place();
        rig
    }

    /// A card that runs, with these features accepted and one ring per queue.
    pub(crate) fn running(config: CardConfig, accepted: u64, size: u16) -> (Self, Vec<Ring>) {
        let mut rig = Self::placed(config);
        let queues = rig.common(CommonReg::NumQueues) as u16;
        let rings = (0..queues).map(|queue| Ring::in_host(queue, size)).collect::<Vec<_>>();
        rig.start(accepted, &rings);
        (rig, rings)
    }
}

impl<E: Endpoint> Rig<E> {
    pub(crate) fn of(card: E) -> Self {
        Self {
            card,
            port: TestPort::default(),
            now: Instant::from_ps(1_234_567),
            memory: vec![0; HOST_BYTES],
            log: Vec::new(),
            answers: VecDeque::new(),
            delay: Span::from_ns(800),
            part_bytes: 64,
            hold_payloads: false,
            silent: false,
            clocked: true,
            returning: VecDeque::new(),
            next_tag: 0,
        }
    }

    pub(crate) fn place(&mut self) {
        let bars = [BAR0 as u32, BAR1 as u32, BAR2 as u32, (BAR2 >> 32) as u32];
        for (offset, bar) in (pci::header::BAR0..).step_by(4).zip(bars) {
            self.config_write(offset, &bar.to_le_bytes());
        }
        self.set_command(pci::command::MEMORY_SPACE | pci::command::BUS_MASTER);
        let msix = self.capability(pci::cap_id::MSIX);
        self.config_write(msix + 2, &pci::msix::CONTROL_ENABLE.to_le_bytes());
        for vector in 0..4_u64 {
            let entry = 16 * vector;
            self.mmio_write(BAR1 + entry, &(MSI as u32 + 16 * vector as u32).to_le_bytes());
            self.mmio_write(BAR1 + entry + 8, &(0x40 + vector as u32).to_le_bytes());
            self.mmio_write(BAR1 + entry + 12, &0_u32.to_le_bytes());
        }
    }

    /// Where the first capability of an id is.
    pub(crate) fn capability(&mut self, id: u8) -> u16 {
        let mut at = self.config_read(pci::header::CAPABILITIES, 1) as u16;
        while at != 0 {
            if self.config_read(at, 1) == u32::from(id) {
                return at;
            }
            at = self.config_read(at + 1, 1) as u16;
        }
        panic!("no capability {id:#x}");
    }

    pub(crate) fn set_command(&mut self, command: u16) {
        self.config_write(pci::header::COMMAND, &command.to_le_bytes());
    }

    /// The status sequence of a driver. Virtio 1.4, "Device Initialization".
    pub(crate) fn negotiate(&mut self, accepted: u64) -> u8 {
        self.set_common(CommonReg::DeviceStatus, 0);
        self.set_common(CommonReg::DeviceStatus, status::ACKNOWLEDGE.into());
        let driver = status::ACKNOWLEDGE | status::DRIVER;
        self.set_common(CommonReg::DeviceStatus, driver.into());
        for half in 0..2 {
            self.set_common(CommonReg::DriverFeatureSelect, half);
            self.set_common(CommonReg::DriverFeature, (accepted >> (32 * half)) as u32);
        }
        self.set_common(CommonReg::DeviceStatus, (driver | status::FEATURES_OK).into());
        self.common(CommonReg::DeviceStatus) as u8
    }

    pub(crate) fn start(&mut self, accepted: u64, rings: &[Ring]) {
        let status = self.negotiate(accepted);
        assert_eq!(status & status::FEATURES_OK, status::FEATURES_OK);
        self.set_common(CommonReg::ConfigMsixVector, 0);
        for ring in rings {
            self.enable(ring);
        }
        self.set_common(CommonReg::DeviceStatus, u32::from(status | status::DRIVER_OK));
        self.log.clear();
    }

    pub(crate) fn enable(&mut self, ring: &Ring) {
        self.set_common(CommonReg::QueueSelect, ring.queue.into());
        self.set_common(CommonReg::QueueSize, ring.size.into());
        self.set_common(CommonReg::QueueMsixVector, u32::from(ring.queue) + 1);
        let halves = [
            (CommonReg::QueueDescLow, CommonReg::QueueDescHigh, ring.desc),
            (CommonReg::QueueDriverLow, CommonReg::QueueDriverHigh, ring.avail),
            (CommonReg::QueueDeviceLow, CommonReg::QueueDeviceHigh, ring.used),
        ];
        for (low, high, address) in halves {
            self.set_common(low, address as u32);
            self.set_common(high, (address >> 32) as u32);
        }
        self.set_common(CommonReg::QueueEnable, 1);
    }

    pub(crate) fn common(&mut self, reg: CommonReg) -> u32 {
        let data = self.mmio_read(BAR0 + u64::from(reg.offset()), reg.shape().0);
        let mut bytes = [0; 4];
        bytes[..data.len()].copy_from_slice(&data);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn set_common(&mut self, reg: CommonReg, value: u32) {
        let len = usize::from(reg.shape().0);
        self.mmio_write(BAR0 + u64::from(reg.offset()), &value.to_le_bytes()[..len]);
    }

    pub(crate) fn config_read(&mut self, offset: u16, len: u8) -> u32 {
        let tag = self.tag();
        let read = ConfigRead {
            requester: ROOT,
            tag,
            target: CARD,
            offset,
            len_bytes: len,
            forwarded: false,
        };
        let answer = self.ask(Tlp::ConfigRead(read));
        assert_eq!(answer.data.len(), 4, "the answer is a whole doubleword");
        let mut bytes = [0; 4];
        let first = usize::from(offset & 3);
        bytes[..len.into()].copy_from_slice(&answer.data[first..first + usize::from(len)]);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn config_write(&mut self, offset: u16, data: &[u8]) -> Completion {
        let tag = self.tag();
        let data = Payload::from_slice(data);
        self.ask(Tlp::ConfigWrite(ConfigWrite {
            requester: ROOT,
            tag,
            target: CARD,
            offset,
            data,
            forwarded: false,
        }))
    }

    pub(crate) fn mmio_read(&mut self, address: u64, len_bytes: u16) -> Vec<u8> {
        let answer = self.mmio_request(address, len_bytes);
        assert_eq!(answer.status, CompletionStatus::Success, "read of {address:#x}");
        answer.data.to_vec()
    }

    pub(crate) fn mmio_request(&mut self, address: u64, len_bytes: u16) -> Completion {
        let (tag, attributes) = (self.tag(), Attributes::default());
        let read = MemRead { requester: ROOT, tag, address, len_bytes, attributes };
        self.ask(Tlp::MemRead(read))
    }

    /// In parts that keep to the smallest payload size.
    pub(crate) fn mmio_write(&mut self, address: u64, data: &[u8]) {
        for (address, part) in (address..).step_by(64).zip(data.chunks(64)) {
            let (tag, attributes) = (Tag(0), Attributes::default());
            let data = Payload::from_slice(part);
            let write = MemWrite { requester: ROOT, tag, address, data, attributes };
            self.deliver(Tlp::MemWrite(write));
        }
    }

    pub(crate) fn doorbell(&mut self, queue: u16) {
        self.mmio_write(BAR0 + NOTIFY + 4 * u64::from(queue), &queue.to_le_bytes());
    }

    fn tag(&mut self) -> Tag {
        self.next_tag = (self.next_tag + 1) % 256;
        Tag(self.next_tag)
    }

    /// Hands a TLP to the card at once.
    pub(crate) fn deliver(&mut self, tlp: Tlp) {
        self.port.inbox.push_back(tlp);
        self.advance();
    }

    /// Asks and waits for the answer; what else is under way goes on meanwhile.
    pub(crate) fn ask(&mut self, tlp: Tlp) -> Completion {
        self.deliver(tlp);
        let mut steps = 0;
        while self.answers.is_empty() {
            assert!(self.step(), "the card owes an answer");
            steps += 1;
            assert!(steps < 1_000_000, "the card never answers");
        }
        self.answers.pop_front().expect("not empty")
    }

    /// Lets the card act now, as when a credit has come back.
    pub(crate) fn advance(&mut self) {
        self.card.advance(self.now, &mut self.port);
        for tlp in std::mem::take(&mut self.port.sent) {
            let edge = self.now.as_ps().is_multiple_of(4000);
            assert!(edge || !self.clocked, "TLPs leave on clock edges");
            self.host_receives(tlp);
        }
    }

    fn host_receives(&mut self, tlp: Tlp) {
        match tlp {
            Tlp::Completion(answer) => return self.answers.push_back(answer),
            Tlp::MemRead(ref read) => {
                let end = (read.address & 0xfff) + u64::from(read.len_bytes);
                assert!(end <= 4096, "{read:?} crosses a page");
                assert_eq!(read.requester, CARD);
                if !self.silent {
                    self.return_data(read);
                }
            }
            Tlp::MemWrite(ref write) => {
                let end = (write.address & 0xfff) + write.data.len() as u64;
                assert!(end <= 4096, "{write:?} crosses a page");
                self.write_if_host(write.address, &write.data);
            }
            _ => {}
        }
        self.log.push((self.now, tlp));
    }

    /// Data are taken when the answer leaves the host, not when the request comes.
    fn return_data(&mut self, read: &MemRead) {
        self.returning.push_back((self.now + self.delay, Tlp::MemRead(read.clone())));
    }

    fn answer_read(&mut self, read: &MemRead) {
        let mut completion = Completion {
            completer: ROOT,
            requester: read.requester,
            tag: read.tag,
            status: CompletionStatus::Success,
            byte_count: read.len_bytes,
            lower_address: 0,
            data: Payload::new(),
            attributes: read.attributes,
        };
        let Some(bytes) = self.host_range(read.address, read.len_bytes.into()) else {
            completion.status = CompletionStatus::UnsupportedRequest;
            self.port.inbox.push_back(Tlp::Completion(completion));
            return;
        };
        let bytes = self.memory[bytes].to_vec();
        let mut done = 0;
        while done < bytes.len() {
            let address = read.address as usize + done;
            let part = (self.part_bytes - address % self.part_bytes).min(bytes.len() - done);
            completion.byte_count = (bytes.len() - done) as u16;
            completion.lower_address = (address & 0x7f) as u8;
            completion.data = Payload::from_slice(&bytes[done..done + part]);
            self.port.inbox.push_back(Tlp::Completion(completion.clone()));
            done += part;
        }
    }

    fn host_range(&self, address: u64, len: usize) -> Option<std::ops::Range<usize>> {
        let start = address.checked_sub(HOST)? as usize;
        (start + len <= self.memory.len()).then_some(start..start + len)
    }

    fn write_if_host(&mut self, address: u64, data: &[u8]) {
        if let Some(range) = self.host_range(address, data.len()) {
            self.memory[range].copy_from_slice(data);
        }
    }

    /// Everything that is on its way to the card is lost.
    pub(crate) fn drop_under_way(&mut self) {
        self.returning.clear();
        self.answers.clear();
        self.port.inbox.clear();
    }

    /// One moment further; `false` when nothing will ever happen.
    pub(crate) fn step(&mut self) -> bool {
        let arrival = self.returning.front().map(|(at, _)| *at);
        let Some(next) = [arrival, self.card.next_wake()].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        while self.returning.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((at, Tlp::MemRead(read))) = self.returning.pop_front() {
                if self.hold_payloads && read.len_bytes > 16 {
                    self.returning.push_back((at + Span::from_us(1), Tlp::MemRead(read)));
                } else {
                    self.answer_read(&read);
                }
            }
        }
        self.advance();
        true
    }

    /// Until nothing is due any more.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the card never comes to rest");
    }

    pub(crate) fn settle_for(&mut self, span: Span) {
        let end = self.now + span;
        while self.card.next_wake().into_iter().chain(self.returning.front().map(|r| r.0)).min()
            <= Some(end)
            && self.step()
        {}
        self.now = self.now.max(end);
    }

    /// Writes to host or card memory, as the driver's CPU would.
    pub(crate) fn poke(&mut self, address: u64, data: &[u8]) {
        if address >= BAR2 {
            self.mmio_write(address, data);
        } else {
            let start = (address - HOST) as usize;
            self.memory[start..start + data.len()].copy_from_slice(data);
        }
    }

    pub(crate) fn peek(&mut self, address: u64, len: usize) -> Vec<u8> {
        if address >= BAR2 {
            return self.mmio_read(address, len as u16);
        }
        let start = (address - HOST) as usize;
        self.memory[start..start + len].to_vec()
    }

    /// What the card has sent, by purpose, in order.
    pub(crate) fn uses(&self, ring: &Ring) -> Vec<Use> {
        self.log.iter().filter_map(|(_, tlp)| ring.purpose(tlp)).collect()
    }
}

/// A split ring of the driver's.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    pub(crate) queue: u16,
    pub(crate) size: u16,
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
    pub(crate) avail_idx: u16,
}

impl Ring {
    /// Each area on pages of its own: 512 KiB for each queue.
    pub(crate) fn in_host(queue: u16, size: u16) -> Self {
        let base = HOST + 0x8_0000 * u64::from(queue);
        Self {
            queue,
            size,
            desc: base,
            avail: base + 0x2_0000,
            used: base + 0x4_0000,
            avail_idx: 0,
        }
    }

    pub(crate) fn describe<E: Endpoint>(&self, rig: &mut Rig<E>, index: u16, desc: SplitDesc) {
        rig.poke(self.desc + 16 * u64::from(index), &desc.to_bytes());
    }

    /// Makes heads available, without a doorbell.
    pub(crate) fn offer<E: Endpoint>(&mut self, rig: &mut Rig<E>, heads: &[u16]) {
        for &head in heads {
            let slot = self.avail_idx % self.size;
            rig.poke(self.avail + virtq::avail_entry(slot), &head.to_le_bytes());
            self.avail_idx = self.avail_idx.wrapping_add(1);
        }
        rig.poke(self.avail + virtq::AVAIL_IDX, &self.avail_idx.to_le_bytes());
    }

    pub(crate) fn used_idx<E: Endpoint>(&self, rig: &mut Rig<E>) -> u16 {
        let bytes = rig.peek(self.used + virtq::USED_IDX, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    pub(crate) fn used_elem<E: Endpoint>(&self, rig: &mut Rig<E>, slot: u16) -> (u32, u32) {
        let b = rig.peek(self.used + virtq::used_elem(slot), 8);
        let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        (word(0), word(4))
    }

    pub(crate) fn purpose(&self, tlp: &Tlp) -> Option<Use> {
        let within = |at: u64, base: u64, len: u64| at >= base && at < base + len;
        match tlp {
            Tlp::MemRead(read) => Some(match read.address {
                at if at == self.avail + virtq::AVAIL_IDX => Use::AvailIdx,
                at if at == self.avail => Use::Suppression,
                at if at == self.avail + virtq::used_event(self.size) => Use::Suppression,
                at if within(at, self.avail, virtq::avail_area_bytes(self.size)) => Use::AvailEntry,
                at if within(at, self.desc, virtq::desc_area_bytes(self.size)) => Use::Descriptor,
                _ => Use::Read,
            }),
            Tlp::MemWrite(write) => Some(match write.address {
                at if within(at, MSI, 0x1000) => Use::Message,
                at if at == self.used + virtq::USED_IDX => Use::UsedIdx,
                at if at == self.used + virtq::avail_event(self.size) => Use::AvailEvent,
                at if within(at, self.used, virtq::used_area_bytes(self.size)) => Use::UsedElement,
                _ => Use::Write,
            }),
            _ => None,
        }
    }
}

/// A descriptor of a readable buffer.
pub(crate) fn readable(addr: u64, len: u32) -> SplitDesc {
    SplitDesc { addr, len, flags: 0, next: 0 }
}

/// A descriptor of a writable buffer.
pub(crate) fn writable(addr: u64, len: u32) -> SplitDesc {
    SplitDesc { addr, len, flags: virtq::DESC_F_WRITE, next: 0 }
}

/// Links a descriptor to another.
pub(crate) fn then(desc: SplitDesc, next: u16) -> SplitDesc {
    SplitDesc { flags: desc.flags | virtq::DESC_F_NEXT, next, ..desc }
}
