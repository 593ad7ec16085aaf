//! Beats out of the design: what it sends, and what it does wrong.

use pcie_sim::endpoint::Port;
use pcie_sim::host::seed::Sequence;
use pcie_sim::link::credits::ReceiverBuffers;
use pcie_sim::time::Instant;
use pcie_sim::tlp::Tlp;
use pcie_sim::tlp::codec::parse;

use super::TLP_BYTES_MAX;
use super::credits::CreditPins;
use super::length::expected_bytes;
use super::signals::{BEAT_WORDS_MAX, BindError, Binder, Driven, Pin};
use super::stalls::Stall;
use crate::pins::finding::{Findings, PinFinding};
use crate::pins::{Known, Pins};

/// A beat as it stood on the pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Beat {
    sop: bool,
    eop: bool,
    keep: u64,
    words: [u32; BEAT_WORDS_MAX],
}

/// The way out of the design.
#[derive(Debug)]
pub(super) struct Outward {
    valid: Pin,
    sop: Option<Pin>,
    eop: Pin,
    keep: Option<Pin>,
    data: Pin,
    ready: Driven,
    beat_bytes: usize,
    stall: Stall,
    /// What stands on `tx_ready`.
    is_ready: bool,
    /// A beat waits since the last edge: `waited`.
    waits: bool,
    waited: Beat,
    /// The TLP under way.
    bytes: Vec<u8>,
    /// It has begun, or its first beat waits.
    begun: bool,
    /// The credits that there were when it began.
    had: Option<ReceiverBuffers>,
    /// What comes is dropped up to its end.
    dropping: bool,
    finished: Option<Tlp>,
}

impl Outward {
    pub(super) fn bind(binder: &Binder<'_>, stall: Stall) -> Result<Self, BindError> {
        let data = binder.needed("tx_data")?;
        Ok(Self {
            valid: binder.needed("tx_valid")?,
            sop: binder.optional("tx_sop")?,
            eop: binder.needed("tx_eop")?,
            keep: binder.of_beat("tx_keep", data.bits)?,
            ready: Driven::new(&binder.needed("tx_ready")?),
            beat_bytes: data.bits as usize / 8,
            data,
            stall,
            is_ready: false,
            waits: false,
            waited: Beat::default(),
            bytes: Vec::with_capacity(TLP_BYTES_MAX),
            begun: false,
            had: None,
            dropping: false,
            finished: None,
        })
    }

    pub(super) fn beat_bits(&self) -> u32 {
        self.data.bits
    }

    /// Drops what is under way.
    pub(super) fn reset(&mut self, pins: &mut dyn Pins) {
        self.waits = false;
        self.drop_all();
        self.dropping = false;
        self.finished = None;
        self.set_ready(pins, false);
    }

    fn drop_all(&mut self) {
        self.bytes.clear();
        (self.begun, self.had) = (false, None);
    }

    fn set_ready(&mut self, pins: &mut dyn Pins, ready: bool) {
        self.is_ready = ready;
        self.ready.set(pins, ready.into());
    }

    #[inline]
    pub(super) fn sample(
        &mut self,
        pins: &mut dyn Pins,
        credits: &CreditPins,
        at: Instant,
        findings: &mut Findings,
    ) {
        let valid = self.valid.read_bit(pins, at, findings);
        if valid {
            self.beat(pins, credits, at, findings);
        } else if std::mem::take(&mut self.waits) {
            if !self.begun {
                self.had = None;
            }
            findings.add(at, PinFinding::ValidDropped { port: self.valid.name.clone() });
        }
    }

    fn beat(
        &mut self,
        pins: &mut dyn Pins,
        credits: &CreditPins,
        at: Instant,
        findings: &mut Findings,
    ) {
        let beat = self.read(pins, at, findings);
        if self.had.is_none() || beat.sop && self.begun {
            self.had = Some(credits.shown());
        }
        if self.waits && self.waited != beat {
            self.tell_changes(&beat, at, findings);
        }
        self.waits = !self.is_ready;
        if self.is_ready {
            self.pass(&beat, at, findings);
        } else {
            self.waited = beat;
        }
    }

    fn read(&mut self, pins: &mut dyn Pins, at: Instant, findings: &mut Findings) -> Beat {
        let first = !self.begun;
        let sop = self.sop.as_ref().map_or(first, |pin| pin.read_bit(pins, at, findings));
        let eop = self.eop.read_bit(pins, at, findings);
        let all = u64::MAX >> (64 - self.beat_bytes);
        let keep = self.keep.as_ref().map_or(all, |pin| pin.read_64(pins, at, findings));
        let mut words = [0; BEAT_WORDS_MAX];
        let known = pins.read_wide(self.data.id, &mut words[..self.beat_bytes / 4]);
        // Behind the end of a TLP data may be anything.
        if known == Known::Not && keep == all && (self.keep.is_some() || !eop) {
            findings.add(at, PinFinding::Unknown { port: self.data.name.clone() });
        }
        Beat { sop, eop, keep, words }
    }

    #[cold]
    fn tell_changes(&self, beat: &Beat, at: Instant, findings: &mut Findings) {
        let waited = &self.waited;
        let changed = [
            (waited.sop != beat.sop, self.sop.as_ref()),
            (waited.eop != beat.eop, Some(&self.eop)),
            (waited.keep != beat.keep, self.keep.as_ref()),
            (waited.words != beat.words, Some(&self.data)),
        ];
        for (_, pin) in changed.into_iter().filter(|(changed, _)| *changed) {
            let port = pin.map_or_else(String::new, |pin| pin.name.clone());
            findings.add(at, PinFinding::BeatChanged { port });
        }
    }

    /// A beat has passed.
    fn pass(&mut self, beat: &Beat, at: Instant, findings: &mut Findings) {
        if self.dropping {
            self.dropping = !beat.eop;
            if !beat.sop || self.sop.is_none() {
                if beat.eop {
                    self.drop_all();
                }
                return;
            }
            self.drop_all();
            self.dropping = false;
        }
        self.check_start(beat, at, findings);
        self.begun = true;
        self.append(beat, at, findings);
        if beat.eop {
            self.finish(at, findings);
        } else if self.bytes.len() > TLP_BYTES_MAX {
            findings.add(at, PinFinding::TooLong { bytes: self.bytes.len() });
            self.bytes.clear();
            self.dropping = true;
        }
    }

    fn check_start(&mut self, beat: &Beat, at: Instant, findings: &mut Findings) {
        let Some(pin) = &self.sop else { return };
        if beat.sop && self.begun {
            let (port, bytes) = (pin.name.clone(), self.bytes.len());
            findings.add(at, PinFinding::StartInside { port, bytes });
            self.bytes.clear();
        } else if !beat.sop && !self.begun {
            findings.add(at, PinFinding::NoStart { port: pin.name.clone() });
        }
    }

    fn append(&mut self, beat: &Beat, at: Instant, findings: &mut Findings) {
        let start = self.bytes.len();
        let words = &beat.words[..self.beat_bytes / 4];
        for word in words {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        let Some(pin) = &self.keep else {
            if beat.eop
                && let Some(expected) = expected_bytes(&self.bytes)
                && expected > start
            {
                self.bytes.truncate(expected);
            }
            return;
        };
        let kept = beat.keep.trailing_ones() as usize;
        let all = kept == self.beat_bytes;
        let from_0 = kept == 64 || beat.keep >> kept == 0;
        if !all && (!beat.eop || !from_0 || kept == 0 || !kept.is_multiple_of(4)) {
            let (port, keep, last) = (pin.name.clone(), beat.keep, beat.eop);
            findings.add(at, PinFinding::Keep { port, keep, last });
        }
        self.bytes.truncate(start + kept);
    }

    fn finish(&mut self, at: Instant, findings: &mut Findings) {
        match parse(&self.bytes) {
            Ok(tlp) => {
                self.check_credits(&tlp, at, findings);
                self.finished = Some(tlp);
            }
            Err(error) => {
                findings.add(at, PinFinding::NoTlp { bytes: self.bytes.len(), error });
            }
        }
        self.drop_all();
    }

    fn check_credits(&self, tlp: &Tlp, at: Instant, findings: &mut Findings) {
        let (class, data) = (tlp.flow_class(), tlp.data_credits());
        if let Some(had) = self.had.map(|had| had.of(class))
            && !had.allow(data)
        {
            findings.add(at, PinFinding::NoCredits { class, data, had });
        }
    }

    #[inline]
    pub(super) fn drive(&mut self, pins: &mut dyn Pins, port: &mut dyn Port, lots: &mut Sequence) {
        if let Some(tlp) = self.finished.take() {
            port.send(tlp);
        }
        let ready = !self.stall.drawn(lots) && port.has_room();
        self.set_ready(pins, ready);
    }
}
