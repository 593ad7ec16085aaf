//! What a card is built as: everything that is decided before power comes on.

use std::fs::File;
use std::io;

use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::{VENDOR_ID, bounce};
use pcie_sim::spec::virtq::MAX_SIZE;
use pcie_sim::time::Span;

use crate::device::cable::Station;
use crate::malice::{Deed, Malice};
use crate::timing::CardTiming;

/// The device-independent features that the card implements, all offered by default.
pub const IMPLEMENTED_FEATURES: u64 = features::VERSION_1
    | features::ACCESS_PLATFORM
    | features::ORDER_PLATFORM
    | features::INDIRECT_DESC
    | features::EVENT_IDX;

/// The parameters of a card.
#[derive(Debug)]
pub struct CardConfig {
    /// What the card is, seen through its queues.
    pub device: DeviceConfig,
    /// The largest queue size, a power of two from 1 to 32,768; what `queue_size` reads after a reset.
    pub queue_size_max: u16,
    /// Bytes of memory on the card, a power of two from 4 KiB to 4 GiB; 0 for a card without. It is
    /// BAR2, and shared memory region 0 to the driver.
    pub memory_bytes: u64,
    /// MSI-X vectors, 1 to 2,048.
    pub msix_vectors: u16,
    /// Device-independent feature bits to offer, out of [`IMPLEMENTED_FEATURES`].
    pub offered_features: u64,
    /// Bits not to offer although the device would: the last word on any bit.
    pub withheld_features: u64,
    /// What the card takes the driver's addresses for.
    pub address_policy: AddressPolicy,
    /// Use a part of the card's memory as the driver's bounce buffer.
    pub swiotlb: Option<SwiotlbConfig>,
    /// Refuse FEATURES_OK whatever the driver accepts.
    pub refuse_features_ok: bool,
    /// Reads on the link that may be unanswered at a time, all queues together: 1 to 768, the tags of 10
    /// bits; where software does not enable those, no more than 256.
    pub reads_in_flight: u16,
    /// Ring entries, and descriptors, that one read may ask for: 1 or more.
    pub descriptor_prefetch: u16,
    /// Used elements that one write may carry: 1 or more.
    pub completion_batch: u16,
    /// Requests per queue that may be between their descriptors and their used element: 1 or more.
    pub contexts: u16,
    /// Interrupt after every batch without reading whether the driver wants it. Only without
    /// EVENT_IDX offered. VQ-USUP-DEV-02 is a SHOULD NOT, so this is permitted.
    pub always_interrupt: bool,
    /// The largest request, readable and writable bytes each, that the card's buffers hold.
    pub request_bytes_max: u32,
    /// What the link capabilities say: generation, 1 to 5.
    pub link_generation: u8,
    /// What the link capabilities say: lanes, 1 to 16.
    pub link_lanes: u8,
    /// The vendor data capability; `None` for a card without.
    pub vendor_data: Option<VendorData>,
    /// Device Serial Number, an EUI-64.
    pub serial_number: u64,
    /// No_Soft_Reset: the way from D3hot to D0 leaves everything as it was.
    pub no_soft_reset: bool,
    /// What the card does on purpose that no card may do; nothing for an honest one.
    pub malice: Vec<Malice>,
    /// Latencies.
    pub timing: CardTiming,
}

/// The vendor data capability of virtio: what a vendor wants to be seen when somebody debugs. Virtio 1.4,
/// "Vendor data capability".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VendorData {
    /// Whose data these are: an id that the PCI-SIG gave out, and not virtio's own (PCI-VND-DEV-03).
    pub vendor_id: u16,
    /// What they say.
    pub data: [u8; 2],
}

/// What a card takes the addresses for that it is handed. PLATFORMS.md asks each of each machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AddressPolicy {
    /// A physical card that says so: it knows that the platform stands between it and memory, and refuses
    /// FEATURES_OK to a driver that does not accept ACCESS_PLATFORM (FEAT-DEV-03).
    NeedsAccessPlatform,
    /// A physical card that puts on the bus what it was handed, whatever was negotiated.
    #[default]
    DoesNotCare,
    /// The device of a hypervisor: without ACCESS_PLATFORM it takes addresses for the guest's physical
    /// ones and uses memory as the hypervisor does, past any IOMMU. With ACCESS_PLATFORM it goes through
    /// it. No physical card can do the former; it is here to be told apart from one.
    BypassesAsHypervisor,
}

/// A bounce buffer in the card's memory: VIRTIO_F_SWIOTLB and VIRTIO_PCI_CAP_SWIOTLB, as proposed in 2025.
///
/// The capability is laid out as [`bounce`] says, and points into BAR2. The first 256 bytes of configuration
/// space have no room for it and for shared memory, so it takes the place of the shared memory capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwiotlbConfig {
    /// Where in the card's memory it begins; a multiple of 4 KiB.
    pub offset: u64,
    /// Its length in bytes, 4 KiB or more; a multiple of 4 KiB.
    pub bytes: u64,
    /// Offer VIRTIO_F_SWIOTLB. Once it is accepted, an address outside is refused and the device needs a
    /// reset; the card sends nothing over the link but interrupts.
    pub offer_feature: bool,
    /// Refuse FEATURES_OK to a driver that does not accept the offer.
    pub require: bool,
    /// Announce the region. Without the feature it is a hint; the feature without it is a card in error.
    pub capability: bool,
}

/// What the card is.
#[derive(Debug)]
pub enum DeviceConfig {
    /// A disk: one queue.
    Blk(BlkConfig),
    /// A network interface: a receive queue (0), a transmit queue (1), perhaps a control queue (2).
    Net(NetConfig),
}

/// A disk.
#[derive(Debug)]
pub struct BlkConfig {
    /// Where the sectors are.
    pub backing: Backing,
    /// Writes are answered with an error, VIRTIO_BLK_F_RO is offered.
    pub read_only: bool,
    /// Segments of data per request that the driver may use (`seg_max`).
    pub seg_max: u32,
    /// `max_discard_sectors` and `max_write_zeroes_sectors`.
    pub max_range_sectors: u32,
    /// `max_discard_seg` and `max_write_zeroes_seg`.
    pub max_ranges: u32,
    /// What GET_ID answers.
    pub id: [u8; pcie_sim::spec::blk::ID_BYTES],
}

/// Where a disk keeps its sectors.
#[derive(Debug)]
pub enum Backing {
    /// In this process's memory; a sector never written reads as zeroes and costs nothing.
    Memory {
        /// Sectors of 512 bytes.
        capacity_sectors: u64,
    },
    /// In a file of whole sectors, opened for reading and, unless the disk is read-only, writing.
    File {
        /// The file; its length when the card is built is the capacity.
        file: File,
    },
    /// What a file of whole sectors holds when the card is built; writes stay in this process, a page
    /// at a time, and never reach the file.
    PrivateCopy {
        /// The file, opened for reading.
        file: File,
    },
}

/// A network interface whose cable leads back to itself, or to a station.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The interface's address.
    pub mac: [u8; 6],
    /// The largest packet without its Ethernet header, 68 to 65,535 bytes.
    pub mtu: u16,
    /// From the card's transmitter back to its receiver; to a station at the far end it is half of that.
    pub cable_delay: Span,
    /// The cable's rate in Gbit/s; without it a packet takes no time of its own.
    pub cable_gbps: Option<u32>,
    /// Packets that may wait on the card for a receive buffer; further ones are dropped and counted.
    pub receive_buffer_packets: usize,
    /// Offer a control queue (2), with the commands of CTRL_RX and CTRL_MAC_ADDR.
    pub control_queue: bool,
    /// Who is at the far end of the cable; without it the cable leads back to the card.
    pub far_end: Option<Station>,
}

/// Why a card cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// A parameter is outside its range.
    #[error("card: {name} is {value}, must be {allowed}")]
    Range {
        /// The field of [`CardConfig`].
        name: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A feature bit is asked for that the card does not implement.
    #[error("card: feature bits {bits:#x} cannot be offered, the card does not implement them")]
    FeatureNotImplemented {
        /// The bits.
        bits: u64,
    },
    /// `always_interrupt` together with EVENT_IDX.
    #[error("card: always_interrupt needs EVENT_IDX not to be offered (VQ-USUP-DEV-06)")]
    AlwaysInterruptWithEventIdx,
    /// The disk image cannot be used.
    #[error("card: disk image of {bytes} bytes is not a whole number of {sector}-byte sectors")]
    PartialSector {
        /// Its length.
        bytes: u64,
        /// Bytes of a sector.
        sector: u64,
    },
    /// The disk image's length cannot be found out.
    #[error("card: disk image: {0}")]
    Image(#[from] io::Error),
}

impl CardConfig {
    /// A card of this device with every other parameter at its default.
    #[must_use]
    pub fn new(device: DeviceConfig) -> Self {
        Self {
            device,
            queue_size_max: 256,
            memory_bytes: 1 << 20,
            msix_vectors: 8,
            offered_features: IMPLEMENTED_FEATURES,
            withheld_features: 0,
            address_policy: AddressPolicy::default(),
            swiotlb: None,
            refuse_features_ok: false,
            reads_in_flight: 16,
            descriptor_prefetch: 1,
            completion_batch: 1,
            contexts: 8,
            always_interrupt: false,
            request_bytes_max: 16 << 20,
            link_generation: 3,
            link_lanes: 8,
            vendor_data: Some(VendorData::MODEL),
            serial_number: 0x0200_00ff_fe00_0001,
            no_soft_reset: false,
            malice: Vec::new(),
            timing: CardTiming::default(),
        }
    }

    /// Whether a card can be built so.
    pub(crate) fn check(&self) -> Result<(), CardError> {
        let not_implemented = self.offered_features & !IMPLEMENTED_FEATURES;
        if not_implemented != 0 {
            return Err(CardError::FeatureNotImplemented { bits: not_implemented });
        }
        let offered = self.offered_features & !self.withheld_features;
        if self.always_interrupt && offered & features::EVENT_IDX != 0 {
            return Err(CardError::AlwaysInterruptWithEventIdx);
        }
        self.check_ranges()?;
        match &self.device {
            DeviceConfig::Net(net) => {
                within("mtu", net.mtu, 68, 65_535, "68 to 65,535")?;
                let rate = net.cable_gbps.unwrap_or(1);
                within("cable_gbps", rate, 1, 1_000_000, "1 to 1,000,000")
            }
            DeviceConfig::Blk(blk) => within("seg_max", blk.seg_max, 1, 1 << 31, "1 to 2^31"),
        }
    }

    fn check_ranges(&self) -> Result<(), CardError> {
        let size = self.queue_size_max;
        let sizes = "a power of two from 1 to 32,768";
        if !size.is_power_of_two() {
            return Err(range("queue_size_max", size, sizes));
        }
        within("queue_size_max", size, 1, MAX_SIZE.into(), sizes)?;
        let memory = self.memory_bytes;
        if memory != 0 {
            let allowed = "0 or a power of two from 4 KiB to 4 GiB";
            if !memory.is_power_of_two() {
                return Err(range("memory_bytes", memory, allowed));
            }
            within("memory_bytes", memory, 4096, 4 << 30, allowed)?;
        }
        if let Some(swiotlb) = self.swiotlb {
            swiotlb.check(memory)?;
        }
        if let Some(VendorData { vendor_id: VENDOR_ID, .. }) = self.vendor_data {
            return Err(range("vendor_data.vendor_id", VENDOR_ID, "another than virtio's"));
        }
        within("msix_vectors", self.msix_vectors, 1, 2048, "1 to 2,048")?;
        within("reads_in_flight", self.reads_in_flight, 1, 768, "1 to 768")?;
        within("descriptor_prefetch", self.descriptor_prefetch, 1, 4096, "1 to 4,096")?;
        within("completion_batch", self.completion_batch, 1, 4096, "1 to 4,096")?;
        within("contexts", self.contexts, 1, 4096, "1 to 4,096")?;
        within("request_bytes_max", self.request_bytes_max, 4096, 1 << 30, "4 KiB to 1 GiB")?;
        within("link_generation", self.link_generation, 1, 5, "1 to 5")?;
        if ![1, 2, 4, 8, 12, 16].contains(&self.link_lanes) {
            return Err(range("link_lanes", self.link_lanes, "1, 2, 4, 8, 12 or 16"));
        }
        for malice in &self.malice {
            if let Deed::StrayRead { len_bytes, .. } | Deed::StrayWrite { len_bytes, .. } =
                malice.deed
            {
                within("malice.len_bytes", len_bytes, 1, 65_536, "1 to 65,536")?;
            }
        }
        let timing = &self.timing;
        within("timing.clock (ps)", timing.clock.as_ps(), 1, 1_000_000_000, "1 ps to 1 ms")?;
        within("timing.datapath_bytes", timing.datapath_bytes, 1, 4096, "1 to 4,096")
    }
}

impl VendorData {
    /// The model's own: a vendor id under which emulated parts are known, and the layout's version.
    pub const MODEL: Self = Self { vendor_id: 0x1b36, data: [1, 0] };
}

impl SwiotlbConfig {
    /// The first `bytes` bytes of the card's memory, offered and announced; the driver may do without.
    #[must_use]
    pub fn first(bytes: u64) -> Self {
        Self { offset: 0, bytes, offer_feature: true, require: false, capability: true }
    }

    fn check(&self, memory_bytes: u64) -> Result<(), CardError> {
        let whole = "a multiple of 4 KiB inside the card's memory";
        let Self { offset, bytes, .. } = *self;
        if !offset.is_multiple_of(bounce::ALIGN) || offset >= memory_bytes {
            return Err(range("swiotlb.offset", offset, whole));
        }
        if bytes == 0 || !bytes.is_multiple_of(bounce::ALIGN) || bytes > memory_bytes - offset {
            return Err(range("swiotlb.bytes", bytes, whole));
        }
        Ok(())
    }
}

/// A disk of 64 MiB in memory.
impl Default for CardConfig {
    fn default() -> Self {
        Self::new(DeviceConfig::Blk(BlkConfig::default()))
    }
}

impl Default for BlkConfig {
    fn default() -> Self {
        Self {
            backing: Backing::Memory { capacity_sectors: 131_072 },
            read_only: false,
            seg_max: 126,
            max_range_sectors: 1 << 22,
            max_ranges: 16,
            id: *b"virtio-testbench-blk",
        }
    }
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            mac: [0x02, 0, 0, 0, 0, 0x01],
            mtu: 1500,
            cable_delay: Span::from_ns(500),
            cable_gbps: None,
            receive_buffer_packets: 256,
            control_queue: false,
            far_end: None,
        }
    }
}

fn range(name: &'static str, value: impl Into<u64>, allowed: &'static str) -> CardError {
    CardError::Range { name, value: value.into(), allowed }
}

fn within(
    name: &'static str,
    value: impl Into<u64>,
    least: u64,
    most: u64,
    allowed: &'static str,
) -> Result<(), CardError> {
    let value = value.into();
    if (least..=most).contains(&value) { Ok(()) } else { Err(range(name, value, allowed)) }
}
