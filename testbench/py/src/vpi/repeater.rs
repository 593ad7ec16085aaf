//! A row of flip-flops beside the design: what stands on an output goes to an input, one clock later.
//!
//! With a design that answers what it is given, such a loop tries every way a pin has, and measures what an edge
//! costs.

use std::cell::RefCell;
use std::rc::Rc;

use rtl_model::pins::{Known, Pins, PortDirection, PortId};

use pcie_sim::time::Instant;

use super::{Adapter, VpiError, VpiPins};

/// An edge at which an output was not all zeros and ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The port.
    pub port: String,
    /// When.
    pub time: Instant,
}

/// More findings than anybody reads are only counted.
const KEPT: usize = 100;

/// The flip-flops.
#[derive(Debug)]
pub struct Repeater {
    pairs: Vec<(PortId, PortId)>,
    words: Vec<u32>,
    unknown: Vec<Unknown>,
    unknowns: u64,
}

impl Repeater {
    /// From each of these outputs to the input beside it.
    ///
    /// # Errors
    /// [`VpiError::NoSuchPort`], [`VpiError::WrongWay`], [`VpiError::WidthsDiffer`].
    pub fn new(pins: &VpiPins, pairs: &[(String, String)]) -> Result<Self, VpiError> {
        let mut found = Vec::new();
        let mut longest = 1;
        for (from, to) in pairs {
            let from = pins.port(from, PortDirection::Output)?;
            let to = pins.port(to, PortDirection::Input)?;
            if from.bits != to.bits {
                return Err(VpiError::WidthsDiffer {
                    from: from.name.clone(),
                    from_bits: from.bits,
                    to: to.name.clone(),
                    to_bits: to.bits,
                });
            }
            longest = longest.max(from.bits);
            found.push((from.id, to.id));
        }
        let words = vec![0; longest.div_ceil(32) as usize];
        Ok(Self { pairs: found, words, unknown: Vec::new(), unknowns: 0 })
    }

    /// The first of the edges at which an output was unknown, and how many such values there were in all.
    #[must_use]
    pub fn unknown(&self) -> (&[Unknown], u64) {
        (&self.unknown, self.unknowns)
    }
}

impl Adapter for Repeater {
    fn edge(&mut self, pins: &Rc<RefCell<VpiPins>>) {
        let mut pins = pins.borrow_mut();
        for &(from, to) in &self.pairs {
            let bits = pins.ports()[from.0 as usize].bits;
            let words = &mut self.words[..bits.div_ceil(32) as usize];
            if pins.read_wide(from, words) == Known::Not {
                self.unknowns += 1;
                if self.unknown.len() < KEPT {
                    let port = pins.ports()[from.0 as usize].name.clone();
                    self.unknown.push(Unknown { port, time: pins.now() });
                }
            }
            pins.write_wide(to, words);
        }
    }
}
