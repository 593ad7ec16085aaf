//! The ports of a design, whoever simulates it: the seam between pin adapters and simulators.
//!
//! A simulator offers its design's ports by name; an adapter asks for the handles once, and from then
//! on reads and writes by handle, at each rising edge of the clock:
//!
//! ```text
//!            ┌ reads what stood on the outputs as the edge came
//!   edge ────┤
//!            └ writes what the inputs hold from just behind this edge until just behind the next
//! ```
//!
//! so that an adapter behaves like one more flip-flop of the design's own clock, and whether it is driven
//! by Verilator's C++ or by a VPI callback makes no difference to it.

pub mod card;
pub mod finding;
pub mod pinned;
pub mod tlp_stream;

pub use card::{Clocked, PinCard};
pub use finding::{Findings, PinFinding};
pub use tlp_stream::TlpStream;

/// One port of a design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// Which way a port goes, seen from the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortDirection {
    /// An adapter may write it.
    Input,
    /// An adapter may read it.
    Output,
}

impl PortDirection {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Input => Self::Output,
            Self::Output => Self::Input,
        }
    }
}

/// What a simulator says about a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The port's name in the design.
    pub name: String,
    /// How it is asked for.
    pub id: PortId,
    /// Which way it goes.
    pub direction: PortDirection,
    /// Width in bits, at least 1.
    pub bits: u32,
}

/// Whether all bits of what was read are zeros and ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Known {
    /// They are.
    All,
    /// Some are X or Z, and were read as zeros. A simulator with two states never says so.
    Not,
}

/// Ports of a design, by handle, of any width.
///
/// A value is its 32-bit words, low word first, `bits.div_ceil(32)` of them; bits beyond the width are zero
/// when read, and ignored when written.
pub trait Pins {
    /// All ports, in the order in which the design declares them.
    fn ports(&self) -> &[PortInfo];

    /// Reads a port of up to 32 bits.
    fn read(&mut self, port: PortId) -> (u32, Known);

    /// Writes a port of up to 32 bits.
    fn write(&mut self, port: PortId, value: u32);

    /// Reads a port of any width into as many words as it has.
    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known;

    /// Writes a port of any width from as many words as it has.
    fn write_wide(&mut self, port: PortId, words: &[u32]);
}

impl<P: Pins + ?Sized> Pins for Box<P> {
    fn ports(&self) -> &[PortInfo] {
        (**self).ports()
    }

    fn read(&mut self, port: PortId) -> (u32, Known) {
        (**self).read(port)
    }

    fn write(&mut self, port: PortId, value: u32) {
        (**self).write(port, value);
    }

    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        (**self).read_wide(port, words)
    }

    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        (**self).write_wide(port, words);
    }
}
