//! Whole-bench laws of what goes wrong on purpose: detected where the specification says, recovered from or
//! told, and never lost in silence.

mod every;
mod lots;
