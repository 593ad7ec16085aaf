//! The split queue's way back: used ring, interrupts, and what belongs to a chain that is done.

use pcie_sim::host::{Barrier, Host};
use pcie_sim::spec::virtq;

use super::Split;
use crate::dma::Dma;
use crate::virtqueue::{QueueBroken, Used};

impl Split {
    /// See [`crate::virtqueue::Virtqueue::has_used`].
    pub fn has_used(&mut self, host: &mut dyn Host) -> bool {
        if self.last_used == self.used_seen {
            self.used_seen = self.areas.device.read_u16(host, virtq::USED_IDX);
        }
        self.last_used != self.used_seen
    }

    /// See [`crate::virtqueue::Virtqueue::take_used`].
    pub fn take_used(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
    ) -> Option<Result<Used, QueueBroken>> {
        if let Some(broken) = self.broken {
            return Some(Err(broken));
        }
        if !self.has_used(host) {
            return None;
        }
        let taken = self.check_used(host).and_then(|(head, len)| {
            let token = self.release(host, dma, head)?;
            Ok(Used { token, len })
        });
        match taken {
            Ok(_) => {
                self.last_used = self.last_used.wrapping_add(1);
                self.keep_silence(host);
            }
            Err(broken) => self.broken = Some(broken),
        }
        Some(taken)
    }

    /// The next used element, when it is one that this driver can have got back.
    fn check_used(&mut self, host: &mut dyn Host) -> Result<(u16, u32), QueueBroken> {
        let (queue, outstanding) = (self.config.index, self.outstanding);
        let (from, to) = (self.last_used, self.used_seen);
        if to.wrapping_sub(from) > outstanding {
            return Err(QueueBroken::IndexJump { queue, from, to, outstanding });
        }
        if !self.areas.device.is_on_card() {
            host.barrier(Barrier::DmaRead);
        }
        let slot = self.slot(from);
        let (id, len) = self.areas.device.read_u32_pair(host, virtq::used_elem(slot));
        let head = u16::try_from(id)
            .ok()
            .filter(|&head| self.heads.get(usize::from(head)).is_some_and(|state| state.live));
        let Some(head) = head else {
            return Err(QueueBroken::BadId { queue, slot, id });
        };
        let writable = self.heads[usize::from(head)].writable_bytes;
        if u64::from(len) > writable {
            return Err(QueueBroken::BadLength { queue, id: head, len, writable });
        }
        Ok((head, len))
    }

    /// Unmaps a live chain, puts its descriptors back on the free list, and gives its token.
    fn release(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
        head: u16,
    ) -> Result<u64, QueueBroken> {
        let state = &mut self.heads[usize::from(head)];
        let mut result = Ok(());
        if let Some((table, mapping)) = state.table.take() {
            result = dma.unmap(host, mapping);
            self.tables.put(table);
        }
        for mapping in state.mappings.drain(..) {
            result = dma.unmap(host, mapping).and(result);
        }
        state.live = false;
        let (token, descriptors) = (state.token, state.descriptors);
        let mut tail = head;
        for _ in 1..descriptors {
            tail = self.next[usize::from(tail)];
        }
        self.next[usize::from(tail)] = self.free_head;
        self.free_head = head;
        self.num_free += descriptors;
        self.outstanding -= 1;
        match result {
            Ok(()) => Ok(token),
            Err(error) => Err(QueueBroken::Unmap { queue: self.config.index, error }),
        }
    }

    /// See [`crate::virtqueue::Virtqueue::enable_interrupts`].
    pub fn enable_interrupts(&mut self, host: &mut dyn Host) -> bool {
        if self.config.event_idx {
            if !self.interrupts || self.used_event != self.last_used {
                self.write_event(host, self.last_used);
            }
        } else if !self.interrupts {
            self.areas.driver.write_u16(host, virtq::AVAIL_FLAGS, 0);
        }
        self.interrupts = true;
        host.barrier(Barrier::Full);
        if self.areas_are_apart() {
            // A read pushes the wish before it to the card, and its answer pushes before it whatever the
            // card wrote until then. PCIe 5.0 §2.4.1, "Transaction Ordering Rules".
            self.areas.driver.read_u16(host, virtq::AVAIL_IDX);
        }
        self.has_used(host)
    }

    /// See [`crate::virtqueue::Virtqueue::disable_interrupts`].
    pub fn disable_interrupts(&mut self, host: &mut dyn Host) {
        if self.interrupts && !self.config.event_idx {
            self.write_silence(host);
        }
        // By event index an interrupt comes once, and not again before the next is asked for.
        self.interrupts = false;
    }

    pub(super) fn write_silence(&mut self, host: &mut dyn Host) {
        if self.config.event_idx {
            self.write_event(host, self.last_used.wrapping_sub(1));
        } else {
            self.areas.driver.write_u16(host, virtq::AVAIL_FLAGS, virtq::AVAIL_F_NO_INTERRUPT);
        }
    }

    /// An event that stays where it is comes into sight again when the index has gone around.
    fn keep_silence(&mut self, host: &mut dyn Host) {
        let behind = self.last_used.wrapping_sub(self.used_event);
        if self.config.event_idx && !self.interrupts && behind >= 1 << 14 {
            self.write_silence(host);
        }
    }

    fn write_event(&mut self, host: &mut dyn Host, event: u16) {
        self.areas.driver.write_u16(host, virtq::used_event(self.config.size), event);
        self.used_event = event;
    }

    /// See [`crate::virtqueue::Virtqueue::detach_unused`].
    pub fn detach_unused(
        &mut self,
        host: &mut dyn Host,
        dma: &mut Dma,
    ) -> Result<Vec<u64>, QueueBroken> {
        let mut tokens = Vec::new();
        let mut result = Ok(());
        for head in 0..self.config.size {
            if self.heads[usize::from(head)].live {
                tokens.push(self.heads[usize::from(head)].token);
                result = result.and(self.release(host, dma, head).map(drop));
            }
        }
        result.map(|()| tokens)
    }
}
