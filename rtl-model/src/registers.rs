//! The virtio registers in BAR0: common configuration and ISR, dispatched from the specification's table.
//!
//! An access of any width and alignment is cut along register boundaries; a register that is written in
//! part keeps its other bytes. Drivers must use natural widths (PCI-LAY-DRV-01), so this is a courtesy.

use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::{Access, COMMON_CFG, CommonReg, NO_VECTOR, isr, status};

use crate::config::{AddressPolicy, CardConfig};

/// What the driver has programmed for one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueRegisters {
    /// Entries, a power of two.
    pub(crate) size: u16,
    /// MSI-X vector, or [`NO_VECTOR`].
    pub(crate) vector: u16,
    /// In use until the next reset.
    pub(crate) enabled: bool,
    /// Bus address of the descriptor area.
    pub(crate) desc: u64,
    /// Bus address of the driver area.
    pub(crate) driver: u64,
    /// Bus address of the device area.
    pub(crate) device: u64,
}

/// What a register write asks of the rest of the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effects {
    /// Reset the device.
    pub(crate) reset: bool,
    /// Queues may have become ready to run.
    pub(crate) run: bool,
}

/// The registers and the negotiation they carry.
#[derive(Debug)]
pub(crate) struct Registers {
    offered: u64,
    accepted: u64,
    required: u64,
    refuse: bool,
    size_max: u16,
    vectors: u16,
    device_feature_select: u32,
    driver_feature_select: u32,
    config_vector: u16,
    status: u8,
    generation: u8,
    queue_select: u16,
    isr: u8,
    queues: Vec<QueueRegisters>,
    resetting: bool,
    /// ACCESS_PLATFORM was accepted when features were last agreed. A reset does not change it: what was
    /// sent before is still on its way.
    platform: bool,
}

impl Registers {
    /// Registers after power-on, for `queues` queues and a device that brings `device_features`.
    pub(crate) fn new(config: &CardConfig, queues: u16, device_features: u64) -> Self {
        let when = |on: bool, bits: u64| if on { bits } else { 0 };
        let bounce = when(config.swiotlb.is_some_and(|s| s.offer_feature), features::SWIOTLB);
        let implemented = config.offered_features | device_features | bounce;
        let offered = implemented & !config.withheld_features;
        let needs = config.address_policy == AddressPolicy::NeedsAccessPlatform;
        let platform = when(needs, features::ACCESS_PLATFORM);
        let bounce = when(config.swiotlb.is_some_and(|s| s.require), features::SWIOTLB);
        let mut registers = Self {
            offered,
            accepted: 0,
            required: offered & (features::VERSION_1 | platform | bounce),
            refuse: config.refuse_features_ok,
            size_max: config.queue_size_max,
            vectors: config.msix_vectors,
            device_feature_select: 0,
            driver_feature_select: 0,
            config_vector: NO_VECTOR,
            status: 0,
            generation: 0,
            queue_select: 0,
            isr: 0,
            queues: Vec::with_capacity(usize::from(queues)),
            resetting: false,
            platform: false,
        };
        registers.queues.resize(usize::from(queues), registers.fresh_queue());
        registers
    }

    fn fresh_queue(&self) -> QueueRegisters {
        let size = self.size_max;
        QueueRegisters { size, vector: NO_VECTOR, enabled: false, desc: 0, driver: 0, device: 0 }
    }

    /// Puts every register back, except that the status reads as before until the reset has finished.
    pub(crate) fn begin_reset(&mut self) {
        self.accepted = 0;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.config_vector = NO_VECTOR;
        self.queue_select = 0;
        self.isr = 0;
        let fresh = self.fresh_queue();
        self.queues.fill(fresh);
        self.resetting = true;
    }

    /// Ends a reset that was begun: the status reads 0 (RST-DEV-01).
    pub(crate) fn end_reset(&mut self) {
        self.status = 0;
        self.resetting = false;
    }

    /// Whether a reset has begun and not ended.
    pub(crate) fn resetting(&self) -> bool {
        self.resetting
    }

    /// Whether queues may run (STAT-DEV-01).
    pub(crate) fn running(&self) -> bool {
        self.status & status::DRIVER_OK != 0 && !self.resetting
    }

    /// Whether the driver accepted these feature bits.
    pub(crate) fn accepted(&self, bits: u64) -> bool {
        self.accepted & bits == bits
    }

    /// All that the driver has accepted.
    pub(crate) fn accepted_bits(&self) -> u64 {
        self.accepted
    }

    /// Whether ACCESS_PLATFORM was accepted when features were last agreed.
    pub(crate) fn platform_addresses(&self) -> bool {
        self.platform
    }

    /// What the driver has programmed for a queue.
    pub(crate) fn queue(&self, queue: u16) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(queue))
    }

    /// The vector for configuration changes.
    pub(crate) fn config_vector(&self) -> u16 {
        self.config_vector
    }

    /// Sets DEVICE_NEEDS_RESET; whether the driver is to be told (STAT-DEV-04).
    pub(crate) fn needs_reset(&mut self) -> bool {
        let news = self.status & status::DEVICE_NEEDS_RESET == 0;
        self.status |= status::DEVICE_NEEDS_RESET;
        news && self.running()
    }

    /// The device configuration has changed (PCI-CC-DEV-06).
    pub(crate) fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Notes a cause for an interrupt, one of [`isr`]'s bits.
    pub(crate) fn set_isr(&mut self, cause: u8) {
        self.isr |= cause;
    }

    /// Whether any cause is noted.
    pub(crate) fn interrupt_pending(&self) -> bool {
        self.isr & (isr::QUEUE | isr::CONFIG) != 0
    }

    /// Reads the ISR byte, which clears it (PCI-ISR-DEV-05).
    pub(crate) fn take_isr(&mut self) -> u8 {
        std::mem::take(&mut self.isr)
    }

    /// Reads common configuration at `offset`; past its end, zeroes.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        for_each_overlap(offset, into.len(), |reg, in_reg, in_access, len| {
            let value = self.get(reg).to_le_bytes();
            into[in_access..in_access + len].copy_from_slice(&value[in_reg..in_reg + len]);
        });
    }

    /// Writes common configuration at `offset`.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Effects {
        let mut effects = Effects::default();
        for_each_overlap(offset, data.len(), |reg, in_reg, in_access, len| {
            if reg.shape().1 == Access::Rw {
                let mut value = self.get(reg).to_le_bytes();
                value[in_reg..in_reg + len].copy_from_slice(&data[in_access..in_access + len]);
                self.set(reg, u32::from_le_bytes(value), &mut effects);
            }
        });
        effects
    }

    /// How many descriptors the selected queue may have; 0 when there is no such queue.
    pub(crate) fn selected_size_max(&self) -> u16 {
        if self.selected().is_some() { self.size_max } else { 0 }
    }

    fn selected(&self) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(self.queue_select))
    }

    fn get(&self, reg: CommonReg) -> u32 {
        let queue = self.selected().copied();
        let of_queue = |field: fn(QueueRegisters) -> u32| queue.map_or(0, field);
        match reg {
            CommonReg::DeviceFeatureSelect => self.device_feature_select,
            CommonReg::DeviceFeature => window(self.offered, self.device_feature_select),
            CommonReg::DriverFeatureSelect => self.driver_feature_select,
            CommonReg::DriverFeature => window(self.accepted, self.driver_feature_select),
            CommonReg::ConfigMsixVector => self.config_vector.into(),
            CommonReg::NumQueues => self.queues.len() as u32,
            CommonReg::DeviceStatus => self.status.into(),
            CommonReg::ConfigGeneration => self.generation.into(),
            CommonReg::QueueSelect => self.queue_select.into(),
            CommonReg::QueueSize => of_queue(|q| q.size.into()),
            CommonReg::QueueMsixVector => queue.map_or(NO_VECTOR, |q| q.vector).into(),
            CommonReg::QueueEnable => of_queue(|q| q.enabled.into()),
            CommonReg::QueueNotifyOff if queue.is_some() => self.queue_select.into(),
            CommonReg::QueueDescLow => of_queue(|q| q.desc as u32),
            CommonReg::QueueDescHigh => of_queue(|q| (q.desc >> 32) as u32),
            CommonReg::QueueDriverLow => of_queue(|q| q.driver as u32),
            CommonReg::QueueDriverHigh => of_queue(|q| (q.driver >> 32) as u32),
            CommonReg::QueueDeviceLow => of_queue(|q| q.device as u32),
            CommonReg::QueueDeviceHigh => of_queue(|q| (q.device >> 32) as u32),
            // They belong to features that the card does not offer.
            CommonReg::QueueNotifyOff
            | CommonReg::QueueNotifConfigData
            | CommonReg::QueueReset
            | CommonReg::AdminQueueIndex
            | CommonReg::AdminQueueNum => 0,
        }
    }

    fn set(&mut self, reg: CommonReg, value: u32, effects: &mut Effects) {
        match reg {
            CommonReg::DeviceFeatureSelect => self.device_feature_select = value,
            CommonReg::DriverFeatureSelect => self.driver_feature_select = value,
            CommonReg::DriverFeature => self.accept(value),
            CommonReg::ConfigMsixVector => self.config_vector = self.vector(value),
            CommonReg::DeviceStatus => self.set_status(value as u8, effects),
            CommonReg::QueueSelect => self.queue_select = value as u16,
            _ => self.set_of_queue(reg, value, effects),
        }
    }

    /// A queue that is enabled keeps what it runs on; its vector may change at any time.
    fn set_of_queue(&mut self, reg: CommonReg, value: u32, effects: &mut Effects) {
        let vector = self.vector(value);
        let size_max = self.size_max;
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else { return };
        match reg {
            CommonReg::QueueMsixVector => queue.vector = vector,
            _ if queue.enabled => {}
            CommonReg::QueueSize if value.is_power_of_two() && value <= size_max.into() => {
                queue.size = value as u16;
            }
            CommonReg::QueueEnable => {
                queue.enabled = value == 1;
                effects.run |= queue.enabled;
            }
            CommonReg::QueueDescLow => set_low(&mut queue.desc, value),
            CommonReg::QueueDescHigh => set_high(&mut queue.desc, value),
            CommonReg::QueueDriverLow => set_low(&mut queue.driver, value),
            CommonReg::QueueDriverHigh => set_high(&mut queue.driver, value),
            CommonReg::QueueDeviceLow => set_low(&mut queue.device, value),
            CommonReg::QueueDeviceHigh => set_high(&mut queue.device, value),
            _ => {}
        }
    }

    /// A vector that the card does not have reads back as none (PCI-MSIX-DEV-09).
    fn vector(&self, value: u32) -> u16 {
        if value < self.vectors.into() { value as u16 } else { NO_VECTOR }
    }

    fn accept(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        match self.driver_feature_select {
            0 => set_low(&mut self.accepted, value),
            1 => set_high(&mut self.accepted, value),
            _ => {}
        }
    }

    fn set_status(&mut self, value: u8, effects: &mut Effects) {
        if value == 0 {
            effects.reset = true;
            return;
        }
        if self.resetting {
            return;
        }
        let mut bits = value & !status::DEVICE_NEEDS_RESET & !status::SUSPEND;
        if !self.features_workable() {
            bits &= !status::FEATURES_OK;
        }
        if (self.status | bits) & status::FEATURES_OK == 0 {
            bits &= !status::DRIVER_OK;
        }
        if bits & !self.status & status::FEATURES_OK != 0 {
            self.platform = self.accepted(features::ACCESS_PLATFORM);
        }
        // Bits never go away but through a reset (STAT-DRV-02).
        self.status |= bits;
        effects.run |= bits & status::DRIVER_OK != 0;
    }

    /// FEAT-DEV-03: what was accepted is offered, and nothing that the card cannot do without is missing.
    fn features_workable(&self) -> bool {
        !self.refuse
            && self.accepted & !self.offered == 0
            && self.accepted & self.required == self.required
    }
}

/// Calls `visit(register, first byte in it, first byte in the access, bytes)` for each register hit.
fn for_each_overlap(
    offset: u64,
    len: usize,
    mut visit: impl FnMut(CommonReg, usize, usize, usize),
) {
    let (start, end) = (offset as usize, (offset as usize).saturating_add(len));
    let mut at = 0;
    for &(reg, bytes, _) in COMMON_CFG {
        let (first, last) = (start.max(at), end.min(at + usize::from(bytes)));
        if first < last {
            visit(reg, first - at, first - start, last - first);
        }
        at += usize::from(bytes);
    }
}

fn window(bits: u64, select: u32) -> u32 {
    match select {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

fn set_low(field: &mut u64, value: u32) {
    *field = *field >> 32 << 32 | u64::from(value);
}

fn set_high(field: &mut u64, value: u32) {
    *field = *field & 0xffff_ffff | u64::from(value) << 32;
}
