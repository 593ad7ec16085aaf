//! What is said about runs: figures, a table, three sentences, JSON.

mod result;

pub use result::{DmaApiCounts, Latency, RunError, RunResult, Violation};
