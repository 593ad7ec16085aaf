//! A scenario, as far as a card of somebody's own can run it.

use rtl_model::verilated::manifest::{CardDevice, Wanted};

use super::RtlCard;
use crate::scenario::config::{Device, Disk, Placement, RunConfig, Workload};
use crate::scenario::source::InputError;

/// Sectors of a disk have 512 bytes. Virtio 1.4, "Block Device".
const SECTOR_BYTES: u64 = 512;

/// Leaves out the runs that `card` is not made for; sets in the others what its manifest says that it is.
pub(super) fn adapt(card: &RtlCard, runs: &mut Vec<RunConfig>) -> Result<usize, InputError> {
    let before = runs.len();
    let names = runs.iter().map(RunConfig::name).collect::<Vec<_>>().join(", ");
    runs.retain(|run| fits(card, run));
    if runs.is_empty() {
        let why = format!("this card can do none of the scenario's runs: {names}");
        return Err(InputError::whole(&card.manifest().origin, why));
    }
    for run in runs.iter_mut() {
        set(card, run)?;
    }
    Ok(before - runs.len())
}

/// The parameter is set by what a run asks for.
fn follows(card: &RtlCard, wanted: Wanted) -> bool {
    card.manifest().scenario.values().any(|known| *known == wanted)
}

fn fits(card: &RtlCard, run: &RunConfig) -> bool {
    let facts = &card.manifest().card;
    let device = match facts.device {
        Some(CardDevice::Net) => run.device == Device::Net,
        Some(CardDevice::Blk) => run.device == Device::Blk,
        None => true,
    };
    let memory = facts.memory_bytes.is_some() || follows(card, Wanted::MemoryBytes);
    device && (memory || run.placement == Placement::Host)
}

fn set(card: &RtlCard, run: &mut RunConfig) -> Result<(), InputError> {
    let facts = &card.manifest().card;
    let period = card.manifest().clock.period.as_ps();
    run.card.clock_mhz = u32::try_from(1_000_000 / period.max(1)).unwrap_or(u32::MAX).max(1);
    if let Some(most) = facts.queue_size_max {
        run.card.queue_size = run.card.queue_size.min(most);
    }
    if let Some(bytes) = facts.memory_bytes {
        run.card.memory_bytes = bytes;
    }
    if let Some(reads) = facts.reads_in_flight {
        run.card.reads_in_flight = reads;
    }
    let Workload::Blk(blk) = &mut run.workload else { return Ok(()) };
    match (&blk.disk, facts.disk_sectors) {
        (Disk::Image { path, .. }, _) => Err(InputError::whole(
            path.display().to_string(),
            format!("an image cannot be put into RTL ({})", card.manifest().origin),
        )),
        (Disk::Memory { .. }, Some(sectors)) => {
            blk.disk = Disk::Memory { bytes: sectors * SECTOR_BYTES };
            Ok(())
        }
        (Disk::Memory { .. }, None) => Ok(()),
    }
}
