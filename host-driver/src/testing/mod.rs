//! A computer of flat RAM, one scripted virtio card and a plain VT-d, for this crate's own tests.
//!
//! Everything happens at once, inside the access that causes it. The card insists on what a driver
//! must obey: natural widths, read-only registers, the order of the status bits.

pub(crate) mod card;
pub(crate) mod fabric;
pub(crate) mod flaky;
pub(crate) mod mmio;
pub(crate) mod platforms;
pub(crate) mod vtd;

use std::collections::VecDeque;

use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::host::{Barrier, Bus, Hypercall, HypercallError, Memory, MsiMessage, Vector, Width};
use pcie_sim::spec::pci::{command, header};
use pcie_sim::spec::tce;
use pcie_sim::time::{Instant, Span};

use crate::dma::iommu::{DmarUnit, IommuCosts, IommuMode, IommuUnit};
use crate::dma::select::{PlatformDma, Translation};
use crate::pages::Pages;
use crate::{DriverConfig, PciTransport, ProbeContext};
use card::Card;
pub(crate) use fabric::{BusKind, Cache, Fabric};
use vtd::Vtd;

/// Where the card is.
pub(crate) const CARD: Bdf = Bdf::new(1, 0, 0);
pub(crate) const BAR0: u64 = 0xe000_0000;
pub(crate) const BAR1: u64 = 0xe001_0000;
pub(crate) const BAR2: u64 = 0x8_0000_0000;
pub(crate) const CARD_MEMORY_BYTES: usize = 1 << 20;
pub(crate) const VTD: u64 = 0xfed9_0000;
/// Registers of an IOMMU with its table in memory, and the entries of that table.
pub(crate) const TABLES: u64 = 0xfedb_0000;
pub(crate) const TABLE_PAGES: u64 = 0x4000;
/// A virtio-mmio slot.
pub(crate) const SLOT: u64 = 0xd000_0000;
/// Its interrupt.
pub(crate) const LINE: Vector = Vector(77);
pub(crate) const RAM_BYTES: usize = 16 << 20;
const CONFIG_COST: Span = Span::from_ns(500);

/// The computer.
pub(crate) struct FakeHost {
    pub(crate) fabric: Fabric,
    pub(crate) card: Card,
    pub(crate) pending: VecDeque<Vector>,
    pub(crate) mmio_reads: u64,
    pub(crate) barriers: Vec<Barrier>,
    pub(crate) hypercalls: u64,
    pub(crate) refuse_hypercalls: bool,
    /// The card was taken out: everything reads as all ones, nothing arrives.
    pub(crate) gone: bool,
    /// What a virtio-mmio slot shows instead of a PCI function.
    pub(crate) slot: mmio::Slot,
    vectors: u16,
    now: Instant,
}

impl FakeHost {
    pub(crate) fn new(card: Card) -> Self {
        Self {
            fabric: Fabric {
                ram: vec![0; RAM_BYTES],
                card_memory: vec![0xa5; CARD_MEMORY_BYTES],
                vtd: Vtd::default(),
                bus: BusKind::Plain,
                frames: Vec::new(),
                free_frame: 0,
                cache: None,
                blocked: 0,
            },
            card,
            pending: VecDeque::new(),
            mmio_reads: 0,
            barriers: Vec::new(),
            hypercalls: 0,
            refuse_hypercalls: false,
            gone: false,
            slot: mmio::Slot::default(),
            vectors: 0,
            now: Instant::ZERO,
        }
    }

    /// A deadline that is soon.
    pub(crate) fn soon(&self) -> Instant {
        self.now + Span::from_us(50)
    }

    /// Lets the card do what it wants to.
    pub(crate) fn serve(&mut self) {
        if self.gone {
            return;
        }
        let raised = self.card.serve(&mut self.fabric);
        self.slot.raise(&raised);
        self.pending.extend(raised.into_iter().map(Vector));
    }
}

/// Pages of all RAM above the first MiB, which tests use for their own buffers.
pub(crate) fn pages() -> Pages {
    Pages::new(PhysAddr(1 << 20)..PhysAddr(RAM_BYTES as u64))
}

/// A running VT-d, strict, with pages of 4 KiB.
pub(crate) fn iommu(host: &mut FakeHost, pages: &Pages) -> IommuUnit {
    iommu_in(host, pages, IommuMode::default())
}

/// A running VT-d.
pub(crate) fn iommu_in(host: &mut FakeHost, pages: &Pages, mode: IommuMode) -> IommuUnit {
    let dmar = DmarUnit {
        registers: PhysAddr(VTD),
        scope: None,
        reserved: Vec::from([0xc000_0000..0xe000_0000, 0xe000_0000..0xfec0_0000]),
        costs: IommuCosts::default(),
        mode,
    };
    IommuUnit::bring_up(host, pages, dmar).expect("the hardware has what is needed")
}

/// What a probe needs, with or without an IOMMU.
pub(crate) fn context(
    host: &mut FakeHost,
    pages: &Pages,
    unit: Option<&IommuUnit>,
    config: DriverConfig,
) -> ProbeContext {
    let transport = Box::new(PciTransport::open(host, CARD).expect("a virtio card"));
    let translation = unit.map_or(Translation::Direct, |unit| Translation::Iommu(unit.clone()));
    let platform = PlatformDma { translation, ..PlatformDma::default() };
    ProbeContext { transport, pages: pages.clone(), platform, config }
}

fn put(into: &mut [u8], at: usize, width: Width, value: u64) {
    into[at..at + width.bytes()].copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
}

fn get(from: &[u8], at: usize, width: Width) -> u64 {
    let mut bytes = [0; 8];
    bytes[..width.bytes()].copy_from_slice(&from[at..at + width.bytes()]);
    u64::from_le_bytes(bytes)
}

impl Memory for FakeHost {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        assert!(address.get() + into.len() as u64 <= RAM_BYTES as u64, "reads outside RAM");
        self.fabric.cached(address.get(), into, false);
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        assert!(address.get() + data.len() as u64 <= RAM_BYTES as u64, "writes outside RAM");
        self.fabric.cached(address.get(), &mut data.to_vec(), true);
    }

    fn clean(&mut self, address: PhysAddr, len_bytes: u64) {
        self.fabric.maintain(address.get(), len_bytes, false);
    }

    fn invalidate(&mut self, address: PhysAddr, len_bytes: u64) {
        self.fabric.maintain(address.get(), len_bytes, true);
    }

    fn set_cached(&mut self, address: PhysAddr, len_bytes: u64, cached: bool) {
        self.fabric.maintain(address.get(), len_bytes, false);
        self.fabric.maintain(address.get(), len_bytes, true);
        let pages = (address.get() >> 12)..(address.get() + len_bytes).div_ceil(4096);
        if let Some(cache) = &mut self.fabric.cache {
            cache.uncached.retain(|page| !cached || !pages.contains(page));
            cache.uncached.extend(pages.filter(|_| !cached));
        }
    }

    fn barrier(&mut self, barrier: Barrier) {
        self.barriers.push(barrier);
    }

    fn ram_bytes(&self) -> u64 {
        RAM_BYTES as u64
    }
}

impl Bus for FakeHost {
    fn now(&self) -> Instant {
        self.now
    }

    fn spend(&mut self, cost: Span) {
        self.now += cost;
    }

    fn config_read(&mut self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.now += CONFIG_COST;
        if function != CARD || self.gone {
            return u32::MAX >> (32 - 8 * width.bytes());
        }
        get(&self.card.config, usize::from(offset), width) as u32
    }

    fn config_write(&mut self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.now += CONFIG_COST;
        assert_eq!(function, CARD);
        if self.gone {
            return;
        }
        put(&mut self.card.config, usize::from(offset), width, u64::from(value));
    }

    fn mmio_read(&mut self, address: PhysAddr, width: Width) -> u64 {
        self.now += CONFIG_COST;
        self.mmio_reads += 1;
        assert_eq!(address.get() % width.bytes() as u64, 0, "reads are aligned");
        match address.get() {
            at @ VTD..0xfeda_0000 => self.fabric.vtd.read(at - VTD, width),
            _ if self.gone => u64::MAX >> (64 - 8 * width.bytes()),
            at @ SLOT..0xd000_1000 => self.slot.read(&mut self.card, at - SLOT, width),
            at @ BAR0..BAR1 => self.card.read(at - BAR0, width),
            at @ BAR1..0xe002_0000 => get(&self.card.msix_table, (at - BAR1) as usize, width),
            at if at >= BAR2 => get(&self.fabric.card_memory, (at - BAR2) as usize, width),
            _ => u64::MAX,
        }
    }

    fn mmio_write(&mut self, address: PhysAddr, width: Width, value: u64) {
        self.now += Span::from_ns(10);
        match address.get() {
            at @ VTD..0xfeda_0000 => {
                self.fabric.vtd.write(&mut self.fabric.ram, at - VTD, width, value);
            }
            at @ TABLES..0xfee0_0000 => {
                if at == TABLES + tce::reg::TABLE {
                    self.fabric.bus = BusKind::Table(value, TABLE_PAGES);
                }
            }
            _ if self.gone => {}
            at @ SLOT..0xd000_1000 => {
                if self.slot.write(&mut self.card, at - SLOT, width, value) {
                    self.serve();
                }
            }
            at @ BAR0..BAR1 => {
                if self.card.write(at - BAR0, width, value) {
                    self.serve();
                }
            }
            at @ BAR1..0xe002_0000 => {
                put(&mut self.card.msix_table, (at - BAR1) as usize, width, value)
            }
            at => panic!("an uncached write to {at:#x}"),
        }
    }

    fn mmio_write_combined(&mut self, address: PhysAddr, data: &[u8]) {
        if self.gone {
            return;
        }
        let at = (address.get() - BAR2) as usize;
        self.fabric.card_memory[at..at + data.len()].copy_from_slice(data);
    }

    fn hypercall(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        self.now += Span::from_us(1);
        self.hypercalls += 1;
        if self.refuse_hypercalls {
            return Err(HypercallError::Parameter(0));
        }
        self.fabric.hypercall(call)
    }

    fn allocate_message(&mut self) -> Option<(Vector, MsiMessage)> {
        self.vectors += 1;
        let data = u32::from(self.vectors);
        Some((Vector(self.vectors), MsiMessage { address: 0xfee0_0000, data }))
    }

    fn take_interrupt(&mut self) -> Option<Vector> {
        self.pending.pop_front()
    }

    fn wait_interrupt(&mut self, deadline: Instant) -> Option<Vector> {
        self.serve();
        let taken = self.pending.pop_front();
        if taken.is_none() {
            self.now = deadline;
        }
        taken
    }

    fn spin_on_memory(&mut self, _address: PhysAddr, _len_bytes: usize, deadline: Instant) -> bool {
        self.now = deadline.min(self.now + Span::from_us(1));
        self.now < deadline
    }
}

/// Whether the card may master the bus.
pub(crate) fn is_bus_master(config: &[u8; 256]) -> bool {
    get(config, usize::from(header::COMMAND), Width::W16) as u16 & command::BUS_MASTER != 0
}
