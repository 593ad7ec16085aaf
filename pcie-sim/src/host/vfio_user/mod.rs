//! The card offered to QEMU, or to whoever else speaks vfio-user as a client.
//!
//! ```text
//!   QEMU ──socket──▶ reader ──channel──▶ Server ──▶ live::LiveSlot ──TLPs── link ── card
//!        ◀────────────────────────────── Server ◀──                 (the tap sees all of it)
//! ```
//!
//! One thread reads the socket, the other simulates and answers. Both directions are interleaved: while
//! the card waits for memory, the guest's accesses to registers go on, since QEMU serves both from one
//! place and would wait for us as we for it.
//!
//! DMA is done by messages, so that the client translates each one (its IOMMU refuses what is not mapped,
//! and that is told to the card and in the report), or in memory that the client shares.
//!
//! Time limits of the socket are those of a wall clock. They end a session; they do not enter a result.

mod irqs;
mod maps;
pub mod message;
mod regions;
mod server;
mod shared;
mod socket;

pub use self::server::{Dma, End, Server};
pub use self::socket::{Gone, Socket};

#[cfg(test)]
mod tests;
