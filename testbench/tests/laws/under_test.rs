//! The card that the laws are about, here: this repository's model.

use testbench::bench::wiring::model;

use crate::rig::Card;

/// The model.
pub(crate) const CARD: Card = model;
