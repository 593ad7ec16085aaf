//! A trace that <https://ui.perfetto.dev> opens: slices of time on tracks, and flows that join them.
//!
//! ```text
//!   track(parent, name) ──▶ TrackId          a tree of rows
//!   slice(track, from, to, name, arguments, flows)   ──▶ two packets: begin, end
//!   counter(track, at, value)                        ──▶ one packet
//! ```
//!
//! A file of protocol buffers by Perfetto's published schema (`Trace`, `TracePacket`, `TrackEvent`),
//! encoded by the crate `prost` and streamed: memory does not grow with the run, only with the number of
//! tracks and of different names. Each track is a packet sequence of its own, on which time never goes
//! back and names stand for themselves, so that a reader may take tracks one by one.
//!
//! Times are whole nanoseconds, the unit of the format, rounded down: order is kept, and what is shorter
//! than that has no length. Where picoseconds matter, give them as an argument.
//!
//! Left out: events that begin and are never ended; values of arguments other than numbers and text;
//! processes, threads and clocks other than the bench's.

mod lanes;
mod messages;
mod names;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::cut::Cut;
use crate::error::WaveError;
pub use lanes::Lanes;
use messages::{
    ChildTracksOrdering, CounterDescriptor, DebugAnnotation, EventType, NEEDS_STATE, STATE_CLEARED,
    TrackDescriptor, TrackEvent,
};
use names::Names;

const BUFFER_BYTES: usize = 256 << 10;
const PS_PER_NS: u64 = 1_000;

/// A track's number in the [`Trace`] that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackId(u32);

/// What an argument of a slice says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A number, shown in decimal.
    Number(u64),
    /// A number, shown in hexadecimal.
    Address(u64),
    /// Text.
    Text(&'a str),
}

/// Something that takes time. Names and categories are kept in memory, so they should be few.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slice<'a> {
    /// What a viewer writes on it.
    pub name: &'a str,
    /// By which a viewer can filter.
    pub category: &'a str,
    /// When it begins, in picoseconds.
    pub begin_ps: u64,
    /// When it ends, in picoseconds, not before it begins.
    pub end_ps: u64,
    /// Names and values.
    pub arguments: &'a [(&'a str, Argument<'a>)],
    /// Flows that begin here or pass: a viewer draws an arrow from the slice that the flow passed
    /// before, in order of time. Any numbers but 0.
    pub flows: &'a [u64],
    /// Flows that end here.
    pub ended_flows: &'a [u64],
}

#[derive(Debug)]
struct Track {
    depth: u32,
    reached_ps: u64,
    names: Names,
    children: i32,
    /// A counter's value before the window.
    before: Option<i64>,
}

/// A trace being written. One that is dropped rather than finished is cut off.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    out: BufWriter<File>,
    bytes: Vec<u8>,
    tracks: Vec<Track>,
    roots: i32,
    cut: Cut,
}

impl Trace {
    /// Creates the file, whatever its name.
    ///
    /// # Errors
    /// [`WaveError::Io`].
    pub fn create(path: &Path, cut: &Cut) -> Result<Self, WaveError> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self {
                path,
                out: BufWriter::with_capacity(BUFFER_BYTES, file),
                bytes: Vec::new(),
                tracks: Vec::new(),
                roots: 0,
                cut: cut.clone(),
            }),
            Err(source) => Err(WaveError::Io { path, source }),
        }
    }

    /// A row, below another one or at the top; siblings are shown in the order in which they were made.
    /// One deeper than the file shows takes what it is given and shows nothing.
    ///
    /// # Errors
    /// [`WaveError::UnknownSignal`] for a parent of another trace, [`WaveError::Io`].
    pub fn track(&mut self, parent: Option<TrackId>, name: &str) -> Result<TrackId, WaveError> {
        self.declare(parent, name, None)
    }

    /// A row that shows a value over time.
    ///
    /// # Errors
    /// As [`Trace::track`].
    pub fn counter_track(
        &mut self,
        parent: Option<TrackId>,
        name: &str,
    ) -> Result<TrackId, WaveError> {
        self.declare(parent, name, Some(CounterDescriptor {}))
    }

    fn declare(
        &mut self,
        parent: Option<TrackId>,
        name: &str,
        counter: Option<CounterDescriptor>,
    ) -> Result<TrackId, WaveError> {
        let id = TrackId(self.tracks.len() as u32);
        let (depth, rank) = match parent {
            None => (1, &mut self.roots),
            Some(TrackId(index)) => {
                let parent = self.tracks.get_mut(index as usize);
                let parent = parent.ok_or(WaveError::UnknownSignal { index: index as usize })?;
                (parent.depth + 1, &mut parent.children)
            }
        };
        *rank += 1;
        let descriptor = TrackDescriptor {
            uuid: Some(uuid(id)),
            name: Some(name.to_owned()),
            parent_uuid: parent.map(uuid),
            counter,
            child_ordering: Some(ChildTracksOrdering::Explicit as i32),
            sibling_order_rank: Some(*rank),
        };
        let names = Names::default();
        self.tracks.push(Track { depth, reached_ps: 0, names, children: 0, before: None });
        if depth <= self.cut.depth {
            self.write(messages::TracePacket {
                trusted_packet_sequence_id: Some(sequence(id)),
                sequence_flags: Some(STATE_CLEARED),
                track_descriptor: Some(descriptor),
                ..Default::default()
            })?;
        }
        Ok(id)
    }

    /// Writes a slice, as much of it as lies in the window. On one track slices do not overlap.
    ///
    /// # Errors
    /// [`WaveError::TimeBackwards`] for one that begins before the track's last one ended, or ends
    /// before it begins; [`WaveError::UnknownSignal`] for a track of another trace: nothing is written,
    /// and the file can go on. [`WaveError::Io`]: the file is lost.
    pub fn slice(&mut self, track: TrackId, slice: &Slice<'_>) -> Result<(), WaveError> {
        let (begin_ps, end_ps) = (slice.begin_ps, slice.end_ps);
        self.reach(track, begin_ps, end_ps)?;
        if !self.shows(slice) || self.hides(track) {
            return Ok(());
        }
        let window = self.cut.window_ps.clone();
        let names = &mut self.tracks[track.0 as usize].names;
        let event = TrackEvent {
            category_iids: vec![names.category(slice.category)],
            name_iid: Some(names.event(slice.name)),
            debug_annotations: slice.arguments.iter().map(|of| annotation(names, of)).collect(),
            flow_ids: slice.flows.to_vec(),
            terminating_flow_ids: slice.ended_flows.to_vec(),
            ..event(track, EventType::SliceBegin)
        };
        self.event(track, begin_ps.max(window.start), event)?;
        self.event(track, end_ps.min(window.end), event_end(track))
    }

    /// From `at_ps` on, a counter has this value. Before the window only the last one counts, and is
    /// shown at the window's beginning with the first value in it.
    ///
    /// # Errors
    /// As [`Trace::slice`].
    pub fn counter(&mut self, track: TrackId, at_ps: u64, value: i64) -> Result<(), WaveError> {
        self.reach(track, at_ps, at_ps)?;
        let window = self.cut.window_ps.clone();
        if at_ps <= window.start {
            self.tracks[track.0 as usize].before = Some(value);
            return Ok(());
        }
        self.show_before(track)?;
        if at_ps < window.end { self.value(track, at_ps, value) } else { Ok(()) }
    }

    /// A counter's value when the window begins.
    fn show_before(&mut self, track: TrackId) -> Result<(), WaveError> {
        match self.tracks[track.0 as usize].before.take() {
            Some(value) => self.value(track, self.cut.window_ps.start, value),
            None => Ok(()),
        }
    }

    fn value(&mut self, track: TrackId, at_ps: u64, value: i64) -> Result<(), WaveError> {
        if self.hides(track) {
            return Ok(());
        }
        let counter = EventType::Counter;
        self.event(track, at_ps, TrackEvent { counter_value: Some(value), ..event(track, counter) })
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// [`WaveError::Io`].
    pub fn finish(mut self) -> Result<(), WaveError> {
        for index in 0..self.tracks.len() {
            self.show_before(TrackId(index as u32))?;
        }
        self.out.flush().map_err(|source| WaveError::Io { path: self.path, source })
    }

    /// Whether any of it lies in the window. What has no length belongs to the moment at which it is.
    #[must_use]
    pub fn shows(&self, slice: &Slice<'_>) -> bool {
        let window = &self.cut.window_ps;
        let end_ps = slice.end_ps.max(slice.begin_ps.saturating_add(1));
        end_ps > window.start && slice.begin_ps < window.end
    }

    fn hides(&self, track: TrackId) -> bool {
        self.tracks[track.0 as usize].depth > self.cut.depth
    }

    /// Time moves on from `begin_ps` to `end_ps` on a track.
    fn reach(&mut self, track: TrackId, begin_ps: u64, end_ps: u64) -> Result<(), WaveError> {
        let index = track.0 as usize;
        let known = self.tracks.get_mut(index).ok_or(WaveError::UnknownSignal { index })?;
        let reached_ps = known.reached_ps;
        for (asked_ps, reached_ps) in [(begin_ps, reached_ps), (end_ps, begin_ps)] {
            if asked_ps < reached_ps {
                return Err(WaveError::TimeBackwards { asked_ps, reached_ps });
            }
        }
        known.reached_ps = end_ps;
        Ok(())
    }

    fn event(&mut self, track: TrackId, at_ps: u64, event: TrackEvent) -> Result<(), WaveError> {
        let interned_data = self.tracks[track.0 as usize].names.take_news();
        self.write(messages::TracePacket {
            timestamp: Some(at_ps / PS_PER_NS),
            trusted_packet_sequence_id: Some(sequence(track)),
            track_event: Some(event),
            interned_data,
            sequence_flags: Some(NEEDS_STATE),
            ..Default::default()
        })
    }

    /// A file is one message with repeated packets, which is the same as its parts one behind the other.
    fn write(&mut self, packet: messages::TracePacket) -> Result<(), WaveError> {
        self.bytes.clear();
        let part = messages::Trace { packet: vec![packet] };
        self.bytes.reserve(part.encoded_len());
        part.encode_raw(&mut self.bytes);
        let done = self.out.write_all(&self.bytes);
        done.map_err(|source| WaveError::Io { path: self.path.clone(), source })
    }
}

/// 0 is the track of those who name none.
fn uuid(track: TrackId) -> u64 {
    u64::from(track.0) + 1
}

/// 0 is no sequence.
fn sequence(track: TrackId) -> u32 {
    track.0 + 1
}

fn event(track: TrackId, kind: EventType) -> TrackEvent {
    TrackEvent { r#type: Some(kind as i32), track_uuid: Some(uuid(track)), ..TrackEvent::default() }
}

fn event_end(track: TrackId) -> TrackEvent {
    event(track, EventType::SliceEnd)
}

fn annotation(names: &mut Names, (name, value): &(&str, Argument<'_>)) -> DebugAnnotation {
    let mut annotation =
        DebugAnnotation { name_iid: Some(names.argument(name)), ..DebugAnnotation::default() };
    match *value {
        Argument::Number(number) => annotation.uint_value = Some(number),
        Argument::Address(address) => annotation.pointer_value = Some(address),
        Argument::Text(text) => annotation.string_value = Some(text.to_owned()),
    }
    annotation
}
