//! Where the signals of such a design stand, and how wide they are.

use crate::pins::tlp_stream::{BEAT_BITS_MAX, SIGNALS, Signal, Width};

/// What stands on a pin.
pub(super) type Words = [u32; BEAT_BITS_MAX as usize / 32];

/// Place of the reset, active low, behind the signals of the interface.
pub(super) const RESET: usize = SIGNALS.len();

/// Place of a signal in [`SIGNALS`]; behind it when there is none of this name.
const fn place(name: &str) -> usize {
    let mut at = 0;
    while at < SIGNALS.len() && !same(SIGNALS[at].name.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

pub(super) const RX_VALID: usize = place("rx_valid");
pub(super) const RX_READY: usize = place("rx_ready");
pub(super) const RX_SOP: usize = place("rx_sop");
pub(super) const RX_EOP: usize = place("rx_eop");
pub(super) const RX_DATA: usize = place("rx_data");
pub(super) const RX_KEEP: usize = place("rx_keep");
pub(super) const RX_NP_OK: usize = place("rx_np_ok");
pub(super) const TX_VALID: usize = place("tx_valid");
pub(super) const TX_READY: usize = place("tx_ready");
pub(super) const TX_SOP: usize = place("tx_sop");
pub(super) const TX_EOP: usize = place("tx_eop");
pub(super) const TX_DATA: usize = place("tx_data");
pub(super) const TX_KEEP: usize = place("tx_keep");
/// Headers and data of each class, in the order of [`FlowClass`].
pub(super) const CREDITS: [(usize, usize); 3] = [
    (place("tx_credit_ph"), place("tx_credit_pd")),
    (place("tx_credit_nph"), place("tx_credit_npd")),
    (place("tx_credit_cplh"), place("tx_credit_cpld")),
];

/// Bits of a signal in such a design.
pub(super) fn width(signal: &Signal, beat_bits: u32) -> u32 {
    match signal.width {
        Width::One => 1,
        Width::Beat => beat_bits,
        Width::BytesOfBeat => beat_bits / 8,
        Width::Count if signal.name.ends_with('d') => 12,
        Width::Count => 8,
    }
}

/// By Fmt and Type. PCIe 5.0 §2.2.1, table "Fmt[2:0] and Type[4:0] Field Encodings".
pub(super) fn is_non_posted(first: u8) -> bool {
    match first {
        // Reads of memory and I/O, configuration requests, writes in I/O space, atomic requests.
        0x00 | 0x20 | 0x02 | 0x42 | 0x04 | 0x44 | 0x05 | 0x45 => true,
        0x4c..=0x4e | 0x6c..=0x6e => true,
        _ => false,
    }
}
