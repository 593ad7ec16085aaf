//! `vtb lspci`.

use std::io::Write;

use host_driver::pci::Function;
use pcie_sim::machine::ROOT_PORT;
use rtl_model::{BlkConfig, DeviceConfig, NetConfig};

use super::args::LspciArgs;
use super::{HELD, Status};
use crate::bench::watch::Watch;
use crate::bench::wiring::Bench;
use crate::card::{CardChoice, under_test};
use crate::lspci::dump;
use crate::platform::setup::Slot;
use crate::scenario::Scenario;
use crate::scenario::config::{Device, RunConfig};
use crate::scenario::source::InputError;
use crate::verb::Failure;

/// Prints what configuration requests read.
pub(super) fn lspci(args: &LspciArgs, out: &mut dyn Write) -> Result<Status, Failure> {
    super::say(out, &report(args)?)?;
    Ok(HELD)
}

/// Switches a machine on, lets firmware find the card, and tells what configuration requests read.
///
/// # Errors
/// [`Failure::Input`] when there is no such platform or card, or the platform has no PCI slot.
pub fn report(args: &LspciArgs) -> Result<String, Failure> {
    let config = configuration(args)?;
    if config.setup.slot != Slot::Pci {
        let why = format!("{} has no PCI slot", args.platform);
        return Err(InputError::whole("--platform", why).into());
    }
    let device = match args.device {
        Device::Blk => DeviceConfig::Blk(BlkConfig::default()),
        Device::Net => DeviceConfig::Net(NetConfig::default()),
    };
    let mut bench = Bench::new(&config, device, Watch::new(), &under_test)?;
    let card = bench.card;
    let port = dump(&mut bench.machine, Function::new(ROOT_PORT), "root port");
    let card = dump(&mut bench.machine, Function::new(card), "virtio card");
    Ok(format!("{port}\n{card}"))
}

/// The first run of the default scenario on the platform asked for.
fn configuration(args: &LspciArgs) -> Result<RunConfig, Failure> {
    let card = CardChoice::parse(&args.card)?;
    let mut scenario = Scenario::load(None, &args.overrides()?)?;
    card.adapt(&mut scenario.runs)?;
    let run = scenario.runs.into_iter().next().map(|run| RunConfig { under_test: card, ..run });
    run.ok_or_else(|| {
        InputError::whole("--platform", format!("{} has no run", args.platform)).into()
    })
}
