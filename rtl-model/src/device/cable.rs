//! What is at the far end of a network card's cable, when it does not lead back to the card.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use pcie_sim::time::Instant;

/// A station that the card's frames come to.
///
/// It is asked when a frame reaches it and at no other time, so it speaks only when spoken to.
pub trait FarEnd: fmt::Debug {
    /// A frame, without virtio header and check sequence, has come in whole at `now`, which never goes
    /// back. The frames that it sends for that, without check sequence, are added to `answers`: they leave
    /// at once, in this order.
    fn receive(&mut self, now: Instant, frame: &[u8], answers: &mut Vec<Vec<u8>>);
}

/// A station, in the hands of the cable and of whoever wants to know what it saw.
pub type Station = Rc<RefCell<dyn FarEnd>>;
