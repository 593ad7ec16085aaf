//! The bench in Python, and on the pins of a design in somebody else's simulator.
//!
//! ```text
//!   virtio_testbench.run(…) ─▶ python::verbs ─▶ testbench::verb ─▶ report, as JSON
//!   simulator ──VPI callbacks──▶ vpi::Edges ──▶ rtl_model::pins::Pins ──▶ an adapter
//!   simulator ──VPI callbacks──▶ vpi::Edges ──▶ attached ──▶ vpi::VpiDesign ──▶ rtl_model::pins::PinCard
//! ```
//!
//! | room | its job |
//! |---|---|
//! | [`attached`] | root complex and driver on a design in a simulator; no Python |
//! | [`vpi`] | ports of a design through VPI, and what is called at each edge of its clock; no Python |
//! | `python` | the extension module `virtio_testbench._native`; only with the feature `python` |

pub mod attached;
#[cfg(feature = "python")]
mod python;
pub mod vpi;
