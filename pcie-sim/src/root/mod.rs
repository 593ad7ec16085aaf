//! The root complex: root port, memory behind it, IOMMU, completions, interrupts.
//!
//! ```text
//!   MRd ──▶ port ──▶ IOMMU ──▶ RAM ──▶ completions split at RCB and MPS ──▶ link
//!   MWr ──▶ port ──▶ IOMMU ──▶ one queue in order: RAM, then what follows
//!                └─ 0xfee.....  ──────▶ the same queue ──▶ interrupt
//! ```
//!
//! What the card posts takes effect in one order; a read never sees memory older than a write that
//! arrived before it. How long a read takes depends on the last-level cache, where there is one
//! ([`crate::host::llc`]). Not modelled: the data in caches, a limit to reads in the memory system.

pub mod enumerate;
mod errors;
pub mod inbound;
mod latency;
pub mod port;
mod returns;
pub mod timing;

pub use self::inbound::{Effect, Refusal, Refused, RootComplex, RootEvent};
pub use self::port::{FixedWindow, RootPort};
pub use self::timing::{CpuTiming, RootTiming};
