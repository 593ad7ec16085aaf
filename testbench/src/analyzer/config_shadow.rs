//! The card's configuration space as it can be known from outside: what was read, what was written.
//!
//! A register that limits what the card may do changes in two steps: when the write leaves the root
//! port, the card may already behave by the new value or still by the old one, so the looser of both
//! counts; when the write is answered, the new value counts alone.
//!
//! Left out: expansion ROM, I/O BARs, extended capabilities.

use pcie_sim::spec::pci::{bar, command, express, header, msix};

use super::capabilities::Layout;
use super::card_memory::Bars;

/// The sizes that Device Control allows, in bytes. PCIe 5.0 §7.5.3.4, "Device Control Register".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Max_Payload_Size.
    pub payload: u16,
    /// Max_Read_Request_Size.
    pub read_request: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct BarRegister {
    /// The last value that was an address.
    value: u32,
    /// What the register answered to all ones.
    mask: Option<u32>,
    /// All ones were written, and no address since.
    sizing: bool,
}

/// The shadow of one function's 4 KiB.
#[derive(Debug)]
pub struct ConfigShadow {
    space: Box<[u8; 4096]>,
    bars: [BarRegister; 6],
    command: Option<u16>,
    bus_master_allowed: bool,
    limits: Option<Limits>,
    /// MSI-X is off or all of it is masked, and the card has confirmed that.
    messages_held: bool,
    layout: Layout,
    placed: Bars,
}

impl ConfigShadow {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            space: Box::new([0; 4096]),
            bars: [BarRegister::default(); 6],
            command: None,
            bus_master_allowed: true,
            limits: None,
            messages_held: false,
            layout: Layout::default(),
            placed: Bars::default(),
        }
    }

    /// A configuration write leaves for the card.
    pub fn write_departs(&mut self, offset: u16, data: &[u8]) {
        self.note_bar(offset, data, true);
        if let Some(new) = self.register(header::COMMAND, offset, data) {
            self.bus_master_allowed |= new & command::BUS_MASTER != 0;
            self.command = Some(new);
        }
        if let Some(new) = self.device_control(offset, data) {
            let old = self.limits.unwrap_or(new);
            self.limits = Some(Limits {
                payload: old.payload.max(new.payload),
                read_request: old.read_request.max(new.read_request),
            });
        }
        self.messages_held &= self.holds_messages(offset, data).unwrap_or(true);
        self.note_window(offset, data);
    }

    /// The card has answered a configuration write: what it wrote holds.
    pub fn write_done(&mut self, offset: u16, data: &[u8]) {
        if let Some(new) = self.register(header::COMMAND, offset, data) {
            self.bus_master_allowed = new & command::BUS_MASTER != 0;
        }
        if let Some(new) = self.device_control(offset, data) {
            self.limits = Some(new);
            self.store(offset, data);
        }
        self.messages_held = self.holds_messages(offset, data).unwrap_or(self.messages_held);
    }

    /// A configuration read was answered with `data`.
    pub fn read_done(&mut self, offset: u16, data: &[u8]) {
        self.note_bar(offset, data, false);
        if !self.store(offset, data) {
            return;
        }
        self.layout = Layout::parse(&self.space);
        if let Some(known) = self.register(header::COMMAND, offset, data)
            && self.command.is_none()
        {
            self.command = Some(known);
            self.bus_master_allowed = known & command::BUS_MASTER != 0;
        }
        if self.limits.is_none() {
            self.limits = self.device_control(offset, data);
        }
        self.place_bars();
    }

    /// A function level reset was asked for: addresses, enables and limits are no longer known.
    pub fn function_reset(&mut self) {
        self.command = None;
        self.bus_master_allowed = true;
        self.limits = None;
        self.messages_held = false;
    }

    /// Whether a write to this offset asks for a function level reset.
    #[must_use]
    pub fn asks_function_reset(&self, offset: u16, data: &[u8]) -> bool {
        let Some(at) = self.layout.express else { return false };
        self.register(at + express::DEVICE_CONTROL, offset, data)
            .is_some_and(|control| control & express::CONTROL_FLR != 0)
    }

    /// Whether the card may send memory requests; `true` while that is not known.
    #[must_use]
    pub const fn bus_master_allowed(&self) -> bool {
        self.bus_master_allowed
    }

    /// Whether the card may send no MSI-X message at all; `false` while that is not known.
    #[must_use]
    pub const fn messages_held(&self) -> bool {
        self.messages_held
    }

    /// Device id, 0 when nobody read it.
    #[must_use]
    pub fn device(&self) -> u16 {
        self.word(header::DEVICE_ID)
    }

    /// Whether the card answers at its BARs.
    #[must_use]
    pub fn memory_space(&self) -> bool {
        self.command.is_none_or(|command| command & command::MEMORY_SPACE != 0)
    }

    /// The sizes the card must keep to, once somebody read or wrote them.
    #[must_use]
    pub const fn limits(&self) -> Option<Limits> {
        self.limits
    }

    /// What the capability list says.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Vendor id, 0 when nobody read it.
    #[must_use]
    pub fn vendor(&self) -> u16 {
        self.word(header::VENDOR_ID)
    }

    /// Start and size in bytes of a memory BAR, once placed.
    #[must_use]
    pub const fn bar(&self, number: usize) -> Option<(u64, u64)> {
        self.placed.ranges[number]
    }

    pub(crate) const fn bars(&self) -> &Bars {
        &self.placed
    }

    /// BAR, offset and length that the PCI access capability is set to.
    pub(crate) fn window(&self) -> Option<(u8, u64, usize)> {
        use pcie_sim::spec::virtio_pci::cap;
        let at = self.layout.window?;
        let offset = u64::from(self.dword(at + cap::OFFSET));
        let length = self.dword(at + cap::LENGTH);
        let bar = self.space[usize::from(at + cap::BAR)];
        (bar <= 5 && matches!(length, 1 | 2 | 4)).then_some((bar, offset, length as usize))
    }

    /// Where the data register of the PCI access capability is.
    pub(crate) fn window_data(&self) -> Option<u16> {
        use pcie_sim::spec::virtio_pci::cap;
        self.layout.window.map(|at| at + cap::PCI_CFG_DATA)
    }

    fn note_bar(&mut self, offset: u16, data: &[u8], write: bool) {
        let Some(number) = offset.checked_sub(header::BAR0).map(|past| usize::from(past / 4))
        else {
            return;
        };
        let (Ok(bytes), Some(register)) = (<[u8; 4]>::try_from(data), self.bars.get_mut(number))
        else {
            return;
        };
        let value = u32::from_le_bytes(bytes);
        match (write, register.sizing) {
            (true, _) if value | bar::FLAGS == u32::MAX => register.sizing = true,
            (true, _) => {
                register.value = value;
                register.sizing = false;
                self.place_bars();
            }
            (false, true) => register.mask = Some(value),
            (false, false) => register.value = value,
        }
    }

    /// Works out where the memory BARs are. The flags stand in what was read, never in what was
    /// written.
    fn place_bars(&mut self) {
        let mut number = 0;
        while number < 6 {
            let low = self.bars[number];
            let flags = self.dword(header::BAR0 + 4 * number as u16) | low.mask.unwrap_or(0);
            let wide = flags & bar::IO == 0 && flags & bar::MEMORY_64 != 0 && number < 5;
            let high = if wide { self.bars[number + 1] } else { BarRegister::default() };
            let base = u64::from(high.value) << 32 | u64::from(low.value & !bar::FLAGS);
            let size = self.bar_size(number, low, high, wide);
            let usable = flags & bar::IO == 0 && base != 0 && size != 0;
            self.placed.ranges[number] = usable.then_some((base, size));
            if wide {
                self.placed.ranges[number + 1] = None;
            }
            number += if wide { 2 } else { 1 };
        }
    }

    /// The size that sizing showed; when nobody sized it, the least that holds what lies behind it.
    fn bar_size(&self, number: usize, low: BarRegister, high: BarRegister, wide: bool) -> u64 {
        let Some(mask) = low.mask else {
            return match self.layout.extent(number as u8) {
                0 => 0,
                extent => extent.checked_next_power_of_two().unwrap_or(0),
            };
        };
        let low_mask = u64::from(mask & !bar::FLAGS);
        let high_mask = if wide { high.mask.unwrap_or(u32::MAX) } else { u32::MAX };
        if low_mask == 0 && (!wide || high_mask == 0) {
            return 0;
        }
        (!(u64::from(high_mask) << 32 | low_mask)).wrapping_add(1)
    }

    fn note_window(&mut self, offset: u16, data: &[u8]) {
        use pcie_sim::spec::virtio_pci::cap;
        let Some(at) = self.layout.window else { return };
        let fields = at + cap::BAR..at + cap::PCI_CFG_DATA;
        if fields.contains(&offset) {
            self.store(offset, data);
        }
    }

    fn device_control(&self, offset: u16, data: &[u8]) -> Option<Limits> {
        let at = self.layout.express? + express::DEVICE_CONTROL;
        let control = self.register(at, offset, data)?;
        Some(Limits {
            payload: express::size_bytes(control >> 5),
            read_request: express::size_bytes(control >> 12),
        })
    }

    /// What a write to Message Control of MSI-X says: that there are to be no messages.
    fn holds_messages(&self, offset: u16, data: &[u8]) -> Option<bool> {
        let control = self.register(self.layout.msix?.at + msix::CONTROL, offset, data)?;
        let (enabled, masked) = (msix::CONTROL_ENABLE, msix::CONTROL_FUNCTION_MASK);
        Some(control & (enabled | masked) != enabled)
    }

    /// The 16-bit register at `at` after an access of `data` at `offset`, if that touches it.
    fn register(&self, at: u16, offset: u16, data: &[u8]) -> Option<u16> {
        let mut bytes = self.word(at).to_le_bytes();
        if at == header::COMMAND {
            bytes = self.command.unwrap_or(0).to_le_bytes();
        }
        let mut touched = false;
        for (i, byte) in bytes.iter_mut().enumerate() {
            let into = usize::from(at) + i;
            if let Some(&new) = into.checked_sub(usize::from(offset)).and_then(|i| data.get(i)) {
                *byte = new;
                touched = true;
            }
        }
        touched.then(|| u16::from_le_bytes(bytes))
    }

    fn store(&mut self, offset: u16, data: &[u8]) -> bool {
        let start = usize::from(offset);
        let Some(place) = self.space.get_mut(start..start + data.len()) else { return false };
        let sizing = usize::from(offset.wrapping_sub(header::BAR0) / 4);
        if self.bars.get(sizing).is_some_and(|register| register.sizing) {
            return false;
        }
        let changed = place != data;
        place.copy_from_slice(data);
        changed || self.limits.is_none() || self.command.is_none()
    }

    fn word(&self, at: u16) -> u16 {
        self.dword(at) as u16
    }

    fn dword(&self, at: u16) -> u32 {
        let at = usize::from(at);
        let bytes = self.space.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or([0; 4]))
    }
}

impl Default for ConfigShadow {
    fn default() -> Self {
        Self::new()
    }
}
