//! Laws of the data link layer: both ends of a link, and somebody who damages what is on it.

#[path = "link/rig.rs"]
mod rig;

#[path = "link/bandwidth.rs"]
mod bandwidth;
#[path = "link/flow_control.rs"]
mod flow_control;
#[path = "link/ordering.rs"]
mod ordering;
#[path = "link/recovery.rs"]
mod recovery;
