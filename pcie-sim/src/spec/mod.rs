//! What two parties must agree on byte for byte, and nothing that behaves.
//!
//! A shared declaration hides a shared mistake, so tests compare these tables with the specification's
//! own, kept as data in `spec/` at the top of the project.

pub mod aer;
pub mod blk;
pub mod dmar;
pub mod features;
pub mod net;
pub mod pci;
pub mod rng;
pub mod tce;
pub mod virtio_mmio;
pub mod virtio_pci;
pub mod virtq;
pub mod vtd;
