//! Laws of the platforms: every row of PLATFORMS.md shows what its last column says.

mod cross;
mod rig;
mod rows;
mod table;
