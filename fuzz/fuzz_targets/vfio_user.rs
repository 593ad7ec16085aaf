//! Any bytes are messages of vfio-user, which survive emission and parsing, or typed errors.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pcie_sim::host::vfio_user::message::{Header, Message};

fuzz_target!(|bytes: &[u8]| {
    let mut left = bytes;
    while let Some((head, rest)) = left.split_first_chunk() {
        let header = match Header::parse(head) {
            Ok(header) => header,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let Some((body, next)) = rest.split_at_checked(header.body_bytes()) else { return };
        left = next;
        let Ok(message) = Message::parse(&header, body) else { continue };
        let mut again = Vec::new();
        message.emit(&mut again);
        let Some((head, body)) = again.split_first_chunk() else { panic!("no header") };
        let header = Header::parse(head).expect("what was emitted has a sound header");
        assert_eq!(Message::parse(&header, body), Ok(message));
    }
});
