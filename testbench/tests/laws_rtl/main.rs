//! The laws of the whole bench, on RTL: each body of `laws` that a card of hardware can be put through, with the
//! reference RTL under Verilator as the card.
//!
//! Left out are the laws about what is not the card's (files that are read and written, how a run that lasts
//! long uses memory), those whose body asks of the card what the RTL has no parameter for (`always`, the rate in
//! `cable`), and `resets`, in which software waits 100 ms: every one of those 25 million cycles is run, which takes
//! minutes. Then what is about RTL alone: foreign RTL, planted bugs, studies, waves.
#![allow(dead_code, reason = "the rig is shared with the laws on the model, which use all of it")]

#[path = "../laws/rig.rs"]
mod rig;
#[path = "../laws/tables.rs"]
mod tables;
mod under_test;

#[path = "../laws/bus_master.rs"]
mod bus_master;
#[path = "../laws/data.rs"]
mod data;
#[path = "../laws/direct.rs"]
mod direct;
#[path = "../laws/indirect.rs"]
mod indirect;
#[path = "../laws/payload.rs"]
mod payload;
#[path = "../laws/vtd.rs"]
mod vtd;

mod fitted;
mod foreign;
mod planted;
mod study;
mod waves;
