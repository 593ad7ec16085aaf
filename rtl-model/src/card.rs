//! The card: power on, the flow of events, reset.

mod bus;
mod errors;
mod extended;
pub(crate) mod mmio;
mod reset;
mod work;

use pcie_sim::address::Bdf;
use pcie_sim::aer::Role;
use pcie_sim::endpoint::{Endpoint, Port, ResetKind};
use pcie_sim::spec::aer::Error;
use pcie_sim::spec::virtio_pci::isr;
use pcie_sim::time::Instant;
use pcie_sim::tlp::Tlp;

use self::mmio::Front;

use crate::config::{AddressPolicy, CardConfig, CardError};
use crate::config_space::{CardSpace, Settings, Timeout};
use crate::device::Device;
use crate::dma::tags::Arrival;
use crate::dma::{Cause, Dma, Event, Limits};
use crate::malice::Mischief;
use crate::memory::CardMemory;
use crate::mmio::MmioConfig;
use crate::msix::Msix;
use crate::registers::Registers;
use crate::ring::{Build, Queue, RingFault};

/// What has happened on the card since power-on; nothing on the link depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CardCounters {
    /// Doorbells that arrived.
    pub doorbells: u64,
    /// Requests, of any device, that were finished.
    pub requests: u64,
    /// Interrupts that were due, masked and unmapped ones included.
    pub interrupts: u64,
    /// Completions that answer nothing that was asked.
    pub unexpected_completions: u64,
    /// Reads that were refused or aborted.
    pub failed_reads: u64,
    /// Reads that were not answered in time.
    pub timeouts: u64,
    /// Answers that came after the reset of whoever asked.
    pub discarded_completions: u64,
    /// Requests of the host that were answered as unsupported, or dropped if posted.
    pub unsupported_requests: u64,
    /// Resets that were not asked for by virtio's own register.
    pub resets: u64,
    /// Packets lost because no more could wait for a receive buffer.
    pub packets_dropped_full: u64,
    /// Packets lost because they were not packets, longer than the MTU or the receive buffer, or could
    /// not be read.
    pub packets_dropped_bad: u64,
    /// Packets that the driver did not want, by what it said through the control queue.
    pub packets_filtered: u64,
}

/// A virtio card, cycle-approximate.
#[derive(Debug)]
pub struct Card {
    space: CardSpace,
    settings: Settings,
    registers: Registers,
    msix: Msix,
    dma: Dma,
    queues: Vec<Queue>,
    device: Device,
    counters: CardCounters,
    fault: Option<RingFault>,
    memory_bytes: u64,
    msix_vectors: u16,
    request_bytes_max: u64,
    address_policy: AddressPolicy,
    /// The register block, on a platform's own bus; `None` on PCI.
    front: Option<Front>,
    /// The device configuration has changed and the driver has not been told.
    config_news: bool,
    wake: Option<Instant>,
    /// The reset that the card comes out of is over then.
    awake: Instant,
}

impl Card {
    /// Builds a card; [`CardError`] says which parameter does not fit.
    pub fn new(config: CardConfig) -> Result<Self, CardError> {
        config.check()?;
        let CardConfig { memory_bytes, msix_vectors, reads_in_flight, .. } = config;
        let request_bytes_max = u64::from(config.request_bytes_max);
        let placeholder = crate::config::DeviceConfig::Net(crate::config::NetConfig::default());
        let mut config = config;
        let device = Device::new(std::mem::replace(&mut config.device, placeholder))?;
        let identity = device.identity();
        let space = CardSpace::new(&config, &identity);
        let registers = Registers::new(&config, identity.queues, device.features());
        let queue = |index| Queue::new(index, build(&config, &device, index));
        let queues = (0..identity.queues).map(queue).collect();
        let bounce = config.swiotlb.map_or(0..0, |s| s.offset..s.offset + s.bytes);
        let memory = CardMemory::new(memory_bytes, bounce);
        let mut dma = Dma::new(config.timing, memory, reads_in_flight);
        dma.mischief = Mischief::new(&config.malice, identity.queues);
        dma.set_timeout(Some(dma.timing.completion_timeout));
        Ok(Self {
            settings: space.settings(),
            space,
            registers,
            msix: Msix::new(msix_vectors),
            dma,
            queues,
            device,
            counters: CardCounters::default(),
            fault: None,
            memory_bytes,
            msix_vectors,
            request_bytes_max,
            address_policy: config.address_policy,
            front: None,
            config_news: false,
            wake: None,
            awake: Instant::ZERO,
        })
    }

    /// Builds a card behind a register block at `registers`, its memory at `memory` (0 for nowhere). It
    /// sends requests as `requester` from the start, and `message` to interrupt.
    pub(crate) fn behind_block(config: CardConfig, place: &MmioConfig) -> Result<Self, CardError> {
        let mut card = Self::new(config)?;
        card.front = Some(Front::new(card.device.identity().device_type, place.interrupt));
        card.settings.memory_space = true;
        card.settings.bus_master = true;
        card.settings.bars = [place.registers, 0, place.memory.unwrap_or(0)];
        card.dma.memory.place(card.settings.bars[2]);
        card.dma.limits.bus_master = true;
        card.dma.limits.id = place.requester;
        Ok(card)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> CardCounters {
        self.counters
    }

    /// How many deeds of its malice the card has done.
    #[must_use]
    pub fn deeds_done(&self) -> u64 {
        self.dma.mischief.as_deref().map_or(0, Mischief::done)
    }

    /// Why DEVICE_NEEDS_RESET was last set.
    #[must_use]
    pub fn fault(&self) -> Option<RingFault> {
        self.fault
    }

    /// Pulls a network card's cable out of its socket, or puts it back. The driver is told at the next
    /// [`Endpoint::advance`], which becomes due at once. Nothing happens on other cards.
    pub fn set_link_up(&mut self, up: bool) {
        if let Device::Net(net) = &mut self.device
            && net.set_link_up(up)
        {
            self.registers.config_changed();
            self.config_news = true;
            self.wake = Some(Instant::ZERO);
        }
    }

    /// Carries out a status write of 0: everything that is under way is dropped, and the status reads 0
    /// once no read is unanswered any more (RST-DEV-02).
    fn begin_reset(&mut self) {
        self.registers.begin_reset();
        self.dma.reset();
        self.queues.iter_mut().for_each(Queue::reset);
        self.device.reset();
        self.msix.forget_pending();
        if let Some(front) = &mut self.front {
            front.reset();
        }
        self.fault = None;
        self.end_reset_when_quiet();
    }

    fn end_reset_when_quiet(&mut self) {
        if self.registers.resetting() && self.dma.tags.pending() == 0 {
            self.registers.end_reset();
        }
    }

    /// Takes over what software has set in configuration space.
    fn apply_settings(&mut self, now: Instant) {
        let settings = self.space.settings();
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        self.dma.memory.place(settings.bars[2]);
        self.dma.tags.set_bits(settings.tag_bits);
        self.dma.set_timeout(match settings.timeout {
            Timeout::Never => None,
            Timeout::AsBuilt => Some(self.dma.timing.completion_timeout),
            Timeout::After(span) => Some(span),
        });
        self.dma.limits = Limits {
            bus_master: settings.bus_master,
            payload_max: settings.payload_max,
            read_max: settings.read_max,
            id: self.dma.limits.id,
        };
        for message in self.msix.control(settings.msix_enabled, settings.msix_masked) {
            self.dma.message(now, message);
        }
    }

    /// A configuration write tells a function its bus and device number. PCIe 5.0 §2.2.6.2.
    fn capture(&mut self, target: Bdf) {
        self.dma.limits.id = target;
    }

    #[cold]
    fn tell_config_news(&mut self, now: Instant) {
        self.config_news = false;
        if self.registers.running() {
            self.config_interrupt(now);
        }
    }

    /// Gives up the reads whose time has passed.
    #[cold]
    fn time_out(&mut self, now: Instant) {
        while let Some(arrival) = self.dma.tags.take_timeout(now) {
            self.counters.timeouts += 1;
            // What nobody waits for is not missed.
            if arrival != Arrival::Discarded {
                self.detect(Error::CompletionTimeout, Role::Sole, None);
            }
            self.arrived(now, arrival, &[]);
        }
    }

    /// PCI-ISR-DEV-02: the ISR bit is set first, with MSI-X too.
    fn config_interrupt(&mut self, now: Instant) {
        self.registers.set_isr(isr::CONFIG);
        self.dma.after(now, self.dma.timing.interrupt, Event::Interrupt(Cause::Config));
    }

    #[inline]
    fn receive(&mut self, now: Instant, tlp: Tlp) {
        if now < self.awake {
            return self.receive_in_reset(now, tlp);
        }
        if self.is_too_long(&tlp) {
            return self.detect(Error::MalformedTlp, Role::Sole, Some(&tlp));
        }
        match tlp {
            Tlp::Completion(completion) => self.completion(now, completion),
            Tlp::MemRead(read) => self.memory_read(now, &read),
            Tlp::MemWrite(write) => self.memory_write(now, &write),
            Tlp::ConfigRead(read) => self.config_read(now, &read),
            Tlp::ConfigWrite(write) => self.config_write(now, &write),
            Tlp::Message(message) => self.message(message),
            Tlp::IoRead(_) | Tlp::IoWrite(_) | Tlp::Atomic(_) => self.not_served(now, &tlp),
            Tlp::Extended(extended) => self.receive_extended(now, extended),
        }
    }

    #[inline]
    fn happen(&mut self, at: Instant) -> bool {
        let Some((at, event)) = self.dma.schedule.take_due(at) else { return false };
        self.handle(at, event);
        true
    }
}

impl Endpoint for Card {
    fn advance(&mut self, now: Instant, port: &mut dyn Port) {
        // The card wakes itself on edges only, so this one need not be computed.
        if self.wake == Some(now) {
            self.dma.edges.is_edge(now);
        }
        if self.config_news {
            self.tell_config_news(now);
        }
        loop {
            while self.happen(now) {}
            if self.dma.tags.deadline() <= now {
                self.time_out(now);
            }
            if self.dma.timing.pipeline.is_some() {
                self.come_in(now, port);
            }
            while let Some(tlp) = port.receive() {
                self.receive(now, tlp);
            }
            self.dma.pump(now, port);
            if !self.dma.released.is_empty() {
                self.collect_released(now);
            }
            // One TLP takes the way out for this edge, so only an event can make more to do.
            if !self.dma.schedule.is_due(now) {
                break;
            }
        }
        self.wake = self.dma.next_wake(now);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.wake
    }

    fn hot_reset(&mut self, now: Instant) {
        self.reset(now, ResetKind::Hot);
        self.wake = None;
    }

    fn link_error(&mut self, now: Instant, error: Error, tlp: Option<&Tlp>) {
        self.detect(error, Role::Sole, tlp);
        self.wake = Some(now);
    }

    fn bypasses_translation(&self) -> bool {
        self.address_policy == AddressPolicy::BypassesAsHypervisor
            && !self.registers.platform_addresses()
    }
}

fn build(config: &CardConfig, device: &Device, index: u16) -> Build {
    let timing = &config.timing;
    Build {
        prefetch: config.descriptor_prefetch,
        batch: config.completion_batch,
        contexts: config.contexts,
        always_interrupt: config.always_interrupt,
        receives: device.receives(index),
        processing: match (device, &timing.pipeline) {
            (Device::Blk(_), None) => timing.blk_processing,
            (Device::Net(_), None) => timing.net_processing,
            (Device::Blk(_), Some(_)) => 0,
            (Device::Net(_), Some(steps)) if device.receives(index) => steps.receive,
            (Device::Net(_), Some(steps)) => steps.transmit,
        },
        commands: matches!(device, Device::Blk(_)),
        request_bytes_max: config.request_bytes_max.into(),
    }
}
