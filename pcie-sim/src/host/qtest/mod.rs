//! A real QEMU as the computer: [`Bus`](super::Bus) and [`Memory`](super::Memory) over the qtest protocol.
//!
//! ```text
//!   driver ─Host─▶ QtestHost ─▶ Connection ─socket─▶ QEMU: chipset, VT-d, virtio devices
//!                                    └ codec        (its CPU never runs: this program is the CPU)
//! ```
//!
//! The same driver code that runs on the simulated machine runs on this one. What QEMU does takes the time
//! that it takes; the time that the driver sees is made here, see [`machine`]. Every reply has a time
//! limit, and a QEMU that dies or says nothing is an error with its last words: from then on reads give all
//! ones and time passes without it, so that whoever waits comes to an end.
//!
//! Left out: interrupts through the APIC (messages go to RAM, where they are looked for), port I/O but for
//! what switches the extended configuration space on, more than one segment.

pub mod base64;
pub mod codec;
pub mod connection;
mod error;
pub mod machine;
pub mod process;
#[cfg(test)]
mod tests;

pub use self::connection::Connection;
pub use self::error::QtestError;
pub use self::machine::{MessageBus, QtestConfig, QtestHost};
pub use self::process::Qemu;
