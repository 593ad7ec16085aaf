//! The hypervisor below a [`Machine`]'s CPU, as far as the machine's parts make one.
//!
//! | part | makes it | calls |
//! |---|---|---|
//! | IOMMU with windows | a POWER hypervisor | `PutTce`, `PutTceIndirect`, `StuffTce`, `SlotState`, `ThawSlot` |
//! | scattered frames | Xen | `MachineFrame`, `ExchangeContiguous` |
//! | protection | an ultravisor | `SharePages`, `UnsharePages` |

use super::Machine;
use crate::address::PhysAddr;
use crate::endpoint::Tap;
use crate::host::{Hypercall, HypercallError};
use crate::iommu::Iommu;
use crate::spec::tce;

impl<T: Tap> Machine<T> {
    pub(super) fn ask_hypervisor(&mut self, call: Hypercall) -> Result<u64, HypercallError> {
        let costs = self.config.host_costs;
        self.spend_now(costs.hypercall + costs.hypercall_item * call.items().min(1 << 20));
        match call {
            Hypercall::PutTce { liobn, ioba, tce } => self.put_tces(liobn, ioba, &[tce]),
            Hypercall::PutTceIndirect { liobn, ioba, list, count } => {
                self.put_tce_list(liobn, ioba, list, count)
            }
            Hypercall::StuffTce { liobn, ioba, tce, count } => {
                let count = one_call(count)?;
                self.put_tces(liobn, ioba, &[tce; tce::MOST_PER_CALL as usize][..count])
            }
            Hypercall::SlotState => {
                let frozen = self.root.iommu.as_deref().and_then(Iommu::frozen);
                frozen.map(u64::from).ok_or(HypercallError::NoHypervisor)
            }
            Hypercall::ThawSlot => {
                let thawed = self.root.iommu.as_deref_mut().is_some_and(|iommu| iommu.thaw());
                if thawed { Ok(0) } else { Err(HypercallError::NoHypervisor) }
            }
            Hypercall::MachineFrame { pfn } => {
                let frames = self.path.as_ref().and_then(|path| path.frames());
                frames.ok_or(HypercallError::NoHypervisor)?.machine_frame(pfn)
            }
            Hypercall::ExchangeContiguous { pfn, frames, address_bits } => {
                let ram = &mut self.root.ram;
                let map = self.path.as_mut().and_then(|path| path.frames_to_change(ram));
                map.ok_or(HypercallError::NoHypervisor)?.exchange(ram, pfn, frames, address_bits)
            }
            Hypercall::SharePages { page, pages } => self.share(page, pages, true),
            Hypercall::UnsharePages { page, pages } => self.share(page, pages, false),
        }
    }

    fn share(&mut self, page: PhysAddr, pages: u64, shared: bool) -> Result<u64, HypercallError> {
        let map = self.root.shared.as_mut().ok_or(HypercallError::NoHypervisor)?;
        if map.set(page, pages, shared) {
            Ok(0)
        } else {
            Err(HypercallError::Parameter(page.get()))
        }
    }

    fn put_tces(&mut self, liobn: u32, ioba: u64, tces: &[u64]) -> Result<u64, HypercallError> {
        let iommu = self.root.iommu.as_deref_mut().ok_or(HypercallError::NoHypervisor)?;
        iommu.put_tces(&mut self.root.ram, liobn, ioba, tces).map(|()| 0)
    }

    /// The hypervisor reads the list as a CPU does, stores under way included.
    fn put_tce_list(
        &mut self,
        liobn: u32,
        ioba: u64,
        list: PhysAddr,
        count: u64,
    ) -> Result<u64, HypercallError> {
        let count = one_call(count)?;
        let len_bytes = count as u64 * tce::BYTES;
        if self.root.shared.as_ref().is_some_and(|shared| !shared.covers(list, len_bytes)) {
            return Err(HypercallError::NotShared(list));
        }
        let mut bytes = [0; 4096];
        let bytes = &mut bytes[..len_bytes as usize];
        if !list.get().is_multiple_of(4096) || !self.load(list, bytes) {
            return Err(HypercallError::Parameter(list.get()));
        }
        let mut tces = [0; tce::MOST_PER_CALL as usize];
        for (entry, bytes) in tces.iter_mut().zip(bytes.as_chunks().0) {
            *entry = u64::from_be_bytes(*bytes);
        }
        self.put_tces(liobn, ioba, &tces[..count])
    }
}

/// As many entries as one call may set.
fn one_call(count: u64) -> Result<usize, HypercallError> {
    if count <= tce::MOST_PER_CALL {
        Ok(count as usize)
    } else {
        Err(HypercallError::Parameter(count))
    }
}
