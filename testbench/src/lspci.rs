//! Configuration space as `lspci -F` reads it: what a driver's own configuration reads find, as hex.
//!
//! ```text
//!   01:00.0 virtio card
//!   00: f4 1a 42 10 …
//!   …
//!   ff0: 00 00 …
//! ```

use std::fmt::Write;

use host_driver::pci::Function;
use pcie_sim::host::Host;
use pcie_sim::spec::pci::header;

/// Bytes of one line.
const LINE_BYTES: u16 = 16;

/// All of a function's configuration space, read a doubleword at a time, under a line that names it.
pub fn dump(host: &mut dyn Host, function: Function, name: &str) -> String {
    let bdf = function.bdf();
    let (bus, device, number) = (bdf.bus(), bdf.device(), bdf.function());
    let mut text = format!("{bus:02x}:{device:02x}.{number} {name}\n");
    for line in (0..header::SPACE_BYTES).step_by(LINE_BYTES.into()) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{line:02x}:");
        for offset in (line..line + LINE_BYTES).step_by(4) {
            for byte in function.read_u32(host, offset).to_le_bytes() {
                let _ = write!(text, " {byte:02x}");
            }
        }
        text.push('\n');
    }
    text
}
