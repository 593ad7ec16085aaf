//! The only place that touches what is not Rust: a loaded library, and one model in it.
//!
//! Everything unsafe of the binding is here. What it rests on: the library was written by `shim` and
//! compiled by `compile` for the very header whose ports are asked for, which the cache's key makes sure of.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;

use super::error::RtlError;
use super::header::{Header, Storage};

/// The shim's functions. They stay loaded to the end of the process: C++ leaves handlers for its end behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Library {
    new: unsafe extern "C" fn() -> *mut c_void,
    delete: unsafe extern "C" fn(*mut c_void),
    eval: unsafe extern "C" fn(*mut c_void) -> c_int,
    stopped: unsafe extern "C" fn(*mut c_void) -> *const c_char,
    port: unsafe extern "C" fn(*mut c_void, u32) -> *mut c_void,
    set_time: unsafe extern "C" fn(*mut c_void, u64),
    waves_open: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    waves_dump: unsafe extern "C" fn(*mut c_void, u64) -> c_int,
    waves_close: unsafe extern "C" fn(*mut c_void) -> c_int,
}

impl Library {
    /// Loads the library of a cache entry.
    pub(super) fn load(path: &Path) -> Result<Self, RtlError> {
        let wrong = |error: libloading::Error| RtlError::Load {
            library: path.to_owned(),
            why: error.to_string(),
        };
        // SAFETY: the library is ours, from shim.hpp and Verilator's code; what runs while it is loaded is
        // C++ initialisers of constants.
        let library = unsafe { libloading::Library::new(path) }.map_err(wrong)?;
        // SAFETY: each type here is that of the function of this name in shim.hpp.
        let functions = unsafe {
            Self {
                new: *library.get(b"vtb_new").map_err(wrong)?,
                delete: *library.get(b"vtb_delete").map_err(wrong)?,
                eval: *library.get(b"vtb_eval").map_err(wrong)?,
                stopped: *library.get(b"vtb_stopped").map_err(wrong)?,
                port: *library.get(b"vtb_port").map_err(wrong)?,
                set_time: *library.get(b"vtb_set_time").map_err(wrong)?,
                waves_open: *library.get(b"vtb_waves_open").map_err(wrong)?,
                waves_dump: *library.get(b"vtb_waves_dump").map_err(wrong)?,
                waves_close: *library.get(b"vtb_waves_close").map_err(wrong)?,
            }
        };
        // The functions outlive this value.
        std::mem::forget(library);
        Ok(functions)
    }
}

/// Where a port is kept.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: NonNull<c_void>,
    storage: Storage,
    /// The bits of the highest word that belong to the port.
    top_mask: u32,
}

/// One model: C++ owns it, and its ports are read and written where they are.
#[derive(Debug)]
pub(super) struct Instance {
    library: Library,
    bench: NonNull<c_void>,
    places: Vec<Place>,
}

// SAFETY: a model and its context are one another's alone, and are reached through this value alone; the
// thread's current context, which Verilator keeps, is set by the shim at each call.
unsafe impl Send for Instance {}

impl Instance {
    /// A new model whose ports are those of `header`, by index. `None` when C++ cannot make one.
    pub(super) fn new(library: Library, header: &Header) -> Option<Self> {
        // SAFETY: takes nothing; gives null or a model that `delete` takes.
        let bench = NonNull::new(unsafe { (library.new)() })?;
        let mut instance = Self { library, bench, places: Vec::with_capacity(header.ports.len()) };
        for (index, port) in header.ports.iter().enumerate() {
            // SAFETY: the model lives; the function gives null for an index that it does not know.
            let at = unsafe { (library.port)(bench.as_ptr(), index as u32) };
            let top_bits = (port.bits - 1) % 32 + 1;
            instance.places.push(Place {
                at: NonNull::new(at)?,
                storage: port.storage,
                top_mask: u32::MAX >> (32 - top_bits),
            });
        }
        Some(instance)
    }

    /// Lets the model settle. Whether it goes on.
    #[inline]
    pub(super) fn eval(&mut self) -> bool {
        // SAFETY: the model lives as long as this value, and nobody else has it.
        unsafe { (self.library.eval)(self.bench.as_ptr()) == 0 }
    }

    /// Why it does not go on.
    pub(super) fn stopped(&self) -> String {
        // SAFETY: the text is the model's, ends with a zero, and is copied before the model is touched again.
        let text = unsafe { CStr::from_ptr((self.library.stopped)(self.bench.as_ptr())) };
        text.to_string_lossy().into_owned()
    }

    /// What `$time` says, in picoseconds.
    #[inline]
    pub(super) fn set_time(&mut self, ps: u64) {
        // SAFETY: the model lives.
        unsafe { (self.library.set_time)(self.bench.as_ptr(), ps) }
    }

    /// Opens a file of waves. 0 when it is open, 2 when the model cannot write any.
    pub(super) fn waves_open(&mut self, path: &CString) -> c_int {
        // SAFETY: the model lives; the path ends with a zero and is not kept.
        unsafe { (self.library.waves_open)(self.bench.as_ptr(), path.as_ptr()) }
    }

    /// Writes what changed. Whether it could.
    pub(super) fn waves_dump(&mut self, ps: u64) -> bool {
        // SAFETY: the model lives; without an open file nothing happens.
        unsafe { (self.library.waves_dump)(self.bench.as_ptr(), ps) == 0 }
    }

    /// Closes the file of waves. Whether it could.
    pub(super) fn waves_close(&mut self) -> bool {
        // SAFETY: the model lives; without an open file nothing happens.
        unsafe { (self.library.waves_close)(self.bench.as_ptr()) == 0 }
    }

    /// The low 32 bits of a port.
    #[inline]
    pub(super) fn read(&self, port: usize) -> u32 {
        let place = self.places[port];
        let at = place.at;
        // SAFETY: `at` is the model's member, of the type that `storage` says; the header that the class was
        // compiled from says so. Nobody writes it but in `eval`, which takes `&mut self`.
        unsafe {
            match place.storage {
                Storage::Bits8 => u32::from(at.cast::<u8>().read()),
                Storage::Bits16 => u32::from(at.cast::<u16>().read()),
                Storage::Bits32 | Storage::Words(_) => at.cast::<u32>().read(),
                Storage::Bits64 => at.cast::<u64>().read() as u32,
            }
        }
    }

    /// Sets a port of up to 32 bits; a wider one in its low word, with zeros above.
    #[inline]
    pub(super) fn write(&mut self, port: usize, value: u32) {
        let place = self.places[port];
        let (at, masked) = (place.at, value & place.top_mask);
        // SAFETY: as in `read`; the model is ours alone.
        unsafe {
            match place.storage {
                Storage::Bits8 => at.cast::<u8>().write(masked as u8),
                Storage::Bits16 => at.cast::<u16>().write(masked as u16),
                Storage::Bits32 => at.cast::<u32>().write(masked),
                Storage::Bits64 => at.cast::<u64>().write(u64::from(value)),
                Storage::Words(_) => self.write_wide(port, &[value]),
            }
        }
    }

    /// A port of any width, low word first; words that it does not have are 0.
    #[inline]
    pub(super) fn read_wide(&self, port: usize, words: &mut [u32]) {
        let place = self.places[port];
        let count = match place.storage {
            Storage::Words(n) => {
                let count = words.len().min(n as usize);
                let first = place.at.cast::<u32>().as_ptr();
                // SAFETY: `Words(n)` is `VlWide<n>`: n words of 32 bits in a row, and nothing else.
                let all = unsafe { std::slice::from_raw_parts(first, count) };
                words[..count].copy_from_slice(all);
                count
            }
            Storage::Bits64 => {
                // SAFETY: as in `read`.
                let value = unsafe { place.at.cast::<u64>().read() };
                let count = words.len().min(2);
                words[..count].copy_from_slice(&[value as u32, (value >> 32) as u32][..count]);
                count
            }
            _ => match words.first_mut() {
                Some(word) => {
                    *word = self.read(port);
                    1
                }
                None => 0,
            },
        };
        words[count..].fill(0);
    }

    /// Sets a port of any width; words that are not given are 0.
    #[inline]
    pub(super) fn write_wide(&mut self, port: usize, words: &[u32]) {
        let place = self.places[port];
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        match place.storage {
            Storage::Words(n) => {
                let n = n as usize;
                let first = place.at.cast::<u32>().as_ptr();
                // SAFETY: as in `read_wide`; the model is ours alone.
                let all = unsafe { std::slice::from_raw_parts_mut(first, n) };
                let count = words.len().min(n);
                all[..count].copy_from_slice(&words[..count]);
                all[count..].fill(0);
                if let Some(top) = all.last_mut() {
                    *top &= place.top_mask;
                }
            }
            Storage::Bits64 => {
                let value = u64::from(word(0)) | u64::from(word(1) & place.top_mask) << 32;
                // SAFETY: as in `write`.
                unsafe { place.at.cast::<u64>().write(value) }
            }
            _ => self.write(port, word(0)),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the model came from `new` and is not used after this.
        unsafe { (self.library.delete)(self.bench.as_ptr()) }
    }
}
