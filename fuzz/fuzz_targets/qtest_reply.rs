#![no_main]

use libfuzzer_sys::fuzz_target;
use pcie_sim::host::qtest::codec::{Line, block, parse_line, value};

fuzz_target!(|line: &[u8]| {
    if let Ok(Line::Ok(rest)) = parse_line(line) {
        let _ = value(rest);
        // As long as the text would be, and a little off.
        for len in [rest.len() / 4 * 3, rest.len() / 4 * 3 + 1] {
            let _ = block(rest, &mut vec![0; len]);
        }
    }
});
