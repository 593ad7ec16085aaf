//! How long each step of a pipelined card takes.

/// The steps of a card that is made of engines, each of which does one thing at a time, in cycles of the
/// card's clock.
///
/// A step is counted from the cycle in which its input stands in a register to that in which its output
/// does. What moves data takes a cycle for each beat of [`crate::CardTiming::datapath_bytes`] on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineTiming {
    /// From the first edge at which a TLP is there to its header's being taken apart.
    pub header: u32,
    /// From a configuration request to its answer at the transmitter.
    pub config_answer: u32,
    /// From a read of registers to its answer at the transmitter, besides a cycle for each doubleword.
    pub register_answer: u32,
    /// From a read of memory on the card to its answer at the transmitter.
    pub memory_answer: u32,
    /// From an engine's decision to read to its asking the read engine.
    pub ask: u32,
    /// From the available index to the decision what to fetch.
    pub index: u32,
    /// From a ring entry to its head.
    pub entry: u32,
    /// From a head that was fetched before to its being taken up.
    pub next_head: u32,
    /// From a head, or the number of the next descriptor, to the descriptor when it was fetched before.
    pub at_hand: u32,
    /// From the arrival of a descriptor to its being understood.
    pub descriptor: u32,
    /// From a descriptor to the number of the next one.
    pub link: u32,
    /// From the arrival of an indirect table to its first row.
    pub table: u32,
    /// Each row of an indirect table.
    pub row: u32,
    /// From the end of a chain to its being a request.
    pub submit: u32,
    /// From finding nothing more to fetch to saying so.
    pub rest: u32,
    /// From a request to its first buffer's being asked for.
    pub payload: u32,
    /// From the last read of a buffer to the next buffer's being asked for.
    pub segment: u32,
    /// From asking the read engine to its request at the transmitter.
    pub read_issue: u32,
    /// Each beat that the read engine takes from memory on the card.
    pub local_read: u32,
    /// From the transmitter's choice to the first beat at the pins' far side.
    pub send: u32,
    /// Reads of a request's buffer until its command is known.
    pub command_read: u32,
    /// From a command's being known to its being carried out.
    pub command: u32,
    /// Added when data move from or to the medium.
    pub transfer: u32,
    /// For each range of a command, each of the two times that it is looked at.
    pub range: u32,
    /// From the end of what a command does to the request's end.
    pub status: u32,
    /// From a packet to its being on the cable, besides its beats.
    pub transmit: u32,
    /// From a receive buffer's and a packet's meeting to the packet's being in it, besides its beats.
    pub receive: u32,
    /// From a receive buffer's being a request to its being there for packets.
    pub buffer: u32,
    /// From one step of the completion engine to the next: payload, elements, index.
    pub completion: u32,
    /// From a job's being given to the write engine's seeing it.
    pub job: u32,
    /// From the write engine's seeing a job to its first beat.
    pub cut: u32,
    /// Added for every buffer that a job goes to.
    pub write_segment: u32,
    /// Between two TLPs of a job.
    pub chunk: u32,
    /// From the write engine's beat to the transmitter.
    pub beat: u32,
    /// From the suppression word to the interrupt's being given to the write engine.
    pub interrupt: u32,
}
