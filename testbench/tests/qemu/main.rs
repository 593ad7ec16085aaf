//! The driver on a machine that nobody here wrote. Runs with the feature `live-tools` only, and then there
//! must be a QEMU.

mod differential;
mod driver;
mod raw;
mod scripts;
