//! Wires a bench: RAM, IOMMU, card, link, firmware, and what the driver is told of the platform.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use host_driver::Transport;
use host_driver::{
    DriverConfig, DriverCosts, Indirect, IommuUnit, Pages, PciTransport, PlatformDma, ProbeContext,
    ProbeError,
};
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::Endpoint;
use pcie_sim::host::Memory;
use pcie_sim::host::ram::{HOLE_START, Ram};
use pcie_sim::iommu::{Iommu, IotlbCounts};
use pcie_sim::machine::{Machine, MachineConfig};
use pcie_sim::root::enumerate::{Bar, Windows, enumerate};
use pcie_sim::spec::{features, virtio_pci};
use pcie_sim::time::Span;
use rtl_model::{Card, CardConfig, CardTiming, DeviceConfig, Malice};

use super::bridge::{self, Joined};
use super::early::{self, Early};
use super::faults::Trouble;
use super::platform_bus;
use super::system::{self, System};
use super::tables;
use super::watch::Watch;
use super::witness::Witness;
use crate::cancel::Cancel;
use crate::card::{AtPins, Plugged};
use crate::platform::setup::{Hardware, Incident, Slot};
use crate::report::RunError;
use crate::scenario::config::{CompletionMode, Layout, Placement, RunConfig};

/// What firmware and operating system leave alone at the bottom of RAM.
const LOW_MEMORY: PhysAddr = PhysAddr(1 << 20);

/// Makes the card that is plugged in, out of the run and the parameters that it gives a card. What goes
/// in here may be a model, RTL, or either of them with a fault before its pins.
pub type MakeCard<'m> = &'m dyn Fn(&RunConfig, CardConfig) -> Result<Plugged, RunError>;

/// The cycle-approximate model.
///
/// # Errors
/// A parameter that does not fit is [`RunError::Input`].
pub fn model(run: &RunConfig, card: CardConfig) -> Result<Plugged, RunError> {
    let endpoint: Box<dyn Endpoint> = match run.setup.slot {
        Slot::Pci | Slot::Bridge { .. } => Box::new(Card::new(card).map_err(RunError::input)?),
        Slot::Mmio { filled_later } => platform_bus::slot(card, filled_later)?,
    };
    Ok(Plugged::from(endpoint))
}

/// A computer with a card in it, firmware run, nobody driving the card yet.
pub struct Bench {
    /// The computer.
    pub machine: Machine<Watch>,
    /// Where the card is.
    pub card: Bdf,
    /// Where its BARs are; none on a platform's own bus.
    pub bars: Vec<Bar>,
    /// The analyzer knows the bus that the card is on: PCI. Of another it has nothing to say.
    pub analyzed: bool,
    /// RAM that the driver may use.
    pub pages: Pages,
    /// What the driver is told of the platform.
    pub platform: PlatformDma,
    /// The IOMMU, when the operating system has switched one on.
    pub iommu: Option<IommuUnit>,
    /// The operating system, as far as DMA goes.
    pub system: System,
    /// The host's side of every DMA address, where it is kept.
    pub witness: Option<Witness>,
    /// The bridge to the host that is the card, when another host is.
    pub(super) bridge: Option<Joined>,
    /// What stands between slot and memory.
    hardware: Hardware,
    /// What is seen at the pins, of RTL.
    pub(super) at_pins: AtPins,
    /// What goes wrong on purpose.
    pub(super) trouble: Option<Trouble>,
    /// What ends the run early.
    pub(super) cancel: Cancel,
    /// How long it waits for anything to happen.
    pub(super) patience: Span,
    buffers: Vec<(PhysAddr, u64)>,
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
        mut watch: Watch,
        make: MakeCard<'_>,
    ) -> Result<Self, RunError> {
        let (card, at_pins) = make(config, card_config(config, device))?.apart();
        let ram = ram(config).map_err(RunError::input)?;
        let witness = config.watched.then(Witness::default);
        let iommu = system::hardware(config, &ram);
        let iommu = match &witness {
            Some(witness) => iommu.map(|iommu| witness.iommu(iommu)),
            None => iommu,
        };
        let iommu = watch.iommu(iommu);
        let (card, bridge) = in_slot(config, card, &ram)?;
        if let Some(bridge) = &bridge {
            let (near, len) = (bridge.borrow().config().near, bridge.borrow().config().len_bytes);
            watch.analyzer.behind_window(near..near + len);
        }
        let mut machine = Machine::new(machine_config(config), ram, iommu, card, watch);
        let (card, bars) = find_card(config, &mut machine)?;
        if config.setup.incident == Incident::EarlyDma {
            machine.run_until(early::SYSTEM_STARTS);
        }
        let trouble = Trouble::prepare(config, &mut machine, card);
        let pages = Pages::new(memory_of(config, machine.ram_bytes()));
        let (system, mut platform) = System::start(config, &mut machine, &pages)?;
        platform.card_address_bits = config.setup.card.address_bits;
        if let Some(witness) = witness.clone() {
            platform.wrap = Some(Rc::new(move |ops| witness.ops(ops)));
        }
        Ok(Self {
            card,
            bars,
            analyzed: config.setup.slot.is_analyzed(),
            bridge,
            pages,
            platform,
            iommu: system.iommu.clone(),
            system,
            witness,
            hardware: config.setup.hardware,
            trouble,
            at_pins,
            cancel: config.cancel.clone(),
            patience: config.driver.patience,
            buffers: Vec::new(),
            machine,
        })
    }

    /// Memory for the traffic's own buffers, given back at the end.
    ///
    /// # Errors
    /// Too little RAM is [`RunError::Input`].
    pub fn buffers(&mut self, bytes: u64) -> Result<PhysAddr, RunError> {
        let start = self.pages.alloc(bytes, 4096).map_err(RunError::input)?;
        self.buffers.push((start, bytes));
        Ok(start)
    }

    /// Stops the system after the driver has gone. What is left of the run, one line each: nothing, when
    /// everybody has given everything back.
    pub fn stop(&mut self) -> Vec<String> {
        for (start, bytes) in self.buffers.drain(..) {
            // Allocated right here, so that it cannot be refused.
            let _ = self.pages.free(start, bytes);
        }
        let mut left = Vec::new();
        if let Some(live @ 1..) = self.witness.as_ref().map(Witness::live) {
            left.push(format!("{live} mappings are live"));
        }
        let mapped = tables::mapped(self, self.hardware);
        if !mapped.is_empty() {
            left.push(format!("the IOMMU's tables are not empty: {mapped}"));
        }
        self.platform = PlatformDma::default();
        self.iommu = None;
        left.extend(std::mem::take(&mut self.system).stop(&mut self.machine, &self.pages));
        if let bytes @ 1.. = self.pages.in_use_bytes() {
            left.push(format!("{bytes} bytes of memory were not given back"));
        }
        left
    }

    /// Whether the system lets the card be there at all.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, config: &RunConfig) -> Result<(), String> {
        match config.setup.incident {
            Incident::HotPlug => system::hotplug(&mut self.machine, self.card),
            Incident::None | Incident::EarlyDma => Ok(()),
        }
    }

    /// What a driver needs to take over the card.
    ///
    /// # Errors
    /// When the card's virtio capabilities cannot be used.
    pub fn probe_context(&mut self, config: &RunConfig) -> Result<ProbeContext, ProbeError> {
        Ok(ProbeContext {
            transport: self.transport(config)?,
            pages: self.pages.clone(),
            platform: self.platform.clone(),
            config: driver_config(config),
        })
    }

    pub(super) fn transport(
        &mut self,
        config: &RunConfig,
    ) -> Result<Box<dyn Transport>, ProbeError> {
        let Slot::Mmio { .. } = config.setup.slot else {
            let transport = PciTransport::open(&mut self.machine, self.card)?;
            return Ok(Box::new(transport.with_patience(config.driver.patience)));
        };
        let (transport, waited) = platform_bus::open(&mut self.machine)?;
        let said = waited.map(|until| format!("the slot was empty until {} ns", until.as_ns()));
        self.system.log.extend(said);
        Ok(Box::new(transport))
    }

    /// How often translations were found ready.
    #[must_use]
    pub fn iotlb(&self) -> IotlbCounts {
        self.machine.root.iommu.as_deref().map(Iommu::counts).unwrap_or_default()
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

fn machine_config(config: &RunConfig) -> MachineConfig {
    MachineConfig {
        link: config.slot.link,
        root: config.timing.root(),
        cpu: config.timing.cpu(),
        rcb_bytes: config.slot.rcb_bytes,
        shape: config.setup.shape,
        fixed_window: matches!(config.setup.slot, Slot::Mmio { .. })
            .then_some(platform_bus::WINDOW),
        host_costs: config.timing.host(config.setup.store_drain),
    }
}

/// Firmware finds the card; on a platform's own bus the system knows where it is.
fn find_card(
    config: &RunConfig,
    machine: &mut Machine<Watch>,
) -> Result<(Bdf, Vec<Bar>), RunError> {
    if let Slot::Mmio { .. } = config.setup.slot {
        platform_bus::wire(machine)?;
        return Ok((platform_bus::REQUESTER, Vec::new()));
    }
    let slot = &config.slot;
    let found = enumerate(machine, Windows::default(), slot.mps_bytes, slot.mrrs_bytes)
        .map_err(RunError::internal)?;
    let card = found.into_iter().find(|function| function.vendor == virtio_pci::VENDOR_ID);
    let card = card.ok_or_else(|| RunError::internal("firmware found no virtio card"))?;
    Ok((card.bdf, card.bars))
}

/// Where the card is found: firmware always gives the first slot this number.
const SLOT: Bdf = Bdf::new(1, 0, 0);

/// What is plugged in; also the bridge, when the card is a host behind one.
fn in_slot(
    config: &RunConfig,
    card: Box<dyn Endpoint>,
    ram: &Ram,
) -> Result<(Box<dyn Endpoint>, Option<Joined>), RunError> {
    let card = match config.setup.incident {
        Incident::EarlyDma => Box::new(Early::new(card, SLOT)),
        Incident::None | Incident::HotPlug => card,
    };
    let Slot::Bridge { leads } = config.setup.slot else { return Ok((card, None)) };
    let window = bridge::window(ram.size_bytes());
    let joined = bridge::join(card, window, leads, config.watched)?;
    Ok((Box::new(joined.clone()), Some(joined)))
}

/// RAM that drivers may use.
fn memory_of(config: &RunConfig, ram_bytes: u64) -> Range<PhysAddr> {
    match config.setup.slot {
        Slot::Bridge { .. } => {
            let window = bridge::window(ram_bytes);
            window.start..window.start + window.bytes
        }
        Slot::Pci | Slot::Mmio { .. } => LOW_MEMORY..PhysAddr(ram_bytes.min(HOLE_START)),
    }
}

/// The parameters that a run gives its card.
pub(crate) fn card_config(config: &RunConfig, device: DeviceConfig) -> CardConfig {
    let (card, part) = (&config.card, &config.setup.card);
    let mut withheld_features = 0;
    if !card.access_platform || !part.offers_access_platform {
        withheld_features |= features::ACCESS_PLATFORM;
    }
    if card.always_interrupt {
        withheld_features |= features::EVENT_IDX;
    }
    CardConfig {
        queue_size_max: card.queue_size,
        // A bounce buffer that the platform has to have is there whatever the scenario says.
        memory_bytes: card.memory_bytes.max(part.bounce.map_or(0, |part| part.offset + part.bytes)),
        withheld_features,
        address_policy: part.addresses,
        swiotlb: part.bounce,
        malice: part
            .malice
            .map(|deed| Malice { deed, queue: 0, request: 3, seed: 1 })
            .into_iter()
            .collect(),
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
        pipeline: timing.card.as_ref().map(|card| card.steps),
        ..CardTiming::default()
    }
}

pub(super) fn driver_config(config: &RunConfig) -> DriverConfig {
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
        accept_access_platform: config.setup.driver.access_platform,
        accept_order_platform: config.setup.driver.order_platform,
        accept_swiotlb: config.setup.driver.swiotlb,
        bounce_hint_bytes: config.setup.driver.bounce_hint_bytes,
        ..DriverConfig::default()
    }
}
