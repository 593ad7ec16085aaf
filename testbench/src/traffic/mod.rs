//! What the bench sends: packets and block commands, from recordings or from a user's own files.
//!
//! ```text
//!   net.pcap, --pcap FILE    --> pcap  --> packets        --> net driver
//!   blk.iolog, --blk-log FILE --> iolog --> block commands --> blk driver
//!                                  blocks: what a written sector holds
//! ```
//!
//! Readers stream: memory does not grow with the file. Both can be run over a file once before the
//! bench starts ([`pcap::survey`], [`iolog::survey`]), so that bad input ends the run before it began.
//!
//! Not here: how fast traffic is offered, and through which queue; a scenario says that.

use pcie_sim::time::Span;

/// The longest time believed in a recording, 100 days: far enough from the 213 days after which
/// simulated time ends that a bench can add to it.
pub const LONGEST: Span = Span::from_ms(100 * 24 * 3_600 * 1_000);

pub mod blocks;
mod greedy;
pub mod iolog;
mod iolog_error;
pub mod link_type;
pub mod pcap;
mod pcap_stream;
pub mod recorded;
