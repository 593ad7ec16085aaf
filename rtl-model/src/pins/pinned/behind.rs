//! The link as the model behind the pins sees it.

use std::collections::VecDeque;

use pcie_sim::endpoint::Port;
use pcie_sim::tlp::{FlowClass, Tlp};

/// TLPs that wait to leave.
const OUTBOX: usize = 2;

/// The model's side of the pins.
pub(super) struct Behind<'a> {
    pub(super) inbox: &'a mut VecDeque<Tlp>,
    pub(super) outbox: &'a mut VecDeque<Tlp>,
    pub(super) left: [Option<(i64, i64)>; 3],
}

impl Port for Behind<'_> {
    fn receive(&mut self) -> Option<Tlp> {
        self.inbox.pop_front()
    }

    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool {
        let credits = self.left[class as usize];
        let enough = credits.is_none_or(|(heads, data)| heads >= 1 && data >= data_credits.into());
        enough && self.outbox.len() < OUTBOX
    }

    fn send(&mut self, tlp: Tlp) {
        if let Some((heads, data)) = &mut self.left[tlp.flow_class() as usize] {
            *heads -= 1;
            *data -= i64::from(tlp.data_credits());
        }
        self.outbox.push_back(tlp);
    }
}
