//! A Linux that nobody here wrote, on a card of ours: started, watched, and told about.
//!
//! ```text
//!   kit (QEMU, kernel, initramfs) ─▶ Qemu ─vfio-user─▶ serve ─▶ card
//!                                     └─ console ─▶ steps, kernel's own messages
//! ```
//!
//! `scripts/guest` makes the kit. The same guest does the same work with QEMU's own virtio-blk first, so
//! that the time it takes with our card can be compared.

mod console;
mod pull;
mod qemu;
mod work;

use std::path::PathBuf;

pub use self::console::Console;
pub use self::qemu::{Ended, Qemu, Running, Storage};
pub use self::work::Work;

/// What is to be seen, so that a run counts as good.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Texts that the guest's console must have.
    pub says: Vec<String>,
    /// Rules that must be broken; none but these may be.
    pub finds: Vec<String>,
}

impl Expected {
    /// Something is made to go wrong: then the guest's work need not succeed.
    #[must_use]
    fn is_trouble(&self) -> bool {
        !self.finds.is_empty() || !self.says.is_empty()
    }

    /// What is missing or too much, a line each.
    #[must_use]
    pub fn missed(&self, console: &Console, work: Work, broken: &[&str]) -> Vec<String> {
        let mut missed = Vec::new();
        if !self.is_trouble() {
            missed.extend(console.failed(work));
        }
        let unsaid = self.says.iter().filter(|text| !console.says(text));
        missed.extend(unsaid.map(|text| format!("Linux does not say `{text}`")));
        let unfound = self.finds.iter().filter(|rule| !broken.contains(&rule.as_str()));
        missed.extend(unfound.map(|rule| format!("nobody finds {rule}")));
        missed
    }
}

/// Where everything is that a guest needs.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The folder.
    pub folder: PathBuf,
}
