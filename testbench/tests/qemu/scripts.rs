//! Scripts for the two machines: tables, commands, requests, written out by hand or drawn by lot.

use pcie_sim::host::Width;
use pcie_sim::spec::blk;
use pcie_sim::spec::features::{ACCESS_PLATFORM, VERSION_1};
use pcie_sim::spec::virtio_pci::{CommonReg, NO_VECTOR, status};
use pcie_sim::spec::virtq::{self, DESC_F_NEXT, DESC_F_WRITE, SplitDesc};
use pcie_sim::spec::vtd::{
    ccmd, context_entry, gcmd, granularity, inv, iotlb, reg, root_entry, sl_entry,
};

use crate::raw::{CARD, Step, UnitReg};

pub(crate) const ROOT: u64 = 0x20_0000;
pub(crate) const CONTEXT: u64 = 0x20_1000;
/// The topmost second-stage table.
pub(crate) const TOP: u64 = 0x20_2000;
const TABLES: [u64; 4] = [TOP, 0x20_3000, 0x20_4000, 0x20_5000];
const QUEUE: u64 = 0x20_6000;
const WAITED: u64 = 0x20_7000;
const RING: u64 = 0x21_0000;
const AVAIL: u64 = RING + 0x400;
const USED: u64 = RING + 0x800;
const HEADERS: u64 = 0x21_1000;
const STATUSES: u64 = 0x21_2000;
const DATA: u64 = 0x22_0000;
/// Pages of data.
pub(crate) const DATA_PAGES: u64 = 8;
/// Where the device finds it all: ring, headers, statuses, data, a page each.
const IOVA: u64 = 0x4000_0000;
const DATA_IOVA: u64 = IOVA + 0x3000;
/// Descriptors of the ring.
const SIZE: u16 = 8;
const DOMAIN: u64 = 7;
pub(crate) const RW: u64 = sl_entry::R | sl_entry::W;
const ALL: u64 = u64::MAX;

/// What a request ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It is done.
    Well,
    /// The device refuses it.
    Refused,
    /// The IOMMU keeps the device from its data.
    Faulted,
    /// The same, and the IOMMU has the page in its cache from an access that was allowed.
    FaultedThoughCached,
}

/// A script in the making.
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    /// Offset in the invalidation queue, and number of its last wait.
    tail: u64,
    waits: u32,
    /// Requests since the device's reset.
    requests: u16,
}

impl Script {
    /// Looks at everything as it is after reset.
    pub(crate) fn new() -> Self {
        let mut script = Self { steps: Vec::new(), tail: 0, waits: 0, requests: 0 };
        let registers = [
            ("VER", reg::VER, Width::W32),
            ("CAP", reg::CAP, Width::W64),
            ("ECAP", reg::ECAP, Width::W64),
            ("GSTS", reg::GSTS, Width::W32),
            ("RTADDR", reg::RTADDR, Width::W64),
            ("CCMD", reg::CCMD, Width::W64),
            ("FSTS", reg::FSTS, Width::W32),
            ("FECTL", reg::FECTL, Width::W32),
            ("IQH", reg::IQH, Width::W64),
            ("IQT", reg::IQT, Width::W64),
            ("IQA", reg::IQA, Width::W64),
            ("ICS", reg::ICS, Width::W32),
            ("IECTL", reg::IECTL, Width::W32),
        ];
        for (name, offset, width) in registers {
            script.look(name, offset, width);
        }
        script
    }

    pub(crate) fn look(&mut self, name: &'static str, offset: u64, width: Width) {
        self.steps.push(Step::Unit(name, UnitReg::At(offset), width, ALL));
    }

    pub(crate) fn set(&mut self, offset: u64, width: Width, value: u64) {
        self.steps.push(Step::SetUnit(UnitReg::At(offset), width, value));
    }

    pub(crate) fn store(&mut self, address: u64, word: u64) {
        self.steps.push(Step::Store(address, word.to_le_bytes().to_vec()));
    }

    /// Entry of data page `page`.
    pub(crate) fn page(&mut self, page: u64, bits: u64) {
        self.store(
            TABLES[3] + (3 + page) * 8,
            if bits == 0 { 0 } else { (DATA + page * 4096) | bits },
        );
    }

    pub(crate) fn context(&mut self, low: u64, high: u64) {
        let entry = CONTEXT + u64::from(CARD.0 & 0xff) * context_entry::BYTES;
        self.store(entry, low);
        self.store(entry + 8, high);
    }

    pub(crate) fn good_context(&mut self) {
        let high = context_entry::AW_48 | DOMAIN << context_entry::DID_SHIFT;
        self.context(TABLES[0] | context_entry::P, high);
    }

    pub(crate) fn root(&mut self, low: u64) {
        self.store(ROOT + u64::from(CARD.bus()) * root_entry::BYTES, low);
    }

    /// Tables for the device, translation on.
    pub(crate) fn translate(&mut self) {
        self.root(CONTEXT | root_entry::P);
        self.good_context();
        for (level, pair) in (2..=4).rev().zip(TABLES.windows(2)) {
            let at = pair[0] + sl_entry::index(IOVA, level) * sl_entry::BYTES;
            self.store(at, pair[1] | RW);
        }
        for (nth, page) in [RING, HEADERS, STATUSES].into_iter().enumerate() {
            self.store(TABLES[3] + nth as u64 * 8, page | RW);
        }
        for page in 0..DATA_PAGES {
            self.page(page, RW);
        }
        self.set(reg::RTADDR, Width::W64, ROOT);
        self.look("RTADDR", reg::RTADDR, Width::W64);
        self.command(gcmd::SRTP);
        self.set(reg::IQT, Width::W64, 0);
        self.set(reg::IQA, Width::W64, QUEUE);
        self.look("IQA before it is in use", reg::IQA, Width::W64);
        self.command(gcmd::QIE);
        self.look("IQA", reg::IQA, Width::W64);
        self.forget_all();
        self.command(gcmd::QIE | gcmd::TE);
    }

    pub(crate) fn command(&mut self, bits: u32) {
        self.set(reg::GCMD, Width::W32, u64::from(bits));
        self.steps.push(Step::Rest);
        self.look("GSTS", reg::GSTS, Width::W32);
    }

    /// Puts descriptors into the invalidation queue and looks how far it has come.
    pub(crate) fn invalidate(&mut self, descriptors: &[[u64; 2]]) {
        for words in descriptors {
            self.store(QUEUE + self.tail, words[0]);
            self.store(QUEUE + self.tail + 8, words[1]);
            self.tail = (self.tail + inv::BYTES) % 4096;
        }
        self.set(reg::IQT, Width::W64, self.tail);
        self.steps.push(Step::Rest);
        self.look("IQH", reg::IQH, Width::W64);
        self.look("FSTS", reg::FSTS, Width::W32);
        self.steps.push(Step::Load("wait status", WAITED, 4));
    }

    pub(crate) fn wait_descriptor(&mut self) -> [u64; 2] {
        self.waits += 1;
        let data = u64::from(self.waits) << inv::WAIT_DATA_SHIFT;
        [inv::WAIT | inv::WAIT_SW | data, WAITED]
    }

    /// Everything cached is forgotten.
    pub(crate) fn forget_all(&mut self) {
        let all = granularity::GLOBAL << inv::GRANULARITY_SHIFT;
        let wait = self.wait_descriptor();
        self.invalidate(&[[inv::CONTEXT | all, 0], [inv::IOTLB | all, 0], wait]);
    }

    /// The same by registers, as long as the queue is off.
    pub(crate) fn forget_by_registers(&mut self) {
        let all = ccmd::ICC | granularity::GLOBAL << ccmd::CIRG_SHIFT;
        self.set(reg::CCMD, Width::W64, all);
        self.steps.push(Step::Rest);
        self.look("CCMD", reg::CCMD, Width::W64);
        let all = iotlb::IVT | granularity::GLOBAL << iotlb::IIRG_SHIFT;
        self.steps.push(Step::SetUnit(UnitReg::Iotlb(iotlb::IOTLB), Width::W64, all));
        self.steps.push(Step::Rest);
        self.steps.push(Step::Unit("IOTLB", UnitReg::Iotlb(iotlb::IOTLB), Width::W64, ALL));
    }

    /// One page of the device's domain is forgotten.
    pub(crate) fn forget_page(&mut self, page: u64) {
        let low =
            inv::IOTLB | granularity::PAGE << inv::GRANULARITY_SHIFT | DOMAIN << inv::DID_SHIFT;
        let wait = self.wait_descriptor();
        self.invalidate(&[[low, DATA_IOVA + page * 4096], wait]);
    }

    fn common(&mut self, register: CommonReg, value: u32) {
        self.steps.push(Step::SetCommon(register, value));
    }

    fn wide(&mut self, low: CommonReg, high: CommonReg, value: u64) {
        self.common(low, value as u32);
        self.common(high, (value >> 32) as u32);
    }

    /// Resets the device and sets it up again, rings zeroed.
    pub(crate) fn start_device(&mut self) {
        self.requests = 0;
        self.common(CommonReg::DeviceStatus, 0);
        self.steps.push(Step::Rest);
        self.steps.push(Step::Common(CommonReg::DeviceStatus));
        self.steps.push(Step::Store(RING, vec![0; 4096]));
        let mut so_far = 0;
        for bit in [status::ACKNOWLEDGE, status::DRIVER] {
            so_far |= u32::from(bit);
            self.common(CommonReg::DeviceStatus, so_far);
        }
        let features = VERSION_1 | ACCESS_PLATFORM;
        for half in 0..2 {
            self.common(CommonReg::DriverFeatureSelect, half);
            self.common(CommonReg::DriverFeature, (features >> (32 * half)) as u32);
        }
        so_far |= u32::from(status::FEATURES_OK);
        self.common(CommonReg::DeviceStatus, so_far);
        self.steps.push(Step::Common(CommonReg::DeviceStatus));
        self.common(CommonReg::ConfigMsixVector, u32::from(NO_VECTOR));
        self.common(CommonReg::QueueSelect, 0);
        self.common(CommonReg::QueueSize, u32::from(SIZE));
        self.common(CommonReg::QueueMsixVector, u32::from(NO_VECTOR));
        self.wide(CommonReg::QueueDescLow, CommonReg::QueueDescHigh, IOVA);
        self.wide(CommonReg::QueueDriverLow, CommonReg::QueueDriverHigh, IOVA + 0x400);
        self.wide(CommonReg::QueueDeviceLow, CommonReg::QueueDeviceHigh, IOVA + 0x800);
        self.common(CommonReg::QueueEnable, 1);
        let shown = [
            CommonReg::QueueSize,
            CommonReg::QueueEnable,
            CommonReg::QueueMsixVector,
            CommonReg::QueueDescLow,
            CommonReg::QueueDeviceHigh,
            CommonReg::DriverFeature,
        ];
        self.steps.extend(shown.map(Step::Common));
        self.common(CommonReg::DeviceStatus, so_far | u32::from(status::DRIVER_OK));
        self.steps.push(Step::Common(CommonReg::DeviceStatus));
    }

    /// One request: a write of `bytes` bytes from data page `page` to `sector`, or a read.
    pub(crate) fn request(&mut self, write: bool, sector: u64, page: u64, bytes: u32, ends: Ends) {
        let nth = u64::from(self.requests % SIZE);
        let mut header = [0; 16];
        let kind = if write { blk::T_OUT } else { blk::T_IN };
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.steps.push(Step::Store(HEADERS + 16 * nth, header.to_vec()));
        self.steps.push(Step::Store(STATUSES + nth, vec![0xee]));
        let first = self.requests.wrapping_mul(3) % SIZE;
        let place = |at: u16| (first + at) % SIZE;
        let chain = [
            (IOVA + 0x1000 + 16 * nth, 16, DESC_F_NEXT),
            (
                DATA_IOVA + page * 4096,
                bytes,
                if write { DESC_F_NEXT } else { DESC_F_NEXT | DESC_F_WRITE },
            ),
            (IOVA + 0x2000 + nth, 1, DESC_F_WRITE),
        ];
        for (at, (addr, len, flags)) in (0..).zip(chain) {
            let next = if flags & DESC_F_NEXT != 0 { place(at + 1) } else { 0 };
            let descriptor = SplitDesc { addr, len, flags, next };
            let at = RING + 16 * u64::from(place(at));
            self.steps.push(Step::Store(at, descriptor.to_bytes().to_vec()));
        }
        let slot = virtq::avail_entry(self.requests % SIZE);
        self.steps.push(Step::Store(AVAIL + slot, first.to_le_bytes().to_vec()));
        self.requests += 1;
        let idx = self.requests.to_le_bytes().to_vec();
        self.steps.push(Step::Store(AVAIL + virtq::AVAIL_IDX, idx));
        self.steps.push(Step::Doorbell);
        self.steps.push(Step::Serve(USED + virtq::USED_IDX, self.requests));
        self.steps.push(Step::Rest);
        let [element, status] = match ends {
            Ends::Well => ["used element", "request status"],
            Ends::Refused => ["used element of a refused request", "request status"],
            Ends::Faulted | Ends::FaultedThoughCached => {
                ["used element after a fault", "request status after a fault"]
            }
        };
        self.steps.push(Step::Load("used index", USED, 4));
        self.steps.push(Step::Load(element, USED + virtq::used_elem(nth as u16), 8));
        self.steps.push(Step::Load(status, STATUSES + nth, 1));
        self.steps.push(Step::Load("data", DATA + page * 4096, bytes as usize));
        self.steps.push(Step::Common(CommonReg::DeviceStatus));
        self.steps.push(Step::Isr);
        self.steps.push(Step::Faults(match ends {
            Ends::FaultedThoughCached => "faults in a cached page",
            _ => "faults",
        }));
    }

    /// Fills a data page.
    pub(crate) fn fill(&mut self, page: u64, byte: u8) {
        self.steps.push(Step::Store(DATA + page * 4096, vec![byte; 4096]));
    }
}

/// Numbers by lot, the same for the same seed. Steele, Lea and Flood, SplitMix64.
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
