//! What a session can be asked, and what it answers.

use host_driver::device::blk::BlkGeometry;
use host_driver::device::net::NetIdentity;
use pcie_sim::address::PhysAddr;
use pcie_sim::fault::Fault;
use pcie_sim::host::Width;
use pcie_sim::tlp::codec::TlpError;
use pcie_sim::tlp::{Completion, Tlp};

use super::super::watch::Seen;

/// Something to be done.
#[derive(Debug, Clone)]
pub enum Command {
    /// The driver takes the card over.
    Probe,
    /// Reads sectors of 512 bytes.
    Read {
        /// The first.
        sector: u64,
        /// How many.
        sectors: u32,
    },
    /// Writes whole sectors.
    Write {
        /// The first.
        sector: u64,
        /// What stands there then.
        data: Vec<u8>,
    },
    /// What was written is there to stay.
    Flush,
    /// Sends a packet, Ethernet header included.
    Send {
        /// Its bytes.
        packet: Vec<u8>,
    },
    /// Waits for the next packet.
    Receive,
    /// Reads a register by the CPU, and waits for the answer.
    MmioRead {
        /// In which BAR.
        bar: u8,
        /// Where in it.
        offset: u64,
        /// How much.
        width: Width,
    },
    /// Writes a register by the CPU, posted.
    MmioWrite {
        /// In which BAR.
        bar: u8,
        /// Where in it.
        offset: u64,
        /// How much.
        width: Width,
        /// What.
        value: u64,
    },
    /// Reads the card's configuration space.
    ConfigRead {
        /// Where.
        offset: u16,
        /// 1, 2 or 4 bytes.
        width: Width,
    },
    /// Writes the card's configuration space.
    ConfigWrite {
        /// Where.
        offset: u16,
        /// 1, 2 or 4 bytes.
        width: Width,
        /// What.
        value: u32,
    },
    /// Reads RAM as the CPU sees it.
    MemoryRead {
        /// Where.
        address: PhysAddr,
        /// How many bytes.
        len_bytes: u64,
    },
    /// Writes RAM.
    MemoryWrite {
        /// Where.
        address: PhysAddr,
        /// What.
        data: Vec<u8>,
    },
    /// Sends a TLP down as it is. A request that wants an answer is given a tag of the CPU's and waits for it.
    Tlp(Tlp),
    /// From now on every TLP of the link is kept.
    Record,
    /// What was kept since this was asked last.
    Recorded,
    /// Something goes wrong from now on.
    Fault(Fault),
}

/// The card, as the driver has found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The DMA back end that the driver has chosen.
    pub dma: &'static str,
    /// The features negotiated.
    pub features: u64,
    /// Of a disk.
    pub disk: Option<BlkGeometry>,
    /// Of a network interface.
    pub net: Option<NetIdentity>,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The driver has the card.
    Probed(Probed),
    /// Bytes: sectors, a packet, memory.
    Bytes(Vec<u8>),
    /// A register's value; all ones when nobody answered.
    Value(u64),
    /// The completion of a request, when one came that was successful.
    Completion(Option<Completion>),
    /// TLPs that crossed the link.
    Seen(Vec<Seen>),
}

/// Why a command came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no driver yet.
    #[error("the card was not probed")]
    NotProbed,
    /// It was probed before.
    #[error("the card was probed before")]
    ProbedTwice,
    /// The driver would not have the card.
    #[error("the driver does not take the card: {0}")]
    Probe(String),
    /// A disk sends no packets, a network interface has no sectors.
    #[error("the scenario's device is {has}, and this is for {wanted}")]
    WrongDevice {
        /// What it is.
        has: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// Data end within a sector.
    #[error("{0} bytes are no whole number of sectors of 512 bytes, or none at all")]
    Sectors(usize),
    /// The card has no such BAR, or it ends before.
    #[error("BAR{bar} has nothing at {offset:#x}; there are: {has}")]
    NoBar {
        /// Which.
        bar: u8,
        /// Where in it.
        offset: u64,
        /// The BARs there are.
        has: String,
    },
    /// There is no RAM.
    #[error("{len_bytes} bytes at {address} are not all in RAM, which has {ram_bytes} bytes")]
    NoMemory {
        /// From where.
        address: PhysAddr,
        /// How many.
        len_bytes: u64,
        /// What there is.
        ram_bytes: u64,
    },
    /// Configuration space is read by 1, 2 or 4 bytes, in its 4 KiB.
    #[error("configuration space has no {bytes} bytes at {offset:#x}")]
    Config {
        /// Where.
        offset: u16,
        /// How many.
        bytes: usize,
    },
    /// No memory for a buffer, or the queue takes no such request.
    #[error("it cannot be submitted: {0}")]
    Submit(String),
    /// The card says that it failed.
    #[error("the card ended it with status {0}")]
    Status(u8),
    /// The bytes are no TLP.
    #[error("these bytes are no TLP: {0}")]
    Tlp(#[from] TlpError),
    /// The driver has found the card broken.
    #[error("the driver gives up: {0}")]
    Driver(String),
    /// Nothing has come for too long.
    #[error("nothing has come for {0} us")]
    Stalled(u64),
}

/// What a command comes to.
pub type Outcome = Result<Answer, CommandError>;
