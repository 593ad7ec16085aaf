//! A design in somebody's simulator, through VPI (IEEE 1800-2017 §36 to §38).
//!
//! ```text
//!   simulator ── value change of the clock ──▶ Edges ──▶ Adapter ── reads ──▶ VpiPins ──▶ ports
//!                                                              └── writes ─▶ held back …
//!             ── read-write synchronisation ─▶ … and put onto the ports
//! ```
//!
//! The clock's value change is told before the design's flip-flops have taken their new values, so an adapter
//! reads what stood on the outputs as the edge came. What it writes is put onto the ports once everything that
//! the edge set off has settled, in the same time step: just behind the edge. So it is one more flip-flop of
//! the design's clock, as [`Pins`](rtl_model::pins::Pins) asks.
//!
//! Nothing of a simulator is linked: the functions are looked up when they are first needed ([`Vpi::find`]), so
//! that the module can be loaded where there is none.
//!
//! | room | its job |
//! |---|---|
//! | `sys` | layouts and calls of VPI; all that is `unsafe` |
//! | [`pins`] | ports by number, writes held back |
//! | [`edges`] | who is called at each edge, and how that ends |
//! | [`aside`] | work with a stack of its own, a piece of it at each edge |
//! | [`design`] | the design as a bench turns it, an edge at a time |
//! | [`repeater`] | an adapter that copies ports, to measure and to try |
//!
//! Left out: memories, regions below the top's own ports, delays. Under Verilator the clock must be driven
//! through VPI, as cocotb's `Clock` does: one that the design makes for itself is told after the flip-flops have
//! moved.

pub mod aside;
pub mod design;
pub mod edges;
pub mod pins;
pub mod repeater;
mod sys;

pub use self::aside::{Aside, Pause};
pub use self::design::VpiDesign;
pub use self::edges::{Adapter, Edges};
pub use self::pins::VpiPins;
pub use self::repeater::{Repeater, Unknown};
pub use self::sys::Vpi;

/// Why a design cannot be driven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VpiError {
    /// This process is no simulator, or one without VPI.
    #[error("there is no simulator here: `{missing}` is not to be found in this process")]
    NoSimulator {
        /// The first function that is missing.
        missing: &'static str,
    },
    /// The simulator runs on another thread.
    #[error("the simulator runs on another thread")]
    OtherThread,
    /// The simulation has come to its end.
    #[error("the simulation is over")]
    Over,
    /// The simulator knows nothing of that name.
    #[error("the simulator knows no `{name}`")]
    NoSuchObject {
        /// What was asked for.
        name: String,
    },
    /// The module has no such port.
    #[error("{module} has no port `{name}`; it has: {has}")]
    NoSuchPort {
        /// The module.
        module: String,
        /// What was asked for.
        name: String,
        /// All there are, separated by commas.
        has: String,
    },
    /// The port goes the wrong way for what was wanted.
    #[error("`{name}` is no {wanted} of {module}")]
    WrongWay {
        /// The module.
        module: String,
        /// The port.
        name: String,
        /// `input` or `output`.
        wanted: &'static str,
    },
    /// Two ports that are to carry the same have different widths.
    #[error("`{from}` has {from_bits} bits and `{to}` has {to_bits}")]
    WidthsDiffer {
        /// The one.
        from: String,
        /// Its width in bits.
        from_bits: u32,
        /// The other.
        to: String,
        /// Its width in bits.
        to_bits: u32,
    },
    /// The simulator would not call back.
    #[error("the simulator refused a callback on `{name}`")]
    Refused {
        /// On what.
        name: String,
    },
}
