//! A driver that nobody here wrote, in this process: the crate `virtio-drivers` drives the card over the
//! simulated link, disk and network, beside this project's own driver on the same workload.
//!
//! It does not know ACCESS_PLATFORM, so it runs where bus addresses are physical ones.
#![expect(unsafe_code, reason = "its Hal hands out pointers to memory that the card shares")]

mod hal;
#[cfg(feature = "live-tools")]
mod linux;
mod ours;
#[cfg(feature = "live-tools")]
mod rtl;
mod table;
mod transport;
mod workload;
