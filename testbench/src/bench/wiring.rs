//! Wires a bench: RAM, IOMMU, card, link, firmware, and what the driver is told of the platform.

use std::fs::OpenOptions;
use std::io;

use host_driver::dma::iommu::IommuCosts;
use host_driver::{
    DmarUnit, DriverConfig, DriverCosts, Indirect, IommuUnit, Pages, PciTransport, PlatformDma,
    ProbeContext, ProbeError, Translation as DmaTranslation,
};
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::ram::{HOLE_START, Ram};
use pcie_sim::iommu::vtd::{Geometry, Vtd, VtdConfig, VtdTiming};
use pcie_sim::iommu::{Iommu, IotlbCounts};
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::enumerate::{Windows, enumerate};
use pcie_sim::spec::{features, virtio_pci};
use pcie_sim::time::Span;
use rtl_model::{Card, CardConfig, CardTiming, DeviceConfig};

use super::shortage;
use super::watch::Watch;
use crate::platform::Translation;
use crate::report::RunError;
use crate::scenario::config::{CompletionMode, Layout, Placement, RunConfig};

/// What firmware and operating system leave alone at the bottom of RAM.
const LOW_MEMORY: PhysAddr = PhysAddr(1 << 20);

/// Makes the card that is plugged in, out of the run and the parameters that it gives a card. What goes
/// in here may be a model, RTL, or either of them with a fault before its pins.
pub type MakeCard<'m> = &'m dyn Fn(&RunConfig, CardConfig) -> Result<Box<dyn Endpoint>, RunError>;

/// The cycle-approximate model.
///
/// # Errors
/// A parameter that does not fit is [`RunError::Input`].
pub fn model(_: &RunConfig, card: CardConfig) -> Result<Box<dyn Endpoint>, RunError> {
    Ok(Box::new(Card::new(card).map_err(RunError::input)?))
}

/// A computer with a card in it, firmware run, nobody driving the card yet.
pub struct Bench {
    /// The computer.
    pub machine: Machine<Watch>,
    /// Where the card is.
    pub card: Bdf,
    /// RAM that the driver may use.
    pub pages: Pages,
    /// What the driver is told of the platform.
    pub platform: PlatformDma,
    /// The IOMMU, when the operating system has switched one on.
    pub iommu: Option<IommuUnit>,
}

impl Bench {
    /// Wires what `config` says, with a card from `make` that is a `device`.
    ///
    /// # Errors
    /// What `make` says; RAM that cannot be had or is too small is [`RunError::Input`], firmware that
    /// finds no card is [`RunError::Internal`].
    pub fn new(
        config: &RunConfig,
        device: DeviceConfig,
        watch: Watch,
        make: MakeCard<'_>,
    ) -> Result<Self, RunError> {
        let card = make(config, card_config(config, device))?;
        let ram = ram(config).map_err(RunError::input)?;
        let iommu = iommu(config);
        let mut machine = Machine::new(machine_config(config), ram, iommu, card, watch);
        let slot = &config.slot;
        let found = enumerate(&mut machine, Windows::default(), slot.mps_bytes, slot.mrrs_bytes)
            .map_err(RunError::internal)?;
        let card = found
            .iter()
            .find(|function| function.vendor == virtio_pci::VENDOR_ID)
            .ok_or_else(|| RunError::internal("firmware found no virtio card"))?;
        let end = PhysAddr(config.host.ram_bytes.min(HOLE_START));
        let mut bench = Self {
            card: card.bdf,
            pages: Pages::new(LOW_MEMORY..end),
            platform: PlatformDma::default(),
            iommu: None,
            machine,
        };
        bench.switch_iommu_on(config)?;
        Ok(bench)
    }

    /// What a driver needs to take over the card.
    ///
    /// # Errors
    /// When the card's virtio capabilities cannot be used.
    pub fn probe_context(&mut self, config: &RunConfig) -> Result<ProbeContext, ProbeError> {
        let transport = PciTransport::open(&mut self.machine, self.card)?;
        Ok(ProbeContext {
            transport: Box::new(transport),
            pages: self.pages.clone(),
            platform: self.platform.clone(),
            config: driver_config(config),
        })
    }

    /// How often translations were found ready.
    #[must_use]
    pub fn iotlb(&self) -> IotlbCounts {
        self.machine.root.iommu.as_deref().map(Iommu::counts).unwrap_or_default()
    }

    fn switch_iommu_on(&mut self, config: &RunConfig) -> Result<(), RunError> {
        if config.platform.translation == Translation::None {
            return Ok(());
        }
        let windows = Windows::default();
        let dmar = DmarUnit {
            registers: VtdConfig::default().registers,
            scope: None,
            reserved: vec![windows.low..HOLE_START + (1 << 30), windows.high..u64::MAX],
            mode: host_driver::IommuMode::default(),
            costs: IommuCosts {
                map: config.timing.driver_iommu_map,
                unmap: config.timing.driver_iommu_unmap,
                ..IommuCosts::default()
            },
        };
        let unit = IommuUnit::bring_up(&mut self.machine, &self.pages, dmar).map_err(|error| {
            if shortage::of_iommu(&error) {
                RunError::input(format!("host.ram: too small for the IOMMU's tables: {error}"))
            } else {
                RunError::internal(error)
            }
        })?;
        self.platform.translation = DmaTranslation::Iommu(unit.clone());
        self.iommu = Some(unit);
        Ok(())
    }
}

fn ram(config: &RunConfig) -> io::Result<Ram> {
    match &config.host.ram_file {
        None => Ram::anonymous(config.host.ram_bytes),
        Some(path) => {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            Ram::of_file(&file, config.host.ram_bytes)
        }
    }
}

fn iommu(config: &RunConfig) -> Option<Box<dyn Iommu>> {
    let timing = &config.timing;
    match config.platform.translation {
        Translation::None => None,
        Translation::VtdStrict => Some(Box::new(Vtd::new(VtdConfig {
            iotlb: geometry(timing.iommu_iotlb_entries),
            timing: VtdTiming {
                hit: timing.iommu_hit,
                context_walk_read: timing.iommu_context_walk_read,
                page_walk_read: timing.iommu_page_walk_read,
                command: timing.iommu_command,
                descriptor_fetch: timing.iommu_descriptor_fetch,
                context_invalidation: timing.iommu_context_invalidation,
                iotlb_invalidation: timing.iommu_iotlb_invalidation,
                page_invalidation: timing.iommu_page_invalidation,
                wait: timing.iommu_wait,
                to_memory: timing.root_inbound + timing.root_memory_read,
            },
            ..VtdConfig::default()
        }))),
    }
}

/// As many entries as asked for, or a few more: sets come in powers of two.
fn geometry(entries: u32) -> Geometry {
    let sets = if entries >= 64 { 8 } else { 1 };
    let ways = entries.div_ceil(sets).max(1);
    Geometry { sets: sets as usize, ways: ways as usize }
}

fn machine_config(config: &RunConfig) -> MachineConfig {
    MachineConfig {
        link: config.slot.link,
        root: config.timing.root(),
        cpu: config.timing.cpu(),
        rcb_bytes: config.slot.rcb_bytes,
        ..MachineConfig::default()
    }
}

fn card_config(config: &RunConfig, device: DeviceConfig) -> CardConfig {
    let card = &config.card;
    let mut withheld_features = 0;
    if !card.access_platform {
        withheld_features |= features::ACCESS_PLATFORM;
    }
    if card.always_interrupt {
        withheld_features |= features::EVENT_IDX;
    }
    CardConfig {
        queue_size_max: card.queue_size,
        memory_bytes: card.memory_bytes,
        withheld_features,
        reads_in_flight: card.reads_in_flight,
        descriptor_prefetch: card.descriptor_prefetch,
        completion_batch: card.completion_batch,
        contexts: card.contexts,
        always_interrupt: card.always_interrupt,
        link_generation: config.slot.link.timing.generation.number(),
        link_lanes: config.slot.link.timing.lanes,
        timing: card_timing(config),
        ..CardConfig::new(device)
    }
}

fn card_timing(config: &RunConfig) -> CardTiming {
    let timing = &config.timing;
    CardTiming {
        clock: Span::from_ps(1_000_000 / u64::from(config.card.clock_mhz.max(1))),
        datapath_bytes: config.card.datapath_bytes,
        register_access: timing.card_register_access.0,
        doorbell: timing.card_doorbell.0,
        parse: timing.card_parse.0,
        dma_read_issue: timing.card_dma_read_issue.0,
        dma_completion: timing.card_dma_completion.0,
        local_access: timing.card_local_access.0,
        net_processing: timing.card_net_processing.0,
        blk_processing: timing.card_blk_processing.0,
        per_16_bytes: timing.card_per_16_bytes.0,
        used_write: timing.card_used_write.0,
        interrupt: timing.card_interrupt.0,
        completion_timeout: timing.card_completion_timeout,
    }
}

fn driver_config(config: &RunConfig) -> DriverConfig {
    let timing = &config.timing;
    DriverConfig {
        placement: match config.placement {
            Placement::Host => host_driver::Placement::Host,
            Placement::Hybrid => host_driver::Placement::Hybrid,
            Placement::Card => host_driver::Placement::Card,
        },
        indirect: match config.layout {
            Layout::Direct => Indirect::Never,
            Layout::Indirect => Indirect::Always,
        },
        event_idx: config.event_idx,
        queue_size: config.card.queue_size,
        completion: match config.driver.completion {
            CompletionMode::Interrupt => host_driver::CompletionMode::Interrupt,
            CompletionMode::Poll => host_driver::CompletionMode::Poll,
        },
        costs: DriverCosts {
            add_buffer: timing.driver_add_buffer,
            add_segment: timing.driver_add_segment,
            take_used: timing.driver_take_used,
            interrupt_handler: timing.driver_interrupt_handler,
            poll: timing.driver_poll,
        },
        dma_debug: config.driver.dma_debug,
        ..DriverConfig::default()
    }
}
