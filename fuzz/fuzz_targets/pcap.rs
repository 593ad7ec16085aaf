//! Any bytes are a capture that can be read to its end, or a typed error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testbench::traffic::pcap::{MAX_FRAME_BYTES, Packet, PcapReader};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = PcapReader::new("fuzz", bytes) else { return };
    let mut packet = Packet::default();
    loop {
        match reader.read_into(&mut packet) {
            Ok(true) => {
                assert!((14..=MAX_FRAME_BYTES).contains(&packet.data.len()));
                assert!(packet.captured_bytes <= packet.data.len());
            }
            Ok(false) => return,
            Err(error) => {
                assert!(error.to_string().starts_with("fuzz: "));
                assert!(reader.next().is_none());
                return;
            }
        }
    }
});
