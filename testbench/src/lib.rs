//! The test bench: wire, drive, watch, judge, measure, tell.
//!
//! ```text
//!   scenario ──▶ RunConfig ──▶ bench ──▶ RunResult ──▶ report
//!   preset, platform ─▲          │
//!                                └ machine, card, driver; analyzer and scoreboard watch
//! ```

pub mod analyzer;
pub mod bench;
pub mod cancel;
pub mod card;
pub mod check;
pub mod cli;
pub mod compare;
pub mod guest;
pub mod lspci;
pub mod measure;
pub mod parallel;
pub mod peer;
pub mod platform;
pub mod preset;
pub mod report;
pub mod scenario;
pub mod scoreboard;
pub mod serve;
pub mod soak;
pub mod study;
pub mod traffic;
pub mod verb;
pub mod waves_tap;
