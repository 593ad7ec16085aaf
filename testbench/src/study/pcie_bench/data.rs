//! The measured rows, as the tables have them.

use std::collections::BTreeMap;
use std::fmt;

use crate::scenario::source::{InputError, Source};

macro_rules! words {
    ($($(#[$doc:meta])* $kind:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
        pub enum $kind { $($(#[$variant_doc])* #[serde(rename = $text)] $variant),* }

        impl $kind {
            const NAMES: &'static [&'static str] = &[$($text),*];

            fn of(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text),* })
            }
        }
    )*};
}

words! {
    /// A test of pcie-bench.
    Test {
        /// Latency of a read, by direct command.
        LatCmdRead = "LAT_CMD_RD",
        /// Latency of a write and a read of the same place, by direct command.
        LatCmdWriteRead = "LAT_CMD_WRRD",
        /// Latency of a read, by bulk engine.
        LatDmaRead = "LAT_DMA_RD",
        /// Latency of a write and a read, by bulk engine.
        LatDmaWriteRead = "LAT_DMA_WRRD",
        /// Bandwidth of reads.
        BwRead = "BW_DMA_RD",
        /// Bandwidth of writes.
        BwWrite = "BW_DMA_WR",
        /// Bandwidth of writes and reads by turns, each way.
        BwReadWrite = "BW_DMA_RW",
    }
    /// In what order a window is gone through.
    Pattern {
        /// In sequence.
        Sequential = "Seq",
        /// By lot.
        Random = "Rand",
    }
    /// What the last-level cache holds before the test.
    State {
        /// Nothing of the window.
        Cold = "Cold",
        /// What the card wrote there last, in sequence.
        DeviceWarm = "DWarm",
        /// What the card wrote there last, over 64 MiB by lot.
        Thrashed = "DThrash",
        /// What a core wrote there last, in sequence.
        HostWarm = "HWarm",
    }
    /// Whether DMA is translated.
    Iommu {
        /// It is not.
        Off = "off",
        /// By VT-d with pages of 4 KiB.
        Pages4K = "on_4KB_pages(sp_off)",
    }
}

impl Test {
    /// A bandwidth is measured; else a latency.
    #[must_use]
    pub const fn is_bandwidth(self) -> bool {
        matches!(self, Self::BwRead | Self::BwWrite | Self::BwReadWrite)
    }
}

/// One measured row.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The test.
    pub test: Test,
    /// The order of its accesses.
    pub pattern: Pattern,
    /// Whether they were translated.
    pub iommu: Iommu,
    /// What the row says of the cache.
    pub host_cache: State,
    /// Offset of each access in its cell, bytes.
    pub offset: u16,
    /// Bytes of the window.
    pub window: u32,
    /// Bytes of each access.
    pub size: u16,
    /// Average latency in ns, or payload in Gbit/s.
    pub value: f64,
    /// The file the row is in, and its line.
    pub place: String,
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, pattern, iommu, host_cache, window, size, .. } = self;
        let iommu = if *iommu == Iommu::Off { "off" } else { "on" };
        write!(f, "{test}/{pattern}/{host_cache}/iommu-{iommu}/{window}/{size}")
    }
}

/// The rows of one table: comma-separated, the first line names the columns.
///
/// # Errors
/// [`InputError`] with file and line.
pub fn read(source: &Source) -> Result<Vec<Measurement>, InputError> {
    let mut lines = source.text().lines().enumerate();
    let head: Vec<&str> =
        lines.next().map(|(_, head)| head.split(',').collect()).unwrap_or_default();
    let mut rows = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let complain = |column: &str, why: String| InputError {
            origin: source.origin().to_owned(),
            line: Some(number + 1),
            key: Some(column.to_owned()),
            message: why,
        };
        let fields: BTreeMap<&str, &str> = head.iter().copied().zip(line.split(',')).collect();
        rows.push(row(&fields, &complain).map(|row| Measurement {
            place: format!("{}:{}", source.origin(), number + 1),
            ..row
        })?);
    }
    Ok(rows)
}

fn row(
    fields: &BTreeMap<&str, &str>,
    complain: &dyn Fn(&str, String) -> InputError,
) -> Result<Measurement, InputError> {
    let text = |column: &str| {
        fields.get(column).copied().ok_or_else(|| complain(column, "this column is missing".into()))
    };
    let number = |column: &str| {
        let text = text(column)?;
        text.parse::<f64>()
            .ok()
            .filter(|value| value.is_finite() && *value >= 0.0)
            .ok_or_else(|| complain(column, format!("`{text}` is no number")))
    };
    macro_rules! word {
        ($kind:ident, $column:literal) => {{
            let text = text($column)?;
            $kind::of(text).ok_or_else(|| {
                complain(
                    $column,
                    format!("`{text}` is unknown; there are: {}", $kind::NAMES.join(", ")),
                )
            })?
        }};
    }
    let test = word!(Test, "test");
    let value = if test.is_bandwidth() { "bandwidth_Gbit_s" } else { "avg_ns" };
    let row = Measurement {
        test,
        pattern: word!(Pattern, "pattern"),
        iommu: word!(Iommu, "iommu"),
        host_cache: word!(State, "host_cache"),
        offset: number("host_offset_B")? as u16,
        window: number("window_B")? as u32,
        size: number("size_B")? as u16,
        value: number(value)?,
        place: String::new(),
    };
    if row.size == 0 || row.size > 4096 || row.offset > 4096 - row.size {
        return Err(complain("size_B", "an access is 1 to 4096 bytes, within one page".into()));
    }
    if row.window < u32::from(row.size) + u32::from(row.offset)
        || row.window > super::file::LARGEST_WINDOW
    {
        return Err(complain("window_B", "a window holds an access, and is at most 64 MiB".into()));
    }
    if row.value == 0.0 {
        return Err(complain(value, "nothing was measured".into()));
    }
    Ok(row)
}
