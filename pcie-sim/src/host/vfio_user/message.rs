//! The messages of vfio-user as bytes: what a peer may say, and nothing else.
//!
//! ```text
//!   0      2         4      8       12      16
//!   id     command   size   flags   error   body, by command
//! ```
//!
//! Little-endian. Layouts: vfio-user Protocol Specification, "Header" and "Commands", in the version that
//! QEMU speaks since 10.1, which keeps the structures of Linux's `vfio.h` behind the header. Whatever the
//! bytes, parsing ends in a message or a typed error, and a message that was parsed is emitted as the
//! same bytes, but for what its layout leaves unused.

use std::ops::RangeInclusive;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// The longest message of either side: more data than any request of a card, and a header.
pub const LONGEST_BYTES: usize = 64 << 10;
/// The longest data of a region access, in bytes.
pub const LONGEST_DATA_BYTES: u32 = 32 << 10;

/// In the header's flags: an answer. The type is the low four bits, of which no other is used.
const REPLY: u32 = 1;
const TYPE: u32 = 0xf;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// Numbers of errors, as the header carries them: Linux's.
pub mod errno {
    /// No such entry.
    pub const ENOENT: u32 = 2;
    /// Bad address.
    pub const EFAULT: u32 = 14;
    /// Exists already.
    pub const EEXIST: u32 = 17;
    /// Wrong argument.
    pub const EINVAL: u32 = 22;
    /// No space left.
    pub const ENOSPC: u32 = 28;
    /// No such command.
    pub const ENOSYS: u32 = 38;
    /// Not supported.
    pub const ENOTSUP: u32 = 95;
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The commands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Command {
            $($(#[$doc])* $name = $number,)*
        }

        impl Command {
            /// Every command.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

commands! {
    /// The two agree on a version.
    Version = 1,
    /// Memory may be used.
    DmaMap = 2,
    /// Memory may be used no more.
    DmaUnmap = 3,
    /// How many regions and interrupts.
    DeviceInfo = 4,
    /// How large a region is.
    RegionInfo = 5,
    /// File descriptors that stand for doorbells.
    RegionIoFds = 6,
    /// How many interrupts of a kind.
    IrqInfo = 7,
    /// What is done when an interrupt is raised.
    SetIrqs = 8,
    /// A read of a register.
    RegionRead = 9,
    /// A write to a register.
    RegionWrite = 10,
    /// The device reads memory; the only commands of a server are this and the next.
    DmaRead = 11,
    /// The device writes memory.
    DmaWrite = 12,
    /// The device is reset.
    DeviceReset = 13,
    /// What the device has written to.
    DirtyPages = 14,
}

impl Command {
    /// The command of this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|&command| command as u16 == number)
    }
}

/// Who sends a message, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To be answered.
    Ask,
    /// Not to be answered.
    Tell,
    /// The answer.
    Reply,
    /// The answer that says no, with an error number; nothing follows the header.
    Refuse(u32),
}

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sender's number of it; its answer has the same.
    pub id: u16,
    /// The command's number, known or not.
    pub command: u16,
    /// Bytes of the whole message.
    pub size: u32,
    /// What it is for.
    pub kind: Kind,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The size does not hold a header, or more than a message may hold. What follows on the stream is
    /// anybody's guess.
    #[error("a message of {0} bytes; there are those of 16 to {LONGEST_BYTES}")]
    Size(u32),
    /// Neither command nor reply.
    #[error("message type {0} is neither command nor reply")]
    Type(u32),
    /// Not a command of this protocol.
    #[error("command {0} is not known")]
    Command(u16),
    /// Too short or too long for its command.
    #[error("{command:?} has {bytes} bytes behind its header, which does not fit")]
    Length {
        /// The command.
        command: Command,
        /// The bytes.
        bytes: usize,
    },
    /// A count that is not the length of what follows, or more than there may be.
    #[error("{command:?} speaks of {count} bytes, which does not fit")]
    Count {
        /// The command.
        command: Command,
        /// What it says.
        count: u64,
    },
}

impl Header {
    /// Looks at the first bytes of a message.
    ///
    /// # Errors
    /// [`MessageError::Size`], [`MessageError::Type`]: the stream cannot be followed any further.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, MessageError> {
        let mut fields = Fields(bytes);
        let (id, command) = (fields.u16(), fields.u16());
        let (size, flags, error) = (fields.u32(), fields.u32(), fields.u32());
        if !(HEADER_BYTES..=LONGEST_BYTES).contains(&(size as usize)) {
            return Err(MessageError::Size(size));
        }
        let kind = match flags & TYPE {
            0 if flags & NO_REPLY != 0 => Kind::Tell,
            0 => Kind::Ask,
            REPLY if flags & ERROR != 0 => Kind::Refuse(error),
            REPLY => Kind::Reply,
            other => return Err(MessageError::Type(other)),
        };
        Ok(Self { id, command, size, kind })
    }

    /// Bytes that follow the header.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        (self.size as usize).saturating_sub(HEADER_BYTES)
    }
}

/// A range of memory that may be used, or no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaRange {
    /// Bit 0: readable; bit 1: writable. To an unmap: bit 1: everything.
    pub flags: u32,
    /// Where in the file that comes with it; 0 to an unmap.
    pub offset: u64,
    /// The first bus address.
    pub address: u64,
    /// Bytes.
    pub len_bytes: u64,
}

/// A part of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionRange {
    /// Where in the region.
    pub offset: u64,
    /// 0 to 5: the BARs; 7: configuration space.
    pub region: u32,
    /// Bytes.
    pub count: u32,
}

/// What follows the header. Where an answer looks like its command, one form serves both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// What the sender speaks, and can, in JSON.
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
        /// JSON, without its final zero.
        capabilities: Vec<u8>,
    },
    /// Memory may be used.
    DmaMap(DmaRange),
    /// Memory may be used no more.
    DmaUnmap(DmaRange),
    /// Linux's `struct vfio_device_info`.
    DeviceInfo {
        /// Bit 0: can be reset; bit 1: on PCI.
        flags: u32,
        /// How many regions.
        regions: u32,
        /// How many kinds of interrupts.
        irqs: u32,
    },
    /// Linux's `struct vfio_region_info`.
    RegionInfo {
        /// Bit 0: readable; bit 1: writable.
        flags: u32,
        /// Which region.
        index: u32,
        /// Its size in bytes.
        len_bytes: u64,
        /// Where in a file.
        offset: u64,
    },
    /// Linux's `struct vfio_irq_info`.
    IrqInfo {
        /// Bit 0: by event descriptors.
        flags: u32,
        /// Which kind.
        index: u32,
        /// How many.
        count: u32,
    },
    /// Linux's `struct vfio_irq_set`.
    SetIrqs {
        /// What is set, and to what.
        flags: u32,
        /// Which kind.
        index: u32,
        /// The first.
        start: u32,
        /// How many.
        count: u32,
        /// What is behind it, if it is not descriptors.
        data: Vec<u8>,
    },
    /// A read of a register, or the answer to a write.
    Region(RegionRange),
    /// A write to a register, or the answer to a read; as long as its range says.
    RegionData(RegionRange, Vec<u8>),
    /// A read of memory, or the answer to a write.
    Dma {
        /// The bus address.
        address: u64,
        /// Bytes.
        count: u32,
    },
    /// A write to memory, or the answer to a read.
    DmaData {
        /// The bus address.
        address: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// What this side has no use for.
    Other(Vec<u8>),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender's number of it; its answer has the same.
    pub id: u16,
    /// The command.
    pub command: Command,
    /// What it is for.
    pub kind: Kind,
    /// What follows the header.
    pub body: Body,
}

/// Of Linux's structures: their length, which comes first in them.
const ARGSZ_BYTES: usize = 4;
/// Bytes of a DMA command in front of its data: address and count, 64 bits each.
const DMA_BYTES: usize = 16;
/// Bytes of a region command in front of its data.
const REGION_BYTES: usize = 16;

impl Message {
    /// Reads what follows a header.
    ///
    /// # Errors
    /// What does not fit its command. The stream goes on behind it.
    pub fn parse(header: &Header, body: &[u8]) -> Result<Self, MessageError> {
        let command =
            Command::from_number(header.command).ok_or(MessageError::Command(header.command))?;
        let asks = matches!(header.kind, Kind::Ask | Kind::Tell);
        let body = match header.kind {
            Kind::Refuse(_) => Body::Empty,
            _ => parse_body(command, asks, body)?,
        };
        Ok(Self { id: header.id, command, kind: header.kind, body })
    }

    /// The bytes of it.
    pub fn emit(&self, into: &mut Vec<u8>) {
        into.clear();
        let (flags, error) = match self.kind {
            Kind::Ask => (0, 0),
            Kind::Tell => (NO_REPLY, 0),
            Kind::Reply => (REPLY, 0),
            Kind::Refuse(error) => (REPLY | ERROR, error),
        };
        into.extend(self.id.to_le_bytes());
        into.extend((self.command as u16).to_le_bytes());
        into.extend([0; 4]);
        into.extend(u32::to_le_bytes(flags));
        into.extend(error.to_le_bytes());
        emit_body(&self.body, into);
        let size = into.len() as u32;
        into[4..8].copy_from_slice(&size.to_le_bytes());
    }
}

fn parse_body(command: Command, asks: bool, body: &[u8]) -> Result<Body, MessageError> {
    let fits = |allowed: RangeInclusive<usize>| match allowed.contains(&body.len()) {
        true => Ok(Fields(body)),
        false => Err(MessageError::Length { command, bytes: body.len() }),
    };
    let any = usize::MAX;
    Ok(match command {
        Command::Version => {
            let mut fields = fits(4..=any)?;
            let (major, minor) = (fields.u16(), fields.u16());
            let text = fields.0.strip_suffix(&[0]).unwrap_or(fields.0);
            Body::Version { major, minor, capabilities: text.to_vec() }
        }
        Command::DmaMap if asks => {
            let mut fields = fits(32..=any)?.behind(ARGSZ_BYTES);
            let (flags, offset) = (fields.u32(), fields.u64());
            let (address, len_bytes) = (fields.u64(), fields.u64());
            Body::DmaMap(DmaRange { flags, offset, address, len_bytes })
        }
        Command::DmaUnmap if asks || !body.is_empty() => {
            let mut fields = fits(24..=any)?.behind(ARGSZ_BYTES);
            let (flags, address, len_bytes) = (fields.u32(), fields.u64(), fields.u64());
            Body::DmaUnmap(DmaRange { flags, offset: 0, address, len_bytes })
        }
        Command::DeviceInfo => {
            let mut fields = fits(16..=any)?.behind(ARGSZ_BYTES);
            Body::DeviceInfo { flags: fields.u32(), regions: fields.u32(), irqs: fields.u32() }
        }
        Command::RegionInfo => {
            let mut fields = fits(32..=any)?.behind(ARGSZ_BYTES);
            let (flags, index) = (fields.u32(), fields.u32());
            let mut fields = fields.behind(4);
            Body::RegionInfo { flags, index, len_bytes: fields.u64(), offset: fields.u64() }
        }
        Command::IrqInfo => {
            let mut fields = fits(16..=any)?.behind(ARGSZ_BYTES);
            Body::IrqInfo { flags: fields.u32(), index: fields.u32(), count: fields.u32() }
        }
        Command::SetIrqs if asks => {
            let mut fields = fits(20..=any)?.behind(ARGSZ_BYTES);
            let (flags, index) = (fields.u32(), fields.u32());
            let (start, count) = (fields.u32(), fields.u32());
            Body::SetIrqs { flags, index, start, count, data: fields.0.to_vec() }
        }
        Command::RegionRead | Command::RegionWrite => {
            let has_data = asks == (command == Command::RegionWrite);
            let mut fields = fits(REGION_BYTES..=any)?;
            let (offset, region, count) = (fields.u64(), fields.u32(), fields.u32());
            let range = RegionRange { offset, region, count };
            let room = if has_data { fields.0.len() } else { LONGEST_DATA_BYTES as usize };
            if count > LONGEST_DATA_BYTES || count as usize > room {
                return Err(MessageError::Count { command, count: u64::from(count) });
            }
            match has_data {
                true => Body::RegionData(range, fields.0[..count as usize].to_vec()),
                false => Body::Region(range),
            }
        }
        Command::DmaRead | Command::DmaWrite => {
            let has_data = asks == (command == Command::DmaWrite);
            let mut fields = fits(DMA_BYTES..=any)?;
            let (address, count) = (fields.u64(), fields.u64());
            let room = if has_data { fields.0.len() as u64 } else { u64::from(LONGEST_DATA_BYTES) };
            if count > room {
                return Err(MessageError::Count { command, count });
            }
            match has_data {
                true => Body::DmaData { address, data: fields.0[..count as usize].to_vec() },
                false => Body::Dma { address, count: count as u32 },
            }
        }
        Command::DeviceReset if !asks || body.is_empty() => Body::Empty,
        Command::DmaMap
        | Command::DmaUnmap
        | Command::RegionIoFds
        | Command::SetIrqs
        | Command::DeviceReset
        | Command::DirtyPages => {
            if body.is_empty() {
                Body::Empty
            } else {
                Body::Other(body.to_vec())
            }
        }
    })
}

fn emit_body(body: &Body, into: &mut Vec<u8>) {
    let argsz = |bytes: usize| (bytes as u32).to_le_bytes();
    match body {
        Body::Empty => {}
        Body::Version { major, minor, capabilities } => {
            into.extend(major.to_le_bytes());
            into.extend(minor.to_le_bytes());
            into.extend(capabilities);
            into.push(0);
        }
        Body::DmaMap(range) => {
            into.extend(argsz(32));
            into.extend(range.flags.to_le_bytes());
            into.extend(
                [range.offset, range.address, range.len_bytes].map(u64::to_le_bytes).concat(),
            );
        }
        Body::DmaUnmap(range) => {
            into.extend(argsz(24));
            into.extend(range.flags.to_le_bytes());
            into.extend([range.address, range.len_bytes].map(u64::to_le_bytes).concat());
        }
        Body::DeviceInfo { flags, regions, irqs } => {
            into.extend(argsz(16));
            into.extend([*flags, *regions, *irqs].map(u32::to_le_bytes).concat());
        }
        Body::RegionInfo { flags, index, len_bytes, offset } => {
            into.extend(argsz(32));
            into.extend([*flags, *index, 0].map(u32::to_le_bytes).concat());
            into.extend([*len_bytes, *offset].map(u64::to_le_bytes).concat());
        }
        Body::IrqInfo { flags, index, count } => {
            into.extend(argsz(16));
            into.extend([*flags, *index, *count].map(u32::to_le_bytes).concat());
        }
        Body::SetIrqs { flags, index, start, count, data } => {
            into.extend(argsz(20 + data.len()));
            into.extend([*flags, *index, *start, *count].map(u32::to_le_bytes).concat());
            into.extend(data);
        }
        Body::Region(range) => emit_region(range, into),
        Body::RegionData(range, data) => {
            emit_region(&RegionRange { count: data.len() as u32, ..*range }, into);
            into.extend(data);
        }
        Body::Dma { address, count } => emit_dma(*address, *count, &[], into),
        Body::DmaData { address, data } => emit_dma(*address, data.len() as u32, data, into),
        Body::Other(bytes) => into.extend(bytes),
    }
}

fn emit_region(range: &RegionRange, into: &mut Vec<u8>) {
    into.extend(range.offset.to_le_bytes());
    into.extend([range.region, range.count].map(u32::to_le_bytes).concat());
}

fn emit_dma(address: u64, count: u32, data: &[u8], into: &mut Vec<u8>) {
    into.extend([address, u64::from(count)].map(u64::to_le_bytes).concat());
    into.extend(data);
}

/// The fields of a message, one after the other; zero past its end, which its length was checked against.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn behind(self, bytes: usize) -> Fields<'a> {
        Fields(self.0.get(bytes..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
