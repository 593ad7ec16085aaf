//! The card that the laws are about, here: the reference RTL under Verilator.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rtl_model::CardConfig;
use testbench::card::{CardChoice, Plugged, RtlCard};
use testbench::report::RunError;
use testbench::scenario::config::RunConfig;

use crate::rig::Card;

/// The reference RTL.
pub(crate) const CARD: Card = rtl;

fn rtl(run: &RunConfig, card: CardConfig) -> Result<Plugged, RunError> {
    static RTL: OnceLock<Arc<RtlCard>> = OnceLock::new();
    let rtl = RTL.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl-model/reference.toml");
        Arc::new(RtlCard::read(&manifest).expect("the reference manifest is right"))
    });
    CardChoice::Rtl(Arc::clone(rtl)).plug(run, card)
}
