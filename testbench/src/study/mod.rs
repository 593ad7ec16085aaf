//! Studies: one question put to many configurations, and the answers in one table.
//!
//! ```text
//!   study.toml ─┬─ kind = "pcie-bench": rows of a published benchmark, on the exerciser card
//!               └─ kind = "sweep": a scenario, with keys set to each value of each axis
//!                     └─▶ points ─▶ in parallel, a shard, or merged ─▶ table, JSON (vtb-study/1)
//! ```

pub mod pcie_bench;
