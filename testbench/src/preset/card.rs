//! Presets of cards: the steps of a pipelined card, fitted to one design.
//!
//! A card's preset has a table for every step of [`PipelineTiming`], as a machine's preset has one for every
//! value. It is laid over the machine's preset, whose stages of a card (`card.*`) then do not count.

use std::collections::BTreeMap;
use std::path::Path;

use rtl_model::PipelineTiming;

use super::{Cycles, Quantity, Timing, flatten, measure};
use crate::scenario::source::{InputError, Source};

/// The presets that the program carries in itself: name and text.
const BUILT_IN: &[(&str, &str)] =
    &[("reference", include_str!("../../presets/cards/reference.toml"))];

/// What of a machine's preset counts for a pipelined card, too.
const KEPT: &str = "card.completion_timeout";

/// A card's steps, and where each came from.
#[derive(Debug, Clone, PartialEq)]
pub struct CardPreset {
    /// The preset's name or path.
    pub name: String,
    /// The steps.
    pub steps: PipelineTiming,
    /// Step and value as written, for the report.
    pub quantities: BTreeMap<String, Quantity>,
}

macro_rules! steps {
    ($($field:ident),* $(,)?) => {
        /// Every step, in the order of the pipeline.
        const STEPS: &[&str] = &[$(stringify!($field)),*];

        fn build(
            quantities: &BTreeMap<String, Quantity>,
            complain: &dyn Fn(&str, String) -> InputError,
        ) -> Result<PipelineTiming, InputError> {
            let of = |key: &str| {
                let quantity = quantities.get(key)
                    .ok_or_else(|| complain(key, "this value is missing".to_owned()))?;
                measure::<Cycles>(key, quantity).map_err(|why| complain(key, why))
            };
            Ok(PipelineTiming { $($field: of(stringify!($field))?.0,)* })
        }
    };
}

steps! {
    header, config_answer, register_answer, memory_answer, ask, index, entry, next_head, at_hand,
    descriptor, link, table, row, submit, rest, payload, segment, read_issue, local_read, send, command_read, command,
    transfer, range, status, transmit, receive, buffer, completion, job, cut, write_segment, chunk, beat, interrupt,
}

impl CardPreset {
    /// Reads a preset, built in or from a file; `named_by` is the file that names it, under `key`.
    ///
    /// # Errors
    /// With file, line and key: a preset that there is not (the message lists those that exist), a value
    /// that is unknown, missing or does not suit.
    pub fn load(name: &str, named_by: &Source, key: &str) -> Result<Self, InputError> {
        Self::of(name, &text(name, named_by, key)?)
    }

    fn of(name: &str, source: &Source) -> Result<Self, InputError> {
        let mut quantities = BTreeMap::new();
        flatten(source, "", &source.parse()?, &mut quantities)?;
        if let Some(key) = quantities.keys().find(|key| !STEPS.contains(&key.as_str())) {
            let why = format!("unknown step of a card; there are: {}", STEPS.join(", "));
            return Err(source.complain(key, why));
        }
        let steps = build(&quantities, &|key, why| source.complain(key, why))?;
        Ok(Self { name: name.to_owned(), steps, quantities })
    }
}

impl Timing {
    /// The same with a card of these steps.
    #[must_use]
    pub fn with_card(mut self, card: CardPreset) -> Self {
        self.quantities.retain(|key, _| !key.starts_with("card.") || key == KEPT);
        let steps = card.quantities.iter();
        self.quantities.extend(steps.map(|(key, value)| (format!("card.{key}"), value.clone())));
        self.card = Some(card);
        self
    }
}

fn text(name: &str, named_by: &Source, key: &str) -> Result<Source, InputError> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(Source::built_in(&format!("card preset {name}"), text));
    }
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        return Source::read(&named_by.resolve(Path::new(name)));
    }
    let names = BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let why = format!(
        "unknown preset of a card `{name}`; there are: {names}; a file of your own is named by its path, ending in .toml"
    );
    Err(named_by.complain(key, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Source {
        Source::built_in("s.toml", "[card]\npreset = \"x\"\n")
    }

    #[test]
    fn every_built_in_preset_of_a_card_names_every_step_and_assumes_nothing() {
        for (name, _) in BUILT_IN {
            let card = CardPreset::load(name, &scenario(), "card.preset").unwrap();
            assert_eq!(card.quantities.len(), STEPS.len());
            assert!(!card.quantities.values().any(Quantity::is_assumed));
        }
    }

    #[test]
    fn a_card_preset_takes_the_place_of_the_stages_of_the_machines_preset() {
        let timing = Timing::load(Timing::DEFAULT, &scenario(), &BTreeMap::new()).unwrap();
        let card = CardPreset::load("reference", &scenario(), "card.preset").unwrap();
        let timing = timing.with_card(card);
        assert!(!timing.quantities.contains_key("card.parse"));
        assert!(timing.quantities.contains_key("card.completion_timeout"));
        assert!(timing.quantities.contains_key("card.header"));
    }

    #[test]
    fn a_step_that_is_missing_or_unknown_is_refused_with_its_key() {
        let (_, whole) = BUILT_IN[0];
        let without = whole.replacen("[header]", "[heading]", 1);
        let error = CardPreset::of("x", &Source::built_in("x", &without)).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("heading"));
        let error = CardPreset::load("none", &scenario(), "card.preset").unwrap_err();
        assert_eq!((error.line, error.key.as_deref()), (Some(2), Some("card.preset")));
        assert!(error.to_string().contains("there are: reference"), "{error}");
    }
}
