//! Laws of the platforms: every row of PLATFORMS.md shows what its last column says.

mod bridge;
mod cross;
mod malice;
mod rig;
mod rows;
mod table;
mod teardown;
mod verdict;
