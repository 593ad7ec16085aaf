//! The micro-benchmarks of pcie-bench, replayed: the same accesses from the exerciser card to the machine
//! that a preset describes, compared with what was measured.
//!
//! What each test does is read out of its program (pcie-bench/pciebench-nfp, `me/`): addresses in a window,
//! in sequence or by lot, each access in a cell of whole lines, none across a page; `LAT_CMD` and `LAT_DMA`
//! one access at a time, `BW_DMA` many at once; a window is warmed by writing it twice in sequence, a cache
//! thrashed by writing 64 MiB by lot.

mod answer;
pub mod data;
pub mod file;
mod replay;

pub use self::data::{Iommu, Measurement, Pattern, State, Test};
pub use self::file::PcieBench;
pub use self::replay::simulate;
