//! The network device. Virtio 1.4, "Network Device".

/// Device type number.
pub const DEVICE_TYPE: u16 = 1;
/// Queue index of the first receive queue.
pub const RECEIVE_QUEUE: u16 = 0;
/// Queue index of the first transmit queue.
pub const TRANSMIT_QUEUE: u16 = 1;

/// VIRTIO_NET_F_MTU (3): the configuration field `mtu` is valid.
pub const F_MTU: u64 = 1 << 3;
/// VIRTIO_NET_F_MAC (5): the configuration field `mac` is valid.
pub const F_MAC: u64 = 1 << 5;
/// VIRTIO_NET_F_MRG_RXBUF (15): a received packet may span several buffers.
pub const F_MRG_RXBUF: u64 = 1 << 15;
/// VIRTIO_NET_F_STATUS (16): the configuration field `status` is valid.
pub const F_STATUS: u64 = 1 << 16;
/// VIRTIO_NET_F_CTRL_VQ (17): there is a control queue.
pub const F_CTRL_VQ: u64 = 1 << 17;

/// VIRTIO_NET_F_CTRL_RX (18): the control queue takes commands of class [`ctrl::CLASS_RX`].
pub const F_CTRL_RX: u64 = 1 << 18;
/// VIRTIO_NET_F_CTRL_MAC_ADDR (23): the control queue sets the address.
pub const F_CTRL_MAC_ADDR: u64 = 1 << 23;

/// Queue index of the control queue where there is one pair of queues.
pub const CONTROL_QUEUE: u16 = 2;

/// Control commands: class, command, data of the command; the device answers with one byte.
/// Virtio 1.4, "Control Virtqueue".
pub mod ctrl {
    /// Bytes of class and command.
    pub const HDR_BYTES: usize = 2;
    /// Class: receive filtering.
    pub const CLASS_RX: u8 = 0;
    /// Promiscuous mode; one byte, 0 off or 1 on.
    pub const RX_PROMISC: u8 = 0;
    /// Every group address; one byte, 0 off or 1 on.
    pub const RX_ALLMULTI: u8 = 1;
    /// Class: addresses.
    pub const CLASS_MAC: u8 = 1;
    /// Sets the address; 6 bytes.
    pub const MAC_ADDR_SET: u8 = 1;
    /// Sets what to receive for; twice a count (le32) and as many addresses: single ones, then groups.
    pub const MAC_TABLE_SET: u8 = 0;
    /// Answer: done.
    pub const OK: u8 = 0;
    /// Answer: refused.
    pub const ERR: u8 = 1;
}

/// Bytes of `struct virtio_net_hdr` without hash report and tunnel fields.
pub const HDR_BYTES: usize = 12;
/// Offset of `num_buffers` in the header: 0 when sent, at least 1 when received.
pub const HDR_NUM_BUFFERS: usize = 10;

/// Offset of `mac` in the device configuration.
pub const CONFIG_MAC: usize = 0;
/// Offset of `status` (bit 0 LINK_UP).
pub const CONFIG_STATUS: usize = 6;
/// Offset of `max_virtqueue_pairs`.
pub const CONFIG_MAX_VIRTQUEUE_PAIRS: usize = 8;
/// Offset of `mtu`.
pub const CONFIG_MTU: usize = 10;
/// Bytes of the device configuration that the card shows (up to and including `mtu`).
pub const CONFIG_BYTES: usize = 12;
/// Status bit: the link is up.
pub const STATUS_LINK_UP: u16 = 1;
