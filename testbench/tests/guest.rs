//! An unmodified Linux under QEMU, nothing of which was written here, drives the card and watches it.
//!
//! `scripts/guest --make-kit` fetches what is missing. Where that cannot be had this is a failure in CI, and
//! elsewhere a line that says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The kit; `None`, and a line, where there is none and need not be.
#[allow(clippy::print_stderr, reason = "a test that cannot run says why")]
fn kit() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/guest");
    let made = Command::new(script).arg("--make-kit").output().expect("the script can be started");
    let said = String::from_utf8_lossy(&made.stdout);
    if made.status.success() {
        return said.lines().last().map(PathBuf::from);
    }
    let why = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("not run, no guest can be had here: {why}");
    None
}

fn guest(kit: &Path, options: &[&str]) -> (String, Output) {
    let output = Command::new(env!("CARGO_BIN_EXE_vtb"))
        .args(["guest", "--kit"])
        .arg(kit)
        .args(options)
        .output()
        .expect("vtb can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (text + &errors, output)
}

/// What it prints; `None` where there is no kit.
fn holds(options: &[&str]) -> Option<String> {
    let (text, output) = guest(&kit()?, options);
    assert_eq!(output.status.code(), Some(0), "{text}");
    Some(text)
}

/// Through Linux's virtio-blk, VT-d and DMA by messages.
#[test]
fn linux_makes_a_file_system_on_the_card_and_every_byte_comes_back() {
    holds(&[]);
}

#[test]
fn linux_does_the_same_in_shared_memory() {
    holds(&["--only-card", "--dma", "shared"]);
}

/// On a design that Verilator computes edge by edge, with nothing of this project inside of it.
#[test]
fn linux_makes_a_file_system_on_rtl() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl-model/reference.toml");
    let card = format!("rtl:{}", manifest.display());
    holds(&["--only-card", "--card", &card]);
}

/// A station at the cable's far end answers, the driver is unbound and bound again, the card reset.
#[test]
fn linux_resolves_pings_and_exchanges_datagrams_over_the_card() {
    holds(&["--only-card", "--device", "net"]);
}

/// A hot-unplug below the root port: the guest sees the button and lets go, and our side ends in order.
#[test]
fn linux_lets_go_of_a_card_that_is_pulled() {
    let text = holds(&["--only-card", "--work", "unplug"]);
    for said in ["pciehp: Slot(1): Button press", "The client is gone (Closed)"] {
        assert!(text.as_ref().is_none_or(|text| text.contains(said)), "{said}: {text:?}");
    }
}

/// The address in Linux's log is the one in our report.
#[test]
fn linux_logs_the_fault_of_a_stray_read_that_we_name() {
    let says = ["--says", "fault addr 0xdeadf000"];
    let finds = ["--finds", "DMA-STRAY", "--finds", "DMA-REFUSED"];
    holds(&[&["--only-card", "--malice", "stray-read@60"], &says[..], &finds[..]].concat());
}

/// Where the whole argument began: a card that does not say so is handed physical addresses, and an IOMMU
/// stands in their way.
#[test]
fn a_card_without_access_platform_faults_behind_vtd() {
    let card = ["--only-card", "--limit", "60", "--set", "card.access_platform=false"];
    holds(&[&card[..], &["--says", "DMAR: [DMA", "--finds", "DMA-REFUSED"]].concat());
}

#[test]
fn linux_breaks_off_with_a_card_that_returns_what_it_was_never_given() {
    let card = ["--only-card", "--limit", "60", "--malice", "wrong-used-id@60"];
    holds(&[&card[..], &["--says", "is not a head", "--finds", "VQ-USED-DEV-04"]].concat());
}
