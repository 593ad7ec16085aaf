//! The rules that a card's DMA is held to, judged by what the analyzer knows, from outside.
//!
//! A rule is judged only when the facts leave no doubt: what the analyzer cannot be sure about is
//! neither held nor violated.

pub mod answers;
pub mod interrupts;
pub mod life;
pub mod link;
pub mod memory;
pub mod used_ring;

use std::fmt;

use pcie_sim::time::Instant;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $id:literal,)*) => {
        /// A rule that is judged on the link. Ids with a device-independent prefix are rows of
        /// `spec/virtio_requirements.csv`; `PCIE-` ids are laws of the PCI Express specification;
        /// `DMA-STRAY` stands for memory that the card was never told about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The id under which it is reported.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }
        }
    };
}

rules! {
    /// PCIe 5.0 §7.5.1.1.3, "Command Register", Bus Master Enable: off, the function sends no memory
    /// request, interrupt messages included.
    BusMaster = "PCIE-BUS-MASTER",
    /// PCIe 5.0 §2.2.7, "Memory, I/O, and Configuration Request Rules": no request crosses 4 KiB.
    PageBoundary = "PCIE-4K",
    /// PCIe 5.0 §2.2.7: no read is longer than Max_Read_Request_Size.
    ReadRequestSize = "PCIE-MRRS",
    /// PCIe 5.0 §2.2.2, "TLPs with Data Payloads – Rules": no payload longer than Max_Payload_Size.
    PayloadSize = "PCIE-MPS",
    /// PCIe 5.0 §2.2.6.2: a tag is unique among the requests of a function that are not answered.
    TagInUse = "PCIE-TAG",
    /// PCIe 5.0 §2.2.9, "Completion Rules": Byte Count and Lower Address of an answer follow from what was asked.
    CompletionForm = "PCIE-COMPLETION",
    /// PCIe 5.0 §2.4.1, "Transaction Ordering": an answer does not pass what was posted before it.
    AnswerOrder = "PCIE-ORDERING",
    /// PCIe 5.0 §2.3.2, "Completion Handling Rules": what was refused is not there to be used. Seen of disks, whose
    /// status says how a request ended.
    RefusedRead = "PCIE-REFUSED-READ",
    /// Memory that no ring, buffer or table lies in.
    StrayDma = "DMA-STRAY",
    /// No DMA before DRIVER_OK.
    BeforeDriverOk = "STAT-DEV-01",
    /// No queue interrupt before DRIVER_OK.
    InterruptBeforeDriverOk = "STAT-DEV-02",
    /// No DMA and no interrupt between the end of a reset and the next initialisation.
    AfterReset = "RST-DEV-02",
    /// FEATURES_OK holds only for features that were offered.
    Features = "FEAT-DEV-03",
    /// Reading the ISR status clears it.
    IsrCleared = "PCI-ISR-DEV-05",
    /// Writes only to device-writable buffers.
    ReadableBuffer = "VQ-SPLIT-DEV-04",
    /// No write to the descriptor table.
    DescriptorWrite = "VQ-SPLIT-DEV-07",
    /// No write to the available ring.
    DriverAreaWrite = "VQ-AVAIL-DEV-01",
    /// The element is written before the index.
    ElementBeforeIdx = "VQ-USED-DEV-01",
    /// What `len` promises has been written before the index.
    UsedWritten = "VQ-USED-DEV-02",
    /// The id of a used element is the head of a chain in flight.
    UsedId = "VQ-USED-DEV-04",
    /// The used index moves by at most the queue size, and not past what is available.
    UsedIdxStep = "VQ-USED-DEV-05",
    /// `len` is at most what the card may write.
    UsedLen = "VQ-USED-DEV-06",
    /// No interrupt while `flags` of the available ring say so.
    NoInterrupt = "VQ-USUP-DEV-02",
    /// No interrupt before the used index has passed `used_event`.
    UsedEvent = "VQ-USUP-DEV-06",
    /// A card that sleeps has asked for the doorbell that wakes it.
    AvailEvent = "VQ-ASUP-DEV-04",
    /// The interrupt comes after the used index.
    InterruptAfterIdx = "PCI-UBN-DEV-02",
    /// A masked vector sends nothing.
    Masked = "PCI-MSIX-DEV-10",
}

impl Rule {
    /// Rules there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A memory request of the card, as a rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dma {
    /// Write or read.
    pub write: bool,
    /// Its first byte.
    pub address: u64,
    /// Its bytes.
    pub len: usize,
    /// When it left the card.
    pub at: Instant,
}

impl fmt::Display for Dma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.write { "MWr" } else { "MRd" };
        write!(f, "{kind} of {} bytes at {:#x}", self.len, self.address)
    }
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Id of the rule.
    pub rule: &'static str,
    /// When the TLP that broke it left the card.
    pub time: Instant,
    /// Which TLP, what was expected, what was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.rule, self.time, self.message)
    }
}

// The time is written in nanoseconds, which the derived form could not say.
impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Violation", 3)?;
        out.serialize_field("rule", self.rule)?;
        out.serialize_field("time_ns", &self.time.as_ns())?;
        out.serialize_field("message", &self.message)?;
        out.end()
    }
}

/// How often a rule was judged, and how often it was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCount {
    /// Judged.
    pub exercised: u64,
    /// Broken.
    pub violated: u64,
}

/// What was judged so far: counts of every rule, and the first violations in full.
#[derive(Debug)]
pub struct Findings {
    counts: [RuleCount; Rule::COUNT],
    kept: Vec<Violation>,
    keep: usize,
}

impl Findings {
    /// Keeps the first `keep` violations in full; all are counted.
    #[must_use]
    pub fn keeping(keep: usize) -> Self {
        Self { counts: [RuleCount::default(); Rule::COUNT], kept: Vec::new(), keep }
    }

    /// The violations kept, in order of time.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.kept
    }

    /// How often a rule was judged and broken.
    #[must_use]
    pub const fn count(&self, rule: Rule) -> RuleCount {
        self.counts[rule as usize]
    }

    /// Violations in total, kept or not.
    #[must_use]
    pub fn violated(&self) -> u64 {
        self.counts.iter().map(|count| count.violated).sum()
    }

    /// Judges a rule. The message is made only when it is broken.
    #[inline]
    pub fn judge(&mut self, rule: Rule, held: bool, at: Instant, message: impl FnOnce() -> String) {
        self.counts[rule as usize].exercised += 1;
        if !held {
            self.broken(rule, at, message);
        }
    }

    #[cold]
    fn broken(&mut self, rule: Rule, at: Instant, message: impl FnOnce() -> String) {
        self.counts[rule as usize].violated += 1;
        if self.kept.len() < self.keep {
            self.kept.push(Violation { rule: rule.id(), time: at, message: message() });
        }
    }
}

impl Default for Findings {
    /// Keeps 1000: more tell nobody more.
    fn default() -> Self {
        Self::keeping(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_virtio_rule_is_a_row_of_the_requirements() {
        let rows = include_str!("../../../spec/virtio_requirements.csv");
        for rule in Rule::ALL {
            let id = rule.id();
            if !id.starts_with("PCIE-") && id != "DMA-STRAY" {
                assert!(rows.lines().any(|row| row.starts_with(&format!("{id},"))), "{id}");
            }
        }
    }

    #[test]
    fn violations_beyond_those_kept_are_still_counted() {
        let mut findings = Findings::keeping(1);
        for _ in 0..3 {
            findings.judge(Rule::TagInUse, false, Instant::ZERO, String::new);
        }
        assert_eq!((findings.violations().len(), findings.violated()), (1, 3));
        assert_eq!(findings.count(Rule::TagInUse).exercised, 3);
    }
}
