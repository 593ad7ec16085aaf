//! `tlp-stream`: TLPs as beats on ports, both ways, with credits beside them.
//!
//! ```text
//!              Port                 Pins
//!   link ──take────▶ one TLP, bytes ──rx_*──▶ design
//!        ◀─send───── bytes, one TLP ◀─tx_*───
//!         ──credits───────────────tx_credit_*─▶
//! ```
//!
//! | signal | bits | | |
//! |---|---|---|---|
//! | `rx_valid` | 1 | in | a beat stands on `rx_*`; it passes at a rising edge at which `rx_ready` is 1 too |
//! | `rx_ready` | 1 | out | |
//! | `rx_sop` | 1 | in, optional | the beat is the first of a TLP |
//! | `rx_eop` | 1 | in | the beat is the last of a TLP |
//! | `rx_data` | 64, 128, 256, 512 | in | byte n of the beat in bits 8n+7..8n, bytes in the order of the wire |
//! | `rx_keep` | 1 a byte | in, optional | which bytes belong to the TLP; without it the header says how long it is |
//! | `rx_np_ok` | 1 | out, optional | a request that wants an answer may begin; without it, at any time |
//! | `tx_valid`, `tx_ready`, `tx_sop`, `tx_eop`, `tx_data`, `tx_keep` | | | the same the other way |
//! | `tx_credit_ph`, `_pd`, `_nph`, `_npd`, `_cplh`, `_cpld` | 2 to 32 | in, optional | credits left |
//!
//! Ways in and out may differ in width. A TLP begins in byte 0 of a beat, and no beat holds two.
//!
//! Two TLPs come, 64 bits wide: a write of one doubleword at a 32-bit address (16 bytes), then a completion
//! of 20 bytes. Each column ends with a rising edge; what stands in it is sampled there.
//!
//! ```text
//!  clk          __/~~\__/~~\__/~~\__/~~\__/~~\__/~~\__/~~\__/~~\
//!  rx_valid     /~~~~~~~~~~~~~~~~~~~~~~~\_____/~~~~~~~~~~~\_____
//!  rx_ready     /~~~~~\_____/~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
//!  rx_sop       /~~~~~\___________/~~~~~\_______________________
//!  rx_eop       ______/~~~~~~~~~~~\_________________/~~~~~\_____
//!  rx_data      |H0 H1|H2 D0|H2 D0|H0 H1|  -  |H2 D0|D1   |     doublewords, low one first
//!  rx_keep      |ff   |ff   |ff   |ff   |  -  |ff   |0f   |
//!                     ^ not ready: the beat stays
//! ```
//!
//! **The edge.** Outputs are sampled as the edge comes ([`TlpStream::sample`]), inputs change just behind it
//! ([`TlpStream::drive`]): the adapter is one more flip-flop of the design's clock. Between the two the
//! simulator lets the clock rise. Where writes wait until behind the edge by themselves, as they do from a
//! VPI callback, [`TlpStream::edge`] is both.
//!
//! **Leave.** `rx_np_ok`, once 1, stays 1 until a request that wants an answer has begun. While it is 0 such
//! requests wait in the adapter, oldest first, and what else comes passes them. Leave that is seen at the very
//! edge at which one begins does not count it yet, and is not used.
//!
//! **Credits of what comes in** return when the last beat has passed; until then the TLP takes its room in the
//! link's receive buffer, waiting requests too.
//!
//! **Credits of what goes out** stand on the pins: those of the link, less what TLPs take that have passed and
//! still wait to leave. What stands there at an edge counts all TLPs whose last beat passed at an earlier edge;
//! with the one whose last beat passes at this edge the design reckons itself. Infinite is all ones; a number
//! that does not fit reads as the largest that is not. Where a pin is missing, its credits are not for the
//! design to know: a TLP without credits waits in the link's transmitter, where others may pass it as the
//! ordering rules have it, and `tx_ready` falls when that is full.
//!
//! **Errors** of the design are [`PinFinding`]s, and it goes on: X and Z read as 0, a TLP that is none is
//! dropped, one without credits waits for them in the link.
//!
//! Left out: beats with the end of one TLP and the start of another, TLPs that begin elsewhere than in byte 0,
//! parity, more than one stream a direction.
//!
//! [`PinFinding`]: super::PinFinding

mod credits;
mod inward;
mod length;
mod outward;
mod signals;
mod stalls;

use pcie_sim::endpoint::Port;
use pcie_sim::host::seed::Sequence;
use pcie_sim::time::Instant;

use self::credits::CreditPins;
use self::inward::Inward;
use self::outward::Outward;
use self::signals::Binder;
pub use self::signals::{BEAT_BITS_MAX, BindError, SIGNALS, Signal, Width, find, reference_name};
use self::stalls::Stall;
pub use self::stalls::Stalls;
use super::Pins;
use super::finding::Findings;

/// The longest TLP: 4 KiB, a header of four doublewords, a digest, and eight prefixes.
pub const TLP_BYTES_MAX: usize = 4096 + 16 + 4 + 32;

/// The adapter between a design's pins and a card's end of the link. See [the module](self).
#[derive(Debug)]
pub struct TlpStream {
    inward: Inward,
    outward: Outward,
    credits: CreditPins,
    lots: Sequence,
    findings: Findings,
    in_reset: bool,
}

impl TlpStream {
    /// Finds the ports: `name` is the port that a design has for a signal of [`SIGNALS`], and `None` where it
    /// has none.
    ///
    /// # Errors
    /// A port that is not there, goes the wrong way or has the wrong width; a signal without a port that is
    /// not optional.
    pub fn bind(
        pins: &dyn Pins,
        name: &dyn Fn(&Signal) -> Option<String>,
        stalls: Stalls,
    ) -> Result<Self, BindError> {
        let binder = Binder { pins, name };
        Ok(Self {
            inward: Inward::bind(&binder, Stall::new(stalls.rx_percent))?,
            outward: Outward::bind(&binder, Stall::new(stalls.tx_percent))?,
            credits: CreditPins::bind(&binder)?,
            lots: Sequence::new(stalls.seed),
            findings: Findings::default(),
            in_reset: false,
        })
    }

    /// Bits of a beat, into the design and out of it.
    #[must_use]
    pub fn beat_bits(&self) -> [u32; 2] {
        [self.inward.beat_bits(), self.outward.beat_bits()]
    }

    /// What the design did wrong.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    pub(super) fn findings_mut(&mut self) -> &mut Findings {
        &mut self.findings
    }

    /// The design is in reset from now on: what is under way is forgotten, inputs are quiet, outputs are
    /// not looked at, until the next [`Self::drive`].
    ///
    /// TLPs that were taken and not given back are gone, as the link's credits are after a reset.
    pub fn reset(&mut self, pins: &mut dyn Pins) {
        self.inward.reset(pins);
        self.outward.reset(pins);
        self.credits.reset(pins);
        self.in_reset = true;
    }

    /// A rising edge comes: looks at what stands on the outputs.
    #[inline]
    pub fn sample(&mut self, pins: &mut dyn Pins, at: Instant) {
        if self.in_reset {
            return;
        }
        self.inward.sample(pins, at, &mut self.findings);
        self.outward.sample(pins, &self.credits, at, &mut self.findings);
    }

    /// The edge is over: sends what has passed whole, takes what the link has, and writes what the inputs
    /// hold until the next edge.
    #[inline]
    pub fn drive(&mut self, pins: &mut dyn Pins, port: &mut dyn Port) {
        self.in_reset = false;
        self.inward.drive(pins, port, &mut self.lots);
        self.outward.drive(pins, port, &mut self.lots);
        self.credits.drive(pins, port);
    }

    /// [`Self::sample`] and [`Self::drive`], for pins whose writes take effect behind the edge.
    pub fn edge(&mut self, pins: &mut dyn Pins, port: &mut dyn Port, at: Instant) {
        self.sample(pins, at);
        self.drive(pins, port);
    }
}
