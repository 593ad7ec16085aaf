//! Any bytes are a log whose commands fit the disk, or a typed error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testbench::traffic::iolog::{BlockOp, IologReader};

const DISK_BYTES: u64 = 1 << 30;

fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = IologReader::new("fuzz", bytes, DISK_BYTES) else { return };
    let mut latest = None;
    for command in reader {
        match command {
            Ok(command) => {
                assert!(command.offset_bytes % 512 == 0 && command.len_bytes % 512 == 0);
                assert!(command.offset_bytes + command.len_bytes <= DISK_BYTES);
                assert_eq!(command.len_bytes == 0, command.op == BlockOp::Flush);
                assert!(command.at >= latest);
                latest = command.at;
            }
            Err(error) => assert!(error.to_string().starts_with("fuzz:")),
        }
    }
});
