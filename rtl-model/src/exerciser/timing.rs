//! How long the exerciser's steps take.

use pcie_sim::time::Span;

/// The steps. See the [module above](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExerciserTiming {
    /// A direct command, from its beginning to its TLP at the transmitter.
    pub command_issue: Span,
    /// From a direct command's last completion to its end, besides the beats.
    pub command_done: Span,
    /// Each beat (32 bytes) that a direct command's completion brings.
    pub command_beat: Span,
    /// A bulk transfer, from its beginning to its requests at the transmitter, or to its engine.
    pub bulk_issue: Span,
    /// From the end of a bulk transfer's data to its end.
    pub bulk_done: Span,
    /// Read requests on the link at once, 1 to 256; the rest waits.
    pub reads_at_once: u32,
    /// Engines each way.
    pub engines: u32,
    /// An engine's time for each request smaller than the largest, besides its data. What one of the
    /// largest takes is hidden behind its data.
    pub read_partial: Span,
    /// An engine's time for each beat (32 bytes) that it stores.
    pub read_beat: Span,
    /// The least that a read takes of its engine when it is not whole doublewords long.
    pub read_odd_floor: Span,
    /// An engine's time for a write, besides its data.
    pub write_descriptor: Span,
    /// An engine's time for each unit that it fetches.
    pub write_unit: Span,
    /// Bytes of that unit.
    pub write_unit_bytes: u16,
    /// The transmitter's rest behind each TLP of its own.
    pub transmit_gap: Span,
    /// The transmitter's rest between two writes, besides.
    pub transmit_turn: Span,
}

impl ExerciserTiming {
    /// A card that takes no time, with one engine: what remains is the link and the host.
    pub const INSTANT: Self = Self {
        command_issue: Span::ZERO,
        command_done: Span::ZERO,
        command_beat: Span::ZERO,
        bulk_issue: Span::ZERO,
        bulk_done: Span::ZERO,
        reads_at_once: 256,
        engines: 1,
        read_partial: Span::ZERO,
        read_beat: Span::ZERO,
        read_odd_floor: Span::ZERO,
        write_descriptor: Span::ZERO,
        write_unit: Span::ZERO,
        write_unit_bytes: 128,
        transmit_gap: Span::ZERO,
        transmit_turn: Span::ZERO,
    };
}
