//! Reads through the traffic before any of it runs, so that bad input ends the command before it began.

use crate::report::RunError;
use crate::scenario::config::{
    BlkWorkload, BlockSource, Disk, NetWorkload, PacketSource, Workload,
};
use crate::traffic::iolog::{self, IologReader};
use crate::traffic::pcap::{self, PcapReader};
use crate::traffic::recorded;

/// Reads a workload's files to their end.
///
/// # Errors
/// [`RunError::Input`]: a capture that is none, or is cut off; a log that is none, or ends past the disk.
pub(super) fn inspect(workload: &Workload) -> Result<(), RunError> {
    match workload {
        Workload::Net(net) => packets(net).map_err(RunError::input),
        Workload::Blk(blk) => commands(blk).map_err(RunError::input),
    }
}

fn packets(net: &NetWorkload) -> Result<(), pcap::PcapError> {
    match &net.source {
        PacketSource::Capture(path) => pcap::survey(PcapReader::open(path)?).map(|_| ()),
        PacketSource::Recorded => pcap::survey(recorded::packets()?).map(|_| ()),
        PacketSource::Synthetic { .. } => Ok(()),
    }
}

fn commands(blk: &BlkWorkload) -> Result<(), iolog::IologError> {
    let (Disk::Memory { bytes } | Disk::Image { bytes, .. }) = blk.disk;
    match &blk.source {
        BlockSource::Log(path) => iolog::survey(IologReader::open(path, bytes)?).map(|_| ()),
        BlockSource::Recorded => {
            let log = IologReader::new("the recorded log", recorded::BLK_IOLOG, bytes)?;
            iolog::survey(log).map(|_| ())
        }
        BlockSource::Synthetic { .. } => Ok(()),
    }
}
