//! What firmware does before an operating system comes: find functions, number buses, size and place
//! BARs, open the bridges' windows, agree on payload and read request sizes.
//!
//! Works on any [`Bus`], so that a bench and a real machine are set up by the same code.

use crate::address::{Bdf, PhysAddr};
use crate::host::{Bus, Width};
use crate::spec::pci::{bar, cap_id, command, express, header};

/// Where firmware may place BARs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Start of the window below 4 GiB.
    pub low: u64,
    /// End of the window below 4 GiB (exclusive).
    pub low_end: u64,
    /// Start of the window for 64-bit prefetchable BARs.
    pub high: u64,
}

impl Default for Windows {
    /// From 3.5 GiB to below the IOMMU's registers, and from 3.5 TiB.
    fn default() -> Self {
        Self { low: 0xe000_0000, low_end: 0xfe00_0000, high: 0x380_0000_0000 }
    }
}

/// A BAR as firmware placed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// 0 to 5.
    pub index: u8,
    /// Where the CPU finds it.
    pub address: PhysAddr,
    /// Its size.
    pub len_bytes: u64,
    /// Reads have no side effects and writes may be merged.
    pub prefetchable: bool,
}

/// A function that firmware found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub bdf: Bdf,
    /// The port above it; `None` on bus 0.
    pub parent: Option<Bdf>,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Its BARs.
    pub bars: Vec<Bar>,
    /// Capabilities: id and offset, in list order.
    pub capabilities: Vec<(u8, u16)>,
}

/// Why firmware could not set up a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnumerateError {
    /// The window below 4 GiB is full.
    #[error("{bdf} BAR{index}: {len_bytes:#x} bytes do not fit below {end:#x}")]
    WindowFull {
        /// Whose BAR.
        bdf: Bdf,
        /// Which BAR.
        index: u8,
        /// How large it is.
        len_bytes: u64,
        /// Where the window ends.
        end: u64,
    },
}

/// Finds and sets up all functions; a port's children follow it in the result.
///
/// `max_read_request_bytes` is written to every function's Device Control; Max_Payload_Size becomes the
/// smallest that any function supports, at most `max_payload_bytes`.
pub fn enumerate<B: Bus + ?Sized>(
    bus: &mut B,
    windows: Windows,
    max_payload_bytes: u16,
    max_read_request_bytes: u16,
) -> Result<Vec<Function>, EnumerateError> {
    let mut firmware = Firmware { bus, windows, next_bus: 1, found: Vec::new() };
    firmware.scan(0, None)?;
    let found = firmware.found;
    let payload = found
        .iter()
        .filter_map(|function| supported_payload(bus, function))
        .fold(max_payload_bytes, u16::min);
    for function in &found {
        set_sizes(bus, function, payload, max_read_request_bytes);
    }
    Ok(found)
}

/// The offset of a capability, when the function has it.
#[must_use]
pub fn capability(function: &Function, id: u8) -> Option<u16> {
    function.capabilities.iter().find(|(found, _)| *found == id).map(|&(_, offset)| offset)
}

/// Lets a function master the bus, or stops it. Without it no memory request, MSI-X included, may
/// leave the function. PCIe 5.0 §7.5.1.1.3, "Command Register".
pub fn set_bus_master<B: Bus + ?Sized>(bus: &mut B, bdf: Bdf, on: bool) {
    let old = bus.config_read(bdf, header::COMMAND, Width::W16) as u16;
    let new = if on { old | command::BUS_MASTER } else { old & !command::BUS_MASTER };
    bus.config_write(bdf, header::COMMAND, Width::W16, u32::from(new));
}

struct Firmware<'a, B: ?Sized> {
    bus: &'a mut B,
    windows: Windows,
    next_bus: u8,
    found: Vec<Function>,
}

impl<B: Bus + ?Sized> Firmware<'_, B> {
    fn scan(&mut self, bus_number: u8, parent: Option<Bdf>) -> Result<(), EnumerateError> {
        for device in 0..32 {
            for function in 0..8 {
                let bdf = Bdf::new(bus_number, device, function);
                if self.read(bdf, header::VENDOR_ID, Width::W16) == 0xffff {
                    if function == 0 {
                        break;
                    }
                    continue;
                }
                let kind = self.read(bdf, header::HEADER_TYPE, Width::W8);
                self.set_up(bdf, parent, kind & 0x7f == 1)?;
                if kind & 0x80 == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn set_up(
        &mut self,
        bdf: Bdf,
        parent: Option<Bdf>,
        bridge: bool,
    ) -> Result<(), EnumerateError> {
        let id = self.read(bdf, header::VENDOR_ID, Width::W32);
        let capabilities = self.walk_capabilities(bdf);
        let at = self.found.len();
        self.found.push(Function {
            bdf,
            parent,
            vendor: id as u16,
            device: (id >> 16) as u16,
            bars: Vec::new(),
            capabilities,
        });
        if bridge {
            return self.set_up_bridge(bdf);
        }
        let bars = self.place_bars(bdf)?;
        if !bars.is_empty() {
            let old = self.read(bdf, header::COMMAND, Width::W16);
            let new = old | u32::from(command::MEMORY_SPACE);
            self.bus.config_write(bdf, header::COMMAND, Width::W16, new);
        }
        self.found[at].bars = bars;
        Ok(())
    }

    fn set_up_bridge(&mut self, bdf: Bdf) -> Result<(), EnumerateError> {
        let secondary = self.next_bus;
        self.next_bus += 1;
        let primary = u32::from(bdf.bus());
        let numbers = |last: u8| primary | u32::from(secondary) << 8 | u32::from(last) << 16;
        self.bus.config_write(bdf, header::BUS_NUMBERS, Width::W32, numbers(0xff));
        self.align_windows();
        let (low, high) = (self.windows.low, self.windows.high);
        self.scan(secondary, Some(bdf))?;
        self.align_windows();
        self.bus.config_write(bdf, header::BUS_NUMBERS, Width::W32, numbers(self.next_bus - 1));
        self.open_window(bdf, header::MEMORY_WINDOW, low, self.windows.low);
        self.open_window(bdf, header::PREFETCHABLE_WINDOW, high, self.windows.high);
        let (base, limit) = window_or_closed(high, self.windows.high);
        let high_half = |value: u64| (value >> 32) as u32;
        self.bus.config_write(bdf, header::PREFETCHABLE_BASE_HIGH, Width::W32, high_half(base));
        self.bus.config_write(bdf, header::PREFETCHABLE_LIMIT_HIGH, Width::W32, high_half(limit));
        let on = u32::from(command::MEMORY_SPACE | command::BUS_MASTER);
        self.bus.config_write(bdf, header::COMMAND, Width::W16, on);
        Ok(())
    }

    fn open_window(&mut self, bdf: Bdf, register: u16, start: u64, end: u64) {
        let (base, limit) = window_or_closed(start, end);
        let value = (base >> 16) as u32 & 0xfff0 | limit as u32 & 0xfff0_0000;
        self.bus.config_write(bdf, register, Width::W32, value);
    }

    /// A bridge's windows begin and end at whole MiB.
    fn align_windows(&mut self) {
        self.windows.low = self.windows.low.next_multiple_of(1 << 20);
        self.windows.high = self.windows.high.next_multiple_of(1 << 20);
    }

    fn place_bars(&mut self, bdf: Bdf) -> Result<Vec<Bar>, EnumerateError> {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < 6 {
            let register = header::BAR0 + 4 * u16::from(index);
            let flags = self.read(bdf, register, Width::W32);
            let wide = flags & (bar::IO | 0b110) == bar::MEMORY_64;
            if let Some(found) = self.place_bar(bdf, index, wide)? {
                bars.push(found);
            }
            index += if wide { 2 } else { 1 };
        }
        Ok(bars)
    }

    fn place_bar(
        &mut self,
        bdf: Bdf,
        index: u8,
        wide: bool,
    ) -> Result<Option<Bar>, EnumerateError> {
        let register = header::BAR0 + 4 * u16::from(index);
        let low = self.size(bdf, register);
        let high = if wide { self.size(bdf, register + 4) } else { u32::MAX };
        let mask = u64::from(high) << 32 | u64::from(low & !bar::FLAGS);
        if low & !bar::FLAGS == 0 && (!wide || high == 0) || low & bar::IO != 0 {
            return Ok(None);
        }
        let len_bytes = mask.wrapping_neg();
        let prefetchable = low & bar::PREFETCHABLE != 0;
        let address = self.reserve(bdf, index, len_bytes, wide && prefetchable)?;
        self.bus.config_write(bdf, register, Width::W32, address as u32);
        if wide {
            self.bus.config_write(bdf, register + 4, Width::W32, (address >> 32) as u32);
        }
        Ok(Some(Bar { index, address: PhysAddr(address), len_bytes, prefetchable }))
    }

    fn reserve(
        &mut self,
        bdf: Bdf,
        index: u8,
        len_bytes: u64,
        high: bool,
    ) -> Result<u64, EnumerateError> {
        let next = if high { &mut self.windows.high } else { &mut self.windows.low };
        let address = next.next_multiple_of(len_bytes);
        let end = address + len_bytes;
        if !high && end > self.windows.low_end {
            let end = self.windows.low_end;
            return Err(EnumerateError::WindowFull { bdf, index, len_bytes, end });
        }
        *next = end;
        Ok(address)
    }

    /// Writes all ones and reads back: the bits that stay are the address. PCI 3.0 §6.2.5.1.
    fn size(&mut self, bdf: Bdf, register: u16) -> u32 {
        let old = self.read(bdf, register, Width::W32);
        self.bus.config_write(bdf, register, Width::W32, u32::MAX);
        let size = self.read(bdf, register, Width::W32);
        self.bus.config_write(bdf, register, Width::W32, old);
        size
    }

    fn walk_capabilities(&mut self, bdf: Bdf) -> Vec<(u8, u16)> {
        let mut found = Vec::new();
        let mut at = self.read(bdf, header::CAPABILITIES, Width::W8) as u16 & 0xfc;
        // A list that loops ends here: more capabilities than this do not fit into 256 bytes.
        while at >= header::BYTES && found.len() < 48 {
            let both = self.read(bdf, at, Width::W16);
            found.push((both as u8, at));
            at = (both >> 8) as u16 & 0xfc;
        }
        found
    }

    fn read(&mut self, bdf: Bdf, offset: u16, width: Width) -> u32 {
        self.bus.config_read(bdf, offset, width)
    }
}

/// Base and limit of a window; an empty one is closed by a base above its limit.
fn window_or_closed(start: u64, end: u64) -> (u64, u64) {
    if end > start { (start, end - 1) } else { (0xfff0_0000, 0) }
}

fn supported_payload<B: Bus + ?Sized>(bus: &mut B, function: &Function) -> Option<u16> {
    let cap = capability(function, cap_id::PCI_EXPRESS)?;
    let capabilities =
        bus.config_read(function.bdf, cap + express::DEVICE_CAPABILITIES, Width::W32);
    Some(express::size_bytes(capabilities as u16))
}

fn set_sizes<B: Bus + ?Sized>(bus: &mut B, function: &Function, payload: u16, read_request: u16) {
    let Some(cap) = capability(function, cap_id::PCI_EXPRESS) else { return };
    let register = cap + express::DEVICE_CONTROL;
    let old = bus.config_read(function.bdf, register, Width::W16) & !0x70e0;
    let sizes = express::size_code(payload) << 5 | express::size_code(read_request) << 12;
    let tags = express::CONTROL_EXTENDED_TAG;
    bus.config_write(function.bdf, register, Width::W16, old | u32::from(sizes | tags));
}
