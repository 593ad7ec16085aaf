//! The signals of the interface, and where a design has them.

use std::fmt;

use pcie_sim::time::Instant;
use thiserror::Error;

use crate::pins::finding::{Findings, PinFinding};
use crate::pins::{Known, Pins, PortDirection, PortId, PortInfo};

/// The widest beat, in bits.
pub const BEAT_BITS_MAX: u32 = 512;
/// 32-bit words of the widest beat.
pub(super) const BEAT_WORDS_MAX: usize = BEAT_BITS_MAX as usize / 32;

/// How many bits a signal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// One.
    One,
    /// A beat: 64, 128, 256 or 512.
    Beat,
    /// One for each byte of the beat.
    BytesOfBeat,
    /// Any number from 2 to 32.
    Count,
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "1 bit",
            Self::Beat => "64, 128, 256 or 512 bits",
            Self::BytesOfBeat => "one bit for each byte of the data port",
            Self::Count => "2 to 32 bits",
        })
    }
}

/// A signal of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Its name here; a design may call it something else.
    pub name: &'static str,
    /// Which way it goes, seen from the design.
    pub direction: PortDirection,
    /// How wide it is.
    pub width: Width,
    /// Whether a design may be without it.
    pub optional: bool,
}

const fn signal(name: &'static str, input: bool, width: Width, optional: bool) -> Signal {
    let direction = if input { PortDirection::Input } else { PortDirection::Output };
    Signal { name, direction, width, optional }
}

/// Every signal of `tlp-stream`; what each is for stands in [the module](super).
pub const SIGNALS: [Signal; 19] = [
    signal("rx_valid", true, Width::One, false),
    signal("rx_ready", false, Width::One, false),
    signal("rx_sop", true, Width::One, true),
    signal("rx_eop", true, Width::One, false),
    signal("rx_data", true, Width::Beat, false),
    signal("rx_keep", true, Width::BytesOfBeat, true),
    signal("rx_np_ok", false, Width::One, true),
    signal("tx_valid", false, Width::One, false),
    signal("tx_ready", true, Width::One, false),
    signal("tx_sop", false, Width::One, true),
    signal("tx_eop", false, Width::One, false),
    signal("tx_data", false, Width::Beat, false),
    signal("tx_keep", false, Width::BytesOfBeat, true),
    signal("tx_credit_ph", true, Width::Count, true),
    signal("tx_credit_pd", true, Width::Count, true),
    signal("tx_credit_nph", true, Width::Count, true),
    signal("tx_credit_npd", true, Width::Count, true),
    signal("tx_credit_cplh", true, Width::Count, true),
    signal("tx_credit_cpld", true, Width::Count, true),
];

/// The name that the reference RTL gives a signal: with `_i` for what goes in, `_o` for what comes out.
#[must_use]
pub fn reference_name(signal: &Signal) -> String {
    match signal.direction {
        PortDirection::Input => format!("{}_i", signal.name),
        PortDirection::Output => format!("{}_o", signal.name),
    }
}

/// Why a design's ports are no `tlp-stream`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BindError {
    /// The map leaves out what no design can do without.
    #[error("no port is named for {signal}, which the interface needs")]
    NotNamed {
        /// The signal.
        signal: &'static str,
    },
    /// The design has no such port.
    #[error("{signal}: the design has no port {port}; it has {has}")]
    NoPort {
        /// The signal.
        signal: String,
        /// The port that was asked for.
        port: String,
        /// The ports there are.
        has: String,
    },
    /// The port goes the other way.
    #[error("{signal}: port {port} should be an {}", if *.input { "input" } else { "output" })]
    WrongWay {
        /// The signal.
        signal: String,
        /// The port.
        port: String,
        /// Whether it should be an input of the design's.
        input: bool,
    },
    /// The port is too wide or too narrow.
    #[error("{signal}: port {port} has {bits} bits, not {wanted}")]
    WrongWidth {
        /// The signal.
        signal: String,
        /// The port.
        port: String,
        /// What it has.
        bits: u32,
        /// What it should have.
        wanted: String,
    },
}

/// The port of this name, for the signal or purpose `signal`.
///
/// # Errors
/// [`BindError::NoPort`], [`BindError::WrongWay`].
pub fn find<'p>(
    pins: &'p dyn Pins,
    signal: &str,
    port: &str,
    direction: PortDirection,
) -> Result<&'p PortInfo, BindError> {
    let Some(found) = pins.ports().iter().find(|info| info.name == port) else {
        let names: Vec<_> = pins.ports().iter().map(|info| &*info.name).collect();
        let has = if names.is_empty() { "none at all".into() } else { names.join(", ") };
        return Err(BindError::NoPort { signal: signal.into(), port: port.into(), has });
    };
    if found.direction != direction {
        let input = direction == PortDirection::Input;
        return Err(BindError::WrongWay { signal: signal.into(), port: port.into(), input });
    }
    Ok(found)
}

/// A port that is there.
#[derive(Debug, Clone)]
pub(super) struct Pin {
    pub(super) id: PortId,
    pub(super) name: String,
    pub(super) bits: u32,
}

/// Finds ports by the names of a map.
pub(super) struct Binder<'a> {
    pub(super) pins: &'a dyn Pins,
    pub(super) name: &'a dyn Fn(&Signal) -> Option<String>,
}

impl Binder<'_> {
    pub(super) fn optional(&self, name: &'static str) -> Result<Option<Pin>, BindError> {
        self.of_beat(name, 0)
    }

    pub(super) fn needed(&self, name: &'static str) -> Result<Pin, BindError> {
        self.optional(name)?.ok_or(BindError::NotNamed { signal: name })
    }

    /// A signal that has one bit for each byte of a beat of so many bits, or does not depend on them.
    pub(super) fn of_beat(
        &self,
        name: &'static str,
        beat_bits: u32,
    ) -> Result<Option<Pin>, BindError> {
        let Some(signal) = SIGNALS.iter().find(|signal| signal.name == name) else {
            return Err(BindError::NotNamed { signal: name });
        };
        let Some(port) = (self.name)(signal) else { return Ok(None) };
        let found = find(self.pins, signal.name, &port, signal.direction)?;
        let fits = match signal.width {
            Width::One => found.bits == 1,
            Width::Beat => matches!(found.bits, 64 | 128 | 256 | BEAT_BITS_MAX),
            Width::BytesOfBeat => found.bits == beat_bits / 8,
            Width::Count => (2..=32).contains(&found.bits),
        };
        if !fits {
            let (signal, width, bits) = (signal.name.into(), signal.width, found.bits);
            let wanted = match width {
                Width::BytesOfBeat => format!("{}, one for each byte of the data", beat_bits / 8),
                other => other.to_string(),
            };
            return Err(BindError::WrongWidth { signal, port, bits, wanted });
        }
        Ok(Some(Pin { id: found.id, name: port, bits: found.bits }))
    }
}

impl Pin {
    /// Reads a port of one bit. X is a finding, and 0.
    #[inline]
    pub(super) fn read_bit(
        &self,
        pins: &mut dyn Pins,
        at: Instant,
        findings: &mut Findings,
    ) -> bool {
        let (value, known) = pins.read(self.id);
        if known == Known::Not {
            findings.add(at, PinFinding::Unknown { port: self.name.clone() });
        }
        value & 1 != 0
    }

    /// Reads a port of up to 64 bits.
    #[inline]
    pub(super) fn read_64(&self, pins: &mut dyn Pins, at: Instant, findings: &mut Findings) -> u64 {
        if self.bits == 1 {
            return self.read_bit(pins, at, findings).into();
        }
        let mut words = [0; 2];
        let known = pins.read_wide(self.id, &mut words[..self.bits.div_ceil(32) as usize]);
        if known == Known::Not {
            findings.add(at, PinFinding::Unknown { port: self.name.clone() });
        }
        u64::from(words[1]) << 32 | u64::from(words[0])
    }
}

/// An input of the design's, which is written only when it is to change.
#[derive(Debug)]
pub(super) struct Driven {
    id: PortId,
    pub(super) bits: u32,
    stands: Option<u64>,
}

impl Driven {
    pub(super) fn new(pin: &Pin) -> Self {
        Self { id: pin.id, bits: pin.bits, stands: None }
    }

    #[inline]
    pub(super) fn set(&mut self, pins: &mut dyn Pins, value: u64) {
        if self.stands == Some(value) {
            return;
        }
        self.stands = Some(value);
        if self.bits <= 32 {
            pins.write(self.id, value as u32);
        } else {
            pins.write_wide(self.id, &[value as u32, (value >> 32) as u32]);
        }
    }
}
