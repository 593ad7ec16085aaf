//! What a guest wrote to its console.

use std::io;
use std::path::Path;

use super::Work;

/// The guest's own words begin so, and the kernel's log, as the guest repeats it at the end.
const GUEST: &str = "GUEST: ";
const LINUX: &str = "LINUX: ";

/// The lines of a console.
#[derive(Debug, Clone, Default)]
pub struct Console {
    text: String,
}

impl Console {
    /// Reads what was written; what is no text is left out.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::read(path)?))
    }

    fn of(bytes: &[u8]) -> Self {
        Self { text: String::from_utf8_lossy(bytes).into_owned() }
    }

    fn after(&self, mark: &'static str) -> impl Iterator<Item = &str> {
        let lines = self.text.lines();
        lines.filter_map(move |line| Some(line.split_once(mark)?.1.trim_end()))
    }

    /// The guest's own words.
    pub fn guest(&self) -> impl Iterator<Item = &str> {
        self.after(GUEST)
    }

    /// The kernel's words on IOMMU, virtio and the card.
    pub fn linux(&self) -> impl Iterator<Item = &str> {
        self.after(LINUX)
    }

    /// Whether a text is anywhere on it.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// The last lines, for when there is nothing else to go by.
    #[must_use]
    pub fn end(&self, lines: usize) -> String {
        let all: Vec<&str> = self.text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Steps of a work that failed, or were never come to.
    #[must_use]
    pub fn failed(&self, work: Work) -> Vec<String> {
        let said = |word: &str, step: &str| {
            self.guest().any(|line| line.split_once(' ') == Some((word, step)))
        };
        let missing = work.steps().iter().filter(|step| !said("ok", step));
        missing
            .map(|step| match said("FAILED", step) {
                true => format!("step {step} of the guest's work failed"),
                false => format!("step {step} of the guest's work was never come to"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel message may come into the middle of a line, and carriage returns at its end.
    #[test]
    fn a_step_is_done_failed_or_missing() {
        let mut text: String =
            Work::Disk.steps()[2..].iter().map(|step| format!("GUEST: ok {step}\r\n")).collect();
        text += "[ 1.5] noiseGUEST: FAILED list\r\nLINUX: [ 0.1] DMAR: IOMMU enabled\r\n";
        let console = Console::of(text.as_bytes());
        assert_eq!(
            console.failed(Work::Disk),
            [
                "step list of the guest's work failed",
                "step iommu-group of the guest's work was never come to"
            ]
        );
        assert_eq!(console.linux().collect::<Vec<_>>(), ["[ 0.1] DMAR: IOMMU enabled"]);
        assert!(console.says("IOMMU enabled") && console.end(1).starts_with("LINUX"));
    }
}
