//! The control queue. Virtio 1.4, "Control Virtqueue".
//!
//! ```text
//!   the driver's page:   0  class, command │ 64  data │ 128  answer, 1 byte
//! ```
//!
//! All three are heap memory, in lines of their own, never the stack: the card reads and writes them
//! while the caller waits (PLATFORMS.md, rule 7). One command at a time.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Host;
use pcie_sim::spec::net::{self as spec, ctrl};
use pcie_sim::time::Instant;

use super::NetDriver;
use crate::device::DriverError;
use crate::virtqueue::{AddError, QueueBroken, Segment};

/// Bytes of the driver's memory for commands.
pub(super) const CONTROL_BYTES: u64 = 4096;
const DATA_OFFSET: u64 = 64;
const ANSWER_OFFSET: u64 = 128;
const CONTROL: usize = 2;
/// In an answer that the card has not written; none of the specification's.
const UNANSWERED: u8 = 0xff;

/// Why a control command did nothing, as far as the driver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The device offers no such command.
    #[error("the device has no control command for {what}")]
    Unsupported {
        /// What was to be done.
        what: &'static str,
    },
    /// The device refused.
    #[error("the device answered {answer:#04x} to a control command")]
    Refused {
        /// Its answer; 0xff: it wrote none.
        answer: u8,
    },
    /// The device did not answer in time. Its memory stays with it until it does, or is reset.
    #[error("the device did not answer a control command")]
    Timeout,
    /// The command before it was not answered yet.
    #[error("the device has not answered the control command before")]
    Busy,
    /// The queue refused.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The card broke the queue.
    #[error(transparent)]
    Broken(#[from] QueueBroken),
}

/// Whether a command is under way.
#[derive(Debug, Default)]
pub(super) struct ControlState {
    unanswered: bool,
}

impl NetDriver {
    /// Lets the device deliver every packet, or only its own again.
    ///
    /// # Errors
    /// [`DriverError::Control`] says why not; other errors as from [`NetDriver::wait`].
    pub fn set_promiscuous(
        &mut self,
        host: &mut dyn Host,
        on: bool,
        deadline: Instant,
    ) -> Result<(), DriverError> {
        let unsupported = ControlError::Unsupported { what: "promiscuous mode" };
        self.require(spec::F_CTRL_RX, unsupported)?;
        let command = [ctrl::CLASS_RX, ctrl::RX_PROMISC];
        self.control(host, command, &[u8::from(on)], deadline)
    }

    /// Gives the device another address.
    ///
    /// # Errors
    /// As [`NetDriver::set_promiscuous`].
    pub fn set_mac(
        &mut self,
        host: &mut dyn Host,
        mac: [u8; 6],
        deadline: Instant,
    ) -> Result<(), DriverError> {
        let unsupported = ControlError::Unsupported { what: "its address" };
        self.require(spec::F_CTRL_MAC_ADDR, unsupported)?;
        self.control(host, [ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET], &mac, deadline)?;
        self.identity.mac = Some(mac);
        Ok(())
    }

    fn require(&self, feature: u64, otherwise: ControlError) -> Result<(), ControlError> {
        let has = self.core.has(spec::F_CTRL_VQ) && self.core.has(feature);
        if has { Ok(()) } else { Err(otherwise) }
    }

    /// Sends a command and waits for its answer. A kernel holds a lock meanwhile and spins, as here.
    fn control(
        &mut self,
        host: &mut dyn Host,
        command: [u8; ctrl::HDR_BYTES],
        data: &[u8],
        deadline: Instant,
    ) -> Result<(), DriverError> {
        self.forget_late_answers(host)?;
        if self.control.unanswered {
            return Err(ControlError::Busy.into());
        }
        let memory = self.buffers.control;
        host.write(memory, &command);
        host.write(memory + DATA_OFFSET, data);
        host.write(memory + ANSWER_OFFSET, &[UNANSWERED]);
        let segment = |address: PhysAddr, len: usize| Segment { address, len: len as u32 };
        let out = [segment(memory, command.len()), segment(memory + DATA_OFFSET, data.len())];
        let answer = [segment(memory + ANSWER_OFFSET, 1)];
        let queue = &mut self.core.slots[CONTROL].queue;
        queue.add(host, &mut self.core.dma, &out, &answer, 0).map_err(ControlError::from)?;
        self.control.unanswered = true;
        self.core.kick(host);
        while !self.take_answer(host)? {
            if host.now() >= deadline {
                self.core.check_status(host)?;
                return Err(ControlError::Timeout.into());
            }
            host.spend(self.core.config.costs.poll);
            if let Some(at) = self.core.slots[CONTROL].queue.spin_address() {
                host.spin_on_memory(at, 2, deadline);
            }
        }
        let mut answer = [0];
        host.read(memory + ANSWER_OFFSET, &mut answer);
        match answer {
            [ctrl::OK] => Ok(()),
            [answer] => Err(ControlError::Refused { answer }.into()),
        }
    }

    fn take_answer(&mut self, host: &mut dyn Host) -> Result<bool, DriverError> {
        let queue = &mut self.core.slots[CONTROL].queue;
        match queue.take_used(host, &mut self.core.dma) {
            Some(used) => {
                used.map_err(ControlError::from)?;
                self.control.unanswered = false;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Takes the answer to a command whose caller has stopped waiting.
    pub(super) fn forget_late_answers(&mut self, host: &mut dyn Host) -> Result<(), DriverError> {
        if self.control.unanswered {
            self.take_answer(host)?;
        }
        Ok(())
    }
}
