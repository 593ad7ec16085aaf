//! Intel VT-d: registers, table entries, invalidation descriptors, fault reasons.
//! Source: "Intel Virtualization Technology for Directed I/O, Architecture Specification".
