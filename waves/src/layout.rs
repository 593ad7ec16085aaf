//! Viewer layouts: which signals to show, in which order and form.
//!
//! They name signals as `vtb` writes them; what a file does not have, a viewer leaves out.

use std::fs;
use std::path::Path;

use crate::error::WaveError;

/// A layout: the name of its file, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The name under which it is kept in `waves/layouts`.
    pub name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

/// All that are kept.
pub const LAYOUTS: &[Layout] = &[
    Layout { name: "bench.gtkw", text: include_str!("../layouts/bench.gtkw") },
    Layout { name: "bench.sucl", text: include_str!("../layouts/bench.sucl") },
    Layout { name: "card.gtkw", text: include_str!("../layouts/card.gtkw") },
    Layout { name: "card.sucl", text: include_str!("../layouts/card.sucl") },
    Layout { name: "rtl.gtkw", text: include_str!("../layouts/rtl.gtkw") },
    Layout { name: "rtl.sucl", text: include_str!("../layouts/rtl.sucl") },
    Layout { name: "side-by-side", text: include_str!("../layouts/side-by-side") },
];

/// Writes all layouts into a folder, for those who get waves without this source tree.
///
/// # Errors
/// [`WaveError::Io`].
pub fn write_all(folder: &Path) -> Result<(), WaveError> {
    LAYOUTS.iter().try_for_each(|layout| {
        let path = folder.join(layout.name);
        fs::write(&path, layout.text).map_err(|source| WaveError::Io { path, source })
    })
}
