//! The card behind a link made of test: every law of the card, one sentence each.

#[path = "card/answers.rs"]
mod answers;
#[path = "card/rig.rs"]
mod rig;

#[path = "card/aer.rs"]
mod aer;
#[path = "card/blk.rs"]
mod blk;
#[path = "card/bounce.rs"]
mod bounce;
#[path = "card/config_space.rs"]
mod config_space;
#[path = "card/control.rs"]
mod control;
#[path = "card/faults.rs"]
mod faults;
#[path = "card/fetch.rs"]
mod fetch;
#[path = "card/malice.rs"]
mod malice;
#[path = "card/mmio.rs"]
mod mmio;
#[path = "card/msix.rs"]
mod msix;
#[path = "card/net.rs"]
mod net;
#[path = "card/ntb.rs"]
mod ntb;
#[path = "card/pci_reset.rs"]
mod pci_reset;
#[path = "card/policy.rs"]
mod policy;
#[path = "card/registers.rs"]
mod registers;
#[path = "card/reset.rs"]
mod reset;
#[path = "card/rtl_space.rs"]
mod rtl_space;
#[path = "card/used.rs"]
mod used;
