//! Any text is ports whose widths fit how they are kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rtl_model::verilated::header::{Storage, parse};

fuzz_target!(|text: &str| {
    for port in parse(text).ports {
        let (least, most) = match port.storage {
            Storage::Bits8 => (1, 8),
            Storage::Bits16 => (1, 16),
            Storage::Bits32 => (1, 32),
            Storage::Bits64 => (1, 64),
            Storage::Words(words) => (words * 32 - 31, words * 32),
        };
        assert!(port.bits >= least && port.bits <= most);
        assert!(!port.member.is_empty());
    }
});
