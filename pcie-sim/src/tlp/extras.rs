//! What few packets have: prefixes, ECRC, poison, processing hints, translated addresses, byte enables
//! with holes. A packet that has any of it is a [`Tlp::Extended`] around the packet that it would be
//! without; all others pay nothing for it.
//!
//! ```text
//!   local prefixes │ End-End prefixes │ header (TD, EP, TH, AT, byte enables) │ data │ digest
//! ```
//!
//! Whoever does not care looks at [`Tlp::plain`]; whoever receives packets has to decide, for the match
//! has an arm more.

use super::{Tlp, codec};

/// The most End-End TLP prefixes before one header. PCIe 5.0 §2.2.10.2, "End-End TLP Prefix Processing".
pub const END_TO_END_PREFIXES_MAX: usize = 4;

/// A process address space, and what the process asks for. PCIe 5.0 §6.20.2, "PASID TLP Layout".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pasid {
    /// The number of the address space: 20 bits.
    pub id: u32,
    /// Execute Requested: the bytes read are to be executed.
    pub execute: bool,
    /// Privileged Mode Requested.
    pub privileged: bool,
}

/// A doubleword before the header. PCIe 5.0 §2.2.10, "TLP Prefix Rules".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// For this link only: L\[3:0\] of its type, and its three bytes. 0 is MR-IOV, 14 and 15 are the
    /// vendor's.
    Local {
        /// L\[3:0\].
        kind: u8,
        /// Bytes 1 to 3.
        bytes: [u8; 3],
    },
    /// The high byte of a steering tag, of which [`Hints`] hold the low one. PCIe 5.0 §2.2.7.1, "TPH
    /// Rules".
    ExtendedHints {
        /// ST\[15:8\].
        steering_high: u8,
    },
    /// The process address space that the address belongs to.
    Pasid(Pasid),
    /// Any other that travels to the end: E\[3:0\] of its type, and its three bytes. 14 and 15 are the
    /// vendor's.
    EndToEnd {
        /// E\[3:0\], 2 to 15.
        kind: u8,
        /// Bytes 1 to 3.
        bytes: [u8; 3],
    },
}

impl Prefix {
    /// Whether it ends at the other side of the link.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::Local { .. })
    }
}

/// What the requester knows about the use of the data. PCIe 5.0 §2.2.7.1, "TPH Rules".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// PH\[1:0\]: 0 bidirectional, 1 requester, 2 target, 3 target with priority.
    pub processing: u8,
    /// ST\[7:0\]: for which cache or core. In a memory write it takes the place of the tag, elsewhere
    /// that of the byte enables.
    pub steering: u8,
}

/// Which kind of address it is. PCIe 5.0 §10.2.1, table of AT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressType {
    /// To be translated by whoever translates, if anybody.
    #[default]
    Untranslated,
    /// The translation is what is asked for; memory reads only. PCIe 5.0 §10.2.2, "Translation Requests".
    TranslationRequest {
        /// NW: the requester will not write there.
        no_write: bool,
    },
    /// Translated already.
    Translated,
    /// The code 11, which the specification reserves, as received.
    Reserved,
}

/// First and Last DW Byte Enables that leave out bytes in the middle. PCIe 5.0 §2.2.5, "First/Last DW
/// Byte Enables Rules".
///
/// The packet's run goes from the first enabled byte to the last; of a write's data, the bytes in the
/// holes are zero and must not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteEnables {
    /// First DW BE.
    pub first: u8,
    /// Last DW BE; 0 in a packet of one doubleword.
    pub last: u8,
}

impl ByteEnables {
    /// Whether byte `lane` of the packet's one or two doublewords is enabled.
    #[must_use]
    pub fn enables(self, lane: usize) -> bool {
        lane < 8 && (self.last << 4 | self.first) >> lane & 1 == 1
    }

    /// The enabled runs of a write whose `data` begin at byte `lead` of its first doubleword, each with
    /// its place in `data`.
    pub fn runs(self, lead: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
        let enabled = move |at: usize| at < data.len() && self.enables(lead + at);
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = (at..data.len()).find(|&at| enabled(at))?;
            at = (start..).find(|&at| !enabled(at))?;
            Some((start, &data[start..at]))
        })
    }
}

/// Whatever a packet has beyond its kind's own fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// In the order in which they are sent: local ones first.
    pub prefixes: Vec<Prefix>,
    /// The digest, as sent or received: right or wrong. Whether it is right, [`Tlp::ecrc_holds`] says.
    pub ecrc: Option<[u8; 4]>,
    /// EP: the data is known to be bad. Only of packets that carry data.
    pub poisoned: bool,
    /// TH and what comes with it. Only of memory and atomic requests; of reads, only of whole
    /// doublewords; a write has tag 0 then.
    pub hints: Option<Hints>,
    /// AT. Only of memory and atomic requests.
    pub address_type: AddressType,
    /// Byte enables, when they have holes. Only of memory, I/O and configuration requests of one
    /// doubleword, or of memory requests of an aligned pair.
    pub enables: Option<ByteEnables>,
}

impl Extras {
    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.prefixes.is_empty()
            && self.ecrc.is_none()
            && !self.poisoned
            && self.hints.is_none()
            && self.address_type == AddressType::Untranslated
            && self.enables.is_none()
    }

    /// Bytes on the link beyond header and data: prefixes and digest.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        4 * (self.prefixes.len() + usize::from(self.ecrc.is_some()))
    }

    /// The process address space, when a prefix names one.
    #[must_use]
    pub fn pasid(&self) -> Option<Pasid> {
        self.prefixes.iter().find_map(|prefix| match prefix {
            Prefix::Pasid(pasid) => Some(*pasid),
            _ => None,
        })
    }

    /// All 16 bits of the steering tag, when there are hints.
    #[must_use]
    pub fn steering_tag(&self) -> Option<u16> {
        let low = self.hints?.steering;
        let high = self.prefixes.iter().find_map(|prefix| match prefix {
            Prefix::ExtendedHints { steering_high } => Some(*steering_high),
            _ => None,
        });
        Some(u16::from_be_bytes([high.unwrap_or(0), low]))
    }
}

/// A packet with [`Extras`], and at least one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended(Box<(Tlp, Extras)>);

impl Extended {
    /// The packet without them; never itself extended.
    #[must_use]
    pub fn tlp(&self) -> &Tlp {
        &self.0.0
    }

    /// What it has besides.
    #[must_use]
    pub fn extras(&self) -> &Extras {
        &self.0.1
    }

    /// Both.
    #[must_use]
    pub fn into_parts(self) -> (Tlp, Extras) {
        *self.0
    }
}

impl Tlp {
    /// The packet with these extras in place of those it had.
    #[must_use]
    pub fn with(self, extras: Extras) -> Self {
        let (plain, _) = self.into_parts();
        if extras.is_none() { plain } else { Self::Extended(Extended(Box::new((plain, extras)))) }
    }

    /// The packet with its extras changed.
    #[must_use]
    pub fn extend(self, change: impl FnOnce(&mut Extras)) -> Self {
        let (plain, mut extras) = self.into_parts();
        change(&mut extras);
        plain.with(extras)
    }

    /// The packet changed, its extras as they were.
    #[must_use]
    pub fn map_plain(self, change: impl FnOnce(Self) -> Self) -> Self {
        let (plain, extras) = self.into_parts();
        change(plain).with(extras)
    }

    /// The packet without extras: itself, when it has none.
    #[must_use]
    #[inline]
    pub fn plain(&self) -> &Self {
        match self {
            Self::Extended(extended) => extended.tlp(),
            plain => plain,
        }
    }

    /// The extras, if there are any.
    #[must_use]
    pub fn extras(&self) -> Option<&Extras> {
        match self {
            Self::Extended(extended) => Some(extended.extras()),
            _ => None,
        }
    }

    /// The packet without extras, and the extras.
    #[must_use]
    pub fn into_parts(self) -> (Self, Extras) {
        match self {
            Self::Extended(extended) => extended.into_parts(),
            plain => (plain, Extras::default()),
        }
    }

    /// Whether the data is marked as bad.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.extras().is_some_and(|extras| extras.poisoned)
    }

    /// The packet with its data marked as bad; a packet without data stays as it is, for only data can
    /// be bad. An ECRC stays right: it does not look at the mark. PCIe 5.0 §2.7.2, "Error Forwarding".
    #[must_use]
    pub fn poisoned(self) -> Self {
        if self.data_dwords() == 0 {
            return self;
        }
        self.extend(|extras| extras.poisoned = true)
    }

    /// The packet with a digest that is right.
    #[must_use]
    pub fn with_ecrc(self) -> Self {
        let tlp = self.extend(|extras| extras.ecrc = Some([0; 4]));
        let sum = codec::ecrc(&bytes_of(&tlp));
        tlp.extend(|extras| extras.ecrc = sum)
    }

    /// Whether the digest is right; `None` when there is none. Of a packet that came as bytes,
    /// [`codec::ecrc_holds`] is the judge: pads and reserved bits, which are not kept, count too.
    #[must_use]
    pub fn ecrc_holds(&self) -> Option<bool> {
        self.extras()?.ecrc?;
        codec::ecrc_holds(&bytes_of(self))
    }

    /// The packet with a prefix that names a process address space, in place of any other such prefix.
    #[must_use]
    pub fn with_pasid(self, pasid: Pasid) -> Self {
        self.extend(|extras| {
            extras.prefixes.retain(|prefix| !matches!(prefix, Prefix::Pasid(_)));
            extras.prefixes.push(Prefix::Pasid(pasid));
        })
    }
}

fn bytes_of(tlp: &Tlp) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::emit(tlp, &mut bytes);
    bytes
}
