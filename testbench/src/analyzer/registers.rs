//! The common configuration as the driver writes and reads it: where each queue lies, what was agreed,
//! whether the device is being reset.
//!
//! Virtio 1.4, "Common configuration structure layout".

use pcie_sim::spec::features;
use pcie_sim::spec::virtio_pci::{COMMON_CFG, CommonReg, NO_VECTOR, status};
use smallvec::SmallVec;

/// More queues than any device type has; a select beyond it is not followed.
const MOST_QUEUES: usize = 4096;

/// How far the driver has brought the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Nobody has touched `device_status` yet.
    Fresh,
    /// Status bits are set, DRIVER_OK is not.
    Setup,
    /// DRIVER_OK is set.
    Running,
    /// 0 was written, and the card has not confirmed it yet.
    Resetting,
    /// The card has confirmed the reset, and the driver has not begun again.
    AfterReset,
}

/// What the driver told about one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRegisters {
    /// `queue_size`, as last written, or read where it was not written.
    pub size: u16,
    /// `queue_msix_vector`.
    pub vector: u16,
    /// `queue_enable` was written with 1.
    pub enabled: bool,
    /// `queue_notify_off`, when somebody read it.
    pub notify_off: Option<u16>,
    /// `queue_desc`: bus address of the descriptor area.
    pub desc: u64,
    /// `queue_driver`: bus address of the available ring.
    pub driver: u64,
    /// `queue_device`: bus address of the used ring.
    pub device: u64,
    reset_asked: bool,
}

impl QueueRegisters {
    const RESET: Self = Self {
        size: 0,
        vector: NO_VECTOR,
        enabled: false,
        notify_off: None,
        desc: 0,
        driver: 0,
        device: 0,
        reset_asked: false,
    };
}

/// What follows from an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterEvent {
    /// A queue is switched on.
    QueueEnabled(u16),
    /// A queue is no more.
    QueueForgotten(u16),
    /// No queue is any more.
    AllForgotten,
    /// `device_status` was read after FEATURES_OK had been written.
    Negotiated {
        /// Features that were accepted and not offered, as far as it is known what was.
        beyond: u64,
        /// FEATURES_OK is still set.
        kept: bool,
    },
}

/// The follow-ups of one access: rarely more than one.
pub type Events = SmallVec<[RegisterEvent; 2]>;

/// Followed state of the common configuration.
#[derive(Debug)]
pub struct Registers {
    raw: [u8; 64],
    features: [u32; 4],
    /// What was offered, as far as it was read.
    offered: [Option<u32>; 2],
    /// FEATURES_OK was written, and nobody has looked whether it holds.
    negotiating: bool,
    queues: Vec<QueueRegisters>,
    life: Life,
    config_vector: u16,
}

impl Registers {
    /// A device nobody has touched.
    #[must_use]
    pub fn new() -> Self {
        Self {
            raw: [0; 64],
            features: [0; 4],
            offered: [None; 2],
            negotiating: false,
            queues: Vec::new(),
            life: Life::Fresh,
            config_vector: NO_VECTOR,
        }
    }

    /// How far the driver has brought the device.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// Feature bits 0 to 63 that the driver accepted.
    #[must_use]
    pub const fn features(&self) -> u64 {
        (self.features[1] as u64) << 32 | self.features[0] as u64
    }

    /// Features accepted that were not offered; what was offered and not read counts as offered.
    fn beyond(&self) -> u64 {
        let word = |at: usize| u64::from(self.features[at] & !self.offered[at].unwrap_or(u32::MAX));
        word(1) << 32 | word(0)
    }

    /// Vector of configuration changes.
    #[must_use]
    pub const fn config_vector(&self) -> u16 {
        self.config_vector
    }

    /// The queue that the queue registers stand for at the moment.
    #[must_use]
    pub const fn selected(&self) -> u16 {
        u16::from_le_bytes([self.raw[0x16], self.raw[0x17]])
    }

    /// What is known of a queue.
    #[must_use]
    pub fn queue(&self, index: u16) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(index))
    }

    /// Which queue a doorbell is for. The value names the queue, unless the device chose the values
    /// (NOTIF_CONFIG_DATA); then the address does.
    #[must_use]
    pub fn doorbell(&self, offset: u64, multiplier: u32, data: &[u8]) -> Option<u16> {
        if self.features() & features::NOTIF_CONFIG_DATA == 0 {
            return Some(u16::from_le_bytes([*data.first()?, *data.get(1)?]));
        }
        let place = offset.checked_div(u64::from(multiplier))?;
        let matches = |(i, queue): (usize, &QueueRegisters)| {
            let notify_off = queue.notify_off.map_or(i as u64, u64::from);
            (queue.enabled && notify_off == place).then_some(i as u16)
        };
        self.queues.iter().enumerate().find_map(matches)
    }

    /// The CPU writes `data` at `offset` of the common configuration.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Events {
        let mut events = Events::new();
        let start = offset as usize;
        let Some(place) = self.raw.get_mut(start..start + data.len()) else { return events };
        place.copy_from_slice(data);
        for (register, value) in touched(&self.raw, start, data.len()) {
            self.written(register, value, &mut events);
        }
        events
    }

    /// A read of `data` at `offset`, begun with queue `selected` and, if `resetting`, after a write of
    /// 0 to `device_status`, was answered.
    pub fn read_done(
        &mut self,
        offset: u64,
        data: &[u8],
        selected: u16,
        resetting: bool,
    ) -> Events {
        let mut events = Events::new();
        let mut raw = self.raw;
        let start = offset as usize;
        let Some(place) = raw.get_mut(start..start + data.len()) else { return events };
        place.copy_from_slice(data);
        for (register, value) in touched(&raw, start, data.len()) {
            match register {
                CommonReg::DeviceStatus
                    if value == 0 && resetting && self.life == Life::Resetting =>
                {
                    self.forget_all(&mut events);
                    self.life = Life::AfterReset;
                }
                CommonReg::DeviceStatus if self.negotiating && self.life == Life::Setup => {
                    self.negotiating = false;
                    let kept = value as u8 & status::FEATURES_OK != 0;
                    events.push(RegisterEvent::Negotiated { beyond: self.beyond(), kept });
                }
                CommonReg::DeviceFeature => {
                    let select = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
                    if let Some(word) = self.offered.get_mut(select as usize) {
                        *word = Some(value);
                    }
                }
                CommonReg::QueueReset if value == 0 => {
                    if let Some(queue) = self.queue_mut(selected)
                        && queue.reset_asked
                    {
                        *queue = QueueRegisters {
                            notify_off: queue.notify_off,
                            ..QueueRegisters::RESET
                        };
                        events.push(RegisterEvent::QueueForgotten(selected));
                    }
                }
                _ => self.queue_read(register, value, selected),
            }
        }
        events
    }

    fn queue_read(&mut self, register: CommonReg, value: u32, selected: u16) {
        let Some(queue) = self.queue_mut(selected) else { return };
        match register {
            CommonReg::QueueSize => queue.size = value as u16,
            CommonReg::QueueNotifyOff => queue.notify_off = Some(value as u16),
            CommonReg::QueueMsixVector => queue.vector = value as u16,
            _ => {}
        }
    }

    fn written(&mut self, register: CommonReg, value: u32, events: &mut Events) {
        match register {
            CommonReg::DeviceStatus => self.status_written(value as u8, events),
            CommonReg::ConfigMsixVector => self.config_vector = value as u16,
            CommonReg::DriverFeature => {
                let select =
                    u32::from_le_bytes([self.raw[8], self.raw[9], self.raw[10], self.raw[11]]);
                if let Some(word) = self.features.get_mut(select as usize) {
                    *word = value;
                }
            }
            _ => self.queue_written(register, value, events),
        }
    }

    fn queue_written(&mut self, register: CommonReg, value: u32, events: &mut Events) {
        let selected = self.selected();
        let Some(queue) = self.queue_mut(selected) else { return };
        match register {
            CommonReg::QueueSize => queue.size = value as u16,
            CommonReg::QueueMsixVector => {
                queue.vector = value as u16;
            }
            CommonReg::QueueDescLow => set_low(&mut queue.desc, value),
            CommonReg::QueueDescHigh => set_high(&mut queue.desc, value),
            CommonReg::QueueDriverLow => set_low(&mut queue.driver, value),
            CommonReg::QueueDriverHigh => set_high(&mut queue.driver, value),
            CommonReg::QueueDeviceLow => set_low(&mut queue.device, value),
            CommonReg::QueueDeviceHigh => set_high(&mut queue.device, value),
            CommonReg::QueueEnable if value == 1 => {
                queue.enabled = true;
                events.push(RegisterEvent::QueueEnabled(selected));
            }
            CommonReg::QueueReset if value == 1 => queue.reset_asked = true,
            _ => {}
        }
    }

    fn status_written(&mut self, value: u8, events: &mut Events) {
        if value == 0 {
            // A driver begins with a reset of a device that was never up: nothing to confirm then.
            self.life = Life::Resetting;
            return;
        }
        if self.life == Life::Resetting {
            self.forget_all(events);
        }
        let running = value & status::DRIVER_OK != 0;
        self.negotiating = value & status::FEATURES_OK != 0 && !running;
        self.life = if running { Life::Running } else { Life::Setup };
    }

    /// The function is reset by other means than `device_status`.
    pub fn function_reset(&mut self) {
        self.life = Life::Resetting;
    }

    fn forget_all(&mut self, events: &mut Events) {
        self.queues.clear();
        self.features = [0; 4];
        self.negotiating = false;
        self.config_vector = NO_VECTOR;
        events.push(RegisterEvent::AllForgotten);
    }
}

impl Registers {
    fn queue_mut(&mut self, index: u16) -> Option<&mut QueueRegisters> {
        let index = usize::from(index);
        if index >= MOST_QUEUES {
            return None;
        }
        if index >= self.queues.len() {
            self.queues.resize(index + 1, QueueRegisters::RESET);
        }
        self.queues.get_mut(index)
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

/// The registers that an access of `len` bytes at `start` touches, with their values in `raw`.
fn touched(
    raw: &[u8; 64],
    start: usize,
    len: usize,
) -> impl Iterator<Item = (CommonReg, u32)> + use<> {
    let raw = *raw;
    let mut at = 0;
    COMMON_CFG.iter().filter_map(move |&(register, bytes, _)| {
        let (first, bytes) = (at, usize::from(bytes));
        at += bytes;
        if first + bytes <= start || start + len <= first {
            return None;
        }
        let value = raw[first..first + bytes].iter().rev();
        Some((register, value.fold(0, |value, &byte| value << 8 | u32::from(byte))))
    })
}

fn set_low(address: &mut u64, low: u32) {
    *address = *address & !0xffff_ffff | u64::from(low);
}

fn set_high(address: &mut u64, high: u32) {
    *address = *address & 0xffff_ffff | u64::from(high) << 32;
}
