//! A set-associative, least-recently-used store of translations, which every IOMMU here uses.

/// Number of sets and of ways in each set of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Sets; rounded up to a power of two. One set makes the cache fully associative.
    pub sets: usize,
    /// Entries in a set. None makes the cache remember nothing.
    pub ways: usize,
}

/// What an entry is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// A page number, or what stands for it.
    pub(super) page: u64,
    /// The domain, for caches that are kept by domain.
    pub(super) domain: u16,
    /// The level of the table entry that it was made from; 0 where there is none.
    pub(super) level: u8,
}

#[derive(Debug, Clone, Copy)]
struct Slot<V> {
    key: Key,
    value: V,
    /// When it was last used, counted in uses; 0 says that the slot is free.
    used: u64,
}

/// A set-associative cache. A look-up costs one pass over the ways of one set, and allocates nothing.
#[derive(Debug)]
pub(super) struct Cache<V> {
    slots: Box<[Slot<V>]>,
    ways: usize,
    set_bits: u32,
    uses: u64,
}

impl<V: Copy + Default> Cache<V> {
    pub(super) fn new(geometry: Geometry) -> Self {
        let sets = geometry.sets.max(1).next_power_of_two();
        let free = Slot { key: Key { page: 0, domain: 0, level: 0 }, value: V::default(), used: 0 };
        Self {
            slots: vec![free; sets * geometry.ways].into_boxed_slice(),
            ways: geometry.ways,
            set_bits: sets.trailing_zeros(),
            uses: 0,
        }
    }

    /// Higher bits are folded in, so that buffers which lie a power of two apart spread over the sets
    /// while neighbouring pages still never meet.
    fn set(&self, key: Key) -> std::ops::Range<usize> {
        let bits = self.set_bits;
        let folded = if bits == 0 {
            0
        } else {
            key.page ^ key.page >> bits ^ key.page >> (2 * bits) ^ u64::from(key.domain)
        };
        let first = (folded & ((1 << bits) - 1)) as usize * self.ways;
        first..first + self.ways
    }

    pub(super) fn get(&mut self, key: Key) -> Option<V> {
        let set = self.set(key);
        let slot = self.slots[set].iter_mut().find(|slot| slot.used != 0 && slot.key == key)?;
        self.uses += 1;
        slot.used = self.uses;
        Some(slot.value)
    }

    /// Enters a value, in the place of the one used longest ago when the set is full.
    pub(super) fn put(&mut self, key: Key, value: V) {
        let set = self.set(key);
        if let Some(slot) = self.slots[set].iter_mut().min_by_key(|slot| slot.used) {
            self.uses += 1;
            *slot = Slot { key, value, used: self.uses };
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        let set = self.set(key);
        for slot in &mut self.slots[set] {
            if slot.key == key {
                slot.used = 0;
            }
        }
    }

    pub(super) fn remove_if(&mut self, stale: impl Fn(Key, &V) -> bool) {
        for slot in &mut self.slots {
            if slot.used != 0 && stale(slot.key, &slot.value) {
                slot.used = 0;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.used = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
