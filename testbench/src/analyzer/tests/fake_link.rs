//! A link on which the test plays firmware, driver and card, TLP by TLP.

use pcie_sim::address::Bdf;
use pcie_sim::endpoint::{Direction, Sighting, Tap};
use pcie_sim::spec::pci::{cap_id, command, express, header};
use pcie_sim::spec::virtio_pci::{CommonReg, cfg_type};
use pcie_sim::spec::virtq::{DESC_F_NEXT, SplitDesc};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, ConfigWrite, MemRead, MemWrite, Payload,
    Tag, Tlp,
};

use crate::analyzer::{Analyzer, Classified, Observer, Purpose, RequestRecord, RoundTrip};
use crate::measure::Measure;

pub(super) const CARD: Bdf = Bdf::new(1, 0, 0);
pub(super) const ROOT: Bdf = Bdf::new(0, 0, 0);
pub(super) const BAR0: u64 = 0xfe00_0000;
pub(super) const BAR1: u64 = 0xfe01_0000;
pub(super) const BAR2: u64 = 0x40_0000_0000;
pub(super) const SIZE: u16 = 8;
pub(super) const DESC: u64 = 0x1_0000;
pub(super) const AVAIL: u64 = 0x2_0000;
pub(super) const USED: u64 = 0x3_0000;
const ONE_WAY: Span = Span::from_ns(100);
const EXPRESS: u16 = 0x40;

/// Everything the analyzer told, in order.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) requests: Vec<RequestRecord>,
    pub(super) trips: Vec<RoundTrip>,
}

impl Observer for Log {
    fn round_trip(&mut self, trip: &RoundTrip) {
        self.trips.push(*trip);
    }

    fn request(&mut self, request: &RequestRecord) {
        self.requests.push(*request);
    }
}

pub(super) struct FakeLink {
    pub(super) analyzer: Analyzer<(Measure, Log)>,
    pub(super) now: Instant,
    tag: u16,
    pub(super) last: Option<Classified>,
}

/// A read that the card has sent and that is not answered.
#[derive(Clone, Copy)]
pub(super) struct Open {
    tag: Tag,
    address: u64,
    len: u16,
}

pub(super) fn desc(addr: u64, len: u32, flags: u16, next: u16) -> SplitDesc {
    SplitDesc { addr, len, flags, next }
}

impl FakeLink {
    /// A link after enumeration; the driver has not begun.
    pub(super) fn enumerated() -> Self {
        let mut link = Self::dark();
        link.enumerate();
        link
    }

    /// A link on which nothing has happened.
    pub(super) fn dark() -> Self {
        let analyzer = Analyzer::new((Measure::new(), Log::default()));
        Self { analyzer, now: Instant::from_ps(1), tag: 0, last: None }
    }

    /// Queue 0 is up with its areas at these addresses, vector 1, DRIVER_OK set, counting begun.
    pub(super) fn running(desc: u64, avail: u64, used: u64, features: u64) -> Self {
        let mut link = Self::enumerated();
        link.set_up(desc, avail, used, features);
        link.common(CommonReg::DeviceStatus, 15);
        link.begin();
        link
    }

    /// The same with all rings in host memory and no feature of interest.
    pub(super) fn host() -> Self {
        Self::running(DESC, AVAIL, USED, 1 << 32)
    }

    pub(super) fn begin(&mut self) {
        let now = self.now;
        self.analyzer.observer_mut().0.begin(now);
    }

    pub(super) fn log(&self) -> &Log {
        &self.analyzer.observer().1
    }

    pub(super) fn measure(&self) -> &Measure {
        &self.analyzer.observer().0
    }

    pub(super) fn rules(&self) -> Vec<&'static str> {
        self.analyzer.violations().iter().map(|violation| violation.rule).collect()
    }

    pub(super) fn purpose(&self) -> Option<Purpose> {
        self.last.and_then(|seen| seen.purpose())
    }

    /// One TLP; time goes on until it has arrived.
    pub(super) fn sends(&mut self, direction: Direction, tlp: &Tlp) {
        let departs = self.now;
        self.now = departs + ONE_WAY;
        self.shows(direction, tlp, departs);
    }

    fn shows(&mut self, direction: Direction, tlp: &Tlp, departs: Instant) {
        let wire_bytes = tlp.len_bytes() as u32 + 12;
        let arrives = departs + ONE_WAY;
        self.analyzer.tlp(&Sighting { direction, departs, arrives, wire_bytes, tlp });
        self.last = Some(self.analyzer.last());
    }

    fn next_tag(&mut self) -> Tag {
        self.tag = (self.tag + 1) % 256;
        Tag(self.tag)
    }

    fn answer(requester: Bdf, completer: Bdf, tag: Tag, data: &[u8], address: u64) -> Tlp {
        Tlp::Completion(Completion {
            completer,
            requester,
            tag,
            status: CompletionStatus::Success,
            byte_count: data.len() as u16,
            lower_address: (address & 0x7f) as u8,
            data: Payload::from_slice(data),
            attributes: Attributes::default(),
        })
    }
}

/// The CPU's side.
impl FakeLink {
    pub(super) fn config_read(&mut self, offset: u16, data: &[u8]) {
        let tag = self.next_tag();
        let len_bytes = data.len() as u8;
        let read =
            ConfigRead { requester: ROOT, tag, target: CARD, offset, len_bytes, forwarded: false };
        self.sends(Direction::Downstream, &Tlp::ConfigRead(read));
        // What was not asked for has no meaning, and must not be taken for anything.
        let mut dword = [0xee; 4];
        dword[usize::from(offset & 3)..][..data.len()].copy_from_slice(data);
        self.sends(Direction::Upstream, &Self::answer(ROOT, CARD, tag, &dword, 0));
    }

    /// Sends a configuration write without waiting for its answer.
    pub(super) fn config_write_begins(&mut self, offset: u16, data: &[u8]) -> Tag {
        let tag = self.next_tag();
        let data = Payload::from_slice(data);
        let write =
            ConfigWrite { requester: ROOT, tag, target: CARD, offset, data, forwarded: false };
        self.sends(Direction::Downstream, &Tlp::ConfigWrite(write));
        tag
    }

    pub(super) fn config_write_ends(&mut self, tag: Tag) {
        let mut tlp = Self::answer(ROOT, CARD, tag, &[], 0);
        if let Tlp::Completion(completion) = &mut tlp {
            completion.byte_count = 4;
        }
        self.sends(Direction::Upstream, &tlp);
    }

    pub(super) fn config_write(&mut self, offset: u16, data: &[u8]) {
        let tag = self.config_write_begins(offset, data);
        self.config_write_ends(tag);
    }

    pub(super) fn command(&mut self, value: u16) {
        self.config_write(header::COMMAND, &value.to_le_bytes());
    }

    pub(super) fn device_control(&mut self, value: u16) {
        self.config_write(EXPRESS + express::DEVICE_CONTROL, &value.to_le_bytes());
    }

    pub(super) fn mmio_write(&mut self, address: u64, data: &[u8]) {
        let data = Payload::from_slice(data);
        let attributes = Attributes::default();
        let write = MemWrite { requester: ROOT, tag: Tag(0), address, data, attributes };
        self.sends(Direction::Downstream, &Tlp::MemWrite(write));
    }

    pub(super) fn mmio_read(&mut self, address: u64, data: &[u8]) {
        let tag = self.next_tag();
        let len_bytes = data.len() as u16;
        let attributes = Attributes::default();
        let read = MemRead { requester: ROOT, tag, address, len_bytes, attributes };
        self.sends(Direction::Downstream, &Tlp::MemRead(read));
        self.sends(Direction::Upstream, &Self::answer(ROOT, CARD, tag, data, address));
    }

    /// A read of the CPU whose answer is not as it should be.
    pub(super) fn mmio_read_answered(
        &mut self,
        address: u64,
        data: &[u8],
        change: impl FnOnce(&mut Completion),
    ) {
        let tag = self.next_tag();
        let len_bytes = data.len() as u16;
        let attributes = Attributes::default();
        let read = MemRead { requester: ROOT, tag, address, len_bytes, attributes };
        self.sends(Direction::Downstream, &Tlp::MemRead(read));
        let mut answer = Self::answer(ROOT, CARD, tag, data, address);
        if let Tlp::Completion(completion) = &mut answer {
            change(completion);
        }
        self.sends(Direction::Upstream, &answer);
    }

    /// A read of the CPU that is answered in two parts, the first of `first` bytes.
    pub(super) fn mmio_read_in_parts(&mut self, address: u64, len: u16, first: u16) {
        let data = vec![0; usize::from(len)];
        self.mmio_read_answered(address, &data, |answer| {
            answer.data = Payload::from_slice(&data[..usize::from(first)]);
        });
        let rest = &data[usize::from(first)..];
        let tag = Tag(self.tag);
        let tlp = Self::answer(ROOT, CARD, tag, rest, address + u64::from(first));
        self.sends(Direction::Upstream, &tlp);
    }

    /// An answer to nothing.
    pub(super) fn stray_answer() -> Completion {
        match Self::answer(ROOT, CARD, Tag(77), &[0; 4], 0x44) {
            Tlp::Completion(answer) => answer,
            other => panic!("{other} is no completion"),
        }
    }

    /// Writes a register of the common configuration.
    pub(super) fn common(&mut self, register: CommonReg, value: u32) {
        let bytes = usize::from(register.shape().0);
        let address = BAR0 + u64::from(register.offset());
        self.mmio_write(address, &value.to_le_bytes()[..bytes]);
    }

    /// Reads a register of the common configuration.
    pub(super) fn common_reads(&mut self, register: CommonReg, value: u32) {
        let bytes = usize::from(register.shape().0);
        let address = BAR0 + u64::from(register.offset());
        self.mmio_read(address, &value.to_le_bytes()[..bytes]);
    }

    pub(super) fn doorbell(&mut self, queue: u16) {
        self.mmio_write(BAR0 + 0x3000 + 4 * u64::from(queue), &queue.to_le_bytes());
    }

    fn enumerate(&mut self) {
        let image = image();
        for offset in (0..256).step_by(4) {
            self.config_read(offset, &image[usize::from(offset)..][..4]);
        }
        for (register, mask, address) in [
            (0, 0xffff_c000, BAR0 as u32),
            (1, 0xffff_8000, BAR1 as u32),
            (2, 0xfff0_000c, BAR2 as u32),
            (3, 0xffff_ffff, (BAR2 >> 32) as u32),
        ] {
            let offset = header::BAR0 + 4 * register;
            self.config_write(offset, &u32::MAX.to_le_bytes());
            self.config_read(offset, &u32::to_le_bytes(mask));
            self.config_write(offset, &address.to_le_bytes());
        }
        // 256 bytes of payload, read requests of 512.
        self.device_control(1 << 5 | 2 << 12);
        self.command(command::MEMORY_SPACE | command::BUS_MASTER);
    }

    pub(super) fn set_up(&mut self, desc: u64, avail: u64, used: u64, features: u64) {
        for status in [1, 3] {
            self.common(CommonReg::DeviceStatus, status);
        }
        for word in 0..2 {
            self.common(CommonReg::DriverFeatureSelect, word);
            self.common(CommonReg::DriverFeature, (features >> (32 * word)) as u32);
        }
        self.common(CommonReg::DeviceStatus, 11);
        for vector in 0..2_u32 {
            let entry = BAR1 + 16 * u64::from(vector);
            self.mmio_write(entry, &0xfee0_0000_u32.to_le_bytes());
            self.mmio_write(entry + 4, &0_u32.to_le_bytes());
            self.mmio_write(entry + 8, &(0x40 + vector).to_le_bytes());
            self.mmio_write(entry + 12, &0_u32.to_le_bytes());
        }
        self.common(CommonReg::ConfigMsixVector, 0);
        self.common(CommonReg::QueueSelect, 0);
        self.common_reads(CommonReg::QueueSize, 256);
        self.common(CommonReg::QueueSize, u32::from(SIZE));
        self.common(CommonReg::QueueMsixVector, 1);
        for (low, high, address) in [
            (CommonReg::QueueDescLow, CommonReg::QueueDescHigh, desc),
            (CommonReg::QueueDriverLow, CommonReg::QueueDriverHigh, avail),
            (CommonReg::QueueDeviceLow, CommonReg::QueueDeviceHigh, used),
        ] {
            self.common(low, address as u32);
            self.common(high, (address >> 32) as u32);
        }
        self.common(CommonReg::QueueEnable, 1);
    }
}

/// The card's side.
impl FakeLink {
    /// Sends a read and does not wait.
    pub(super) fn asks(&mut self, address: u64, len: u16) -> Open {
        let tag = self.next_tag();
        self.asks_with_tag(address, len, tag)
    }

    pub(super) fn asks_with_tag(&mut self, address: u64, len: u16, tag: Tag) -> Open {
        let attributes = Attributes::default();
        let read = MemRead { requester: CARD, tag, address, len_bytes: len, attributes };
        // Several may leave one after another, a nanosecond apart.
        let departs = self.now;
        self.now += Span::from_ns(1);
        self.shows(Direction::Upstream, &Tlp::MemRead(read), departs);
        Open { tag, address, len }
    }

    /// The host answers a read of the card.
    pub(super) fn answered(&mut self, open: Open, data: &[u8]) {
        assert_eq!(data.len(), usize::from(open.len));
        self.now += ONE_WAY;
        self.sends(Direction::Downstream, &Self::answer(CARD, ROOT, open.tag, data, open.address));
    }

    /// One completion of several: `from` bytes in.
    pub(super) fn answered_in_part(&mut self, open: Open, from: u16, data: &[u8]) {
        let mut tlp = Self::answer(CARD, ROOT, open.tag, data, open.address + u64::from(from));
        if let Tlp::Completion(completion) = &mut tlp {
            completion.byte_count = open.len - from;
        }
        self.now += ONE_WAY;
        self.sends(Direction::Downstream, &tlp);
    }

    /// The host refuses a read of the card.
    pub(super) fn refused(&mut self, open: Open) {
        let mut tlp = Self::answer(CARD, ROOT, open.tag, &[], open.address);
        if let Tlp::Completion(completion) = &mut tlp {
            completion.status = CompletionStatus::UnsupportedRequest;
            completion.byte_count = open.len;
        }
        self.now += ONE_WAY;
        self.sends(Direction::Downstream, &tlp);
    }

    /// A whole round trip. Returns what the request was classified as.
    pub(super) fn reads(&mut self, address: u64, data: &[u8]) -> Purpose {
        let open = self.asks(address, data.len() as u16);
        let purpose = self.purpose().expect("a read of the card is DMA");
        self.answered(open, data);
        assert_eq!(self.purpose(), Some(purpose), "an answer is for what its request was for");
        purpose
    }

    pub(super) fn writes(&mut self, address: u64, data: &[u8]) -> Purpose {
        let data = Payload::from_slice(data);
        let attributes = Attributes::default();
        let write = MemWrite { requester: CARD, tag: Tag(0), address, data, attributes };
        self.sends(Direction::Upstream, &Tlp::MemWrite(write));
        self.purpose().expect("a write of the card is DMA")
    }

    pub(super) fn reads_idx(&mut self, idx: u16) -> Purpose {
        self.reads(AVAIL + 2, &idx.to_le_bytes())
    }

    pub(super) fn reads_entry(&mut self, slot: u16, head: u16) -> Purpose {
        self.reads(AVAIL + 4 + 2 * u64::from(slot), &head.to_le_bytes())
    }

    pub(super) fn reads_desc(&mut self, index: u16, desc: SplitDesc) -> Purpose {
        self.reads(DESC + 16 * u64::from(index), &desc.to_bytes())
    }

    pub(super) fn writes_element(&mut self, slot: u16, id: u32, len: u32) -> Purpose {
        self.writes(USED + 4 + 8 * u64::from(slot), &element(id, len))
    }

    pub(super) fn writes_used_idx(&mut self, idx: u16) -> Purpose {
        self.writes(USED + 2, &idx.to_le_bytes())
    }

    pub(super) fn reads_flags(&mut self) -> Purpose {
        self.reads(AVAIL, &[0, 0])
    }

    pub(super) fn interrupts(&mut self) -> Purpose {
        self.writes(0xfee0_0000, &0x41_u32.to_le_bytes())
    }

    /// The card learns of request number `index`: one descriptor, which is also its head.
    pub(super) fn fetches(&mut self, index: u16, head: u16, desc: SplitDesc) {
        assert_eq!(desc.flags & DESC_F_NEXT, 0);
        self.reads_idx(index + 1);
        self.reads_entry(index % SIZE, head);
        self.reads_desc(head, desc);
    }

    /// The card returns request number `index`, as the specification demands.
    pub(super) fn returns(&mut self, index: u16, head: u16, len: u32) {
        self.writes_element(index % SIZE, u32::from(head), len);
        self.writes_used_idx(index + 1);
        self.reads_flags();
        self.interrupts();
    }

    /// A whole clean request of one device-readable descriptor of 64 bytes.
    pub(super) fn transmits(&mut self, index: u16, head: u16, buffer: u64) {
        self.doorbell(0);
        self.fetches(index, head, desc(buffer, 64, 0, 0));
        self.reads(buffer, &[0xa5; 64]);
        self.returns(index, head, 0);
    }
}

/// A used element as it lies in memory.
pub(super) fn element(id: u32, len: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&id.to_le_bytes());
    bytes[4..].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// The configuration space of a card with three BARs and every kind of capability.
fn image() -> [u8; 256] {
    let mut image = [0; 256];
    let mut put = |at: u16, bytes: &[u8]| {
        image[usize::from(at)..][..bytes.len()].copy_from_slice(bytes);
    };
    put(0, &[0xf4, 0x1a, 0x41, 0x10, 0, 0, 0x10, 0]);
    put(header::BAR0 + 8, &[0x0c]);
    put(header::CAPABILITIES, &[EXPRESS as u8]);
    put(EXPRESS, &[cap_id::PCI_EXPRESS, 0x80]);
    // Defaults: 128 bytes of payload, read requests of 512.
    put(EXPRESS + express::DEVICE_CONTROL, &[0, 0x20]);
    put(0x80, &[cap_id::MSIX, 0x90, 1, 0, 1, 0, 0, 0, 1, 0x40, 0, 0]);
    let mut virtio = |at: u16, next: u8, len: u8, kind: u8, bar: u8, offset: u32, length: u32| {
        put(at, &[cap_id::VENDOR, next, len, kind, bar, 0, 0, 0]);
        put(at + 8, &offset.to_le_bytes());
        put(at + 12, &length.to_le_bytes());
    };
    virtio(0x90, 0xa0, 16, cfg_type::COMMON, 0, 0, 64);
    virtio(0xa0, 0xb4, 20, cfg_type::NOTIFY, 0, 0x3000, 0x100);
    virtio(0xb4, 0xc4, 16, cfg_type::ISR, 0, 0x1000, 1);
    virtio(0xc4, 0xd4, 16, cfg_type::DEVICE, 0, 0x2000, 64);
    virtio(0xd4, 0xe8, 20, cfg_type::PCI, 0, 0, 0);
    virtio(0xe8, 0, 24, cfg_type::SHARED_MEMORY, 2, 0, 1 << 20);
    put(0xb0, &4_u32.to_le_bytes());
    image
}
