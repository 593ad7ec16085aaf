//! SystemVerilog on the bench, at run time, from a manifest: no Rust, no build system of the user's.
//!
//! ```text
//!  card.toml ─ manifest ─▶ cache ──────────────── there ───────────────────▶ library ─▶ model (Pins)
//!                            └─ not there ─▶ verilate ─▶ header ─▶ shim ─▶ compile ─▲
//! ```
//!
//! | room | its one job |
//! |---|---|
//! | [`manifest`], [`value`], [`names`] | the text file: what a design is made of, what its ports are called |
//! | [`toolchain`] | where Verilator and the compiler are |
//! | [`build`] | the flow above |
//! | `verilate` | a call of Verilator, and its errors |
//! | [`header`] | the ports, from what Verilator writes |
//! | `shim`, `compile` | C++ around it, and its compilation |
//! | [`cache`] | what was built is not built again |
//! | `library` | what is loaded; all that is unsafe |
//! | [`model`] | a design that runs |
//! | [`bare`] | the same model in a C++ loop without a bench: what speed is measured against |
//! | [`error`] | what can be wrong |
//!
//! Left out: several clocks, ports that are arrays or `inout`, DPI functions of the user's own, files that a
//! design reads while it runs (`$readmemh` looks in the current folder, and the cache does not see them).

pub mod bare;
pub mod build;
pub mod cache;
mod compile;
pub mod error;
pub mod header;
mod library;
pub mod manifest;
pub mod model;
pub mod names;
mod run;
mod shim;
pub mod toolchain;
pub mod value;
mod verilate;

pub use build::{Options, Rtl};
pub use error::RtlError;
pub use manifest::Manifest;
pub use model::VerilatedModel;
