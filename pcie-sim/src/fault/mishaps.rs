//! A plan at work: asked by the link about every packet, and looked at by whoever reports.

use std::cell::RefCell;
use std::rc::Rc;

use super::{FaultKind, Layer, Plan, mangle};
use crate::endpoint::Direction;
use crate::link::dllp::Dllp;
use crate::link::faults::{DllpFault, LinkFault, TlpFault, Upset};
use crate::link::sender::{Delivery, SenderFault};
use crate::time::{Instant, Span};
use crate::tlp::{FlowClass, Tlp};

/// One plan in several hands: the link's two hooks, and the bench's.
#[derive(Debug, Clone)]
pub struct Mishaps {
    plan: Rc<RefCell<Plan>>,
    upset: Option<(Instant, Upset)>,
    /// Credits that were never told, by direction of the TLPs and class.
    leaked: [[(i32, i32); 3]; 2],
}

impl Mishaps {
    /// A hand on a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan: Rc::new(RefCell::new(plan)), upset: None, leaked: [[(0, 0); 3]; 2] }
    }

    /// The plan itself.
    #[must_use]
    pub fn plan(&self) -> &Rc<RefCell<Plan>> {
        &self.plan
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Downstream => Direction::Upstream,
        Direction::Upstream => Direction::Downstream,
    }
}

impl SenderFault for Mishaps {
    fn hand_over(&mut self, at: Instant, direction: Direction, tlp: Tlp) -> Delivery {
        let strike = self.plan.borrow_mut().strike(at, Layer::Transaction, direction, &tlp);
        match strike {
            Some(strike) => mangle(&strike, tlp),
            None => Delivery::from_iter([(Span::ZERO, tlp)]),
        }
    }
}

impl LinkFault for Mishaps {
    fn tlp(
        &mut self,
        at: Instant,
        direction: Direction,
        _sequence: u16,
        tlp: &Tlp,
        _replay: bool,
    ) -> TlpFault {
        let strike = self.plan.borrow_mut().strike(at, Layer::Link, direction, tlp);
        let Some(strike) = strike else { return TlpFault::None };
        match strike.kind {
            FaultKind::LcrcError => return TlpFault::Corrupt,
            FaultKind::TlpLost => return TlpFault::Lose,
            FaultKind::TlpDuplicated => return TlpFault::Duplicate,
            FaultKind::Delayed => return TlpFault::Delay(strike.delay),
            FaultKind::Retrain => self.upset = Some((at, Upset::Retrain)),
            FaultKind::SurpriseDown => self.upset = Some((at, Upset::SurpriseDown)),
            FaultKind::CreditLeak => {
                let class = tlp.flow_class() as usize;
                let (headers, data) = &mut self.leaked[direction as usize][class];
                *headers -= 1;
                *data -= tlp.data_credits() as i32;
            }
            _ => {}
        }
        TlpFault::None
    }

    fn dllp(&mut self, at: Instant, direction: Direction, dllp: Dllp) -> DllpFault {
        let about = opposite(direction);
        match dllp {
            Dllp::Ack(_) => match self.plan.borrow_mut().strike_ack(at, about) {
                Some(_) => DllpFault::Lose,
                None => DllpFault::None,
            },
            Dllp::UpdateFc { class, .. } => self.leak(about, class),
            Dllp::Nak(_) => DllpFault::None,
        }
    }

    fn upset(&self) -> Option<(Instant, Upset)> {
        self.upset
    }

    fn upset_done(&mut self) {
        self.upset = None;
    }
}

impl Mishaps {
    /// Credit counts are running totals, so that what was once kept back is missing from all that follow.
    fn leak(&self, about: Direction, class: FlowClass) -> DllpFault {
        match self.leaked[about as usize][class as usize] {
            (0, 0) => DllpFault::None,
            (headers, data) => DllpFault::Credits { headers, data },
        }
    }
}
