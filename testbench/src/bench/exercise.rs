//! Exercises: what a designer's validation does with a card beside traffic. Nothing is judged here but that the
//! card goes on; what it does is seen on the link, and the rules of [`crate::check`] name what is wrong.
//!
//! ```text
//!   traffic ─▶ bus-master, masked-vectors, isr, refused-reads ─▶ driver goes ─▶ features
//! ```
//!
//! Left out: network interfaces, except for `features`; cards on another bus than PCI.

use host_driver::pci::Function;
use host_driver::transport::TransportError;
use host_driver::{BlkDone, BlkDriver, BlkOp, BlkRequest, DriverError, Segment, Transport};
use pcie_sim::address::PhysAddr;
use pcie_sim::endpoint::Direction;
use pcie_sim::fault::{Fault, FaultKind, Mishaps, Plan, When};
use pcie_sim::host::{Bus, Width};
use pcie_sim::spec::pci::msix;
use pcie_sim::spec::virtio_pci::{NO_VECTOR, status};
use pcie_sim::time::Span;

use super::outcome::Tally;
use super::stand::Stand;
use super::wiring::Bench;
use crate::analyzer::capabilities::Structure;
use crate::report::RunError;
use crate::scenario::config::{Exercise, RunConfig};

/// Of each command.
const BYTES: u64 = 1024;
/// Commands at once, at most.
const COMMANDS: u64 = 4;
/// What may still be on its way has come by then.
const QUIET: Span = Span::from_us(20);
/// From doorbell to mask, in steps of this, so many of them.
const PHASES: (Span, u64) = (Span::from_ns(500), 32);
/// Which of the answers to a command's reads is refused, up to this one: data, with any layout and size of
/// payload.
const REFUSED: u64 = 12;

/// Why an exercise ended early.
enum Ended {
    Stalled(u64),
    Driver(DriverError),
    Bench(RunError),
}

impl From<DriverError> for Ended {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// Those that need a driver. The traffic is over, and all of it has come back.
///
/// # Errors
/// What cannot be submitted is [`RunError::Internal`].
pub(super) fn with_driver(
    config: &RunConfig,
    tally: &mut Tally,
    driver: &mut BlkDriver,
) -> Result<(), RunError> {
    if config.exercises.is_empty() || !tally.bench.analyzed {
        return Ok(());
    }
    let commands = COMMANDS.min(config.driver.queue_depth.into());
    let buffers = tally.bench.buffers(commands * BYTES)?;
    let bench = &mut tally.bench;
    let patience = config.driver.patience;
    let ended = Station { bench, driver, buffers, commands, patience }.all(config);
    match ended {
        Ok(()) => {}
        Err((_, Ended::Bench(error))) => return Err(error),
        Err((_, Ended::Driver(error))) => tally.driver_error(&error),
        Err((exercise, Ended::Stalled(left))) => tally.stalled(format!(
            "{left} commands of the exercise {exercise:?} are under way, and nothing comes"
        )),
    }
    Ok(())
}

/// Those of a card that nobody drives.
pub(super) fn without_driver(config: &RunConfig, tally: &mut Tally) {
    if !config.exercises.contains(&Exercise::Features) || !tally.bench.analyzed {
        return;
    }
    match tally.bench.transport(config) {
        Ok(mut transport) => {
            if let Err(error) = features(transport.as_mut(), &mut tally.bench) {
                tally.driver_error(&DriverError::Transport(error));
            }
        }
        Err(error) => tally.violation("DRIVER-PROBE", error.to_string()),
    }
}

/// FEAT-DEV-03, below and above bit 32: what is accepted beside all that is offered.
fn features(transport: &mut dyn Transport, bench: &mut Bench) -> Result<(), TransportError> {
    let host = &mut bench.machine;
    for unwanted in [0..32, 32..64] {
        transport.reset(host)?;
        transport.set_status(host, status::ACKNOWLEDGE);
        transport.set_status(host, status::ACKNOWLEDGE | status::DRIVER);
        let offered = transport.device_features(host);
        let beyond = unwanted.rev().map(|bit| 1_u64 << bit).find(|bit| offered & bit == 0);
        transport.set_driver_features(host, offered | beyond.unwrap_or(0));
        transport.set_status(host, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        let _ = transport.status(host);
    }
    transport.reset(host)
}

/// The bench with its driver.
struct Station<'s> {
    bench: &'s mut Bench,
    driver: &'s mut BlkDriver,
    buffers: PhysAddr,
    commands: u64,
    patience: Span,
}

impl Station<'_> {
    /// What the run asks for, up to the first that does not go on.
    fn all(mut self, config: &RunConfig) -> Result<(), (Exercise, Ended)> {
        for &exercise in &config.exercises {
            let ended = match exercise {
                Exercise::BusMaster => self.bus_master(),
                Exercise::MaskedVectors => self.masked_vectors(),
                Exercise::Isr => self.isr(),
                Exercise::RefusedReads => self.refused_reads(config.seed),
                Exercise::Features => Ok(()),
            };
            ended.map_err(|ended| (exercise, ended))?;
        }
        Ok(())
    }

    /// One command from the disk's beginning, or to it.
    fn submit(&mut self, op: BlkOp, token: u64) -> Result<(), Ended> {
        let address = self.buffers + token % self.commands * BYTES;
        let segments = [Segment { address, len: BYTES as u32 }];
        let request = BlkRequest { op, sector: 0, segments: &segments };
        let submitted = self.driver.submit(&mut self.bench.machine, &request, token);
        submitted.map_err(|error| Ended::Bench(RunError::internal(error)))
    }

    fn reads(&mut self, count: u64) -> Result<(), Ended> {
        (0..count).try_for_each(|token| self.submit(BlkOp::Read, token))?;
        self.driver.kick(&mut self.bench.machine);
        Ok(())
    }

    /// Lets the driver ask for its next interrupt, if it wants any.
    fn arm(&mut self) -> Result<(), Ended> {
        let now = self.bench.machine.now();
        self.driver.wait(&mut self.bench.machine, now)?;
        Ok(())
    }

    fn pass(&mut self, time: Span) {
        let until = self.bench.machine.now() + time;
        self.bench.machine.run_until(until);
    }

    /// Waits until all is done.
    fn finish(&mut self) -> Result<Vec<BlkDone>, Ended> {
        let mut done = Vec::new();
        let deadline = self.bench.machine.now() + self.patience;
        while self.driver.outstanding() > 0 {
            if self.bench.machine.now() >= deadline {
                return Err(Ended::Stalled(self.driver.outstanding().into()));
            }
            self.driver.wait(&mut self.bench.machine, deadline)?;
            self.driver.poll(&mut self.bench.machine, &mut done)?;
        }
        Ok(done)
    }

    fn structure(&self, find: impl FnOnce(&Bench) -> Option<Structure>) -> Option<PhysAddr> {
        let structure = find(self.bench)?;
        let config = self.bench.machine.tap.analyzer.config()?;
        let (base, _) = config.bar(structure.bar.into())?;
        Some(PhysAddr(base + structure.offset))
    }

    /// PCIe 5.0 §7.5.1.1.3. The doorbell may count or not, so that it rings once more.
    fn bus_master(&mut self) -> Result<(), Ended> {
        let function = Function::new(self.bench.card);
        for _ in 0..2 {
            function.set_bus_master(&mut self.bench.machine, false);
            self.reads(1)?;
            self.pass(QUIET);
            function.set_bus_master(&mut self.bench.machine, true);
            let notify =
                self.structure(|bench| bench.machine.tap.analyzer.config()?.layout().notify);
            if let Some(doorbell) = notify {
                self.bench.machine.mmio_write(doorbell, Width::W16, 0);
            }
            self.finish()?;
        }
        Ok(())
    }

    /// PCI-MSIX-DEV-10. Of a driver that polls no vector is known.
    fn masked_vectors(&mut self) -> Result<(), Ended> {
        let analyzer = &self.bench.machine.tap.analyzer;
        let vector = analyzer.registers().queue(0).map_or(NO_VECTOR, |queue| queue.vector);
        let table =
            self.structure(|bench| Some(bench.machine.tap.analyzer.config()?.layout().msix?.table));
        let (Some(table), true) = (table, vector != NO_VECTOR) else { return Ok(()) };
        let control = table + u64::from(vector) * msix::ENTRY_BYTES + msix::ENTRY_CONTROL;
        let (step, phases) = PHASES;
        for phase in 0..phases {
            self.arm()?;
            self.reads(self.commands)?;
            self.pass(step * phase);
            let host = &mut self.bench.machine;
            host.mmio_write(control, Width::W32, 1);
            host.mmio_read(control, Width::W32);
            self.pass(QUIET);
            self.bench.machine.mmio_write(control, Width::W32, 0);
            self.finish()?;
        }
        Ok(())
    }

    /// PCI-ISR-DEV-05. Without MSI-X the card notes in the ISR status why it would interrupt.
    fn isr(&mut self) -> Result<(), Ended> {
        let isr = self.structure(|bench| bench.machine.tap.analyzer.config()?.layout().isr);
        let config = self.bench.machine.tap.analyzer.config();
        let msix_at = config.and_then(|config| config.layout().msix).map(|msix| msix.at);
        let (Some(isr), Some(at)) = (isr, msix_at) else { return Ok(()) };
        let (card, control) = (self.bench.card, at + msix::CONTROL);
        self.arm()?;
        let host = &mut self.bench.machine;
        let on = host.config_read(card, control, Width::W16);
        let off = on & !u32::from(msix::CONTROL_ENABLE);
        host.config_write(card, control, Width::W16, off);
        self.reads(1)?;
        self.pass(QUIET * 2);
        let host = &mut self.bench.machine;
        for _ in 0..4 {
            host.mmio_read(isr, Width::W8);
        }
        host.config_write(card, control, Width::W16, on);
        self.finish()?;
        Ok(())
    }

    /// PCIe 5.0 §2.3.2. Which read it hits is up to the card: the index, the ring, a descriptor or the data. The
    /// command may fail, and the card may give up; either is told, and the driver starts it again.
    fn refused_reads(&mut self, seed: u64) -> Result<(), Ended> {
        for packet in (1..=REFUSED).rev() {
            let fault = Fault {
                direction: Direction::Downstream,
                when: When::Packet(packet),
                ..Fault::once(FaultKind::CompletionStatus)
            };
            let mishaps = Mishaps::new(Plan::new(&[fault], seed));
            self.bench.machine.set_sender_fault(Box::new(mishaps.clone()));
            self.submit(BlkOp::Write, packet)?;
            let now = self.bench.machine.now();
            mishaps.plan().borrow_mut().arm(now);
            self.driver.kick(&mut self.bench.machine);
            self.pass(QUIET * 2);
            mishaps.plan().borrow_mut().disarm();
            match self.finish() {
                Ok(_) => {}
                Err(Ended::Driver(DriverError::NeedsReset { .. }) | Ended::Stalled(_)) => {
                    self.driver.restart(&mut self.bench.machine)?;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}
