//! The traffic that the project recorded from real programs, built into the binary.
//!
//! `testbench/recordings/README.md` says what was running; `scripts/record-traffic` records again.

use super::iolog::{IologError, IologReader};
use super::pcap::{PcapError, PcapReader};

/// A capture of ping, curl, redis and ssh between two network namespaces (pcap, Ethernet).
pub const NET_PCAP: &[u8] = include_bytes!("../../recordings/net.pcap");

/// The requests that ext4, sqlite and git made to a disk (fio iolog, version 3).
pub const BLK_IOLOG: &[u8] = include_bytes!("../../recordings/blk.iolog");

/// Size of the disk on which [`BLK_IOLOG`] was recorded, in bytes.
pub const BLK_DISK_BYTES: u64 = 64 * 1024 * 1024;

/// The recorded packets.
///
/// # Errors
/// None, unless the recording was replaced by something else.
pub fn packets() -> Result<PcapReader<&'static [u8]>, PcapError> {
    PcapReader::new("recordings/net.pcap", NET_PCAP)
}

/// The recorded block commands, for a disk of `capacity_bytes`.
///
/// # Errors
/// None for a disk of at least [`BLK_DISK_BYTES`]; on a smaller one some command ends past it.
pub fn block_commands(capacity_bytes: u64) -> Result<IologReader<&'static [u8]>, IologError> {
    IologReader::new("the recorded log", BLK_IOLOG, capacity_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{iolog, pcap};

    #[test]
    fn the_recorded_packets_are_small_and_large_and_whole() {
        let summary = pcap::survey(packets().unwrap()).unwrap();
        assert!((300..=2_000).contains(&summary.packets), "{summary:?}");
        assert_eq!((summary.padded, summary.longest_bytes), (0, 1514));
        let small = packets().unwrap().filter(|packet| packet.as_ref().unwrap().data.len() <= 128);
        assert!(small.count() as u64 > summary.packets / 4);
        assert!(NET_PCAP.len() < 1_000_000);
    }

    #[test]
    fn the_recorded_block_commands_are_of_every_kind_and_fit_the_disk() {
        let summary = iolog::survey(block_commands(BLK_DISK_BYTES).unwrap()).unwrap();
        let iolog::IologSummary { reads, writes, flushes, discards, .. } = summary;
        assert!([reads, writes, flushes, discards].iter().all(|count| *count > 0), "{summary:?}");
        assert!((1_000..=2_000).contains(&(reads + writes + flushes + discards)), "{summary:?}");
        assert!(summary.longest_bytes <= 128 * 1024);
        assert!(BLK_IOLOG.len() <= 200_000);
    }
}
