//! Which answer belongs to which request: (requester, tag), in flat arrays.

use pcie_sim::address::Bdf;
use pcie_sim::tlp::Tag;

/// Tags a requester can tell apart (10 bits). PCIe 5.0 §2.2.6.2, "Transaction Descriptor –
/// Transaction ID Field".
const TAGS: usize = 1024;

/// Where the record of one request is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TagRef {
    table: u16,
    tag: u16,
}

/// One record for each tag of each requester. There are one or two requesters on a card's link, so
/// finding the table is a comparison.
#[derive(Debug)]
pub(crate) struct Tags<T> {
    tables: Vec<(Bdf, Vec<T>)>,
}

impl<T: Default> Tags<T> {
    pub(crate) fn new() -> Self {
        Self { tables: Vec::new() }
    }

    /// The place of a request; a requester not seen before gets its table here.
    pub(crate) fn place(&mut self, requester: Bdf, tag: Tag) -> TagRef {
        let tag = tag.0 & (TAGS as u16 - 1);
        if let Some(place) = self.find(requester, Tag(tag)) {
            return place;
        }
        self.tables.push((requester, std::iter::repeat_with(T::default).take(TAGS).collect()));
        TagRef { table: (self.tables.len() - 1) as u16, tag }
    }

    /// The place of a request whose requester has been seen before.
    pub(crate) fn find(&self, requester: Bdf, tag: Tag) -> Option<TagRef> {
        let table = self.tables.iter().position(|&(owner, _)| owner == requester)? as u16;
        Some(TagRef { table, tag: tag.0 & (TAGS as u16 - 1) })
    }

    pub(crate) fn at(&mut self, place: TagRef) -> &mut T {
        &mut self.tables[usize::from(place.table)].1[usize::from(place.tag)]
    }
}
