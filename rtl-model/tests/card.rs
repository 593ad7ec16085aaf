//! The card behind a link made of test: every law of the card, one sentence each.

#[path = "card/rig.rs"]
mod rig;

#[path = "card/blk.rs"]
mod blk;
#[path = "card/config_space.rs"]
mod config_space;
#[path = "card/faults.rs"]
mod faults;
#[path = "card/fetch.rs"]
mod fetch;
#[path = "card/msix.rs"]
mod msix;
#[path = "card/net.rs"]
mod net;
#[path = "card/registers.rs"]
mod registers;
#[path = "card/reset.rs"]
mod reset;
#[path = "card/used.rs"]
mod used;
