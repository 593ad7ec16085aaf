//! What a packet costs those who only pass it on.

use pcie_sim::tlp::{Extended, Tlp};

/// A packet is moved from queue to queue: it is no larger than the largest of its common kinds, and what few
/// packets have, and rare packets, are behind one pointer.
#[test]
fn a_packet_is_no_larger_than_before_it_could_have_prefixes() {
    assert_eq!(size_of::<Tlp>(), 96);
    assert_eq!(size_of::<Extended>(), size_of::<usize>());
}
