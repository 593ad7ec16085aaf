//! What every virtio driver does with its device: the status sequence, queues, doorbells, waiting,
//! starting over, going. Virtio 1.4, "Device Initialization".

use pcie_sim::host::{Barrier, Host};
use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::status;
use pcie_sim::spec::virtq;
use pcie_sim::time::Instant;

use super::{
    CompletionMode, Counters, DriverConfig, DriverError, ProbeContext, ProbeError, Removed,
};
use crate::dma::debug::DmaDebug;
use crate::dma::select::{self, BounceUse, DeviceFacts};
use crate::dma::{Dma, direct::Direct};
use crate::irq::Interrupts;
use crate::pages::Pages;
use crate::transport::{GONE, QueueSetup, Transport, TransportError};
use crate::virtqueue::notify::Doorbell;
use crate::virtqueue::split::Split;
use crate::virtqueue::{
    Areas, CardWindow, Indirect, Placement, QueueBroken, QueueConfig, Virtqueue,
};

/// The shared memory region in which rings may lie.
const RING_REGION: u8 = 0;

/// A queue and its doorbell.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) queue: Virtqueue,
    doorbell: Option<Doorbell>,
    index: u16,
}

/// A device under its driver.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) transport: Box<dyn Transport>,
    pub(super) dma: Dma,
    pub(super) pages: Pages,
    pub(super) config: DriverConfig,
    pub(super) features: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) counters: Counters,
    interrupts: Interrupts,
    status: u8,
}

impl Core {
    /// From reset to queues that are enabled, still without DRIVER_OK. `queues` gives the numbers
    /// of the queues to set up by what was negotiated, `wanted` the features of the device type that the driver can use.
    pub(super) fn start(
        host: &mut dyn Host,
        context: ProbeContext,
        device_type: u16,
        wanted: u64,
        queues: fn(u64) -> &'static [u16],
    ) -> Result<Self, ProbeError> {
        let ProbeContext { transport, pages, platform, config } = context;
        let found = transport.device_type();
        if found != device_type {
            return Err(ProbeError::WrongDevice { found, wanted: device_type });
        }
        let size = config.queue_size;
        if !size.is_power_of_two() || size > virtq::MAX_SIZE {
            return Err(ProbeError::BadQueueSize { size });
        }
        // Until the platform has chosen nothing is mapped, and nothing leaks if it never does.
        let unchosen = Dma::new(Box::new(Direct::new(pages.clone(), 0)), None);
        let mut core = Self {
            transport,
            dma: unchosen,
            pages,
            config,
            features: 0,
            slots: Vec::new(),
            counters: Counters::default(),
            interrupts: Interrupts::new(),
            status: 0,
        };
        let started = core.negotiate(host, wanted | common_features(&config)).and_then(|()| {
            core.choose_dma(host, &platform)?;
            core.make_queues(host, queues(core.features))?;
            core.enable_queues(host)
        });
        match started {
            Ok(()) => Ok(core),
            Err(error) => Err(core.give_up(host, error)),
        }
    }

    /// Tells the device that the driver has failed, and takes everything back. Gives `error` on.
    pub(super) fn give_up(mut self, host: &mut dyn Host, error: ProbeError) -> ProbeError {
        let now = self.transport.status(host);
        self.transport.set_status(host, now | status::FAILED);
        if self.slots.is_empty() {
            self.transport.shut_down(host);
            let closed = self.dma.close(host);
            return closed.err().map_or(error, ProbeError::Dma);
        }
        // The first error is the one to tell; what goes wrong while cleaning up after it is less.
        let _ = self.remove(host);
        error
    }

    /// Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK (INIT-DRV-01).
    fn negotiate(&mut self, host: &mut dyn Host, wanted: u64) -> Result<(), ProbeError> {
        self.transport.reset(host)?;
        self.status = 0;
        self.add_status(host, status::ACKNOWLEDGE);
        self.add_status(host, status::DRIVER);
        let offered = self.transport.device_features(host);
        if offered & features::VERSION_1 == 0 {
            return Err(ProbeError::FeaturesMissing { offered, needed: features::VERSION_1 });
        }
        let asked = offered & wanted;
        self.transport.set_driver_features(host, asked);
        self.add_status(host, status::FEATURES_OK);
        let now = self.transport.status(host);
        if now & status::FEATURES_OK == 0 {
            return Err(ProbeError::FeaturesRefused { offered, asked, status: now });
        }
        self.features = asked;
        Ok(())
    }

    fn add_status(&mut self, host: &mut dyn Host, bit: u8) {
        self.status |= bit;
        self.transport.set_status(host, self.status);
    }

    fn choose_dma(
        &mut self,
        host: &mut dyn Host,
        platform: &select::PlatformDma,
    ) -> Result<(), ProbeError> {
        let (mask, warning) = select::dma_mask(platform.card_address_bits);
        self.counters.narrow_dma_mask = warning.is_some();
        let facts = DeviceFacts {
            requester: self.transport.requester(),
            access_platform: self.has(features::ACCESS_PLATFORM),
            bounce: self.bounce_use()?,
            mask,
            bypassing_hypervisor: platform.bypassing_hypervisor,
        };
        let windows = self.transport.windows();
        let debug = self.config.dma_debug.then(|| DmaDebug::for_heap(&self.pages));
        self.dma = select::select(host, &self.pages, platform, &facts, &windows, debug)?;
        Ok(())
    }

    /// What the card's bounce buffer is used for. VIRTIO_F_SWIOTLB without one is the device's error.
    fn bounce_use(&self) -> Result<BounceUse, ProbeError> {
        match (self.has(features::SWIOTLB), self.transport.bounce_region()) {
            (true, Some(region)) => Ok(BounceUse::All(region)),
            (true, None) => Err(ProbeError::NoBounceRegion),
            (false, Some(region)) if self.config.bounce_hint_bytes > 0 => {
                let most_bytes = u64::from(self.config.bounce_hint_bytes);
                Ok(BounceUse::Hint { region, most_bytes })
            }
            _ => Ok(BounceUse::No),
        }
    }

    /// Where rings go, and the part of the card's memory that they may lie in.
    fn ring_room(&self) -> (Placement, Option<CardWindow>) {
        let region = self.transport.shared_memory(RING_REGION);
        let window = region.map(|region| CardWindow::new(region.address, region.len_bytes));
        let bounce = self.transport.bounce_region();
        if self.has(features::SWIOTLB) {
            // No address but those of the bounce region may be passed, and rings are coherent memory.
            return (Placement::Host, None);
        }
        match bounce {
            Some(bounce) if self.config.bounce_hint_bytes > 0 => {
                let without = window.and_then(|all| all.without(bounce.address, bounce.len_bytes));
                (self.config.placement, without)
            }
            _ => (self.config.placement, window),
        }
    }

    fn make_queues(&mut self, host: &mut dyn Host, queues: &[u16]) -> Result<(), ProbeError> {
        let (placement, mut window) = self.ring_room();
        for &index in queues {
            let offered = self.transport.max_queue_size(host, index);
            // A split queue's size is a power of two (a device that says otherwise gets less).
            let size = self.config.queue_size.min(floor_power_of_two(offered));
            if size == 0 {
                return Err(TransportError::NoQueue { queue: index }.into());
            }
            let areas = Areas::of_split(host, &mut self.dma, placement, size, &mut window)?;
            let queue = Split::new(host, areas, &self.pages, self.queue_config(index, size));
            self.slots.push(Slot {
                queue: Virtqueue::Split(Box::new(queue)),
                doorbell: None,
                index,
            });
        }
        Ok(())
    }

    fn queue_config(&self, index: u16, size: u16) -> QueueConfig {
        let indirect = self.has(features::INDIRECT_DESC);
        QueueConfig {
            index,
            size,
            event_idx: self.has(features::EVENT_IDX),
            indirect: if indirect { self.config.indirect } else { Indirect::Never },
            table_entries: self.config.table_entries,
            order_platform: self.has(features::ORDER_PLATFORM),
            interrupts: self.interrupts_wanted(),
        }
    }

    fn interrupts_wanted(&self) -> bool {
        self.config.completion == CompletionMode::Interrupt
    }

    /// Lets the device master the bus, and hands it its queues.
    fn enable_queues(&mut self, host: &mut dyn Host) -> Result<(), ProbeError> {
        let interrupt = self.interrupts_wanted();
        self.transport.set_bus_master(host, true);
        self.interrupts.clear();
        if interrupt {
            let vector = self.transport.connect_config(host)?;
            self.interrupts.set_config(Some(vector));
        }
        for slot in &mut self.slots {
            let areas = slot.queue.addresses();
            let setup = QueueSetup { index: slot.index, size: slot.queue.size(), areas, interrupt };
            let active = self.transport.activate_queue(host, &setup)?;
            slot.doorbell = Some(active.doorbell);
            if let Some(vector) = active.vector {
                self.interrupts.add_queue(vector);
            }
        }
        Ok(())
    }

    /// DRIVER_OK: the device is live.
    pub(super) fn go(&mut self, host: &mut dyn Host) -> Result<(), ProbeError> {
        self.add_status(host, status::DRIVER_OK);
        if self.transport.status(host) & status::DEVICE_NEEDS_RESET != 0 {
            return Err(ProbeError::NeedsReset);
        }
        Ok(())
    }

    /// Whether a feature was negotiated.
    pub(super) fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// The DMA watcher.
    pub(super) fn debug(&self) -> Option<DmaDebug> {
        self.dma.debug().cloned()
    }

    /// The counters, brought up to date.
    pub(super) fn counters(&self) -> Counters {
        Counters {
            descriptors: self.slots.iter().map(|slot| slot.queue.descriptors_added()).sum(),
            interrupts: self.interrupts.taken(),
            dma: self.dma.stats(),
            ..self.counters
        }
    }

    /// Rings the doorbell of each queue to which something was added, if the device wants it.
    pub(super) fn kick(&mut self, host: &mut dyn Host) {
        for slot in &mut self.slots {
            let had = slot.queue.has_unkicked();
            if slot.queue.prepare_kick(host) {
                if let Some(doorbell) = &slot.doorbell {
                    doorbell.ring(host);
                }
                self.counters.kicks += 1;
            } else if had {
                self.counters.kicks_suppressed += 1;
            }
        }
    }

    /// Waits until a buffer came back (`true`) or `deadline` passed (`false`).
    pub(super) fn wait(
        &mut self,
        host: &mut dyn Host,
        deadline: Instant,
    ) -> Result<bool, DriverError> {
        match self.config.completion {
            CompletionMode::Interrupt => self.wait_interrupt(host, deadline),
            CompletionMode::Poll => self.wait_polling(host, deadline),
        }
    }

    fn any_used(&mut self, host: &mut dyn Host) -> bool {
        self.slots.iter_mut().any(|slot| slot.queue.has_used(host))
    }

    fn wait_interrupt(
        &mut self,
        host: &mut dyn Host,
        deadline: Instant,
    ) -> Result<bool, DriverError> {
        self.dma.tick(host)?;
        let mut pending = false;
        for slot in &mut self.slots {
            pending |= slot.queue.enable_interrupts(host);
        }
        while !pending {
            let Some(cause) =
                self.interrupts.wait(host, deadline, self.config.costs.interrupt_handler)
            else {
                self.check_status(host)?;
                return Ok(self.any_used(host));
            };
            let cause = self.transport.acknowledge(host, cause);
            if cause.config {
                self.check_status(host)?;
            }
            pending = self.any_used(host);
            if !pending && !cause.config {
                self.counters.spurious_interrupts += 1;
            }
        }
        for slot in &mut self.slots {
            slot.queue.disable_interrupts(host);
        }
        Ok(true)
    }

    fn wait_polling(
        &mut self,
        host: &mut dyn Host,
        deadline: Instant,
    ) -> Result<bool, DriverError> {
        self.dma.tick(host)?;
        loop {
            if self.any_used(host) {
                return Ok(true);
            }
            if host.now() >= deadline {
                self.check_status(host)?;
                return Ok(false);
            }
            host.spend(self.config.costs.poll);
            let places = || self.slots.iter().map(|slot| slot.queue.spin_address());
            // One stretch over all used indices; who looks at more than it needs wakes too early at worst.
            if let (Some(Some(first)), Some(Some(last))) = (places().min(), places().max()) {
                host.spin_on_memory(first, (last.get() - first.get()) as usize + 2, deadline);
            }
        }
    }

    /// Looks whether the device has given up.
    pub(super) fn check_status(&mut self, host: &mut dyn Host) -> Result<(), DriverError> {
        match self.transport.status(host) {
            GONE => Err(DriverError::Gone),
            now if now & status::DEVICE_NEEDS_RESET != 0 => {
                Err(DriverError::NeedsReset { status: now })
            }
            // Somebody has reset the device behind the driver's back: only that takes DRIVER_OK away.
            now if self.status & !now & status::DRIVER_OK != 0 => {
                Err(DriverError::NeedsReset { status: now })
            }
            _ => Ok(()),
        }
    }

    /// Resets the device, takes back all it held, and starts it again up to DRIVER_OK (exclusive).
    /// Gives the tokens of what was lost, by queue.
    pub(super) fn restart(&mut self, host: &mut dyn Host) -> Result<Vec<Vec<u64>>, DriverError> {
        self.transport.reset(host)?;
        let lost = self.detach(host)?;
        for slot in &mut self.slots {
            slot.queue.clear(host);
        }
        let wanted = self.features;
        let restarted = self.negotiate(host, wanted).and_then(|()| {
            if self.features != wanted {
                return Err(ProbeError::FeaturesMissing { offered: self.features, needed: wanted });
            }
            self.enable_queues(host)
        });
        restarted.map_err(DriverError::Restart)?;
        Ok(lost)
    }

    /// Takes back what the queues hold, all of it even if a part fails.
    fn detach(&mut self, host: &mut dyn Host) -> Result<Vec<Vec<u64>>, QueueBroken> {
        let mut detach = |slot: &mut Slot| slot.queue.detach_unused(host, &mut self.dma);
        let detached: Vec<_> = self.slots.iter_mut().map(&mut detach).collect();
        detached.into_iter().collect()
    }

    /// Resets the device and gives back all that was set up for it. The tokens of what never came
    /// back are in the order of the queues.
    pub(super) fn remove(mut self, host: &mut dyn Host) -> Result<Removed, DriverError> {
        let reset = self.transport.reset(host);
        // A device that does not reset is kept from memory, whatever it still wants there.
        self.transport.shut_down(host);
        host.barrier(Barrier::Full);
        let detached = self.detach(host);
        let counters = self.counters();
        let mut freed = Ok(());
        for slot in self.slots {
            freed = slot.queue.free(host, &mut self.dma).and(freed);
        }
        let debug = self.dma.debug().cloned();
        let closed = self.dma.close(host);
        // A device that was taken out does no more harm than one that was reset.
        let gone = reset == Err(TransportError::Gone);
        if !gone {
            reset?;
        }
        let unfinished = detached?.into_iter().flatten().collect();
        freed.and(closed)?;
        let findings = debug.map_or_else(Vec::new, |debug| debug.findings());
        Ok(Removed { unfinished, counters, gone, findings })
    }
}

fn common_features(config: &DriverConfig) -> u64 {
    let options = [
        (true, features::VERSION_1),
        (config.indirect != Indirect::Never, features::INDIRECT_DESC),
        (config.event_idx, features::EVENT_IDX),
        (config.accept_access_platform, features::ACCESS_PLATFORM),
        (config.accept_order_platform, features::ORDER_PLATFORM),
        (config.accept_swiotlb, features::SWIOTLB),
    ];
    options.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, feature)| all | feature)
}

fn floor_power_of_two(size: u16) -> u16 {
    if size == 0 { 0 } else { 1 << size.ilog2() }
}
