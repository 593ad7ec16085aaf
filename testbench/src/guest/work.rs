//! What a guest is given to do, and the steps of it.

use crate::scenario::config::Device;

/// The steps of the work on a disk.
const DISK: [&str; 19] = [
    "list",
    "iommu-group",
    "driver",
    "features",
    "mkfs",
    "mount",
    "copy",
    "compare",
    "random-io",
    "remount",
    "compare-again",
    "rebind",
    "mount-after-rebind",
    "compare-after-rebind",
    "reset",
    "mount-after-reset",
    "compare-after-reset",
    "replug",
    "compare-after-replug",
];
/// The steps of the work on a network interface.
const NET: [&str; 14] = [
    "list",
    "iommu-group",
    "driver",
    "features",
    "up",
    "resolve",
    "ping",
    "datagrams",
    "clean",
    "rebind",
    "ping-after-rebind",
    "reset",
    "datagrams-after-reset",
    "clean-after-reset",
];

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// File system, copies, random I/O; the driver comes again after unbinding, reset and replugging.
    Disk,
    /// ARP, pings and datagrams; the driver comes again after unbinding and reset.
    Net,
}

impl Work {
    /// The work for a device.
    #[must_use]
    pub const fn on(device: Device) -> Self {
        match device {
            Device::Blk => Self::Disk,
            Device::Net => Self::Net,
        }
    }

    /// The script in the guest, without `.sh`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Net => "net",
        }
    }

    /// Its steps, all of which must be done.
    #[must_use]
    pub const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Disk => &DISK,
            Self::Net => &NET,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scripts in the guest and the lists here are the same, and in the same order.
    #[test]
    fn every_step_is_in_the_guests_script() {
        let disk = include_str!("../../guest/disk.sh");
        let net = include_str!("../../guest/net.sh");
        for (work, script) in [(Work::Disk, disk), (Work::Net, net)] {
            let mut at = 0;
            for step in work.steps() {
                let found = script[at..].find(&format!("\nstep {step} "));
                at += found.unwrap_or_else(|| panic!("{step} of {work:?}")) + 1;
            }
        }
    }
}
