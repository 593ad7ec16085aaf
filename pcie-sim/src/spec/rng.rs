//! The entropy device. Virtio 1.4, "Entropy Device". It has neither feature bits nor configuration.

/// Device type number.
pub const DEVICE_TYPE: u16 = 4;
/// Queue index of the only queue: buffers to be filled.
pub const REQUEST_QUEUE: u16 = 0;
