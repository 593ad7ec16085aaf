//! A verilated design that runs: its ports by handle, its clock, its reset, its waves.
//!
//! ```text
//!  clk    ____/~~~~~~~~\________/~~~~~~~~\____
//!             │ rise            │
//!             │  the caller writes inputs
//!             │        │ fall: all settles
//!             │        │        │ the caller reads outputs, rise …
//! ```
//!
//! Flip-flops see at an edge what stood on the inputs before it; what is written after it they see at the
//! next one. Two evaluations a cycle, three when waves are written, so that inputs change in them where
//! a flip-flop would change them.

use std::ffi::CString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pcie_sim::time::{Instant, Span};

use super::build::Rtl;
use super::error::RtlError;
use super::library::Instance;
use super::manifest::Polarity;
use crate::pins::{Clocked, Known, Pins, PortId, PortInfo};

/// One instance of a design. Several of one design, and of several designs, live side by side.
#[derive(Debug)]
pub struct VerilatedModel {
    instance: Instance,
    ports: Vec<PortInfo>,
    clock: usize,
    half_period: Span,
    reset: Option<(usize, Polarity, u32)>,
    origin: String,
    risen: Instant,
    /// The last moment in the file of waves.
    dumped: Option<Instant>,
    waves: Waves,
    /// Of what is written.
    window: Option<Range<Instant>>,
    stopped: Option<String>,
}

/// What becomes of waves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waves {
    Closed,
    Paused,
    Written,
}

/// Waves could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum WavesError {
    /// The design was built without them.
    #[error("{0}: built without waves")]
    NotBuilt(String),
    /// The file cannot be written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
}

impl VerilatedModel {
    /// A model with the clock low, in reset, all inputs at their tied value or 0.
    ///
    /// # Errors
    /// [`RtlError::Stopped`] when the design ends in its own beginning; when a port of the manifest is not
    /// there.
    pub fn new(rtl: &Rtl) -> Result<Self, RtlError> {
        let manifest = &rtl.manifest;
        let stopped = |why: String| RtlError::Stopped { origin: manifest.origin.clone(), why };
        let instance = Instance::new(rtl.library, &rtl.header)
            .ok_or_else(|| stopped("its constructor fails".to_owned()))?;
        let index = |key: &str, name: &str| rtl.input(key, name).map(|port| port.id.0 as usize);
        let reset = match &manifest.reset {
            Some(reset) => Some((index("reset.port", &reset.port)?, reset.polarity, reset.cycles)),
            None => None,
        };
        let mut model = Self {
            instance,
            ports: rtl.ports.clone(),
            clock: index("clock.port", &manifest.clock.port)?,
            half_period: manifest.clock.period / 2,
            reset,
            origin: manifest.origin.clone(),
            risen: Instant::ZERO,
            dumped: None,
            waves: Waves::Closed,
            window: None,
            stopped: None,
        };
        for (name, value) in &manifest.tie {
            let port = index("tie", name)?;
            model.instance.write_wide(port, &value.words().unwrap_or_default());
        }
        model.set_reset(true);
        model.eval();
        match model.stopped.take() {
            Some(why) => Err(stopped(why)),
            None => Ok(model),
        }
    }

    /// The clock's period.
    #[must_use]
    pub fn period(&self) -> Span {
        self.half_period + self.half_period
    }

    /// The last rising edge.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.risen
    }

    /// Why the design ended by itself (`$finish`, `$stop`, `$fatal`, no convergence), if it did: with file
    /// and line, when Verilator says them. From then on nothing changes any more.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Lets everything settle that hangs on inputs.
    #[inline]
    pub fn eval(&mut self) {
        if self.stopped.is_none() && !self.instance.eval() {
            self.stopped = Some(self.instance.stopped());
        }
    }

    /// A rising edge at `at`. Flip-flops take what was written before; what is written from now on they see
    /// at the next one.
    #[inline]
    pub fn rise(&mut self, at: Instant) {
        self.risen = at;
        self.instance.set_time(at.as_ps());
        self.instance.write(self.clock, 1);
        self.eval();
    }

    /// The falling edge at `at`: outputs settle to what was written since the rising one.
    #[inline]
    pub fn fall(&mut self, at: Instant) {
        if self.window.is_some() {
            self.look_at_window();
        }
        if self.waves == Waves::Written {
            self.eval();
            self.dump(self.risen);
        }
        self.instance.write(self.clock, 0);
        self.eval();
        if self.waves == Waves::Written {
            self.dump(at);
        }
    }

    /// One whole cycle with a rising edge at `at`; `write` sets inputs behind the edge.
    #[inline]
    pub fn cycle(&mut self, at: Instant, write: impl FnOnce(&mut Self)) {
        self.rise(at);
        write(self);
        self.fall(at + self.half_period);
    }

    /// Sets the reset to active or not, when there is one.
    pub fn set_reset(&mut self, active: bool) {
        if let Some((port, polarity, _)) = self.reset {
            let level = active == (polarity == Polarity::ActiveHigh);
            self.instance.write(port, u32::from(level));
        }
    }

    /// The whole reset as the manifest has it, its first rising edge at `at`, and the inputs as they are.
    /// The result is when the next rising edge is due: the first of work.
    pub fn reset(&mut self, at: Instant) -> Instant {
        let cycles = self.reset.map_or(0, |(_, _, cycles)| cycles);
        let mut edge = at;
        self.set_reset(true);
        for cycle in 1..=cycles {
            self.cycle(edge, |model| model.set_reset(cycle < cycles));
            edge += self.period();
        }
        edge
    }

    /// Opens an FST file and writes every change into it from now on, in picoseconds.
    ///
    /// # Errors
    /// When the design was built without waves, or the file cannot be written.
    pub fn open_waves(&mut self, path: &Path) -> Result<(), WavesError> {
        self.close_waves();
        self.window = None;
        let wrong = |why: String| WavesError::File { path: path.display().to_string(), why };
        // Verilator's writer does not say that it cannot.
        std::fs::File::create(path).map_err(|error| wrong(error.to_string()))?;
        let name =
            CString::new(path.as_os_str().as_bytes()).map_err(|error| wrong(error.to_string()))?;
        match self.instance.waves_open(&name) {
            0 => {
                self.waves = Waves::Written;
                self.dumped = None;
                Ok(())
            }
            2 => Err(WavesError::NotBuilt(self.origin.clone())),
            _ => Err(wrong(self.instance.stopped())),
        }
    }

    /// Writes only what happens in this span of time, from the state at its beginning on.
    pub fn cut_waves(&mut self, window: Range<Instant>) {
        self.window = Some(window);
        self.pause_waves();
    }

    /// Goes into the window and out of it.
    #[cold]
    fn look_at_window(&mut self) {
        match &self.window {
            Some(window) if window.contains(&self.risen) => self.resume_waves(),
            Some(_) => self.pause_waves(),
            None => {}
        }
    }

    /// Writes no more until [`Self::resume_waves`]. An evaluation costs then what it costs without waves.
    pub fn pause_waves(&mut self) {
        if self.waves == Waves::Written {
            self.waves = Waves::Paused;
        }
    }

    /// Writes again, what changed meanwhile first.
    pub fn resume_waves(&mut self) {
        if self.waves == Waves::Paused {
            self.waves = Waves::Written;
        }
    }

    /// Ends the file of waves, if there is one.
    pub fn close_waves(&mut self) {
        if self.waves != Waves::Closed {
            self.waves = Waves::Closed;
            self.instance.waves_close();
        }
    }

    #[cold]
    fn dump(&mut self, at: Instant) {
        // A moment is written once; a clock that stands still has no second one.
        if self.dumped.is_some_and(|dumped| dumped >= at) {
            return;
        }
        self.dumped = Some(at);
        if !self.instance.waves_dump(at.as_ps()) {
            self.stopped = Some(format!("waves: {}", self.instance.stopped()));
        }
    }
}

impl Pins for VerilatedModel {
    fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    #[inline]
    fn read(&mut self, port: PortId) -> (u32, Known) {
        (self.instance.read(port.0 as usize), Known::All)
    }

    #[inline]
    fn write(&mut self, port: PortId, value: u32) {
        self.instance.write(port.0 as usize, value);
    }

    #[inline]
    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        self.instance.read_wide(port.0 as usize, words);
        Known::All
    }

    #[inline]
    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        self.instance.write_wide(port.0 as usize, words);
    }
}

impl Clocked for VerilatedModel {
    #[inline]
    fn rise(&mut self, at: Instant) {
        Self::rise(self, at);
    }

    #[inline]
    fn fall(&mut self, at: Instant) {
        Self::fall(self, at);
    }
}
