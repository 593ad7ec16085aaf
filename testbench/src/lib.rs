//! testbench

pub mod scoreboard;
pub mod traffic;
pub mod waves_tap;
