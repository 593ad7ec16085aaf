//! testbench

pub mod waves_tap;
