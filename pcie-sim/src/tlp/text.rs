//! TLPs as words.
