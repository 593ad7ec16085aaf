//! The entropy driver: buffers that the device fills. Virtio 1.4, "Entropy Device".

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Host;
use pcie_sim::spec::rng as spec;
use pcie_sim::time::Instant;

use super::core::Core;
use super::{Counters, DriverError, ProbeContext, ProbeError, Removed, SubmitError};
use crate::virtqueue::Segment;

/// A buffer that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngDone {
    /// What was given with it.
    pub token: u64,
    /// Random bytes at its start.
    pub len: u32,
}

/// An entropy device under its driver.
#[derive(Debug)]
pub struct RngDriver {
    core: Core,
}

impl RngDriver {
    /// Takes an entropy device over, up to DRIVER_OK.
    pub fn probe(host: &mut dyn Host, context: ProbeContext) -> Result<Self, ProbeError> {
        let queues = |_| &[spec::REQUEST_QUEUE] as &[u16];
        let mut core = Core::start(host, context, spec::DEVICE_TYPE, 0, queues)?;
        match core.go(host) {
            Ok(()) => Ok(Self { core }),
            Err(error) => Err(core.give_up(host, error)),
        }
    }

    /// The features negotiated.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.core.features
    }

    /// Name of the DMA back end.
    #[must_use]
    pub fn ops_name(&self) -> &'static str {
        self.core.dma.ops_name()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// Buffers that have not come back.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.core.slots[0].queue.outstanding()
    }

    /// Gives the device `len` bytes at `buffer` to fill; it learns of it at the latest by
    /// [`RngDriver::kick`].
    #[track_caller]
    pub fn submit(
        &mut self,
        host: &mut dyn Host,
        buffer: PhysAddr,
        len: u32,
        token: u64,
    ) -> Result<(), SubmitError> {
        if len == 0 {
            return Err(SubmitError::Malformed { why: "a buffer of no bytes" });
        }
        let costs = self.core.config.costs;
        host.spend(costs.add_buffer + costs.add_segment);
        let whole = [Segment { address: buffer, len }];
        self.core.slots[0].queue.add(host, &mut self.core.dma, &[], &whole, token)?;
        self.core.counters.requests += 1;
        Ok(())
    }

    /// Rings the doorbell for what was submitted, if the device wants it.
    pub fn kick(&mut self, host: &mut dyn Host) {
        self.core.kick(host);
    }

    /// Takes all buffers that came back, and says how many.
    pub fn poll(
        &mut self,
        host: &mut dyn Host,
        done: &mut Vec<RngDone>,
    ) -> Result<usize, DriverError> {
        let before = done.len();
        while let Some(used) = self.core.slots[0].queue.take_used(host, &mut self.core.dma) {
            let used = used?;
            host.spend(self.core.config.costs.take_used);
            done.push(RngDone { token: used.token, len: used.len });
        }
        let taken = done.len() - before;
        self.core.counters.completed += taken as u64;
        Ok(taken)
    }

    /// Waits until a buffer came back (`true`) or `deadline` passed (`false`).
    pub fn wait(&mut self, host: &mut dyn Host, deadline: Instant) -> Result<bool, DriverError> {
        self.core.wait(host, deadline)
    }

    /// Resets the device and gives everything back.
    pub fn remove(self, host: &mut dyn Host) -> Result<Removed, DriverError> {
        self.core.remove(host)
    }
}
