//! A bench that is driven by hand, a command at a time, and ends with the result that a run has.
//!
//! ```text
//!   give(id, Command) ──▶ Session ──▶ machine, driver
//!   turn(slice)      ──▶ time passes, what comes back is taken ──▶ done: (id, Outcome)
//!   news()           ◀── what was violated since
//!   finish()         ──▶ RunResult
//! ```
//!
//! Registers, configuration space and memory are accessed within [`Session::give`], while the CPU does nothing
//! else; what goes through a queue is under way until a later turn. Nothing is compared here: whoever asks has
//! the data. The driver looks at its rings at the end of each turn, too, as after a wait that has come to its
//! end: an interrupt that never comes is not missed here, as it is in a run.

mod command;
mod traffic;

use std::collections::VecDeque;
use std::mem::take;

use host_driver::device::net::NetOptions;
use host_driver::{BlkDriver, Counters, NetDriver};
use pcie_sim::address::PhysAddr;
use pcie_sim::fault::Fault;
use pcie_sim::host::{Bus, Memory, Width};
use pcie_sim::time::{Instant, Span};
use pcie_sim::tlp::{FlowClass, Tag, Tlp, codec};
use rtl_model::NetConfig;

pub use self::command::{Answer, Command, CommandError, Outcome, Probed};
use self::traffic::UnderWay;
use super::faults::Trouble;
use super::outcome::Tally;
use super::stand::Stand;
use super::watch::Watch;
use super::wiring::{Bench, MakeCard};
use super::{blk, net};
use crate::report::{RunError, RunResult, Violation};
use crate::scenario::config::{RunConfig, Workload};

/// Bytes of a function's configuration space.
const CONFIG_BYTES: usize = 4096;

/// The format of a prefix, in the upper three bits of its first byte. PCIe 5.0 §2.2.1.
const PREFIX: u8 = 0b100;

enum Driver {
    None,
    Blk(BlkDriver),
    Net(NetDriver),
}

/// How much of each list of findings was told.
#[derive(Default)]
struct Told {
    analyzer: usize,
    refused: usize,
    cpu: usize,
    pins: usize,
    own: usize,
}

/// A machine with a card, and a driver when it was probed.
pub struct Session {
    config: RunConfig,
    driver: Driver,
    tally: Tally,
    told: Told,
    patience: Span,
    under_way: Vec<UnderWay>,
    /// What found no room in its queue, oldest first.
    waiting: VecDeque<(u64, Command)>,
    receivers: VecDeque<(u64, Instant)>,
    arrived: VecDeque<Vec<u8>>,
    submitted: bool,
    done: Vec<(u64, Outcome)>,
}

impl Session {
    /// Wires what `config` says with a card from `make`. What is under way for longer than `patience` has
    /// stalled.
    ///
    /// # Errors
    /// As [`super::run_with`].
    pub fn new(config: &RunConfig, patience: Span, make: MakeCard<'_>) -> Result<Self, RunError> {
        let device = match &config.workload {
            Workload::Blk(workload) => blk::device(config.seed, workload)?,
            Workload::Net(workload) => net::device(workload, NetConfig::default().mtu),
        };
        let watch = Watch::writing(config).map_err(RunError::internal)?;
        let bench = Bench::new(config, device, watch, make)?;
        let tally = Tally::begin(bench, Counters::default());
        Ok(Self {
            config: config.clone(),
            driver: Driver::None,
            tally,
            told: Told::default(),
            patience,
            under_way: Vec::new(),
            waiting: VecDeque::new(),
            receivers: VecDeque::new(),
            arrived: VecDeque::new(),
            submitted: false,
            done: Vec::new(),
        })
    }

    /// Now, in the machine's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.tally.bench.machine.now()
    }

    /// Begins a command, or does it.
    pub fn give(&mut self, id: u64, command: Command) {
        if let Some(outcome) = self.begin(id, command) {
            self.done.push((id, outcome));
        }
    }

    /// What is done since it was asked last.
    pub fn done(&mut self) -> Vec<(u64, Outcome)> {
        take(&mut self.done)
    }

    /// Rules that were broken since it was asked last, in order of time.
    pub fn news(&mut self) -> Vec<Violation> {
        let Bench { machine, at_pins, analyzed, .. } = &self.tally.bench;
        let told = &mut self.told;
        let mut news = at_pins.since(told.pins);
        told.pins += news.len();
        if *analyzed {
            let all = machine.tap.analyzer.violations();
            news.extend(all.iter().skip(told.analyzer).map(super::outcome::analyzed));
            told.analyzer = all.len();
        }
        let refused = machine.root.refused();
        let fresh = refused.iter().skip(told.refused);
        news.extend(fresh.map(|refused| super::outcome::refused_dma(&self.tally.bench, refused)));
        told.refused = refused.len();
        let cpu = machine.findings();
        news.extend(cpu.iter().skip(told.cpu).map(super::outcome::cpu_violation));
        told.cpu = cpu.len();
        news.extend(self.tally.violations.iter().skip(told.own).cloned());
        told.own = self.tally.violations.len();
        news.sort_by_key(|violation| violation.time);
        news
    }

    /// The driver lets the card go, and what there is to say is said.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn finish(mut self) -> Result<RunResult, RunError> {
        let counters = match &self.driver {
            Driver::None => Counters::default(),
            Driver::Blk(driver) => driver.counters(),
            Driver::Net(driver) => driver.counters(),
        };
        self.tally.end(counters);
        let machine = &mut self.tally.bench.machine;
        let removed = match self.driver {
            Driver::None => None,
            Driver::Blk(driver) => Some(driver.remove(machine)),
            Driver::Net(driver) => Some(driver.remove(machine)),
        };
        for under_way in take(&mut self.under_way) {
            under_way.release(&self.tally.bench.pages);
        }
        match removed {
            Some(removed) => self.tally.result(removed),
            None => self.tally.conclude(None),
        }
    }

    /// The outcome, if there is one at once.
    fn begin(&mut self, id: u64, command: Command) -> Option<Outcome> {
        Some(match command {
            Command::Probe => self.probe(),
            Command::Read { .. }
            | Command::Write { .. }
            | Command::Flush
            | Command::Send { .. }
            | Command::Receive => return self.submit(id, command),
            Command::MmioRead { bar, offset, width } => self
                .bar(bar, offset, width)
                .map(|at| Answer::Value(self.tally.bench.machine.mmio_read(at, width))),
            Command::MmioWrite { bar, offset, width, value } => {
                self.bar(bar, offset, width).map(|at| {
                    self.tally.bench.machine.mmio_write(at, width, value);
                    Answer::Done
                })
            }
            Command::ConfigRead { offset, width } => config_fits(offset, width).map(|()| {
                let card = self.tally.bench.card;
                Answer::Value(self.tally.bench.machine.config_read(card, offset, width).into())
            }),
            Command::ConfigWrite { offset, width, value } => config_fits(offset, width).map(|()| {
                let card = self.tally.bench.card;
                self.tally.bench.machine.config_write(card, offset, width, value);
                Answer::Done
            }),
            Command::MemoryRead { address, len_bytes } => {
                self.memory(address, len_bytes).map(|()| {
                    let mut bytes = vec![0; len_bytes as usize];
                    self.tally.bench.machine.read(address, &mut bytes);
                    Answer::Bytes(bytes)
                })
            }
            Command::MemoryWrite { address, data } => {
                self.memory(address, data.len() as u64).map(|()| {
                    self.tally.bench.machine.write(address, &data);
                    Answer::Done
                })
            }
            Command::Tlp(tlp) => Ok(self.tlp(tlp)),
            Command::Record => {
                self.tally.bench.machine.tap.observers_mut().log.get_or_insert_default();
                Ok(Answer::Done)
            }
            Command::Recorded => {
                let log = self.tally.bench.machine.tap.observers_mut().log.as_mut();
                Ok(Answer::Seen(log.map(take).unwrap_or_default()))
            }
            Command::Fault(fault) => {
                self.inject(fault);
                Ok(Answer::Done)
            }
        })
    }

    fn probe(&mut self) -> Outcome {
        if !matches!(self.driver, Driver::None) {
            return Err(CommandError::ProbedTwice);
        }
        self.tally.bench.admit(&self.config).map_err(CommandError::Probe)?;
        let context = self.tally.bench.probe_context(&self.config);
        let machine = &mut self.tally.bench.machine;
        let probed = context.and_then(|context| match &self.config.workload {
            Workload::Blk(_) => BlkDriver::probe(machine, context).map(Driver::Blk),
            Workload::Net(_) => {
                let receive_buffers = self.config.card.queue_size;
                let options =
                    NetOptions { header_in_buffer: true, receive_buffers, ..NetOptions::default() };
                NetDriver::probe(machine, context, options).map(Driver::Net)
            }
        });
        self.driver = match probed {
            Ok(driver) => driver,
            Err(error) => {
                self.tally.violation("DRIVER-PROBE", error.to_string());
                return Err(CommandError::Probe(error.to_string()));
            }
        };
        let facts = &mut self.tally.facts;
        let (disk, net) = match &self.driver {
            Driver::None => (None, None),
            Driver::Blk(driver) => {
                (facts.ops, facts.features) = (driver.ops_name(), driver.features());
                (Some(driver.geometry()), None)
            }
            Driver::Net(driver) => {
                (facts.ops, facts.features) = (driver.ops_name(), driver.features());
                (None, Some(driver.identity()))
            }
        };
        Ok(Answer::Probed(Probed { dma: facts.ops, features: facts.features, disk, net }))
    }

    /// Where the CPU finds a place in a BAR.
    fn bar(&self, bar: u8, offset: u64, width: Width) -> Result<PhysAddr, CommandError> {
        let bytes = width.bytes() as u64;
        let found = self.tally.bench.bars.iter().find(|found| {
            found.index == bar
                && offset.checked_add(bytes).is_some_and(|end| end <= found.len_bytes)
        });
        found.map(|found| found.address + offset).ok_or_else(|| {
            let known = self.tally.bench.bars.iter();
            let known: Vec<_> = known
                .map(|bar| format!("BAR{} of {:#x} bytes", bar.index, bar.len_bytes))
                .collect();
            CommandError::NoBar { bar, offset, has: known.join(", ") }
        })
    }

    fn memory(&self, address: PhysAddr, len_bytes: u64) -> Result<(), CommandError> {
        let ram_bytes = self.tally.bench.machine.ram_bytes();
        match address.get().checked_add(len_bytes) {
            Some(end) if end <= ram_bytes => Ok(()),
            _ => Err(CommandError::NoMemory { address, len_bytes, ram_bytes }),
        }
    }

    fn tlp(&mut self, tlp: Tlp) -> Answer {
        if tlp.flow_class() == FlowClass::NonPosted {
            return Answer::Completion(self.tally.bench.machine.ask_raw(|tag| tagged(tlp, tag)));
        }
        self.tally.bench.machine.send_raw(tlp);
        Answer::Done
    }

    fn inject(&mut self, fault: Fault) {
        if let Some(trouble) = &self.tally.bench.trouble {
            return trouble.add(fault);
        }
        let config = RunConfig { faults: vec![fault], ..self.config.clone() };
        let Bench { machine, card, trouble, .. } = &mut self.tally.bench;
        *trouble = Trouble::prepare(&config, machine, *card);
        if let Some(trouble) = trouble {
            trouble.begin(machine.now());
        }
    }
}

/// The same request with another tag; one behind prefixes keeps its own. PCIe 5.0 §2.2.6.2.
fn tagged(request: Tlp, tag: Tag) -> Tlp {
    let mut bytes = Vec::new();
    codec::emit(&request, &mut bytes);
    if bytes[0] >> 5 != PREFIX {
        bytes[6] = tag.0 as u8;
    }
    codec::parse(&bytes).unwrap_or(request)
}

fn config_fits(offset: u16, width: Width) -> Result<(), CommandError> {
    let bytes = width.bytes();
    let at = usize::from(offset);
    if bytes > 4 || at % bytes != 0 || at + bytes > CONFIG_BYTES {
        return Err(CommandError::Config { offset, bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
