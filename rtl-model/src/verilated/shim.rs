//! The C++ around a verilated model: plain functions, and a table that leads to its ports.

use std::fmt::Write;

use super::header::Header;

/// What does not depend on the design.
const FUNCTIONS: &str = include_str!("shim.hpp");

/// What is put in front of every file: Verilator's own printing goes to the error stream, and what would end
/// the process is caught by the shim.
pub(super) const DEFINES: &[&str] = &[
    "-DVL_USER_FINISH",
    "-DVL_USER_STOP",
    "-DVL_USER_FATAL",
    "-DVL_PRINTF(...)=fprintf(stderr,__VA_ARGS__)",
];

/// The C++ for a design with these ports.
pub(super) fn source(header: &Header) -> String {
    let mut text = FUNCTIONS.to_owned();
    text.push_str(
        "\nVTB_EXPORT void* vtb_port(Bench* bench, uint32_t port) {\n    switch (port) {\n",
    );
    for (index, port) in header.ports.iter().enumerate() {
        let _ = writeln!(text, "    case {index}: return &bench->top->{};", port.member);
    }
    text.push_str("    default: return nullptr;\n    }\n}\n");
    text
}
