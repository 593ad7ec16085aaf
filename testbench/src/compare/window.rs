//! What of two runs is worth a look: where they part, or are furthest apart in time.

use pcie_sim::time::{Instant, Span};

use super::align::Difference;
use crate::analyzer::RequestRecord;

/// How much is shown on each side of what is looked at, at least.
const MARGIN: Span = Span::from_us(5);

/// A moment of either run, and how much around it is shown. The cards need not be there at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// On the model.
    pub model: Instant,
    /// On the RTL.
    pub rtl: Instant,
    /// From so much before to so much behind.
    pub half: Span,
}

impl Default for Window {
    /// The beginning.
    fn default() -> Self {
        Self { model: Instant::ZERO, rtl: Instant::ZERO, half: MARGIN }
    }
}

impl Window {
    /// Around the difference; where there is none, around the request that took most unlike times.
    pub(super) fn of(
        difference: Option<&Difference>,
        pairs: &[(&RequestRecord, &RequestRecord)],
    ) -> Self {
        if let Some(difference) = difference {
            let at = |side: &Option<super::Side>| side.as_ref().map(|side| side.at);
            let (model, rtl) = (at(&difference.model), at(&difference.rtl));
            let either = difference.at();
            return Self {
                model: model.unwrap_or(either),
                rtl: rtl.unwrap_or(either),
                half: MARGIN,
            };
        }
        let took = |request: &RequestRecord| request.end.since(request.begin);
        let apart = |pair: &(&RequestRecord, &RequestRecord)| {
            took(pair.0).as_ps().abs_diff(took(pair.1).as_ps())
        };
        let widest = pairs.iter().max_by_key(|pair| apart(pair));
        widest.map_or_else(Self::default, |(model, rtl)| {
            let middle = |request: &RequestRecord| request.begin + took(request) / 2;
            let half = took(model).max(took(rtl)) / 2 + MARGIN;
            Self { model: middle(model), rtl: middle(rtl), half }
        })
    }
}
