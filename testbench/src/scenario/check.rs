//! What one key alone cannot tell: whether the numbers of a scenario fit together.

use super::config::{BlockSource, Device, Disk, PacketSource, Placement, RunConfig, Workload};
use super::file::{Buffers, Credits, File};
use super::source::{InputError, Source};

/// The unit in which virtio-blk counts. Virtio 1.4 §5.2.4.
const SECTOR_BYTES: u64 = 512;
/// The largest virtqueue. Virtio 1.4 §2.7, "Split Virtqueues".
const LARGEST_QUEUE: u32 = 32_768;
/// What a platform needs below the rings: page 0, tables of the IOMMU, the driver's own state.
const LOW_BYTES: u64 = 1 << 20;

type Complaint = (&'static str, String);

/// Refuses what is wrong whatever the cell of the matrix.
pub(super) fn file(source: &Source, file: &File) -> Result<(), InputError> {
    let found = matrix(file)
        .or_else(|| link(file))
        .or_else(|| card(file))
        .or_else(|| traffic(file))
        .or_else(|| faults(file))
        .or_else(|| thresholds(file));
    match found {
        Some((key, why)) => Err(source.complain(key, why)),
        None => Ok(()),
    }
}

/// Refuses what does not go together with there being several runs.
pub(super) fn whole(source: &Source, runs: &[RunConfig]) -> Result<(), InputError> {
    if runs.len() > 1 && runs[0].host.ram_file.is_some() {
        let why = format!(
            "one file cannot stand for the RAM of {} runs at once; narrow the matrix, or use --only",
            runs.len()
        );
        return Err(source.complain("host.ram_file", why));
    }
    Ok(())
}

/// Refuses what is wrong in one cell.
pub(super) fn run(source: &Source, run: &RunConfig) -> Result<(), InputError> {
    match memory(run).or_else(|| workload(run)) {
        Some((key, why)) => Err(source.complain(key, why)),
        None => Ok(()),
    }
}

fn unless(holds: bool, key: &'static str, why: impl FnOnce() -> String) -> Option<Complaint> {
    (!holds).then(|| (key, why()))
}

fn matrix(file: &File) -> Option<Complaint> {
    let matrix = &file.matrix;
    let empty = [
        ("matrix.devices", matrix.devices.is_empty()),
        ("matrix.formats", matrix.formats.is_empty()),
        ("matrix.rings", matrix.rings.is_empty()),
        ("matrix.layouts", matrix.layouts.is_empty()),
        ("matrix.event_idx", matrix.event_idx.is_empty()),
    ];
    let (key, _) = empty.into_iter().find(|(_, empty)| *empty)?;
    Some((key, "the list is empty, so that there is nothing to run".to_owned()))
}

fn link(file: &File) -> Option<Complaint> {
    let link = &file.link;
    let sizes = [128, 256, 512, 1024, 2048, 4096];
    let one_of = |value: u16, list: &[u16], key: &'static str| {
        unless(list.contains(&value), key, || format!("{value} is none of {list:?}"))
    };
    one_of(u16::from(link.generation), &[1, 2, 3, 4, 5], "link.generation")
        .or_else(|| one_of(u16::from(link.width), &[1, 2, 4, 8, 16], "link.width"))
        .or_else(|| one_of(link.mps, &sizes, "link.mps"))
        .or_else(|| one_of(link.mrrs, &sizes, "link.mrrs"))
        .or_else(|| one_of(link.rcb, &[64, 128], "link.rcb"))
        .or_else(|| buffers(file))
}

/// PCIe 5.0 §2.6.1, "Flow Control Rules": a receiver has room for at least one TLP of each class.
fn buffers(file: &File) -> Option<Complaint> {
    let link = &file.link;
    let largest = u32::from(link.mps) / 16;
    let sides =
        [("link.root_buffers", link.root_buffers), ("link.card_buffers", link.card_buffers)];
    sides.into_iter().find_map(|(key, buffers)| {
        let Buffers { posted, non_posted, completion } = buffers;
        let holds = |class: Credits, data| {
            class.is_infinite() || class.headers >= 1 && class.data >= data
        };
        let all = holds(posted, largest) && holds(completion, largest) && holds(non_posted, 1);
        unless(all, key, || {
            format!(
                "there must be room for one TLP of each class with mps = {} bytes: headers at least \
                 1, data at least {largest} for posted and completion, 1 for non_posted; or zero of both, which is infinite",
                link.mps
            )
        })
    })
}

fn card(file: &File) -> Option<Complaint> {
    let card = &file.card;
    let size = card.queue_size;
    unless(size.is_power_of_two() && size <= LARGEST_QUEUE, "card.queue_size", || {
        format!("{size} is not a power of two of at most {LARGEST_QUEUE}")
    })
    .or_else(|| {
        let bytes = card.memory.0;
        unless(bytes.is_power_of_two() && (4096..=1 << 32).contains(&bytes), "card.memory", || {
            format!("{} is not a power of two between 4 KiB and 4 GiB", card.memory)
        })
    })
    .or_else(|| {
        let fits = !card.always_interrupt || !file.matrix.event_idx.contains(&true);
        unless(fits, "card.always_interrupt", || {
            "it is allowed only without event index: set matrix.event_idx = [false]".to_owned()
        })
    })
    .or_else(|| ranges(file))
}

fn ranges(file: &File) -> Option<Complaint> {
    let (card, driver) = (&file.card, &file.driver);
    let depth = u32::from(driver.queue_depth);
    // More would never be announced: the driver would wait for what it did not kick.
    let table = [
        ("card.clock_mhz", card.clock_mhz, 1, 1000),
        ("card.contexts", card.contexts.into(), 1, 4096),
        ("card.datapath_bytes", card.datapath_bytes, 1, 4096),
        ("card.reads_in_flight", card.reads_in_flight.into(), 1, 256),
        ("card.descriptor_prefetch", card.descriptor_prefetch.into(), 1, 4096),
        ("card.completion_batch", card.completion_batch.into(), 1, 4096),
        ("driver.queue_depth", depth, 1, card.queue_size),
        ("driver.kick_batch", driver.kick_batch.into(), 1, depth),
        ("driver.buffer_offset", driver.buffer_offset.into(), 0, 4095),
        ("net.cable_gbps", file.net.cable_gbps.unwrap_or(1), 1, 1_000_000),
    ];
    table.into_iter().find_map(|(key, value, least, most)| {
        unless((least..=most).contains(&value), key, || {
            format!("{value} is not between {least} and {most}")
        })
    })
}

fn traffic(file: &File) -> Option<Complaint> {
    let both = || "give one of the two, not both".to_owned();
    unless(file.net.pcap.is_none() || file.net.synthetic.is_none(), "net.synthetic", both)
        .or_else(|| {
            unless(file.blk.log.is_none() || file.blk.synthetic.is_none(), "blk.synthetic", both)
        })
        .or_else(|| {
            unless(file.blk.disk.is_none() || file.blk.disk_size.is_none(), "blk.disk_size", both)
        })
        .or_else(|| {
            let fine = file.net.cable_delay_ns <= 1_000_000_000;
            unless(fine, "net.cable_delay_ns", || "it is longer than a second".to_owned())
        })
}

fn faults(file: &File) -> Option<Complaint> {
    file.fault.iter().find_map(|line| line.resolve().err())
}

fn thresholds(file: &File) -> Option<Complaint> {
    let vague = file
        .threshold
        .iter()
        .find(|threshold| threshold.at_most.is_none() && threshold.at_least.is_none())?;
    Some(("threshold", format!("`{}` has neither at_most nor at_least", vague.figure)))
}

/// Bytes of one split virtqueue of `size` entries: driver side, and device side. Each area starts a
/// page of its own. Virtio 1.4 §2.7, "Split Virtqueues".
fn queue_bytes(size: u16) -> (u64, u64) {
    let size = u64::from(size);
    let page = |bytes: u64| bytes.next_multiple_of(4096);
    (page(16 * size) + page(6 + 2 * size), page(6 + 8 * size))
}

/// Bytes that a run's rings take in host memory and on the card.
#[must_use]
pub fn rings_bytes(run: &RunConfig) -> (u64, u64) {
    let queues = match run.device {
        Device::Blk => 1,
        Device::Net => 2,
    };
    let (driver_side, device_side) = queue_bytes(run.card.queue_size);
    match run.placement {
        Placement::Host => (queues * (driver_side + device_side), 0),
        Placement::Hybrid => (queues * device_side, queues * driver_side),
        Placement::Card => (0, queues * (driver_side + device_side)),
    }
}

fn memory(run: &RunConfig) -> Option<Complaint> {
    let (host, card) = rings_bytes(run);
    let name = run.name();
    let needed = host + LOW_BYTES;
    unless(run.host.ram_bytes >= needed, "host.ram", || {
        format!(
            "{} bytes are too small for the rings: {name} needs {needed} ({host} for rings of {} \
             entries, {LOW_BYTES} for everything below them)",
            run.host.ram_bytes, run.card.queue_size
        )
    })
    .or_else(|| {
        unless(run.host.ram_bytes.is_multiple_of(4096), "host.ram", || {
            format!("{} bytes are not whole pages of 4 KiB", run.host.ram_bytes)
        })
    })
    .or_else(|| {
        unless(run.card.memory_bytes >= card, "card.memory", || {
            format!(
                "{} bytes are too small for the rings: {name} needs {card}",
                run.card.memory_bytes
            )
        })
    })
}

fn workload(run: &RunConfig) -> Option<Complaint> {
    match &run.workload {
        Workload::Net(net) => match net.source {
            PacketSource::Synthetic { bytes, .. } => {
                unless((14..=9216).contains(&bytes), "net.synthetic.bytes", || {
                    format!("{bytes} is not the length of an Ethernet frame, 14 to 9216")
                })
            }
            PacketSource::Recorded | PacketSource::Capture(_) => None,
        },
        Workload::Blk(blk) => disk(&blk.disk).or_else(|| match blk.source {
            BlockSource::Synthetic { bytes, smallest, .. } => {
                let whole = |bytes: u32| bytes > 0 && u64::from(bytes).is_multiple_of(SECTOR_BYTES);
                unless(whole(bytes) && bytes <= 1 << 20, "blk.synthetic.bytes", || {
                    format!("{bytes} is not a multiple of the sector, 512 bytes, up to 1 MiB")
                })
                .or_else(|| {
                    unless(whole(smallest) && smallest <= bytes, "blk.synthetic.smallest", || {
                        format!("{smallest} is not a multiple of 512 bytes up to {bytes}")
                    })
                })
            }
            BlockSource::Recorded | BlockSource::Log(_) => None,
        }),
    }
}

fn disk(disk: &Disk) -> Option<Complaint> {
    let (key, bytes) = match disk {
        Disk::Memory { bytes } => ("blk.disk_size", *bytes),
        Disk::Image { bytes, .. } => ("blk.disk", *bytes),
    };
    unless(bytes > 0 && bytes.is_multiple_of(SECTOR_BYTES), key, || {
        format!("the disk's {bytes} bytes are not a multiple of the sector, 512 bytes")
    })
}
