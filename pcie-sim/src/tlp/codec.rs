//! TLPs as bytes.
