//! The bench as `virtio-drivers` sees a computer. Its functions have no receiver, so the bench is the
//! thread's; its memory is the file that is also the machine's RAM, mapped a second time, so that no
//! reference of the machine's own is ever shared with the driver.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use host_driver::Pages;
use memmap2::MmapRaw;
use pcie_sim::address::PhysAddr;
use testbench::bench::watch::Watch;
use testbench::bench::wiring::{Bench, MakeCard};
use testbench::scenario::config::RunConfig;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};

use rtl_model::DeviceConfig;

/// A bench and the second view of its RAM.
pub(crate) struct Stage {
    pub(crate) bench: Bench,
    memory: MmapRaw,
    /// Buffers shared and not taken back: bytes by address.
    shared: BTreeMap<u64, usize>,
    _ram: tempfile::NamedTempFile,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Gives the thread a bench with a card from `make`.
pub(crate) fn set_up(config: &RunConfig, device: DeviceConfig, make: MakeCard<'_>) {
    let ram = tempfile::NamedTempFile::new().expect("a file for RAM");
    let mut config = config.clone();
    config.host.ram_file = Some(ram.path().to_owned());
    let bench = Bench::new(&config, device, Watch::new(), make).expect("it can be wired");
    let memory = MmapRaw::map_raw(ram.as_file()).expect("RAM can be mapped twice");
    let stage = Stage { bench, memory, shared: BTreeMap::new(), _ram: ram };
    STAGE.with(|slot| *slot.borrow_mut() = Some(stage));
}

/// Takes the thread's bench.
pub(crate) fn take_down() -> Stage {
    STAGE.with(|slot| slot.borrow_mut().take()).expect("it was set up")
}

/// Lets somebody use the thread's bench.
pub(crate) fn with<T>(act: impl FnOnce(&mut Stage) -> T) -> T {
    STAGE.with(|slot| act(slot.borrow_mut().as_mut().expect("it was set up")))
}

impl Stage {
    /// Buffers that the driver has shared and not taken back.
    pub(crate) fn shared(&self) -> usize {
        self.shared.len()
    }

    /// The driver has gone and left buffers with the card, which was reset.
    pub(crate) fn forget_shared(&mut self) {
        for (address, bytes) in std::mem::take(&mut self.shared) {
            self.bench.pages.free(PhysAddr(address), bytes as u64).expect("it was allocated so");
        }
    }

    fn pages(&self) -> Pages {
        self.bench.pages.clone()
    }

    /// Where the driver finds `bytes` bytes of RAM.
    fn view(&self, address: u64, bytes: usize) -> NonNull<u8> {
        let start = usize::try_from(address).expect("RAM fits the address space");
        assert!(start + bytes <= self.memory.len(), "no RAM there");
        // SAFETY: just compared with the length of the mapping, which lives as long as the stage.
        let pointer = unsafe { self.memory.as_mut_ptr().add(start) };
        NonNull::new(pointer).expect("a mapping is not at zero")
    }
}

/// The [`Hal`] over the thread's bench.
pub(crate) struct StageHal;

// SAFETY: `dma_alloc` gives zeroed pages of a mapping that nobody holds references into, each page to one
// caller until it is given back; nothing is mapped for `mmio_phys_to_virt`, which panics.
unsafe impl Hal for StageHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (u64, NonNull<u8>) {
        with(|stage| {
            let bytes = pages * PAGE_SIZE;
            let start = stage.pages().alloc(bytes as u64, 4096).expect("there is memory").get();
            let view = stage.view(start, bytes);
            // SAFETY: `view` has looked that so many bytes are there, and the pages are nobody else's.
            unsafe { view.as_ptr().write_bytes(0, bytes) };
            (start, view)
        })
    }

    unsafe fn dma_dealloc(paddr: u64, _vaddr: NonNull<u8>, pages: usize) -> i32 {
        with(|stage| {
            let freed = stage.pages().free(PhysAddr(paddr), (pages * PAGE_SIZE) as u64);
            if freed.is_ok() { 0 } else { -1 }
        })
    }

    unsafe fn mmio_phys_to_virt(_paddr: u64, _size: usize) -> NonNull<u8> {
        panic!("registers are reached through the transport")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> u64 {
        with(|stage| {
            let bytes = buffer.len();
            let start = stage.pages().alloc(bytes as u64, 4096).expect("there is memory").get();
            if direction != BufferDirection::DeviceToDriver {
                let view = stage.view(start, bytes);
                // SAFETY: the caller vouches for the buffer, `view` for the pages; they are apart.
                unsafe { view.as_ptr().copy_from_nonoverlapping(buffer.as_ptr().cast(), bytes) };
            }
            stage.shared.insert(start, bytes);
            start
        })
    }

    unsafe fn unshare(paddr: u64, buffer: NonNull<[u8]>, direction: BufferDirection) {
        with(|stage| {
            let bytes = stage.shared.remove(&paddr).expect("what is taken back was shared");
            assert_eq!(bytes, buffer.len(), "with the length with which it was shared");
            if direction != BufferDirection::DriverToDevice {
                let view = stage.view(paddr, bytes);
                // SAFETY: as above, the other way.
                unsafe { view.as_ptr().copy_to_nonoverlapping(buffer.as_ptr().cast(), bytes) };
            }
            stage.pages().free(PhysAddr(paddr), bytes as u64).expect("it was allocated so");
        });
    }
}
