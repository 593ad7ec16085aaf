//! The laws of the pins: what goes in comes out, whatever the pace, and what is wrong is found.

mod binding;
mod card;
mod findings;
mod link;
mod machine;
mod passage;
mod scripted;
mod tlps;
