//! The network device's control queue: which packets are received, and the device's address.
//! Virtio 1.4, "Control Virtqueue", "Packet Receive Filtering" and "Setting MAC Address Filtering".
//!
//! A device is promiscuous until it is told otherwise, so that a driver which never says anything receives
//! what it did without a control queue.
//!
//! Left out: VLAN filters, CTRL_RX_EXTRA, everything that is neither class RX nor class MAC.

use pcie_sim::spec::net::{F_CTRL_MAC_ADDR, F_CTRL_RX, ctrl};

/// Addresses that a table may have, single ones and groups each.
const TABLE_MAX: usize = 64;
/// Bytes of an address.
const MAC_BYTES: usize = 6;

/// What is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    promiscuous: bool,
    all_groups: bool,
    single: Vec<[u8; MAC_BYTES]>,
    groups: Vec<[u8; MAC_BYTES]>,
}

impl Default for Filter {
    /// NET-CTRL-DEV-03: the table is empty.
    fn default() -> Self {
        Self { promiscuous: true, all_groups: false, single: Vec::new(), groups: Vec::new() }
    }
}

impl Filter {
    /// Whether an Ethernet frame is for a device of this address (NET-CTRL-DEV-06).
    pub(crate) fn wants(&self, frame: &[u8], mac: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<MAC_BYTES>().filter(|_| !self.promiscuous) else {
            return true;
        };
        // IEEE 802.3 clause 3.2.3: the first bit on the wire tells groups from single addresses.
        if to[0] & 1 != 0 {
            self.all_groups || *to == [0xff; MAC_BYTES] || self.groups.contains(to)
        } else {
            to == mac || self.single.contains(to)
        }
    }
}

/// Carries out a command: class, command, data. What it sets is in force when this returns
/// (NET-CTRL-DEV-04, NET-CTRL-DEV-05). Gives the acknowledgement.
pub(crate) fn execute(command: &[u8], accepted: u64, filter: &mut Filter, mac: &mut [u8]) -> u8 {
    let done = match *command {
        [ctrl::CLASS_RX, which, on] if accepted & F_CTRL_RX != 0 => receive_mode(which, on, filter),
        [ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET, ref tables @ ..] if accepted & F_CTRL_RX != 0 => {
            set_tables(tables, filter)
        }
        [ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET, ref address @ ..]
            if accepted & F_CTRL_MAC_ADDR != 0 =>
        {
            let fits = address.len() == MAC_BYTES;
            if fits {
                mac.copy_from_slice(address);
            }
            fits
        }
        _ => false,
    };
    if done { ctrl::OK } else { ctrl::ERR }
}

fn receive_mode(which: u8, on: u8, filter: &mut Filter) -> bool {
    match which {
        ctrl::RX_PROMISC => filter.promiscuous = on != 0,
        ctrl::RX_ALLMULTI => filter.all_groups = on != 0,
        _ => return false,
    }
    true
}

fn set_tables(tables: &[u8], filter: &mut Filter) -> bool {
    let both = table(tables).and_then(|(single, rest)| Some((single, table(rest)?)));
    let Some((single, (groups, []))) = both else { return false };
    filter.single = single.to_vec();
    filter.groups = groups.to_vec();
    true
}

/// A count, as many addresses, and what follows.
fn table(data: &[u8]) -> Option<(&[[u8; MAC_BYTES]], &[u8])> {
    let (count, rest) = data.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if count > TABLE_MAX {
        return None;
    }
    let (addresses, rest) = rest.split_at_checked(count * MAC_BYTES)?;
    Some((addresses.as_chunks().0, rest))
}
