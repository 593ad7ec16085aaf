//! The disk: commands, errors, and the freedom to cut a request anywhere.

use std::io::Write;

use pcie_sim::spec::blk::{
    S_IOERR, S_OK, S_UNSUPP, T_DISCARD, T_FLUSH, T_GET_ID, T_IN, T_OUT, T_WRITE_ZEROES,
};
use pcie_sim::spec::virtq::SplitDesc;
use proptest::prelude::*;
use rtl_model::{Backing, BlkConfig, Card, CardConfig, CardError, DeviceConfig};

use crate::rig::{BAR2, BASE_FEATURES, HOST, Rig, Ring, Use, readable, then, writable};

const OUT: u64 = HOST + 0x10_0000;
const IN: u64 = HOST + 0x40_0000;
const NOWHERE: u64 = 0x7fff_ffff_0000;

struct Disk {
    rig: Rig,
    ring: Ring,
}

impl Disk {
    fn new(blk: BlkConfig) -> Self {
        let config = CardConfig::new(DeviceConfig::Blk(blk));
        let (rig, mut rings) = Rig::running(config, BASE_FEATURES, 64);
        Self { rig, ring: rings.remove(0) }
    }

    fn memory() -> Self {
        Self::new(BlkConfig::default())
    }

    /// Runs one chain of buffers; gives the used length.
    fn run(&mut self, buffers: &[SplitDesc]) -> u32 {
        let last = buffers.len() - 1;
        for (i, &buffer) in buffers.iter().enumerate() {
            let desc = if i < last { then(buffer, i as u16 + 1) } else { buffer };
            self.ring.describe(&mut self.rig, i as u16, desc);
        }
        let slot = self.ring.avail_idx % 64;
        self.ring.offer(&mut self.rig, &[0]);
        self.rig.doorbell(0);
        self.rig.settle();
        assert_eq!(self.ring.used_idx(&mut self.rig), self.ring.avail_idx);
        self.ring.used_elem(&mut self.rig, slot).1
    }

    /// Header and data in a buffer each, answer and status in a buffer each.
    fn command(&mut self, kind: u32, sector: u64, data: &[u8], room: u32) -> (u8, Vec<u8>, u32) {
        self.rig.poke(OUT, &header(kind, sector));
        self.rig.poke(OUT + 0x1000, data);
        self.rig.poke(IN, &vec![0xdd; room as usize + 1]);
        let mut buffers = vec![readable(OUT, 16)];
        if !data.is_empty() {
            buffers.push(readable(OUT + 0x1000, data.len() as u32));
        }
        if room != 0 {
            buffers.push(writable(IN, room));
        }
        buffers.push(writable(IN + u64::from(room), 1));
        let len = self.run(&buffers);
        let answer = self.rig.peek(IN, room as usize + 1);
        (answer[room as usize], answer[..room as usize].to_vec(), len)
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        self.command(T_OUT, sector, data, 0).0
    }

    fn read(&mut self, sector: u64, len: u32) -> (u8, Vec<u8>) {
        let (status, data, _) = self.command(T_IN, sector, &[], len);
        (status, data)
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [kind.to_le_bytes().to_vec(), vec![0; 4], sector.to_le_bytes().to_vec()].concat()
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [sector.to_le_bytes().to_vec(), sectors.to_le_bytes().to_vec(), flags.to_le_bytes().to_vec()]
        .concat()
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(13).wrapping_add((i >> 8) as u8) ^ seed).collect()
}

/// Bytes come back as written, at the ends of the disk too, and the length counts what was written to
/// the driver, the status included.
#[test]
fn what_is_written_is_read_back() {
    let mut disk = Disk::memory();
    for (sector, len) in [(0, 512), (7, 4096), (127, 1024), (131_071, 512), (1000, 65_536)] {
        let data = pattern(len, sector as u8);
        assert_eq!(disk.write(sector, &data), S_OK);
        let (status, answer, used) = disk.command(T_IN, sector, &[], len as u32);
        assert_eq!((status, used), (S_OK, len as u32 + 1));
        assert_eq!(answer, data);
    }
    assert_eq!(disk.read(50_000, 512), (S_OK, vec![0; 512]), "never written");
}

/// BLK-REQ-DRV-02 broken by the driver: an error, and no memory is touched.
#[test]
fn what_reaches_past_the_end_is_an_error_and_changes_nothing() {
    let mut disk = Disk::memory();
    for (sector, len) in [(131_072, 512), (131_071, 1024), (u64::MAX, 512), (1 << 60, 512)] {
        assert_eq!(disk.write(sector, &pattern(len, 1)), S_IOERR);
        let (status, answer, used) = disk.command(T_IN, sector, &[], len as u32);
        assert_eq!((status, used), (S_IOERR, 0));
        assert_eq!(answer, vec![0xdd; len], "VQ-USED-DEV-02: a length of 0 promises nothing");
    }
    assert_eq!(disk.write(0, &pattern(100, 1)), S_IOERR, "no whole sector");
    assert_eq!(disk.read(0, 100).0, S_IOERR);
}

#[test]
fn flush_and_identification_are_answered() {
    let mut disk = Disk::memory();
    assert_eq!(disk.command(T_FLUSH, 0, &[], 0).0, S_OK);
    let (status, id, used) = disk.command(T_GET_ID, 0, &[], 20);
    assert_eq!((status, used), (S_OK, 21));
    assert_eq!(id, b"virtio-testbench-blk");
}

/// BLK-REQ-DEV-13 and every other command that is not known.
#[test]
fn an_unknown_command_is_unsupported() {
    let mut disk = Disk::memory();
    for kind in [2, 10, 14, 15, 16, 24, 0xffff_ffff] {
        assert_eq!(disk.command(kind, 0, &[], 0).0, S_UNSUPP, "type {kind}");
    }
}

/// BLK-REQ-DEV-05 to BLK-REQ-DEV-07.
#[test]
fn ranges_are_zeroed_and_wrong_ranges_refused() {
    let mut disk = Disk::memory();
    let data = pattern(200 * 512, 3);
    assert_eq!(disk.write(100, &data), S_OK);
    let two = [range(110, 5, 0), range(250, 140, 1)].concat();
    assert_eq!(disk.command(T_WRITE_ZEROES, 0, &two, 0).0, S_OK);
    let mut expected = data;
    expected[10 * 512..15 * 512].fill(0);
    expected[150 * 512..].fill(0);
    let (_, read) = disk.read(100, 200 * 512);
    assert_eq!(read, expected);
    assert_eq!(disk.command(T_DISCARD, 0, &range(100, 200, 0), 0).0, S_OK);
    for (kind, ranges, status) in [
        (T_DISCARD, range(0, 1, 1), S_UNSUPP),
        (T_WRITE_ZEROES, range(0, 1, 2), S_UNSUPP),
        (T_WRITE_ZEROES, range(131_072, 1, 0), S_IOERR),
        (T_WRITE_ZEROES, range(0, 1 << 23, 0), S_IOERR),
        (T_DISCARD, vec![], S_IOERR),
        (T_DISCARD, vec![0; 15], S_IOERR),
        (T_DISCARD, vec![0; 17 * 16], S_IOERR),
    ] {
        assert_eq!(disk.command(kind, 0, &ranges, 0).0, status);
    }
}

/// BLK-REQ-DEV-03, BLK-REQ-DEV-04.
#[test]
fn a_read_only_disk_refuses_every_change() {
    let mut disk = Disk::new(BlkConfig { read_only: true, ..BlkConfig::default() });
    assert_eq!(disk.write(0, &pattern(512, 1)), S_IOERR);
    for kind in [T_DISCARD, T_WRITE_ZEROES] {
        assert_eq!(disk.command(kind, 0, &range(0, 1, 0), 0).0, S_IOERR);
    }
    assert_eq!(disk.read(0, 512), (S_OK, vec![0; 512]));
}

/// A file behind the disk is changed in place, and its length is the capacity.
#[test]
fn a_file_holds_the_sectors() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&pattern(8 * 512, 5)).expect("written");
    let backing = Backing::File { file: file.try_clone().expect("a second handle") };
    let mut disk = Disk::new(BlkConfig { backing, ..BlkConfig::default() });
    assert_eq!(disk.read(2, 1024).1, pattern(8 * 512, 5)[1024..2048]);
    assert_eq!(disk.write(3, &pattern(512, 9)), S_OK);
    assert_eq!(disk.command(T_WRITE_ZEROES, 0, &range(5, 2, 0), 0).0, S_OK);
    assert_eq!(disk.command(T_FLUSH, 0, &[], 0).0, S_OK);
    assert_eq!(disk.read(8, 512).0, S_IOERR);
    let mut expected = pattern(8 * 512, 5);
    expected[3 * 512..4 * 512].copy_from_slice(&pattern(512, 9));
    expected[5 * 512..7 * 512].fill(0);
    let mut content = vec![0; 8 * 512];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut content, 0).expect("read");
    assert_eq!(content, expected);
    // The medium breaks: the file loses its end.
    file.set_len(512).expect("cut");
    assert_eq!(disk.read(2, 512).0, S_IOERR);
}

#[test]
fn a_file_that_is_no_multiple_of_a_sector_is_refused() {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1000).expect("grown");
    let blk = BlkConfig { backing: Backing::File { file }, ..BlkConfig::default() };
    let card = Card::new(CardConfig::new(DeviceConfig::Blk(blk)));
    assert!(matches!(card, Err(CardError::PartialSector { bytes: 1000, .. })));
}

/// A terabyte that nobody touches is free, and zeroing it takes no time.
#[test]
fn a_large_disk_costs_nothing_until_touched() {
    let blk = BlkConfig {
        backing: Backing::Memory { capacity_sectors: 1 << 31 },
        max_range_sectors: u32::MAX,
        ..BlkConfig::default()
    };
    let mut disk = Disk::new(blk);
    assert_eq!(disk.write((1 << 31) - 1, &pattern(512, 1)), S_OK);
    assert_eq!(disk.command(T_WRITE_ZEROES, 0, &range(0, 1 << 31, 0), 0).0, S_OK);
    assert_eq!(disk.read((1 << 31) - 1, 512), (S_OK, vec![0; 512]));
}

/// Refused reads: an error status where it can be written, and the ring goes on.
#[test]
fn a_request_that_cannot_be_read_ends_in_an_error() {
    let mut disk = Disk::memory();
    disk.rig.poke(OUT, &header(T_OUT, 0));
    let used = disk.run(&[readable(OUT, 16), readable(NOWHERE, 4096), writable(IN, 1)]);
    assert_eq!(used, 1);
    assert_eq!(disk.rig.peek(IN, 1), [S_IOERR]);
    assert_eq!(disk.rig.card.counters().failed_reads, 8);
    assert_eq!(disk.rig.card.fault(), None);
    assert_eq!(disk.read(0, 512), (S_OK, vec![0; 512]), "nothing was written to the disk");
}

/// No header, no status byte, or more than the card's buffers hold: answered as far as can be.
#[test]
fn requests_that_make_no_sense_come_back() {
    let mut disk = Disk::memory();
    disk.run(&[readable(OUT, 3), writable(IN, 1)]);
    assert_eq!(disk.rig.peek(IN, 1), [S_IOERR]);
    assert_eq!(disk.run(&[readable(OUT, 16)]), 0);
    disk.rig.poke(IN, &[0xdd]);
    let huge = u32::MAX - 511;
    disk.run(&[readable(OUT, 16), readable(OUT, huge), writable(IN, 1)]);
    assert_eq!(disk.rig.peek(IN, 1), [S_IOERR]);
    disk.rig.poke(OUT, &header(T_IN, 0));
    disk.rig.poke(IN + 7, &[0xdd]);
    disk.run(&[readable(OUT, 16), writable(IN + 512, huge), writable(IN + 7, 1)]);
    assert_eq!(disk.rig.peek(IN + 7, 1), [S_IOERR]);
}

/// Buffers on the card, in host memory, or some of each: the answer is whole and only host memory costs
/// writes on the link.
#[test]
fn answers_reach_buffers_on_the_card_and_in_the_host() {
    let mut disk = Disk::memory();
    let data = pattern(1536, 6);
    assert_eq!(disk.write(0, &data), S_OK);
    disk.rig.poke(BAR2 + 0x8000, &header(T_IN, 0));
    disk.rig.log.clear();
    let used = disk.run(&[
        readable(BAR2 + 0x8000, 16),
        writable(BAR2 + 0x9f00, 600),
        writable(IN, 300),
        writable(BAR2 + 0xb000, 636),
        writable(IN + 0x2000, 1),
    ]);
    assert_eq!(used, 1537);
    assert_eq!(disk.rig.peek(BAR2 + 0x9f00, 100), data[..100]);
    assert_eq!(disk.rig.peek(BAR2 + 0x9f00 + 500, 100), data[500..600]);
    assert_eq!(disk.rig.peek(IN, 300), data[600..900]);
    assert_eq!(disk.rig.peek(BAR2 + 0xb000 + 536, 100), data[1436..]);
    assert_eq!(disk.rig.peek(IN + 0x2000, 1), [S_OK]);
    let payload = disk.rig.uses(&disk.ring).into_iter().filter(|&u| u == Use::Write).count();
    assert_eq!(payload, 4, "300 bytes at 128 each, and the status");
    assert!(!disk.rig.uses(&disk.ring).contains(&Use::Read));
}

/// Bytes cut at these lengths, the rest in one buffer.
fn cut(at: u64, len: u32, cuts: &[u32], buffer: fn(u64, u32) -> SplitDesc) -> Vec<SplitDesc> {
    let mut done = 0;
    let mut buffers = Vec::new();
    for &cut in cuts {
        let part = cut.min(len - done);
        buffers.push(buffer(at + u64::from(done), part));
        done += part;
    }
    buffers.push(buffer(at + u64::from(done), len - done));
    buffers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// VQ-SPLIT-DEV-02, BLK-REQ-DEV-14: the header is the first 16 readable bytes and the status the last
    /// writable one, however the request is cut, header and status included.
    #[test]
    fn a_request_may_be_cut_anywhere(
        sectors in 1_u32..9,
        sent in prop::collection::vec(0_u32..900, 0..8),
        received in prop::collection::vec(0_u32..900, 0..8),
        offset in 0_u64..4096,
    ) {
        let mut disk = Disk::memory();
        let len = sectors * 512;
        let data = pattern(len as usize, offset as u8);
        disk.rig.poke(OUT + offset, &[header(T_OUT, 40), data.clone()].concat());
        let mut buffers = cut(OUT + offset, 16 + len, &sent, readable);
        buffers.push(writable(IN, 1));
        prop_assert_eq!(disk.run(&buffers), 1);
        prop_assert_eq!(disk.rig.peek(IN, 1), [S_OK]);
        disk.rig.poke(OUT + offset, &header(T_IN, 40));
        let small: Vec<u32> = sent.iter().map(|cut| cut % 7).collect();
        let mut buffers = cut(OUT + offset, 16, &small, readable);
        buffers.extend(cut(IN + offset, len + 1, &received, writable));
        prop_assert_eq!(disk.run(&buffers), len + 1);
        let answer = disk.rig.peek(IN + offset, len as usize + 1);
        prop_assert_eq!(&answer[..len as usize], &data[..]);
        prop_assert_eq!(answer[len as usize], S_OK);
    }
}
