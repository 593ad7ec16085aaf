//! What both kinds of file share: the laws of time, width and kind, and one value per signal and
//! picosecond. A format only has to write.

use std::ops::Range;

use crate::cut::Cut;
use crate::error::WaveError;
use crate::signal::{Kind, SignalId, Tree, Value};
use crate::sink::WaveSink;

/// A file format behind the [`Recorder`]. Values are the characters `0`, `1` and `x`, most
/// significant first, exactly as many as the signal has bits.
pub(crate) trait Format: Send {
    /// The values of all signals shown, in order of declaration, at the beginning. Called once, first.
    fn initial(
        &mut self,
        at_ps: u64,
        values: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), WaveError>;
    /// Time moves on to `time_ps`, always later than before.
    fn time(&mut self, time_ps: u64) -> Result<(), WaveError>;
    /// A signal, by its number among those shown, has another value from now on.
    fn value(&mut self, signal: usize, bits: &[u8]) -> Result<(), WaveError>;
    /// Nothing more will come.
    fn close(self) -> Result<(), WaveError>;
}

struct Slot {
    path: String,
    kind: Kind,
    start: usize,
    width_bits: u32,
    /// Given a value in the present picosecond.
    touched: bool,
    /// Its number among those shown.
    shown: Option<usize>,
}

impl Slot {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.width_bits as usize
    }
}

/// Gathers the changes of one picosecond and hands on those that differ from what the file says.
pub(crate) struct Recorder<F> {
    format: F,
    slots: Vec<Slot>,
    /// One character a bit, of all signals.
    wanted: Vec<u8>,
    written: Vec<u8>,
    touched: Vec<u32>,
    now_ps: u64,
    window_ps: Range<u64>,
    initial_written: bool,
    /// The last time the file was told.
    stamped_ps: u64,
}

impl<F: Format> Recorder<F> {
    pub(crate) fn new(format: F, tree: &Tree, cut: &Cut) -> Self {
        let mut start = 0;
        let mut shown = 0..;
        let mut slots = Vec::with_capacity(tree.signals().len());
        for signal in tree.signals() {
            let &crate::signal::Signal { kind, width_bits, .. } = signal;
            let shown = if signal.depth <= cut.depth { shown.next() } else { None };
            let path = signal.path.clone();
            slots.push(Slot { path, kind, start, width_bits, touched: false, shown });
            start += width_bits as usize;
        }
        Self {
            format,
            slots,
            wanted: vec![b'x'; start],
            written: vec![b'x'; start],
            touched: Vec::new(),
            now_ps: 0,
            window_ps: cut.window_ps.clone(),
            initial_written: false,
            stamped_ps: cut.window_ps.start,
        }
    }

    /// Writes the picosecond that is over, when the next one of which anything is known is `next_ps`.
    fn commit(&mut self, next_ps: u64) -> Result<(), WaveError> {
        if !self.initial_written {
            let start_ps = self.window_ps.start;
            if next_ps <= start_ps {
                self.forget_touched();
                return Ok(());
            }
            self.initial_written = true;
            let shown = self.slots.iter().filter(|slot| slot.shown.is_some());
            self.format.initial(start_ps, &mut shown.map(|slot| &self.wanted[slot.range()]))?;
            self.written.copy_from_slice(&self.wanted);
        }
        let mut stamped = false;
        for &signal in &self.touched {
            let slot = &mut self.slots[signal as usize];
            slot.touched = false;
            let range = slot.range();
            let Some(shown) = slot.shown else { continue };
            if self.wanted[range.clone()] == self.written[range.clone()] {
                continue;
            }
            if !stamped {
                self.format.time(self.now_ps)?;
                self.stamped_ps = self.now_ps;
                stamped = true;
            }
            self.format.value(shown, &self.wanted[range.clone()])?;
            self.written[range.clone()].copy_from_slice(&self.wanted[range]);
        }
        self.touched.clear();
        Ok(())
    }

    fn forget_touched(&mut self) {
        for signal in self.touched.drain(..) {
            self.slots[signal as usize].touched = false;
        }
    }
}

impl<F: Format> WaveSink for Recorder<F> {
    fn change(
        &mut self,
        time_ps: u64,
        signal: SignalId,
        value: Value<'_>,
    ) -> Result<(), WaveError> {
        if time_ps < self.now_ps {
            return Err(WaveError::TimeBackwards { asked_ps: time_ps, reached_ps: self.now_ps });
        }
        let index = signal.0 as usize;
        let slot = self.slots.get(index).ok_or(WaveError::UnknownSignal { index })?;
        check(slot, value)?;
        if time_ps > self.now_ps {
            self.commit(time_ps)?;
            self.now_ps = time_ps;
        }
        if time_ps >= self.window_ps.end {
            return Ok(());
        }
        let slot = &mut self.slots[index];
        spread(value, &mut self.wanted[slot.range()]);
        if !slot.touched {
            slot.touched = true;
            self.touched.push(signal.0);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, end_ps: u64) -> Result<(), WaveError> {
        self.commit(u64::MAX)?;
        let earliest_ps = self.window_ps.start.saturating_add(1);
        let end_ps = end_ps.min(self.window_ps.end).max(earliest_ps);
        if end_ps > self.stamped_ps {
            self.format.time(end_ps)?;
        }
        self.format.close()
    }
}

/// Whether this value can be what this signal holds.
fn check(slot: &Slot, value: Value<'_>) -> Result<(), WaveError> {
    let (kind, needed_bits) = match value {
        Value::Unknown => return Ok(()),
        Value::Bits(number) => (Kind::Bits, u64::from(64 - number.leading_zeros())),
        Value::Wide(bytes) => (Kind::Bits, significant_bits(bytes)),
        Value::Text(text) => (Kind::Text, 8 * text.len() as u64),
    };
    if kind != slot.kind {
        let declared = if slot.kind == Kind::Bits { "bits" } else { "text" };
        return Err(WaveError::WrongKind { signal: slot.path.clone(), declared });
    }
    if needed_bits > u64::from(slot.width_bits) {
        let (signal, width_bits) = (slot.path.clone(), slot.width_bits);
        return Err(WaveError::TooWide { signal, width_bits, needed_bits });
    }
    match value {
        Value::Text(text) if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            Err(WaveError::BadText { signal: slot.path.clone(), text: text.to_owned() })
        }
        _ => Ok(()),
    }
}

fn significant_bits(bytes: &[u8]) -> u64 {
    match bytes.iter().position(|&byte| byte != 0) {
        Some(top) => 8 * (bytes.len() - top) as u64 - u64::from(bytes[top].leading_zeros()),
        None => 0,
    }
}

/// Writes a checked value as one character a bit.
fn spread(value: Value<'_>, bits: &mut [u8]) {
    match value {
        Value::Unknown => bits.fill(b'x'),
        Value::Bits(number) => spread_bytes(&number.to_be_bytes(), bits),
        Value::Wide(bytes) => spread_bytes(bytes, bits),
        Value::Text(text) => spread_bytes(text.as_bytes(), bits),
    }
}

/// The eight characters of each byte: most of the cost of a change is in writing its bits out.
const CHARACTERS: [[u8; 8]; 256] = {
    let mut all = [[b'0'; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut place = 0;
        while place < 8 {
            all[byte][7 - place] = b'0' + (byte >> place & 1) as u8;
            place += 1;
        }
        byte += 1;
    }
    all
};

/// The last bit of the last byte becomes the last character; what is missing in front is zero.
fn spread_bytes(bytes: &[u8], bits: &mut [u8]) {
    let mut source = bytes.iter().rev();
    for chunk in bits.rchunks_mut(8) {
        let byte = source.next().copied().unwrap_or(0);
        let characters = &CHARACTERS[usize::from(byte)];
        chunk.copy_from_slice(&characters[8 - chunk.len()..]);
    }
}
