//! The laws of the block log reader.

use proptest::prelude::*;

use super::*;

const FIO_V3: &[u8] = include_bytes!("../../tests/data/fio-v3.iolog");
const FIO_V2: &[u8] = include_bytes!("../../tests/data/fio-v2.iolog");
const DISK_BYTES: u64 = 1 << 20;

fn read(log: &[u8]) -> Result<Vec<BlockCommand>, IologError> {
    IologReader::new("test.iolog", log, DISK_BYTES)?.collect()
}

fn mistake(log: &str) -> (u64, Mistake) {
    match read(log.as_bytes()) {
        Err(IologError::Line { line, mistake, .. }) => (line, mistake),
        other => panic!("{other:?}"),
    }
}

fn v3(lines: &str) -> String {
    format!("fio version 3 iolog\n0 disk add\n0 disk open\n{lines}\n")
}

fn command(at_us: Option<u64>, op: BlockOp, offset_bytes: u64, len_bytes: u64) -> BlockCommand {
    BlockCommand { at: at_us.map(Span::from_us), op, offset_bytes, len_bytes }
}

/// fio(1), "Trace file format v2".
#[test]
fn version_2_has_waits_that_add_up() {
    use BlockOp::{Discard, Flush, Read, Write};
    let expected = [
        command(None, Write, 0, 4096),
        command(None, Write, 4096, 8192),
        command(None, Flush, 0, 0),
        command(Some(250), Read, 4096, 8192),
        command(Some(250), Discard, 0, 4096),
        command(Some(250), Flush, 0, 0),
        command(Some(750), Read, 512, 512),
    ];
    assert_eq!(read(FIO_V2).unwrap(), expected);
}

/// fio(1), "Trace file format v3".
#[test]
fn version_3_has_a_time_on_each_line() {
    let log = v3("10 disk write 512 1024\n25 disk sync 9 0\n20 disk trim 0 512");
    let expected = [
        command(Some(10), BlockOp::Write, 512, 1024),
        command(Some(25), BlockOp::Flush, 0, 0),
        command(Some(25), BlockOp::Discard, 0, 512),
    ];
    assert_eq!(read(log.as_bytes()).unwrap(), expected, "time that goes back counts as none");
}

#[test]
fn a_log_that_fio_wrote_is_read_whole() {
    let commands = read(FIO_V3).unwrap();
    let lines = String::from_utf8_lossy(FIO_V3).lines().count();
    // All but the first line and add, open, close.
    assert_eq!(commands.len(), lines - 4);
    assert!(commands.is_sorted_by_key(|command| command.at));
    let summary = survey(IologReader::new("v3", FIO_V3, DISK_BYTES).unwrap()).unwrap();
    assert!(summary.reads > 0 && summary.writes > 0 && summary.flushes > 0);
}

#[test]
fn line_ends_and_empty_lines_of_other_systems_do_not_matter() {
    let log = v3("1 disk read 0 512").replace('\n', "\r\n\r\n");
    assert_eq!(read(log.as_bytes()).unwrap().len(), 1);
    assert_eq!(read(log.trim_end().as_bytes()).unwrap().len(), 1, "no line end at the end");
}

#[test]
fn a_command_past_the_end_of_the_disk_is_refused_with_its_line() {
    let error = read(v3("1 disk read 0 512\n2 disk write 1048064 1024").as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.iolog:5: 1024 bytes at 1048064 go past the end of the disk, which has 1048576 bytes"
    );
    let (line, wrap) = mistake(&v3("1 disk write 18446744073709551104 512"));
    assert!(line == 4 && matches!(wrap, Mistake::PastTheEnd { .. }));
    assert!(read(v3("1 disk write 1048064 512").as_bytes()).is_ok());
}

#[test]
fn each_mistake_is_named() {
    let cases = [
        ("1 disk erase 0 512", "unknown action `erase`"),
        ("1 disk erase", "unknown action `erase`"),
        ("1 disk read 0x200 512", "the offset `0x200` is not a whole number"),
        ("1 disk read 512 -512", "the length `-512` is not"),
        ("1 disk read 0 99999999999999999999", "the length `99999999999999999999` is not"),
        ("x disk read 0 512", "the time `x` is not"),
        ("1 disk read 100 512", "the offset 100 is not a multiple of 512"),
        ("1 disk read 512 100", "the length 100 is not a multiple of 512"),
        ("1 disk read 512 0", "`read` of 0 bytes"),
        (
            "1 disk read 512",
            "`read` with 4 fields; this version has `TIME FILE ACTION OFFSET LENGTH`",
        ),
        ("1 disk read 0 512 7", "`read` with 6 fields"),
        ("1 disk", "`` with 2 fields; this version has `TIME FILE ACTION`"),
        ("1 disk wait 5 0", "`wait` is not allowed in version 3"),
        (
            "1 disk read 0 512\n2 other read 0 512",
            "a command for `other` after commands for `disk`",
        ),
        ("1 disk close", "the log is empty"),
    ];
    for (lines, text) in cases {
        let (line, mistake) = mistake(&v3(lines));
        assert!(mistake.to_string().starts_with(text), "{lines}: {mistake}");
        assert_eq!(line, 3 + lines.lines().count() as u64, "{lines}");
    }
}

#[test]
fn no_time_is_longer_than_a_bench_can_run() {
    let forever = v3(&format!("{} disk read 0 512", u64::MAX));
    assert_eq!(read(forever.as_bytes()).unwrap()[0].at, Some(LONGEST));
    let wait = format!("disk wait {} 0\n", u64::MAX);
    let waits = format!("fio version 2 iolog\n{wait}{wait}disk read 0 512\n");
    assert_eq!(read(waits.as_bytes()).unwrap()[0].at, Some(LONGEST));
}

#[test]
fn what_is_no_log_is_refused() {
    for log in ["", "fio version 1 iolog\n", "0, 4096, 4096\n", "\u{7}eta"] {
        assert_eq!(mistake(log), (1, Mistake::Header), "{log:?}");
    }
    let long = v3(&"x".repeat(5_000));
    assert_eq!(mistake(&long), (4, Mistake::LineTooLong));
    let not_text = [v3("").as_bytes(), &[0xff, 0xfe, b'\n']].concat();
    assert!(matches!(read(&not_text), Err(IologError::Line { mistake: Mistake::NotText, .. })));
    let folder = tempfile::tempdir().unwrap();
    let missing = IologReader::open(&folder.path().join("missing"), DISK_BYTES);
    assert!(matches!(missing, Err(IologError::Open { .. })));
    assert!(matches!(IologReader::open(folder.path(), DISK_BYTES), Err(IologError::Read { .. })));
}

#[test]
fn a_reader_is_at_its_end_after_a_mistake() {
    let log = v3("1 disk erase 0 512\n2 disk read 0 512");
    let mut reader = IologReader::new("test", log.as_bytes(), DISK_BYTES).unwrap();
    assert!(reader.next().is_some_and(|first| first.is_err()));
    assert!(reader.next().is_none());
}

proptest! {
    #[test]
    fn commands_come_back_as_they_were_logged(
        commands in prop::collection::vec((0..4u8, 0..2000u64, 1..40u64, 0..100_000u64), 1..40),
    ) {
        let mut log = String::from("fio version 3 iolog\n");
        let mut expected = Vec::new();
        let mut now = 0;
        for (kind, sector, sectors, wait) in commands {
            now += wait;
            let (op, action) = [
                (BlockOp::Read, "read"),
                (BlockOp::Write, "write"),
                (BlockOp::Discard, "trim"),
                (BlockOp::Flush, "datasync"),
            ][kind as usize];
            let (offset, len) = if op == BlockOp::Flush { (0, 0) } else { (sector * 512, sectors * 512) };
            log += &format!("{now} /dev/disk {action} {offset} {len}\n");
            expected.push(command(Some(now), op, offset, len));
        }
        prop_assert_eq!(read(log.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn no_bytes_whatever_make_the_reader_panic(
        version in 2..4u8,
        lines in prop::collection::vec("[0-9]{0,21} ?(disk|x|) (read|write|wait|add|trim|sync|\\PC*) ?[0-9]{0,21} ?[0-9]{0,21}", 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let head = format!("fio version {version} iolog\n{}\n", lines.join("\n"));
        let _ = read(&[head.as_bytes(), &bytes].concat());
        let _ = read(&bytes);
    }
}
