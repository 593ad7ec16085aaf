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
//! | [`mmio`] | the same engines on a platform's own bus |
//! | `ring` | fetch and completion engines of a queue |
//! | `dma` | what waits to leave, tags, order |
//! | `device` | disk, network interface |
//! | [`exerciser`] | another card: DMA and nothing else, to measure a host with |
//! | [`pins`] | the ports of a design in a simulator, and adapters to them |
//! | [`verilated`] | a design in SystemVerilog: built by Verilator from a manifest, loaded |
//! | [`source`] | a text of the user's, and what is wrong in it |
//! | [`malice`] | what a card does that may not be done |
//!
//! Left out: packed rings, queue reset, several queue pairs, INTx messages, power management events.

pub mod card;
pub mod config;
mod config_space;
mod device;
mod dma;
pub mod exerciser;
mod layout;
pub mod malice;
mod memory;
pub mod mmio;
mod msix;
pub mod pins;
mod pipeline;
mod registers;
mod ring;
pub mod source;
pub mod timing;
pub mod verilated;

pub use card::{Card, CardCounters};
pub use config::{
    AddressPolicy, Backing, BlkConfig, CardConfig, CardError, DeviceConfig, NetConfig,
    SwiotlbConfig, VendorData,
};
pub use device::cable::{FarEnd, Station};
pub use exerciser::{Exerciser, ExerciserTiming};
pub use malice::{Deed, Malice};
pub use mmio::{MmioCard, MmioConfig, PlugError};
pub use pipeline::PipelineTiming;
pub use ring::RingFault;
pub use timing::CardTiming;
