//! The last-level cache as a device's requests meet it: which lines are in it, and who else has them.
//!
//! ```text
//!   CPU store or load ──▶ any way, marked "a core may have it"
//!   device write      ──▶ where the line is, else one of the few ways that devices may fill (DDIO)
//!   device read       ──▶ hit │ hit, a core must be asked │ miss: memory; fills nothing
//! ```
//!
//! Intel, "Intel Data Direct I/O Technology (Intel DDIO): A Primer", February 2012: device writes update a
//! line in place or allocate in a restricted share of the ways, device reads do not allocate. Only presence
//! is kept, never data. Not modelled: the hash that spreads lines over slices, inner caches (a line that a
//! core touched counts as the core's until a device writes it), non-inclusive caches.

use crate::address::PhysAddr;

/// Bytes of a line.
pub const LINE_BYTES: u64 = 64;

/// Size and shape of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LlcShape {
    /// Its capacity in KiB; 0 where there is none.
    pub kib: u32,
    /// Ways of each set.
    pub ways: u32,
    /// Ways that a device's write may fill.
    pub device_ways: u32,
}

/// What a device's read finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// The line, which no core has.
    Hit,
    /// The line, and a core that may have a newer copy.
    Shared,
    /// Nothing: memory has it.
    Miss,
}

/// A line's number, shifted by one and with the core's mark in bit 0; 0 stands for an empty place.
type Tag = u64;

/// The cache. Places of a set stand in the order of use, latest first.
#[derive(Debug)]
pub struct Llc {
    tags: Box<[Tag]>,
    sets: u64,
    /// 2^64 / sets, rounded up: below `divisible`, a multiplication by it does for a division.
    reciprocal: u64,
    divisible: u64,
    ways: usize,
    device_ways: usize,
}

impl Llc {
    /// An empty cache; `None` for a shape without capacity or ways.
    #[must_use]
    pub fn new(shape: LlcShape) -> Option<Self> {
        let sets = u64::from(shape.kib) * 1024 / LINE_BYTES / u64::from(shape.ways).max(1);
        if sets == 0 || shape.ways == 0 {
            return None;
        }
        let ways = shape.ways as usize;
        let device_ways = (shape.device_ways as usize).min(ways);
        let tags = vec![0; sets as usize * ways].into();
        let reciprocal = (u64::MAX / sets).wrapping_add(1);
        // What the rounding up adds to a quotient is less than one part of a set there.
        let divisible = if (2..1 << 20).contains(&sets) { 1 << 40 } else { 0 };
        Some(Self { tags, sets, reciprocal, divisible, ways, device_ways })
    }

    /// What a device's read of `len_bytes` bytes finds: the slowest of its lines.
    #[must_use]
    pub fn device_read(&mut self, address: PhysAddr, len_bytes: u64) -> Found {
        let mut found = Found::Hit;
        for line in lines(address, len_bytes) {
            found = found.max(self.read_line(line));
            if found == Found::Miss {
                break;
            }
        }
        found
    }

    fn read_line(&mut self, line: u64) -> Found {
        let set = self.set(line);
        match position(set, line) {
            Err(_) => Found::Miss,
            Ok(at) => {
                let entry = set[at];
                use_latest(set, at, entry);
                if entry & 1 == 0 { Found::Hit } else { Found::Shared }
            }
        }
    }

    /// A device writes: the lines are in the cache afterwards, and no core's.
    pub fn device_write(&mut self, address: PhysAddr, len_bytes: u64) {
        for line in lines(address, len_bytes) {
            let device_ways = self.device_ways;
            let set = self.set(line);
            let at = match position(set, line) {
                Ok(at) => at,
                Err(_) if device_ways == 0 => continue,
                Err(free) => victim(set, device_ways, free),
            };
            use_latest(set, at, tag(line));
        }
    }

    /// The CPU loads or stores: the lines are in the cache afterwards, and a core may have them.
    pub fn cpu_touch(&mut self, address: PhysAddr, len_bytes: u64) {
        let lines = lines(address, len_bytes);
        self.touch_line(lines.start);
        for line in lines.skip(1) {
            self.touch_line(line);
        }
    }

    #[inline]
    fn touch_line(&mut self, line: u64) {
        let (set, entry) = (self.set(line), tag(line) | 1);
        // Mostly it has just been used.
        match set.first_mut() {
            Some(latest) if *latest | 1 == entry => *latest = entry,
            _ => {
                let at = position(set, line).unwrap_or_else(|free| free);
                use_latest(set, at, entry);
            }
        }
    }

    fn set(&mut self, line: u64) -> &mut [Tag] {
        let first = self.set_of(line) as usize * self.ways;
        &mut self.tags[first..first + self.ways]
    }

    /// `line % sets`: few caches have a power of two of sets, and the division is dear.
    fn set_of(&self, line: u64) -> u64 {
        if line >= self.divisible {
            return line % self.sets;
        }
        let quotient = ((u128::from(line) * u128::from(self.reciprocal)) >> 64) as u64;
        line - quotient * self.sets
    }
}

fn lines(address: PhysAddr, len_bytes: u64) -> std::ops::Range<u64> {
    let last = address.get() + len_bytes.max(1) - 1;
    address.get() / LINE_BYTES..last / LINE_BYTES + 1
}

/// The entry at `at`, now this one, is the latest used.
fn use_latest(set: &mut [Tag], at: usize, entry: Tag) {
    if at != 0 {
        set.copy_within(..at, 1);
    }
    set[0] = entry;
}

const fn tag(line: u64) -> Tag {
    (line + 1) << 1
}

/// Where the line is; else the place that it takes from nobody, or from the line used longest ago. The empty
/// places of a set are its last ones.
fn position(set: &[Tag], line: u64) -> Result<usize, usize> {
    let tag = tag(line);
    for (at, &entry) in set.iter().enumerate() {
        if entry & !1 == tag {
            return Ok(at);
        }
        if entry == 0 {
            return Err(at);
        }
    }
    Err(set.len() - 1)
}

/// The place that a device's write takes: when it has all the ways it may fill, the one of them that was
/// used longest ago; else the `free` one.
fn victim(set: &[Tag], device_ways: usize, free: usize) -> usize {
    let devices = |entry: &Tag| *entry != 0 && entry & 1 == 0;
    let held = set.iter().filter(|entry| devices(entry)).count();
    let oldest = set.iter().rposition(devices).filter(|_| held >= device_ways);
    oldest.unwrap_or(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: LlcShape = LlcShape { kib: 64, ways: 16, device_ways: 2 };
    /// Bytes of all the ways that devices may fill.
    const SHARE: u64 = 64 * 1024 / 8;

    fn llc() -> Llc {
        Llc::new(SHAPE).unwrap()
    }

    fn hits(llc: &mut Llc, window: u64) -> u64 {
        let lines = (0..window).step_by(64);
        lines.filter(|&at| llc.device_read(PhysAddr(at), 64) != Found::Miss).count() as u64
    }

    /// DDIO primer, "Inbound writes": allocation is limited to a share of the ways.
    #[test]
    fn of_what_a_device_wrote_its_share_of_the_ways_stays() {
        for (window, kept) in [(SHARE / 2, SHARE / 2), (SHARE, SHARE), (8 * SHARE, SHARE)] {
            let mut llc = llc();
            for at in (0..window).step_by(64) {
                llc.device_write(PhysAddr(at), 64);
            }
            assert_eq!(hits(&mut llc, window), kept / 64, "{window}");
        }
    }

    /// DDIO primer, "Inbound reads": a read that misses is served from memory and allocates nothing.
    #[test]
    fn a_devices_read_allocates_nothing() {
        let mut llc = llc();
        assert_eq!(llc.device_read(PhysAddr(0x1000), 64), Found::Miss);
        assert_eq!(llc.device_read(PhysAddr(0x1000), 64), Found::Miss);
    }

    #[test]
    fn a_line_is_the_cores_from_its_access_until_a_device_writes_it() {
        let mut llc = llc();
        llc.cpu_touch(PhysAddr(0x1000), 8);
        assert_eq!(llc.device_read(PhysAddr(0x1000), 64), Found::Shared);
        assert_eq!(llc.device_read(PhysAddr(0x1000), 64), Found::Shared);
        llc.device_write(PhysAddr(0x1010), 4);
        assert_eq!(llc.device_read(PhysAddr(0x1000), 64), Found::Hit);
    }

    #[test]
    fn what_the_cpu_used_last_stays_up_to_the_capacity() {
        let mut llc = llc();
        for at in (0..256 * 1024).step_by(64) {
            llc.cpu_touch(PhysAddr(at), 64);
        }
        assert_eq!(hits(&mut llc, 256 * 1024), 64 * 1024 / 64);
    }

    #[test]
    fn a_write_of_a_device_does_not_drive_out_what_the_cpu_has_once_its_share_is_full() {
        let mut llc = llc();
        for at in (0..32 * 1024).step_by(64) {
            llc.cpu_touch(PhysAddr(at), 64);
        }
        for at in (1 << 20..(1 << 20) + 64 * SHARE).step_by(64) {
            llc.device_write(PhysAddr(at), 64);
        }
        assert_eq!(hits(&mut llc, 32 * 1024), 32 * 1024 / 64);
    }

    #[test]
    fn the_slowest_line_of_a_read_counts() {
        let mut llc = llc();
        llc.device_write(PhysAddr(0), 64);
        llc.cpu_touch(PhysAddr(64), 64);
        assert_eq!(llc.device_read(PhysAddr(32), 64), Found::Shared);
        assert_eq!(llc.device_read(PhysAddr(96), 64), Found::Miss);
    }

    #[test]
    fn the_set_of_a_line_is_the_remainder_of_a_division() {
        for kib in [64, 15 << 10, 20 << 10, 33, 1] {
            for ways in [1, 3, 16, 20] {
                let Some(llc) = Llc::new(LlcShape { kib, ways, device_ways: 1 }) else { continue };
                let near = |middle: u64| middle.saturating_sub(3)..middle + 3;
                let edges = [0, llc.sets, 7 * llc.sets, 1 << 33, (1 << 40) - 3, 1 << 40, 1 << 57];
                for line in edges.into_iter().flat_map(near) {
                    assert_eq!(llc.set_of(line), line % llc.sets, "{line} of {}", llc.sets);
                }
            }
        }
    }

    #[test]
    fn a_shape_without_capacity_is_no_cache() {
        assert!(Llc::new(LlcShape::default()).is_none());
        assert!(Llc::new(LlcShape { kib: 1, ways: 64, device_ways: 2 }).is_none());
    }
}
