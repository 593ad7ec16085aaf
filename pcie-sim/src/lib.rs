//! Everything between a CPU and a PCIe card, simulated to the picosecond and the bit.
//!
//! ```text
//!   driver ──host::Host──▶ machine: root complex ──▶ IOMMU ──▶ RAM
//!                              │ TLPs
//!                            link  ◀── Tap (analyzer, trace, waves)
//!                              │ TLPs
//!                           Endpoint (a card)
//! ```
//!
//! Left out: the physical layer below symbols, link training, CPU micro-architecture.

pub mod address;
pub mod aer;
pub mod config_space;
pub mod crc;
pub mod endpoint;
pub mod fault;
pub mod host;
pub mod iommu;
pub mod link;
pub mod live;
pub mod machine;
pub mod ntb;
pub mod root;
pub mod schedule;
pub mod spec;
pub mod time;
pub mod tlp;
