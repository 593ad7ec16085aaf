//! The machines a card can be plugged into: what the host does with an address, as data.
//!
//! A platform is a row here and the parts it names; nothing else asks which machine it runs on.

/// What stands between the card and RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// Nothing: a bus address is a physical address.
    None,
    /// VT-d with the card in scope, 4-KiB pages, each unmapping invalidated at once.
    VtdStrict,
}

/// A machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name in scenarios and reports.
    pub id: &'static str,
    /// The host, in a line.
    pub title: &'static str,
    /// What stands between the card and RAM.
    pub translation: Translation,
}

/// Every platform of this version, in the order of reports.
pub const PLATFORMS: &[Platform] = &[
    Platform { id: "x86-noiommu", title: "x86, no IOMMU exposed", translation: Translation::None },
    Platform {
        id: "x86-vtd",
        title: "x86, VT-d on, 4-KiB pages, strict invalidation",
        translation: Translation::VtdStrict,
    },
];

/// A platform's name that no row has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform `{id}`; there are: {}", ids().collect::<Vec<_>>().join(", "))]
pub struct UnknownPlatform {
    /// The name.
    pub id: String,
}

/// The names of all platforms.
pub fn ids() -> impl Iterator<Item = &'static str> {
    PLATFORMS.iter().map(|platform| platform.id)
}

/// The platform of this name.
///
/// # Errors
/// [`UnknownPlatform`], which lists those that exist.
pub fn find(id: &str) -> Result<&'static Platform, UnknownPlatform> {
    PLATFORMS
        .iter()
        .find(|platform| platform.id == id)
        .ok_or_else(|| UnknownPlatform { id: id.to_owned() })
}
