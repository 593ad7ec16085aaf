//! A physical virtio PCIe card, modelled to the clock cycle where it matters and to the TLP always.
//!
//! ```text
//!             ┌────────── registers, MSI-X, memory ◀── MMIO, configuration ──┐
//!  doorbell ──▶ ring (fetch) ──▶ payload ──▶ device ──▶ ring (used) ──▶ MSI-X │ link
//!                    └───────────────── dma: tags, splitting, order ──────────┘
//! ```
//!
//! | room | its job |
//! |---|---|
//! | [`config`], [`timing`] | what a card is built as |
//! | [`card`] | the flow of TLPs and events |
//! | `config_space`, `registers`, `msix`, `memory` | what the host sees |
//! | `ring` | fetch and completion engines of a queue |
//! | `dma` | what waits to leave, tags, order |
//! | `device` | disk, network interface |
//!
//! Left out: packed rings, queue reset, several queue pairs, INTx messages, function level reset, AER.

pub mod card;
pub mod config;
mod config_space;
mod device;
mod dma;
mod layout;
mod memory;
mod msix;
mod registers;
mod ring;
pub mod timing;

pub use card::{Card, CardCounters};
pub use config::{Backing, BlkConfig, CardConfig, CardError, DeviceConfig, NetConfig};
pub use ring::RingFault;
pub use timing::CardTiming;
