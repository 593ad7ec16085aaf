//! The network driver: one pair of queues and the control queue, no offloads. Virtio 1.4, "Network
//! Device".
//!
//! A receive buffer is one descriptor: header and packet. A packet sent is two (header, packet), or one
//! when its buffer has room for the header in front.

mod control;

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Host;
use pcie_sim::spec::net as spec;
use pcie_sim::time::Instant;

use super::core::Core;
use super::{Counters, DriverError, ProbeContext, ProbeError, Removed, SubmitError};
use crate::dma::debug::DmaDebug;
use crate::pages::{PageError, Pages};
use crate::transport::{ConfigWidth, Transport, TransportError, read_consistent};
use crate::virtqueue::{AddError, Segment};
pub use control::ControlError;
use control::{CONTROL_BYTES, ControlState};

/// Bytes of the packet header, in front of each packet.
pub const HEADER_BYTES: u64 = spec::HDR_BYTES as u64;
/// Bytes between two headers in the driver's own memory.
const HEADER_SLOT_BYTES: u64 = 64;
/// Ethernet header with one tag.
const FRAME_EXTRA: u32 = 18;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

const WANTED: u64 = spec::F_MTU
    | spec::F_MAC
    | spec::F_STATUS
    | spec::F_CTRL_VQ
    | spec::F_CTRL_RX
    | spec::F_CTRL_MAC_ADDR;

/// How packets lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetOptions {
    /// The 12 bytes before a packet given to `send` belong to the driver, which puts the header there:
    /// one descriptor instead of two.
    pub header_in_buffer: bool,
    /// Receive buffers; at most the size of the queue.
    pub receive_buffers: u16,
    /// Bytes of a receive buffer, header included; more when the device's MTU asks for it. At least
    /// 1,526 (NET-RXB-DRV-02).
    pub receive_buffer_bytes: u32,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self { header_in_buffer: false, receive_buffers: 256, receive_buffer_bytes: 2048 }
    }
}

/// A packet that came in. Its buffer is the caller's until `recycle`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "recycle it, or the card runs out of receive buffers"]
pub struct Received {
    /// Where the packet lies, behind its header.
    pub address: PhysAddr,
    /// Its length in bytes.
    pub len: u32,
    buffer: u16,
}

/// What `poll` found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NetEvents {
    /// Tokens of packets that were sent.
    pub sent: Vec<u64>,
    /// Packets that came in.
    pub received: Vec<Received>,
}

/// What the device says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetIdentity {
    /// Its address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Its MTU, if it says.
    pub mtu: Option<u16>,
    /// The link is up (assumed where the device does not say).
    pub link_up: bool,
}

/// Memory for headers and receive buffers.
#[derive(Debug, Clone, Copy)]
struct Buffers {
    headers: PhysAddr,
    headers_bytes: u64,
    receive: PhysAddr,
    receive_bytes: u64,
    control: PhysAddr,
}

impl Buffers {
    fn free(self, pages: &Pages) -> Result<(), PageError> {
        pages
            .free(self.headers, self.headers_bytes)
            .and(pages.free(self.receive, self.receive_bytes))
            .and(pages.free(self.control, CONTROL_BYTES))
    }
}

/// A network device under its driver.
#[derive(Debug)]
pub struct NetDriver {
    core: Core,
    options: NetOptions,
    identity: NetIdentity,
    buffers: Buffers,
    free_headers: Vec<u16>,
    tokens: Vec<u64>,
    /// Receive buffers that the caller holds, packets in them.
    held: Vec<bool>,
    control: ControlState,
}

impl NetDriver {
    /// Takes a network device over, fills its receive queue, and sets it going.
    pub fn probe(
        host: &mut dyn Host,
        context: ProbeContext,
        options: NetOptions,
    ) -> Result<Self, ProbeError> {
        let mut core = Core::start(host, context, spec::DEVICE_TYPE, WANTED, queues)?;
        let features = core.features;
        let read = read_consistent(core.transport.as_mut(), host, |transport, host| {
            read_identity(transport, host, features)
        });
        let identity = match read {
            Ok(identity) => identity,
            Err(error) => return Err(core.give_up(host, error.into())),
        };
        let options = fit(options, &identity, core.slots[RECEIVE].queue.size());
        let headers = core.slots[TRANSMIT].queue.size();
        let buffers = match allocate(&core.pages, headers, &options) {
            Ok(buffers) => buffers,
            Err(error) => return Err(core.give_up(host, error.into())),
        };
        let free_headers = (0..headers).rev().collect();
        let tokens = vec![0; usize::from(headers)];
        let held = vec![false; usize::from(options.receive_buffers)];
        let mut driver = Self {
            core,
            options,
            identity,
            buffers,
            free_headers,
            tokens,
            held,
            control: ControlState::default(),
        };
        match driver.go(host) {
            Ok(()) => Ok(driver),
            Err(error) => {
                let pages = driver.core.pages.clone();
                let error = driver.core.give_up(host, error);
                buffers.free(&pages)?;
                Err(error)
            }
        }
    }

    /// Posts the receive buffers, sets DRIVER_OK, and rings the doorbell, which may not ring earlier.
    fn go(&mut self, host: &mut dyn Host) -> Result<(), ProbeError> {
        host.write(self.buffers.headers, &vec![0; self.buffers.headers_bytes as usize]);
        for buffer in 0..self.options.receive_buffers {
            if !self.held[usize::from(buffer)] {
                self.post(host, buffer).map_err(ProbeError::Receive)?;
            }
        }
        self.core.go(host)?;
        self.core.kick(host);
        Ok(())
    }

    /// What the device says of itself.
    #[must_use]
    pub fn identity(&self) -> NetIdentity {
        self.identity
    }

    /// The features negotiated.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.core.features
    }

    /// Name of the DMA back end.
    #[must_use]
    pub fn ops_name(&self) -> &'static str {
        self.core.dma.ops_name()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// The DMA watcher, when `dma_debug` is on; wrap the host in [`DmaDebug::watch`] to have the
    /// caller's own accesses to buffers watched too.
    #[must_use]
    pub fn dma_debug(&self) -> Option<DmaDebug> {
        self.core.debug()
    }

    /// Packets that were sent and have not come back.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.core.slots[TRANSMIT].queue.outstanding()
    }

    /// Adds a packet of `len` bytes at `packet` to the transmit queue. With `header_in_buffer` the 12
    /// bytes before it are overwritten.
    #[track_caller]
    pub fn send(
        &mut self,
        host: &mut dyn Host,
        packet: PhysAddr,
        len: u32,
        token: u64,
    ) -> Result<(), SubmitError> {
        let mut watched;
        let host: &mut dyn Host = match self.core.debug() {
            Some(debug) => {
                watched = debug.watch(host);
                &mut watched
            }
            None => host,
        };
        let Some(&slot) = self.free_headers.last() else {
            return Err(SubmitError::Busy { outstanding: self.outstanding() });
        };
        let costs = self.core.config.costs;
        let queue = &mut self.core.slots[TRANSMIT].queue;
        let dma = &mut self.core.dma;
        let header_len = HEADER_BYTES as u32;
        if self.options.header_in_buffer {
            let Some(start) = packet.get().checked_sub(HEADER_BYTES).map(PhysAddr) else {
                return Err(SubmitError::Malformed {
                    why: "no room for a header before the packet",
                });
            };
            host.spend(costs.add_buffer + costs.add_segment);
            // No offloads: all zeroes, `num_buffers` too (NET-TX-DRV-02, -03, -14).
            host.write(start, &[0; spec::HDR_BYTES]);
            let whole = [Segment { address: start, len: len.saturating_add(header_len) }];
            queue.add(host, dma, &whole, &[], u64::from(slot))?;
        } else {
            host.spend(costs.add_buffer + costs.add_segment * 2);
            let header = self.buffers.headers + u64::from(slot) * HEADER_SLOT_BYTES;
            let both =
                [Segment { address: header, len: header_len }, Segment { address: packet, len }];
            queue.add(host, dma, &both, &[], u64::from(slot))?;
        }
        self.free_headers.pop();
        self.tokens[usize::from(slot)] = token;
        self.core.counters.requests += 1;
        Ok(())
    }

    #[track_caller]
    fn post(&mut self, host: &mut dyn Host, buffer: u16) -> Result<(), AddError> {
        let address = self.buffer(buffer);
        let whole = [Segment { address, len: self.options.receive_buffer_bytes }];
        let queue = &mut self.core.slots[RECEIVE].queue;
        queue.add(host, &mut self.core.dma, &[], &whole, u64::from(buffer))?;
        self.held[usize::from(buffer)] = false;
        self.core.counters.requests += 1;
        Ok(())
    }

    fn buffer(&self, buffer: u16) -> PhysAddr {
        self.buffers.receive + u64::from(buffer) * u64::from(self.options.receive_buffer_bytes)
    }

    /// Gives a received packet's buffer to the card again; the card learns of it at the latest by
    /// [`NetDriver::kick`].
    #[track_caller]
    pub fn recycle(&mut self, host: &mut dyn Host, packet: Received) -> Result<(), AddError> {
        host.spend(self.core.config.costs.add_buffer);
        self.post(host, packet.buffer)
    }

    /// Rings the doorbells for what was sent and recycled, if the card wants them.
    pub fn kick(&mut self, host: &mut dyn Host) {
        self.core.kick(host);
    }

    /// Takes all packets that were sent or came in, and says how many.
    pub fn poll(
        &mut self,
        host: &mut dyn Host,
        events: &mut NetEvents,
    ) -> Result<usize, DriverError> {
        let take_used = self.core.config.costs.take_used;
        let mut taken = 0;
        self.forget_late_answers(host)?;
        while let Some(used) = self.core.slots[TRANSMIT].queue.take_used(host, &mut self.core.dma) {
            let slot = used?.token as u16;
            host.spend(take_used);
            events.sent.push(self.tokens[usize::from(slot)]);
            self.free_headers.push(slot);
            self.core.counters.completed += 1;
            taken += 1;
        }
        while let Some(used) = self.core.slots[RECEIVE].queue.take_used(host, &mut self.core.dma) {
            let used = used?;
            let buffer = used.token as u16;
            host.spend(take_used);
            self.core.counters.completed += 1;
            taken += 1;
            match used.len.checked_sub(HEADER_BYTES as u32) {
                Some(len) => {
                    let address = self.buffer(buffer) + HEADER_BYTES;
                    self.held[usize::from(buffer)] = true;
                    events.received.push(Received { address, len, buffer });
                }
                None => {
                    self.post(host, buffer)?;
                    return Err(DriverError::Runt { len: used.len });
                }
            }
        }
        Ok(taken)
    }

    /// Waits until a packet was sent or came in (`true`) or `deadline` passed (`false`).
    pub fn wait(&mut self, host: &mut dyn Host, deadline: Instant) -> Result<bool, DriverError> {
        self.core.wait(host, deadline)
    }

    /// Resets the device and starts it again with an empty transmit queue; gives the tokens of the
    /// packets that were lost. Packets received before stay the caller's until recycled.
    pub fn restart(&mut self, host: &mut dyn Host) -> Result<Vec<u64>, DriverError> {
        let lost = self.core.restart(host)?;
        self.control = ControlState::default();
        let slots: Vec<u16> = lost
            .into_iter()
            .nth(TRANSMIT)
            .unwrap_or_default()
            .into_iter()
            .map(|slot| slot as u16)
            .collect();
        let tokens = slots.iter().map(|&slot| self.tokens[usize::from(slot)]).collect();
        self.free_headers.extend(slots);
        self.go(host).map_err(DriverError::Restart)?;
        Ok(tokens)
    }

    /// Resets the device and gives everything back, receive buffers too. `unfinished` are the tokens
    /// of packets that were never sent.
    pub fn remove(self, host: &mut dyn Host) -> Result<Removed, DriverError> {
        let pages = self.core.pages.clone();
        let posted = usize::from(self.core.slots[RECEIVE].queue.outstanding());
        let sending = usize::from(self.core.slots[TRANSMIT].queue.outstanding());
        let removed = self.core.remove(host);
        self.buffers.free(&pages).map_err(crate::dma::DmaError::from)?;
        let mut removed = removed?;
        removed.unfinished.drain(..posted.min(removed.unfinished.len()));
        // A control command that was never answered has no token of the caller's.
        removed.unfinished.truncate(sending);
        for slot in &mut removed.unfinished {
            *slot = self.tokens[*slot as usize];
        }
        Ok(removed)
    }
}

fn queues(features: u64) -> &'static [u16] {
    if features & spec::F_CTRL_VQ != 0 {
        &[spec::RECEIVE_QUEUE, spec::TRANSMIT_QUEUE, spec::CONTROL_QUEUE]
    } else {
        &[spec::RECEIVE_QUEUE, spec::TRANSMIT_QUEUE]
    }
}

/// The options, as far as the queue and the device's MTU allow.
fn fit(options: NetOptions, identity: &NetIdentity, queue_size: u16) -> NetOptions {
    let frame = u32::from(identity.mtu.unwrap_or(1500)) + FRAME_EXTRA + HEADER_BYTES as u32;
    NetOptions {
        receive_buffers: options.receive_buffers.min(queue_size),
        // Whole lines, so that no two buffers share one.
        receive_buffer_bytes: options.receive_buffer_bytes.max(frame).next_multiple_of(64),
        ..options
    }
}

fn allocate(pages: &Pages, headers: u16, options: &NetOptions) -> Result<Buffers, PageError> {
    let headers_bytes = u64::from(headers) * HEADER_SLOT_BYTES;
    let receive_bytes =
        u64::from(options.receive_buffers) * u64::from(options.receive_buffer_bytes);
    let headers = pages.alloc(headers_bytes, 1)?;
    let receive = pages.alloc(receive_bytes, 1);
    let control = pages.alloc(CONTROL_BYTES, 1);
    match (receive, control) {
        (Ok(receive), Ok(control)) => {
            Ok(Buffers { headers, headers_bytes, receive, receive_bytes, control })
        }
        (receive, control) => {
            pages.free(headers, headers_bytes)?;
            if let Ok(receive) = receive {
                pages.free(receive, receive_bytes)?;
            }
            if let Ok(control) = control {
                pages.free(control, CONTROL_BYTES)?;
            }
            Err(receive.and(control).err().unwrap_or(PageError::OutOfMemory {
                bytes: receive_bytes,
                in_use: pages.in_use_bytes(),
            }))
        }
    }
}

fn read_identity(
    transport: &mut dyn Transport,
    host: &mut dyn Host,
    features: u64,
) -> Result<NetIdentity, TransportError> {
    let mut identity = NetIdentity { link_up: true, ..NetIdentity::default() };
    if features & spec::F_MAC != 0 {
        let mut mac = [0; 6];
        for (at, byte) in mac.iter_mut().enumerate() {
            *byte =
                transport.read_config(host, (spec::CONFIG_MAC + at) as u16, ConfigWidth::W8)? as u8;
        }
        identity.mac = Some(mac);
    }
    if features & spec::F_STATUS != 0 {
        let status =
            transport.read_config(host, spec::CONFIG_STATUS as u16, ConfigWidth::W16)? as u16;
        identity.link_up = status & spec::STATUS_LINK_UP != 0;
    }
    if features & spec::F_MTU != 0 {
        identity.mtu =
            Some(transport.read_config(host, spec::CONFIG_MTU as u16, ConfigWidth::W16)? as u16);
    }
    Ok(identity)
}
