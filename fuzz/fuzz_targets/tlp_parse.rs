//! Any bytes are a sound TLP, which survives emission and parsing, or a typed error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pcie_sim::tlp::codec::{check, ecrc_holds, emit, parse};
use pcie_sim::tlp::text::hex;

fuzz_target!(|bytes: &[u8]| {
    let tlp = match parse(bytes) {
        Ok(tlp) => tlp,
        Err(error) => {
            // The message is built too: it must not panic either.
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(check(&tlp), Ok(()));
    let mut again = Vec::new();
    emit(&tlp, &mut again);
    assert_eq!(again.len(), bytes.len());
    assert_eq!(again.len(), tlp.len_bytes());
    assert!(tlp.to_string().starts_with(tlp.kind()));
    assert_eq!(hex(&tlp).len(), 2 * again.len());
    // Only reserved bits and pads are not kept.
    assert!(again.iter().zip(bytes).all(|(ours, theirs)| ours & !theirs == 0));
    // A digest is right or wrong, and one that is made is right.
    assert_eq!(tlp.ecrc_holds().is_some(), ecrc_holds(bytes).is_some());
    assert_eq!(tlp.clone().with_ecrc().ecrc_holds(), Some(true));
    assert_eq!(tlp.clone().into_parts().0, *tlp.plain());
    assert_eq!(parse(&again), Ok(tlp));
});
