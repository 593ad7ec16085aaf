//! The credits of the link, on pins.

use pcie_sim::endpoint::Port;
use pcie_sim::link::credits::{Credits, ReceiverBuffers};
use pcie_sim::tlp::FlowClass;

use super::signals::{BindError, Binder, Driven};
use crate::pins::Pins;

const CLASSES: [(FlowClass, &str, &str); 3] = [
    (FlowClass::Posted, "tx_credit_ph", "tx_credit_pd"),
    (FlowClass::NonPosted, "tx_credit_nph", "tx_credit_npd"),
    (FlowClass::Completion, "tx_credit_cplh", "tx_credit_cpld"),
];

/// What a design is told of the credits of one class.
#[derive(Debug)]
struct Told {
    class: FlowClass,
    headers: Option<Driven>,
    data: Option<Driven>,
    /// What stands on the pins, however much of it fits.
    stands: Option<Credits>,
}

/// The credit inputs of a design, those that it has.
#[derive(Debug)]
pub(super) struct CreditPins {
    told: Vec<Told>,
}

impl CreditPins {
    pub(super) fn bind(binder: &Binder<'_>) -> Result<Self, BindError> {
        let mut told = Vec::new();
        for (class, headers, data) in CLASSES {
            let headers = binder.optional(headers)?.as_ref().map(Driven::new);
            let data = binder.optional(data)?.as_ref().map(Driven::new);
            if headers.is_some() || data.is_some() {
                told.push(Told { class, headers, data, stands: None });
            }
        }
        Ok(Self { told })
    }

    /// The credits that a design can see; what it is not told of is infinite.
    pub(super) fn shown(&self) -> ReceiverBuffers {
        let mut shown = ReceiverBuffers {
            posted: Credits::INFINITE,
            non_posted: Credits::INFINITE,
            completion: Credits::INFINITE,
        };
        for told in &self.told {
            let (infinite, stands) = (u32::MAX, told.stands.unwrap_or(Credits::NONE));
            *shown.of_mut(told.class) = Credits {
                headers: if told.headers.is_some() { stands.headers } else { infinite },
                data: if told.data.is_some() { stands.data } else { infinite },
            };
        }
        shown
    }

    #[inline]
    pub(super) fn drive(&mut self, pins: &mut dyn Pins, port: &dyn Port) {
        for told in &mut self.told {
            let credits = port.credits(told.class);
            if told.stands != Some(credits) {
                told.show(pins, credits);
            }
        }
    }

    /// In reset there are none.
    pub(super) fn reset(&mut self, pins: &mut dyn Pins) {
        for told in &mut self.told {
            told.show(pins, Credits::NONE);
        }
    }
}

impl Told {
    fn show(&mut self, pins: &mut dyn Pins, credits: Credits) {
        self.stands = Some(credits);
        let both = [(&mut self.headers, credits.headers), (&mut self.data, credits.data)];
        for (pin, count) in both {
            if let Some(pin) = pin {
                let all_ones = u32::MAX >> (32 - pin.bits);
                let field = if count == u32::MAX { all_ones } else { count.min(all_ones - 1) };
                pin.set(pins, field.into());
            }
        }
    }
}
