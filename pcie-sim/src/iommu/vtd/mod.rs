//! Intel VT-d as architected, in legacy mode: tables and queue in the host's memory, registers in its
//! address space.
//!
//! ```text
//!   request ─▶ context cache ─▶ IOTLB ─hit─▶ host address
//!                  │miss           │miss
//!                  ▼               ▼
//!            root, context    page tables  ─▶ fault log ─▶ message
//!   queue, registers ─▶ invalidate ─▶ context cache, IOTLB
//! ```
//!
//! Caches never look at memory again: what a driver changed without invalidating it stays in force, as
//! in silicon. Left out: scalable mode, device TLBs and page requests, interrupt remapping, advanced
//! fault logging, protected memory regions. When a request reaches memory is not seen from here:
//! draining waits for a time that is a parameter ([`VtdTiming::to_memory`]).

mod config;
mod fault;
mod invalidate;
mod iotlb;
mod registers;
#[cfg(test)]
mod tests;
mod walk;

pub use crate::iommu::cache::Geometry;
pub use config::{AddressWidths, VtdConfig, VtdTiming};

use crate::address::{Bdf, BusAddr, PhysAddr};
use crate::iommu::cache::{Cache, Key};
use crate::iommu::walkers::Walkers;
use crate::iommu::{Blocked, DmaKind, Iommu, IotlbCounts, TableMemory, Translated};
use crate::spec::vtd::{ccmd, fault as reason, gcmd, iotlb as iotlb_reg, reg, sl_entry};
use crate::time::{Instant, Span};
use fault::FaultLog;
use invalidate::{Command, ContextScope, IotlbScope, Queue};
use iotlb::Iotlb;
use registers::Registers;
use walk::{Abilities, Context, Fault, Walker, denied};

/// A VT-d unit. See the [module](self).
#[derive(Debug)]
pub struct Vtd {
    config: VtdConfig,
    abilities: Abilities,
    registers: Registers,
    contexts: Cache<Context>,
    iotlb: Iotlb,
    walkers: Walkers,
    log: FaultLog,
    queue: Queue,
    /// A global command under way.
    command: Option<(Instant, u32)>,
    /// An invalidation through the context command register under way.
    context_work: Option<(Instant, ContextScope)>,
    /// An invalidation through the IOTLB registers under way, and whether it drains.
    iotlb_work: Option<(Instant, IotlbScope, bool)>,
    /// When the last of the requests translated so far has reached memory.
    busy_until: Instant,
    /// When the next of what is under way is done.
    due: Instant,
    /// The latest time it was told.
    now: Instant,
    counts: IotlbCounts,
}

impl Vtd {
    /// A unit after reset: translation off, caches empty, events masked.
    #[must_use]
    pub fn new(config: VtdConfig) -> Self {
        let records = u64::from(config.fault_records).clamp(1, registers::MAX_RECORDS);
        let abilities = config.abilities();
        Self {
            abilities,
            registers: Registers::default(),
            contexts: Cache::new(config.context_cache),
            iotlb: Iotlb::new(config.iotlb, config.paging_structure_cache),
            walkers: Walkers::new(config.timing.walks_at_once),
            log: FaultLog::new(records as usize, abilities.widest_bits()),
            queue: Queue::new(),
            command: None,
            context_work: None,
            iotlb_work: None,
            busy_until: Instant::ZERO,
            due: Instant::FAR_FUTURE,
            now: Instant::ZERO,
            counts: IotlbCounts::default(),
            config,
        }
    }

    const fn is_on(&self, status: u32) -> bool {
        self.registers.status & status != 0
    }

    /// The driver writes the global command register. A command that comes before the last is done
    /// (which drivers must not do) ends the last at once.
    fn command(&mut self, now: Instant, memory: &dyn TableMemory, value: u32) {
        if let Some((_, earlier)) = self.command.take() {
            self.apply_command(now, memory, earlier);
        }
        if value & gcmd::SRTP != 0 {
            self.registers.status &= !gcmd::SRTP;
        }
        self.command = Some((now + self.config.timing.command, value));
    }

    fn apply_command(&mut self, now: Instant, memory: &dyn TableMemory, value: u32) {
        if value & gcmd::SRTP != 0 {
            self.registers.root = self.registers.root_written;
            self.registers.status |= gcmd::SRTP;
        }
        let switched = (value ^ self.registers.status) & (gcmd::TE | gcmd::QIE);
        self.registers.status ^= switched;
        if switched & gcmd::TE != 0 && value & gcmd::TE == 0 {
            self.log.rewind();
        }
        if switched & gcmd::QIE != 0 {
            self.queue.head = 0;
            self.fetch(now, memory);
        }
    }

    /// Whether a command under way turns the queue off: nothing new is fetched then, and the command
    /// waits for what was.
    fn queue_is_closing(&self) -> bool {
        self.command.is_some_and(|(_, value)| value & gcmd::QIE == 0)
    }

    /// Fetches the next descriptor, if the queue is on, free, without error and not empty.
    fn fetch(&mut self, now: Instant, memory: &dyn TableMemory) {
        let stopped = self.log.queue_error_information().is_some() || self.queue_is_closing();
        if !self.is_on(gcmd::QIE) || stopped || self.queue.running.is_some() {
            return;
        }
        match self.queue.fetch(memory) {
            Ok(None) => {}
            Ok(Some(command)) => {
                self.queue.running = Some((now + self.config.timing.of_command(command), command));
            }
            Err(information) => self.log.queue_error(information),
        }
    }

    fn drop_contexts(&mut self, scope: ContextScope) {
        self.contexts.remove_if(|key, context| scope.covers(key.page as u16, context.domain));
    }

    fn drop_translations(&mut self, scope: IotlbScope) {
        match scope {
            IotlbScope::All => self.iotlb.drop_all(),
            IotlbScope::Domain(domain) => self.iotlb.drop_domain(domain),
            IotlbScope::Pages { domain, address, mask, leaf_only } => {
                self.iotlb.drop_pages(domain, address, mask, leaf_only);
            }
        }
    }

    /// When a command of the global command register takes effect.
    fn command_due(&self) -> Option<Instant> {
        let (at, _) = self.command?;
        let queue_done = self.queue.running.filter(|_| self.queue_is_closing());
        Some(queue_done.map_or(at, |(done, _)| at.max(done)))
    }

    fn settle_due(&mut self) {
        let due = [
            self.queue.running.map(|(at, _)| at),
            self.context_work.map(|(at, _)| at),
            self.iotlb_work.map(|(at, ..)| at),
            self.command_due(),
        ];
        self.due = due.into_iter().flatten().min().unwrap_or(Instant::FAR_FUTURE);
    }

    /// Does all that is done by `now`, in the order of time.
    fn run_until(&mut self, now: Instant, memory: &mut dyn TableMemory) {
        self.now = self.now.max(now);
        while self.due <= now {
            self.finish(self.due, memory);
            self.settle_due();
        }
    }

    /// Finishes one of the things that are due at `at`.
    fn finish(&mut self, at: Instant, memory: &mut dyn TableMemory) {
        if let Some((_, command)) = self.queue.running.take_if(|(done, _)| *done <= at) {
            match command {
                Command::Context(scope) => self.drop_contexts(scope),
                Command::Iotlb { scope, drain } => {
                    self.drop_translations(scope);
                    if drain && self.busy_until > at {
                        self.queue.running = Some((self.busy_until, Command::IDLE));
                    }
                }
                Command::Wait { status, interrupt } => {
                    if let Some((address, data)) = status {
                        // An address outside RAM swallows the write, as a bus without a taker does.
                        let _taken = memory.write(address, &data.to_le_bytes());
                    }
                    if interrupt {
                        self.queue.complete();
                    }
                }
            }
            self.fetch(at, memory);
        } else if let Some((_, scope)) = self.context_work.take_if(|(done, _)| *done <= at) {
            self.drop_contexts(scope);
            self.registers.context_command &= !ccmd::ICC;
            self.registers.context_command |= scope.code() << ccmd::CAIG_SHIFT;
        } else if let Some((_, scope, drain)) = self.iotlb_work.take_if(|(done, ..)| *done <= at) {
            self.drop_translations(scope);
            if drain && self.busy_until > at {
                self.iotlb_work = Some((self.busy_until, scope, false));
                return;
            }
            self.registers.iotlb &= !iotlb_reg::IVT;
            self.registers.iotlb |= scope.code() << iotlb_reg::IAIG_SHIFT;
        } else if let Some((_, value)) = self.command.take() {
            self.apply_command(at, memory, value);
        }
    }

    /// The context entry of `requester`, out of the cache or the tables.
    fn context_of(
        &mut self,
        memory: &dyn TableMemory,
        requester: Bdf,
        took: &mut Span,
    ) -> Result<Context, Fault> {
        let key = Key { page: u64::from(requester.0), domain: 0, level: 0 };
        if let Some(context) = self.contexts.get(key) {
            return Ok(context);
        }
        let mut walker = Walker::new(&self.abilities, memory);
        let found = walker.context(self.registers.root, requester);
        *took += self.config.timing.context_walk_read * walker.context_reads;
        let context = found?;
        self.contexts.put(key, context);
        Ok(context)
    }

    /// Where a request goes; `took` grows by the time that the walks take.
    fn resolve(
        &mut self,
        now: Instant,
        memory: &dyn TableMemory,
        (requester, address, wanted): (Bdf, u64, u64),
        took: &mut Span,
    ) -> Result<u64, Fault> {
        let context = self.context_of(memory, requester, took)?;
        let fault = |reason| Fault { reason, quiet: context.quiet };
        if address >> context.address_bits() != 0 {
            return Err(fault(reason::ADDRESS_BEYOND_WIDTH));
        }
        if context.pass_through {
            return Ok(address);
        }
        if let Some(page) = self.iotlb.find(context.domain, address) {
            self.counts.hits += 1;
            *took += self.walkers.wait_for(now + *took, walked(&context, address));
            return if page.permissions & wanted == 0 {
                Err(fault(denied(wanted)))
            } else {
                Ok(page.place(address))
            };
        }
        self.counts.misses += 1;
        let mut walker = Walker::new(&self.abilities, memory);
        let found = walker.page(&context, address, wanted, &mut self.iotlb);
        let timing = &self.config.timing;
        let walk = timing.walk + timing.page_walk_read * walker.page_reads;
        let hold = if wanted & sl_entry::R != 0 { timing.read_hold } else { Span::ZERO };
        *took += self.walkers.walk(now + *took, walked(&context, address), walk, hold);
        let page = found.map_err(fault)?;
        self.iotlb.enter(context.domain, address, page);
        Ok(page.place(address))
    }
}

/// What a walk is for: a page of a domain.
const fn walked(context: &Context, address: u64) -> u64 {
    (context.domain as u64) << 48 | address >> 12
}

impl Iommu for Vtd {
    fn translate(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        requester: Bdf,
        address: BusAddr,
        len_bytes: u32,
        kind: DmaKind,
    ) -> Result<Translated, Blocked> {
        self.run_until(now, memory);
        if !self.is_on(gcmd::TE) {
            return Ok(Translated { address: PhysAddr(address.get()), took: Span::ZERO });
        }
        let wanted = match kind {
            DmaKind::Write => sl_entry::W,
            DmaKind::Read if len_bytes == 0 => sl_entry::R | sl_entry::W,
            DmaKind::Read => sl_entry::R,
        };
        let mut took = self.config.timing.hit;
        match self.resolve(now, memory, (requester, address.get(), wanted), &mut took) {
            Ok(address) => {
                let done = now + took + self.config.timing.to_memory;
                self.busy_until = self.busy_until.max(done);
                Ok(Translated { address: PhysAddr(address), took })
            }
            Err(Fault { reason, quiet }) => {
                if !quiet {
                    self.log.record(requester, address, kind, reason);
                }
                Err(Blocked { reason, took })
            }
        }
    }

    fn registers(&self) -> (PhysAddr, u64) {
        (self.config.registers, reg::BYTES)
    }

    fn register_read(&mut self, now: Instant, offset: u64, len_bytes: usize) -> u64 {
        self.now = self.now.max(now);
        registers::read(self, offset, len_bytes)
    }

    fn register_write(
        &mut self,
        now: Instant,
        memory: &mut dyn TableMemory,
        offset: u64,
        len_bytes: usize,
        value: u64,
    ) {
        self.run_until(now, memory);
        match len_bytes {
            4 if offset.is_multiple_of(4) => self.write_dword(now, memory, offset, value as u32),
            8 if offset.is_multiple_of(8) => {
                self.write_dword(now, memory, offset, value as u32);
                self.write_dword(now, memory, offset + 4, (value >> 32) as u32);
            }
            _ => {} // not allowed: "Software Access to Registers"
        }
        self.settle_due();
        self.run_until(now, memory);
    }

    fn next_wake(&self) -> Option<Instant> {
        if self.log.event.is_due() || self.queue.event.is_due() {
            return Some(self.now);
        }
        (self.due != Instant::FAR_FUTURE).then_some(self.due)
    }

    fn advance(&mut self, now: Instant, memory: &mut dyn TableMemory) -> Option<(u64, u32)> {
        self.run_until(now, memory);
        self.log.event.take().or_else(|| self.queue.event.take())
    }

    fn counts(&self) -> IotlbCounts {
        self.counts
    }

    fn explain(&self, reason: u8) -> &'static str {
        reason::name(reason)
    }

    fn is_translating(&self) -> bool {
        self.is_on(gcmd::TE)
    }
}
