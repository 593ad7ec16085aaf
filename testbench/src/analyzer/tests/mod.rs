//! The laws of the analyzer, on TLPs made by hand: a link on which the test plays both sides.

mod answers;
mod classification;
mod fake_link;
mod learning;
mod requests;
mod robustness;
mod violations;
