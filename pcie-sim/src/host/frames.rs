//! Xen's pseudo-physical memory: what the guest takes for physical pages is backed by machine frames in no
//! order.
//!
//! ```text
//!   guest frame  0   1   2   3 ...          machine frames
//!                │   │   │   │        ┌──────┬──────────────────────┐
//!                └───┴─╳─┴───┘ ──▶    │ heap │ the guest's, shuffled│
//!                                     └──────┴──────────────────────┘
//! ```
//!
//! The hypervisor keeps the lowest eighth for itself, as a heap from which it serves calls for contiguous
//! memory; what it takes in exchange joins the heap. A device that is handed a guest's address reaches
//! whatever frame has that number.

use super::hypercall::HypercallError;
use super::ram::{HOLE_END, HOLE_START, Ram};
use super::seed::Sequence;
use crate::address::PhysAddr;

/// Bytes of a frame.
pub const FRAME_BYTES: u64 = 4096;
/// The hypervisor keeps one frame in so many.
const HEAP_SHARE: u64 = 8;
/// No guest frame has this machine frame.
const HEAP: u32 = u32::MAX;

/// Which machine frame backs which of the guest's. Frames are counted without the hole below 4 GiB.
#[derive(Debug)]
pub struct FrameMap {
    machine: Vec<u32>,
    guest: Vec<u32>,
}

/// The place of a frame number among all frames, the hole not counted; `None` inside the hole.
fn index_of(number: u64) -> Option<u64> {
    let (hole, behind) = (HOLE_START / FRAME_BYTES, HOLE_END / FRAME_BYTES);
    if number < hole { Some(number) } else { Some(number.checked_sub(behind)? + hole) }
}

fn number_of(index: u64) -> u64 {
    let (hole, behind) = (HOLE_START / FRAME_BYTES, HOLE_END / FRAME_BYTES);
    if index < hole { index } else { index - hole + behind }
}

impl FrameMap {
    /// Backs a guest with all frames of RAM but the hypervisor's, shuffled by `seed`.
    #[must_use]
    pub fn new(seed: u64, ram: &Ram) -> Self {
        let frames = (ram.size_bytes() / FRAME_BYTES).min(u64::from(HEAP));
        let heap = frames / HEAP_SHARE;
        let mut machine: Vec<u32> = (heap as u32..frames as u32).collect();
        Sequence::new(seed).shuffle(&mut machine);
        let mut guest = vec![HEAP; frames as usize];
        for (of_guest, &of_machine) in machine.iter().enumerate() {
            guest[of_machine as usize] = of_guest as u32;
        }
        Self { machine, guest }
    }

    /// Bytes that the guest has.
    #[must_use]
    pub fn guest_bytes(&self) -> u64 {
        self.machine.len() as u64 * FRAME_BYTES
    }

    /// The machine address of a guest's address; `None` when the guest has no memory there.
    #[must_use]
    pub fn machine_address(&self, guest: PhysAddr) -> Option<PhysAddr> {
        let frame = self.machine_frame(guest.get() / FRAME_BYTES).ok()?;
        Some(PhysAddr(frame * FRAME_BYTES + guest.get() % FRAME_BYTES))
    }

    /// The guest's address of a machine address; `None` when the frame is not the guest's.
    #[must_use]
    pub fn guest_address(&self, machine: PhysAddr) -> Option<PhysAddr> {
        let index = index_of(machine.get() / FRAME_BYTES)?;
        let frame = *self.guest.get(usize::try_from(index).ok()?)?;
        let number = (frame != HEAP).then(|| number_of(u64::from(frame)))?;
        Some(PhysAddr(number * FRAME_BYTES + machine.get() % FRAME_BYTES))
    }

    /// The number of the machine frame behind the guest's frame of this number.
    pub fn machine_frame(&self, pfn: u64) -> Result<u64, HypercallError> {
        let index = self.guest_index(pfn, 1)?;
        Ok(number_of(u64::from(self.machine[index])))
    }

    /// Backs `frames` of the guest's frames with machine frames that follow each other, aligned to the
    /// next power of two of their number, below 2^`address_bits`; gives back the number of the first.
    /// Their content becomes zeroes.
    pub fn exchange(
        &mut self,
        ram: &mut Ram,
        pfn: u64,
        frames: u64,
        address_bits: u32,
    ) -> Result<u64, HypercallError> {
        let first_guest = self.guest_index(pfn, frames)?;
        let found = self.find_run(frames, address_bits);
        let run = found.ok_or(HypercallError::NoContiguousFrames { frames, address_bits })?;
        for offset in 0..frames as usize {
            let of_guest = first_guest + offset;
            let old = std::mem::replace(&mut self.machine[of_guest], (run + offset) as u32);
            self.guest[old as usize] = HEAP;
            self.guest[run + offset] = of_guest as u32;
            for frame in [old as usize, run + offset] {
                scrub(ram, frame as u64);
            }
        }
        Ok(number_of(run as u64))
    }

    /// The place of the guest's frame `pfn`, when `frames` frames from there on are the guest's.
    fn guest_index(&self, pfn: u64, frames: u64) -> Result<usize, HypercallError> {
        let last = frames.checked_sub(1).ok_or(HypercallError::Parameter(frames))?;
        let last = pfn.checked_add(last).and_then(index_of);
        let (Some(first), Some(last)) = (index_of(pfn), last) else {
            return Err(HypercallError::Parameter(pfn));
        };
        if last - first + 1 == frames && last < self.machine.len() as u64 {
            Ok(first as usize)
        } else {
            Err(HypercallError::Parameter(pfn))
        }
    }

    /// The lowest run of heap frames that fits.
    fn find_run(&self, frames: u64, address_bits: u32) -> Option<usize> {
        let align = frames.checked_next_power_of_two()?;
        let limit = 1u64.checked_shl(address_bits).map_or(u64::MAX, |end| end / FRAME_BYTES);
        let all = self.guest.len() as u64;
        let starts = (0..all.checked_sub(frames - 1)?).step_by(usize::try_from(align).ok()?);
        let fits = |start: &u64| {
            let (first, last) = (number_of(*start), number_of(start + frames - 1));
            let run = &self.guest[*start as usize..(start + frames) as usize];
            last - first + 1 == frames && last < limit && run.iter().all(|guest| *guest == HEAP)
        };
        starts.into_iter().find(fits).map(|start| start as usize)
    }
}

fn scrub(ram: &mut Ram, index: u64) {
    let address = PhysAddr(number_of(index) * FRAME_BYTES);
    if let Some(bytes) = ram.slice_mut(address, FRAME_BYTES as usize) {
        bytes.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn map(seed: u64) -> (Ram, FrameMap) {
        let ram = Ram::anonymous(1 << 20).expect("a megabyte");
        let map = FrameMap::new(seed, &ram);
        (ram, map)
    }

    fn frames(map: &FrameMap) -> Vec<u64> {
        (0..map.guest_bytes() / FRAME_BYTES)
            .map(|pfn| map.machine_frame(pfn).expect("the guest's"))
            .collect()
    }

    #[test]
    fn every_guest_frame_has_a_machine_frame_of_its_own_and_the_way_back_is_the_same() {
        let (_, map) = map(1);
        assert_eq!(map.guest_bytes(), (1 << 20) / 8 * 7);
        let all = frames(&map);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        for pfn in 0..all.len() as u64 {
            let guest = PhysAddr(pfn * FRAME_BYTES + 5);
            let machine = map.machine_address(guest).expect("the guest's");
            assert_eq!(map.guest_address(machine), Some(guest));
        }
        assert_eq!(map.machine_address(PhysAddr(map.guest_bytes())), None);
        assert_eq!(map.guest_address(PhysAddr(0)), None, "the hypervisor's");
    }

    #[test]
    fn pages_that_follow_each_other_hardly_ever_do_in_the_machine() {
        let (_, map) = map(1);
        let contiguous = frames(&map).windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
        assert!(contiguous < 8, "{contiguous} of 223");
        assert_ne!(frames(&map), frames(&self::map(2).1), "the seed chooses");
        assert_eq!(frames(&map), frames(&self::map(1).1), "and nothing else does");
    }

    #[test]
    fn exchanged_frames_follow_each_other_are_aligned_and_empty() {
        let (mut ram, mut map) = map(1);
        let heap_before = map.guest.iter().filter(|guest| **guest == HEAP).count();
        let kept = map.machine_frame(9).expect("the guest's");
        let old = map.machine_address(PhysAddr(4 * FRAME_BYTES)).expect("the guest's");
        ram.slice_mut(old, 4).expect("RAM").fill(7);
        let first = map.exchange(&mut ram, 4, 5, 32).expect("the heap has them");
        assert!(first.is_multiple_of(8));
        for n in 0..5 {
            assert_eq!(map.machine_frame(4 + n), Ok(first + n));
        }
        assert_eq!(map.machine_frame(9), Ok(kept), "nobody else's frame moves");
        assert_eq!(map.guest_address(old), None, "the old ones are the hypervisor's");
        assert_eq!(ram.slice(old, 4), Some(&[0; 4][..]), "which reveals nothing");
        assert_eq!(map.guest.iter().filter(|guest| **guest == HEAP).count(), heap_before);
    }

    #[test]
    fn what_cannot_be_exchanged_is_refused_and_nothing_changes() {
        let (mut ram, mut map) = map(1);
        let before = frames(&map);
        let mut ask = |pfn, frames, bits| map.exchange(&mut ram, pfn, frames, bits);
        assert_eq!(
            ask(0, 64, 32),
            Err(HypercallError::NoContiguousFrames { frames: 64, address_bits: 32 })
        );
        assert_eq!(
            ask(0, 2, 12),
            Err(HypercallError::NoContiguousFrames { frames: 2, address_bits: 12 })
        );
        assert_eq!(ask(223, 2, 32), Err(HypercallError::Parameter(223)));
        assert_eq!(ask(u64::MAX, 2, 32), Err(HypercallError::Parameter(u64::MAX)));
        assert_eq!(ask(0, 0, 32), Err(HypercallError::Parameter(0)));
        assert!(ask(0, u64::MAX, 32).is_err());
        assert_eq!(frames(&map), before);
    }
}
