//! The laws of the whole bench: the real machine, link, IOMMU, driver and analyzer around a card.
//!
//! Each body takes its card from a [`rig::Card`], so that whatever claims to be the card is put through
//! the same laws. No count here depends on chance; what is drawn by lot has a seed.

mod rig;
mod tables;
mod under_test;

mod always;
mod anything;
mod bus_master;
mod cable;
mod compare;
mod data;
mod direct;
mod foreign;
mod indirect;
mod input;
mod long;
mod needs_reset;
mod payload;
#[path = "../../../waves/tests/perfetto/reader.rs"]
mod perfetto_reader;
mod pins;
mod report;
mod resets;
mod trace;
mod vtd;
mod waves;
mod waves_cut;
mod waves_perfetto;
