//! One script, two machines: VT-d's registers and fault records, used rings, status and interrupt status
//! are the same in QEMU's and in ours, but for what is listed here with its reason.

use pcie_sim::host::Width;
use pcie_sim::spec::vtd::{cap, context_entry, ecap, granularity, inv, reg, root_entry, sl_entry};

use crate::raw::{Seen, Step, on_qemu, simulated};
use crate::scripts::{CONTEXT, DATA_PAGES, Ends, Lot, RW, Script, TOP};

/// A difference that is no mistake of ours.
struct Exception {
    /// What was looked at.
    what: &'static str,
    /// Whether the two values, QEMU's first, differ in this way only.
    holds: fn(&[u64], &[u64]) -> bool,
    /// Why.
    why: &'static str,
}

/// Bits that may differ in a register.
fn but_for(theirs: &[u64], ours: &[u64], bits: u64) -> bool {
    theirs.len() == 1 && ours.len() == 1 && (theirs[0] ^ ours[0]) & !bits == 0
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        what: "CAP",
        holds: |theirs, ours| {
            but_for(theirs, ours, cap::ZLR | 0xff << cap::NFR_SHIFT | 0x3ff << cap::FRO_SHIFT)
        },
        why: "the number of fault records (QEMU 1, ours 8), where they lie, and whether zero-length reads \
              of write-only pages pass, are the hardware's choice",
    },
    Exception {
        what: "ECAP",
        holds: |theirs, ours| but_for(theirs, ours, ecap::C | 0x3ff << ecap::IRO_SHIFT),
        why: "QEMU does not promise coherent walks although its tables are read from RAM; where the IOTLB \
              registers lie is the hardware's choice",
    },
    Exception {
        what: "IQA before it is in use",
        holds: |theirs, ours| theirs == [0] && ours != [0],
        why: "QEMU shows the address only while the queue is on; the register is read-write at any time \
              (\"Invalidation Queue Address Register\")",
    },
    Exception {
        what: "used element of a refused request",
        holds: |theirs, ours| theirs[..4] == ours[..4] && length(theirs) > length(ours),
        why: "QEMU counts data that it never wrote; len is what the device wrote (virtio 1.4, \"The \
              Virtqueue Used Ring\")",
    },
    Exception {
        what: "used element after a fault",
        holds: |theirs, ours| theirs[..4] == ours[..4] && length(theirs) >= length(ours),
        why: "as above",
    },
    Exception {
        what: "request status after a fault",
        holds: |theirs, ours| theirs == [0] && ours == [1],
        why: "QEMU's disk reads and writes through a buffer of its own and is not told that the way to \
              memory was blocked: it says OK. Ours got an Unsupported Request and says I/O error",
    },
    Exception {
        what: "faults",
        // The first record, two words, is the same; ours go on.
        holds: |theirs, ours| theirs.len() == 2 && ours.len() > 2 && theirs == &ours[..2],
        why: "QEMU has one record, and a further fault of the same requester is not recorded while it is \
              pending, which is allowed (\"Primary Fault Logging\"); ours records each TLP",
    },
    Exception {
        what: "faults in a cached page",
        holds: |theirs, ours| theirs.is_empty() && !ours.is_empty(),
        why: "a translation found in QEMU's IOTLB blocks what it does not allow, and records nothing; the \
              specification knows no such exception (\"Non-Recoverable Address Translation Faults\")",
    },
    Exception {
        what: "FEDATA",
        holds: |theirs, ours| but_for(theirs, ours, 0xffff_0000),
        why: "hardware may keep 16 bits of message data (\"Fault Event Data Register\", EIMD)",
    },
    Exception {
        what: "FEUADDR",
        holds: |theirs, _| theirs == [0],
        why: "the register is for extended interrupt mode, which neither offers (\"Fault Event Upper \
              Address Register\")",
    },
    Exception {
        what: "isr",
        holds: |theirs, ours| theirs == [3] && ours == [2],
        why: "QEMU sets the queue's bit along with that of a configuration change",
    },
];

fn length(element: &[u64]) -> u64 {
    element[4..].iter().rev().fold(0, |all, byte| all << 8 | byte)
}

fn excused(theirs: &Seen, ours: &Seen) -> bool {
    EXCEPTIONS.iter().any(|exception| {
        exception.what == theirs.what && (exception.holds)(&theirs.value, &ours.value)
    })
}

/// What differs, a line each.
fn differences(name: &str, script: &[Step]) -> Vec<String> {
    let (theirs, ours) = (on_qemu(script), simulated(script));
    assert_eq!(theirs.len(), ours.len());
    theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours && !excused(theirs, ours))
        .map(|(theirs, ours)| {
            let (step, what) = (theirs.step, &theirs.what);
            let (theirs, ours) = (&theirs.value, &ours.value);
            format!("{name}, step {step}, {what}: QEMU {theirs:x?}, ours {ours:x?}")
        })
        .collect()
}

#[track_caller]
fn agree(scripts: &[(String, Script)]) {
    let all: Vec<String> =
        scripts.iter().flat_map(|(name, script)| differences(name, &script.steps)).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// Every exception says why it is one.
#[test]
fn every_exception_has_its_reason() {
    assert!(EXCEPTIONS.iter().all(|exception| exception.why.len() > 5));
}

fn ready() -> Script {
    let mut script = Script::new();
    script.translate();
    script.start_device();
    script
}

/// VT-d, "Register Descriptions"; virtio 1.4, "Common configuration structure layout".
#[test]
fn registers_and_requests_are_the_same_on_both_machines() {
    let mut script = ready();
    script.fill(0, 0x5a);
    script.request(true, 3, 0, 1024, Ends::Well);
    script.request(false, 3, 1, 1024, Ends::Well);
    script.request(false, 0, 2, 512, Ends::Well);
    script.request(false, 1 << 40, 2, 512, Ends::Refused);
    script.forget_page(2);
    script.request(false, 4, 2, 512, Ends::Well);
    let mut by_registers = Script::new();
    by_registers.forget_by_registers();
    agree(&[("requests".to_owned(), script), ("registers".to_owned(), by_registers)]);
}

/// A way to spoil the tables.
type Spoil = fn(&mut Script);

/// VT-d, "Fault Reason Encodings": each wrong entry gives the same record.
#[test]
fn wrong_entries_give_the_same_fault_record_on_both_machines() {
    const HIGH: u64 = context_entry::AW_48 | 7 << context_entry::DID_SHIFT;
    const LOW: u64 = TOP | context_entry::P;
    let wrong: [(&str, Spoil, [bool; 2]); 8] = [
        ("page not present", |script| script.page(0, 0), [true, true]),
        ("page not readable", |script| script.page(0, sl_entry::W), [true, false]),
        ("page not writable", |script| script.page(0, sl_entry::R), [false, true]),
        ("context not present", |script| script.context(0, 0), [true, true]),
        ("root not present", |script| script.root(0), [true, true]),
        ("root reserved", |script| script.root(CONTEXT | root_entry::P | 0x10), [true, true]),
        ("context reserved", |script| script.context(LOW | 0x20, HIGH), [true, true]),
        ("context width", |script| script.context(LOW, HIGH & !7 | 5), [true, true]),
    ];
    let mut scripts = Vec::new();
    for (name, spoil, faults) in wrong {
        for (write, faults) in [true, false].into_iter().zip(faults) {
            let mut script = ready();
            script.request(true, 0, 1, 512, Ends::Well);
            spoil(&mut script);
            script.forget_all();
            script.request(write, 1, 0, 512, if faults { Ends::Faulted } else { Ends::Well });
            script.root(CONTEXT | root_entry::P);
            script.good_context();
            script.page(0, RW);
            script.forget_all();
            script.start_device();
            script.request(write, 1, 0, 512, Ends::Well);
            scripts.push((format!("{name}, write {write}"), script));
        }
    }
    agree(&scripts);
}

/// VT-d, "Invalidation Queue Error Record": a descriptor that does not exist stops the queue.
#[test]
fn a_wrong_invalidation_stops_the_queue_on_both_machines() {
    let all = granularity::GLOBAL << inv::GRANULARITY_SHIFT;
    let wrong = [[0xf, 0], [inv::IOTLB | all, 0x80], [inv::CONTEXT, 0]];
    let scripts = wrong.map(|words| {
        let mut script = ready();
        let wait = script.wait_descriptor();
        script.invalidate(&[words, wait]);
        script.look("GSTS", reg::GSTS, Width::W32);
        (format!("{words:x?}"), script)
    });
    agree(&scripts);
}

/// The same by lot: permissions, requests, invalidations, registers that stand for themselves.
#[test]
fn scripts_drawn_by_lot_agree_on_both_machines() {
    let scripts: Vec<(String, Script)> = (1..=12)
        .map(|seed| {
            let mut lot = Lot(seed);
            let mut script = ready();
            let mut pages = [(RW, false); DATA_PAGES as usize];
            for page in 0..DATA_PAGES {
                script.fill(page, lot.next() as u8);
            }
            for _ in 0..24 {
                draw(&mut script, &mut lot, &mut pages);
            }
            (format!("seed {seed}"), script)
        })
        .collect();
    agree(&scripts);
}

/// One thing by lot. `pages` is what each page's entry allows, and whether the IOMMU may know it.
fn draw(script: &mut Script, lot: &mut Lot, pages: &mut [(u64, bool)]) {
    let page = lot.below(DATA_PAGES);
    let (bits, cached) = &mut pages[page as usize];
    match lot.below(8) {
        0 | 1 => {
            *bits = [0, sl_entry::R, sl_entry::W, RW][lot.below(4) as usize];
            script.page(page, *bits);
            *cached = false;
            script.forget_page(page);
        }
        2 => {
            pages.iter_mut().for_each(|(_, cached)| *cached = false);
            script.forget_all();
        }
        3 => {
            let (name, offset) = [
                ("FEDATA", reg::FEDATA),
                ("FEADDR", reg::FEADDR),
                ("FEUADDR", reg::FEUADDR),
                ("IEDATA", reg::IEDATA),
                ("IEADDR", reg::IEADDR),
            ][lot.below(5) as usize];
            script.set(offset, Width::W32, lot.next() & 0xffff_ffff);
            script.look(name, offset, Width::W32);
        }
        _ => {
            let write = lot.below(2) == 0;
            let faults = *bits & if write { sl_entry::R } else { sl_entry::W } == 0;
            let ends = match (faults, *cached) {
                (false, _) => Ends::Well,
                (true, false) => Ends::Faulted,
                (true, true) => Ends::FaultedThoughCached,
            };
            *cached |= !faults;
            // What QEMU writes to its disk after a fault is nobody's; it is never read.
            let sector = lot.below(64) + if write && faults { 1024 } else { 0 };
            let bytes = 512 * (1 + lot.below(4) as u32);
            // A device that has met a fault works on only after a reset.
            script.start_device();
            script.request(write, sector, page, bytes, ends);
        }
    }
}
