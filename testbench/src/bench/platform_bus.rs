//! A slot on the platform's own bus: where it lies, what is in it, and how the system comes to look.

use host_driver::transport::TransportError;
use host_driver::{MmioTransport, ProbeError};
use pcie_sim::address::{Bdf, PhysAddr};
use pcie_sim::endpoint::{Endpoint, Tap};
use pcie_sim::host::{Bus, MsiMessage, Vector};
use pcie_sim::machine::Machine;
use pcie_sim::root::FixedWindow;
use pcie_sim::time::{Instant, Span};
use rtl_model::{CardConfig, MmioCard, MmioConfig};

use crate::report::RunError;

/// The slot's registers; its card's memory follows.
const REGISTERS: u64 = 0xd000_0000;
const MEMORY: u64 = 0xd100_0000;
const WINDOW_BYTES: u64 = 0x0200_0000;
/// By which id requests of the slot are told from others on the link that stands for the bus.
pub(super) const REQUESTER: Bdf = Bdf::new(0, 5, 0);
/// When a slot that is empty at first gets its device.
const FILLED_AT: Instant = Instant::from_ps(3_000_000_000);
/// How often the system looks at an empty slot, and how many times before it gives up.
const LOOKS: (Span, u32) = (Span::from_ms(1), 10);

/// The interrupt line: the first vector, since the slot is there before any device asks for one.
const LINE: Vector = Vector(0);

/// Where the machine leads accesses down to the slot.
pub(super) const WINDOW: FixedWindow =
    FixedWindow { base: PhysAddr(REGISTERS), len_bytes: WINDOW_BYTES };

/// The slot with the model in it, from the start or later.
pub(super) fn slot(card: CardConfig, filled_later: bool) -> Result<Box<dyn Endpoint>, RunError> {
    let place = MmioConfig {
        registers: REGISTERS,
        memory: Some(MEMORY),
        interrupt: MsiMessage { address: 0xfee0_0000, data: LINE.0.into() },
        requester: REQUESTER,
    };
    if !filled_later {
        return Ok(Box::new(MmioCard::new(place, card).map_err(RunError::input)?));
    }
    let mut slot = MmioCard::empty(place);
    slot.plug_at(FILLED_AT, card).map_err(RunError::input)?;
    Ok(Box::new(slot))
}

/// Reserves the line that the slot is wired to.
pub(super) fn wire<T: Tap>(machine: &mut Machine<T>) -> Result<(), RunError> {
    match machine.allocate_message() {
        Some((LINE, _)) => Ok(()),
        _ => Err(RunError::internal("the slot's interrupt line is taken")),
    }
}

/// Looks at the slot until something is in it. Also gives when that was, if not at once.
pub(super) fn open<T: Tap>(
    machine: &mut Machine<T>,
) -> Result<(MmioTransport, Option<Instant>), ProbeError> {
    let (pause, looks) = LOOKS;
    let mut waited = None;
    for _ in 0..looks {
        match MmioTransport::open(machine, PhysAddr(REGISTERS), LINE) {
            Ok(transport) => return Ok((transport, waited)),
            Err(TransportError::EmptySlot { .. }) => {
                let next = machine.now() + pause;
                machine.run_until(next);
                waited = Some(next);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(TransportError::EmptySlot { address: PhysAddr(REGISTERS) }.into())
}
