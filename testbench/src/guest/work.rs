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

/// The steps of a guest whose disk is pulled.
const UNPLUG: [&str; 5] = ["list", "driver", "features", "work", "gone"];
/// The steps of a work that is measured.
const MEASURED: [&str; 4] = ["list", "driver", "features", "work"];

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// File system, copies, random I/O; the driver comes again after unbinding, reset and replugging.
    Disk,
    /// ARP, pings and datagrams; the driver comes again after unbinding and reset.
    Net,
    /// A little work on a disk, which is pulled from below its root port then.
    Unplug,
    /// 48 blocks of 4 KiB written and read again, four at a time.
    Blocks,
    /// 96 packets of 1024 bytes to the station and back, one after the other.
    Packets,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Disk, Self::Net, Self::Unplug, Self::Blocks, Self::Packets];

    /// The whole work for a device.
    #[must_use]
    pub const fn on(device: Device) -> Self {
        match device {
            Device::Blk => Self::Disk,
            Device::Net => Self::Net,
        }
    }

    /// The device that it is done on.
    #[must_use]
    pub const fn device(self) -> Device {
        match self {
            Self::Disk | Self::Unplug | Self::Blocks => Device::Blk,
            Self::Net | Self::Packets => Device::Net,
        }
    }

    /// Its name, and that of the script in the guest, without `.sh`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Net => "net",
            Self::Unplug => "unplug",
            Self::Blocks => "blocks",
            Self::Packets => "packets",
        }
    }

    /// Its steps, all of which must be done.
    #[must_use]
    pub const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Disk => &DISK,
            Self::Net => &NET,
            Self::Unplug => &UNPLUG,
            Self::Blocks | Self::Packets => &MEASURED,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The scripts in the guest and the lists here are the same, and in the same order.
    #[test]
    fn every_step_is_in_the_guests_script() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
        for work in Work::ALL {
            let script = folder.join(format!("{}.sh", work.name()));
            let script = std::fs::read_to_string(script).expect("a script of that name");
            let mut at = 0;
            for step in work.steps() {
                let found = script[at..].find(&format!("\nstep {step} "));
                at += found.unwrap_or_else(|| panic!("{step} of {work:?}")) + 1;
            }
        }
    }
}
