//! A link that counts its credits, and an endpoint that keeps what it gets.

use std::collections::VecDeque;

use pcie_sim::endpoint::{Endpoint, Port};
use pcie_sim::host::seed::Sequence;
use pcie_sim::link::credits::{Credits, ReceiverBuffers};
use pcie_sim::time::Instant;
use pcie_sim::tlp::{FlowClass, Tlp};

/// The classes of flow control.
pub(crate) const CLASSES: [FlowClass; 3] =
    [FlowClass::Posted, FlowClass::NonPosted, FlowClass::Completion];

/// Those of one class, in order.
pub(crate) fn of_class(tlps: &[Tlp], class: FlowClass) -> Vec<&Tlp> {
    tlps.iter().filter(|tlp| tlp.flow_class() == class).collect()
}

/// The card's end of a link that gives credits sparingly.
pub(crate) struct Link {
    pub(crate) down: VecDeque<Tlp>,
    pub(crate) up: Vec<Tlp>,
    /// Credits left, going up.
    pub(crate) credits: ReceiverBuffers,
    /// Credits that were used, and come back some time.
    pub(crate) used: Vec<(FlowClass, u32)>,
    /// TLPs that were taken whose credits have not come back.
    pub(crate) taken: u32,
    pub(crate) most_taken: u32,
    pub(crate) room: bool,
    pub(crate) overdrawn: bool,
}

impl Link {
    pub(crate) fn new(down: Vec<Tlp>, credits: ReceiverBuffers) -> Self {
        Self {
            down: down.into(),
            up: Vec::new(),
            credits,
            used: Vec::new(),
            taken: 0,
            most_taken: 0,
            room: true,
            overdrawn: false,
        }
    }

    /// Some of the credits that were used come back.
    pub(crate) fn refresh(&mut self, lots: &mut Sequence) {
        self.room = lots.below(4) != 0;
        if self.used.is_empty() || lots.below(3) != 0 {
            return;
        }
        let at = lots.below(self.used.len() as u64) as usize;
        let (class, data) = self.used.swap_remove(at);
        let credits = self.credits.of_mut(class);
        if !credits.is_infinite() {
            credits.headers += 1;
            credits.data += data;
        }
    }
}

impl Port for Link {
    fn receive(&mut self) -> Option<Tlp> {
        self.down.pop_front()
    }

    fn can_send(&self, class: FlowClass, data_credits: u32) -> bool {
        self.room && self.credits.of(class).allow(data_credits)
    }

    fn send(&mut self, tlp: Tlp) {
        let (class, data) = (tlp.flow_class(), tlp.data_credits());
        let credits = self.credits.of_mut(class);
        self.overdrawn |= !credits.allow(data);
        if !credits.is_infinite() {
            credits.headers = credits.headers.saturating_sub(1);
            credits.data = credits.data.saturating_sub(data);
        }
        self.used.push((class, data));
        self.up.push(tlp);
    }

    fn take(&mut self) -> Option<Tlp> {
        let tlp = self.down.pop_front()?;
        self.taken += 1;
        self.most_taken = self.most_taken.max(self.taken);
        Some(tlp)
    }

    fn give_back(&mut self, _: FlowClass, _: u32) {
        self.taken -= 1;
    }

    fn credits(&self, class: FlowClass) -> Credits {
        self.credits.of(class)
    }

    fn has_room(&self) -> bool {
        self.room
    }
}

/// Sends what it has in the order in which it has it, and keeps what comes.
pub(crate) struct Keeper {
    pub(crate) to_send: VecDeque<Tlp>,
    pub(crate) got: Vec<Tlp>,
}

impl Keeper {
    pub(crate) fn new(to_send: Vec<Tlp>) -> Self {
        Self { to_send: to_send.into(), got: Vec::new() }
    }
}

impl Endpoint for Keeper {
    fn advance(&mut self, _: Instant, port: &mut dyn Port) {
        self.got.extend(std::iter::from_fn(|| port.receive()));
        while let Some(tlp) = self.to_send.front()
            && port.can_send(tlp.flow_class(), tlp.data_credits())
            && let Some(tlp) = self.to_send.pop_front()
        {
            port.send(tlp);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        None
    }
}
