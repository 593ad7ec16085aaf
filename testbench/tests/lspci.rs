//! `vtb lspci` before the judge: what the `lspci` of pciutils reads out of the configuration space is what
//! is meant. Runs with the feature `live-tools` only, and then the tool must be there.

mod tool;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use testbench::cli::{Bench, HELD, main_with};

/// How long an outside program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The dump of a machine with this card in it.
fn dump(arguments: &[&str]) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["vtb", "lspci"].iter().chain(arguments);
    let status = main_with(arguments, &Bench::SIMULATED, &mut out, &mut err);
    assert_eq!(status, HELD, "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).expect("hex is text")
}

/// What the real `lspci` says of a dump.
fn lspci(dump: &str, options: &[&str]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file for the dump");
    file.write_all(dump.as_bytes()).expect("the dump is written");
    let mut lspci = Command::new("lspci");
    lspci.arg("-F").arg(file.path()).args(options).stderr(Stdio::null());
    tool::said(&mut lspci, PATIENCE, "apt-get install pciutils")
}

/// What is said of one function: its lines without the first.
fn function<'t>(text: &'t str, slot: &str) -> &'t str {
    let start = text.find(slot).unwrap_or_else(|| panic!("no {slot} in\n{text}"));
    text[start..].split("\n\n").next().unwrap_or_default()
}

/// The capabilities of a function: where, and all that is said, in one line each.
fn capabilities(function: &str) -> Vec<(u16, String)> {
    let mut found: Vec<(u16, String)> = Vec::new();
    for line in function.lines() {
        if let Some(rest) = line.strip_prefix("\tCapabilities: [") {
            let (place, said) = rest.split_once("] ").expect("a place in brackets");
            let place = place.split(' ').next().expect("a number");
            let place = u16::from_str_radix(place, 16).expect("hex");
            found.push((place, said.to_owned()));
        } else if line.starts_with("\t\t")
            && let Some((_, said)) = found.last_mut()
        {
            said.push(' ');
            said.push_str(&line.trim().replace('\t', " "));
        }
    }
    found
}

fn expect(capabilities: &[(u16, String)], place: u16, parts: &[&str]) {
    let said = capabilities.iter().find(|(at, _)| *at == place).map(|(_, said)| said.as_str());
    let said = said.unwrap_or_else(|| panic!("nothing at {place:#x}: {capabilities:#?}"));
    for part in parts {
        assert!(said.contains(part), "at {place:#x} no «{part}» in «{said}»");
    }
}

/// PCIe 5.0 chapter 7, virtio 1.4 §4.1.4: each capability of a blk card, where and what.
#[test]
fn lspci_reads_every_capability_of_the_card_as_it_is_meant() {
    let text = lspci(&dump(&[]), &["-vvv", "-nn"]);
    let card = function(&text, "01:00.0");
    let found = capabilities(card);
    let places: Vec<u16> = found.iter().map(|(at, _)| *at).collect();
    let expected = [0x40, 0x74, 0x7c, 0x88, 0x98, 0xac, 0xbc, 0xcc, 0xe0, 0xf8, 0x100, 0x148];
    assert_eq!(places, expected, "{card}");
    assert!(card.contains("[1af4:1042] (rev 01)"), "{card}");
    assert!(card.contains("Capabilities: [100 v2] Advanced Error Reporting"), "{card}");
    express(&found);
    virtio(&found, "BAR=0 offset=00003000 size=00000004 multiplier=00000004", "0000003c");
    others(&found);
}

fn express(found: &[(u16, String)]) {
    let parts = [
        "Express (v2) Endpoint",
        "DevCap: MaxPayload 4096 bytes, PhantFunc 0",
        "ExtTag+ AttnBtn- AttnInd- PwrInd- RBE+ FLReset+",
        "DevCtl: CorrErr- NonFatalErr- FatalErr- UnsupReq- RlxdOrd+ ExtTag+",
        "MaxPayload 256 bytes, MaxReadReq 512 bytes",
        "DevSta: CorrErr- NonFatalErr- FatalErr- UnsupReq- AuxPwr- TransPend-",
        "LnkCap: Port #0, Speed 8GT/s, Width x8, ASPM not supported",
        "LnkSta: Speed 8GT/s",
        "Completion Timeout: Range ABCD, TimeoutDis+",
        "10BitTagComp+ 10BitTagReq+",
        "EETLPPrefix+, MaxEETLPPrefixes 4",
        "DevCtl2: Completion Timeout: 50us to 50ms, TimeoutDis-",
        "LnkCap2: Supported Link Speeds: 2.5-8GT/s",
        "LnkCtl2: Target Link Speed: 8GT/s",
        "EqualizationComplete+",
    ];
    expect(found, 0x40, &parts);
}

/// pciutils 3.9 knows no name for the types 5 and 8, and no vendor data; later ones may.
fn virtio(found: &[(u16, String)], notify: &str, device_bytes: &str) {
    expect(found, 0x74, &["Vendor Specific Information:", "Len=08"]);
    expect(found, 0x88, &["VirtIO: CommonCfg", "BAR=0 offset=00000000 size=00000040"]);
    expect(found, 0x98, &["VirtIO: Notify", notify]);
    expect(found, 0xac, &["VirtIO: ISR", "BAR=0 offset=00001000 size=00000001"]);
    let device = format!("BAR=0 offset=00002000 size={device_bytes}");
    expect(found, 0xbc, &["VirtIO: DeviceCfg", &device]);
    expect(found, 0xcc, &["VirtIO: ", "BAR=0 offset=00000000 size=00000000"]);
    expect(found, 0xe0, &["VirtIO: ", "BAR=2 offset=00000000 size=00100000"]);
}

fn others(found: &[(u16, String)]) {
    let msix = [
        "MSI-X: Enable- Count=8 Masked-",
        "Vector table: BAR=1 offset=00000000",
        "PBA: BAR=1 offset=00000800",
    ];
    expect(found, 0x7c, &msix);
    let power = [
        "Power Management version 3",
        "D1- D2- AuxCurrent=0mA PME(D0-,D1-,D2-,D3hot-,D3cold-)",
        "Status: D0 NoSoftRst-",
    ];
    expect(found, 0xf8, &power);
    let aer = [
        "UESta: DLP- SDES- TLP- FCP- CmpltTO- CmpltAbrt- UnxCmplt- RxOF- MalfTLP- ECRC- UnsupReq-",
        "UEMsk: DLP- SDES- TLP- FCP- CmpltTO- CmpltAbrt- UnxCmplt- RxOF- MalfTLP- ECRC- UnsupReq-",
        "UESvrt: DLP+ SDES+ TLP- FCP+ CmpltTO- CmpltAbrt- UnxCmplt- RxOF+ MalfTLP+ ECRC- UnsupReq-",
        "CESta: RxErr- BadTLP- BadDLLP- Rollover- Timeout- AdvNonFatalErr-",
        "CEMsk: RxErr- BadTLP- BadDLLP- Rollover- Timeout- AdvNonFatalErr+",
        "First Error Pointer: 00, ECRCGenCap+ ECRCGenEn- ECRCChkCap+ ECRCChkEn-",
        "HeaderLog: 00000000 00000000 00000000 00000000",
    ];
    expect(found, 0x100, &aer);
    expect(found, 0x148, &["Device Serial Number 02-00-00-ff-fe-00-00-01"]);
}

/// PCI 3.0 §6.2.5.1: the base addresses are those that firmware gave.
#[test]
fn lspci_reads_the_bars_where_firmware_has_put_them() {
    let text = lspci(&dump(&["--device", "net"]), &["-vvv", "-nn"]);
    let card = function(&text, "01:00.0");
    for line in [
        "Ethernet controller [0200]: ",
        "Control: I/O- Mem+ BusMaster-",
        "Region 0: Memory at e0000000 (32-bit, non-prefetchable)",
        "Region 1: Memory at e0004000 (32-bit, non-prefetchable)",
        "Region 2: Memory at 38000000000 (64-bit, prefetchable)",
    ] {
        assert!(card.contains(line), "no «{line}» in\n{card}");
    }
    let found = capabilities(card);
    expect(&found, 0x98, &["BAR=0 offset=00003000 size=00000008 multiplier=00000004"]);
    let port = function(&text, "00:01.0");
    assert!(port.contains("primary=00, secondary=01, subordinate=01"), "{port}");
    assert!(port.contains("Memory behind bridge: e0000000-e00fffff"), "{port}");
    expect(&capabilities(port), 0x40, &["Express (v2) Root Port", "Speed 8GT/s, Width x8"]);
}

/// Nothing of the 4 KiB is lost or made up on the way through the file.
#[test]
fn lspci_gives_back_every_byte() {
    let ours = dump(&["--platform", "x86-vtd"]);
    let theirs = lspci(&ours, &["-xxxx"]);
    let hex = |text: &str| {
        let lines = text.lines().filter(|line| {
            line.split_once(": ").is_some_and(|(at, _)| u16::from_str_radix(at, 16).is_ok())
        });
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (ours, theirs) = (hex(&ours), hex(&theirs));
    assert_eq!(ours.len(), 2 * 256);
    assert_eq!(ours, theirs);
}
