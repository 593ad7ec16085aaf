//! The protocol, and what a driver sees of a QEMU that answers, lies, falls silent or dies.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::*;

use super::codec::{CodecError, Command, Line, block, parse_line, value};
use super::{Qemu, QtestConfig, QtestError, QtestHost, base64};
use crate::address::PhysAddr;
use crate::host::{Bus, Memory, Vector, Width};
use crate::time::Span;

const PATIENCE: Duration = Duration::from_millis(200);
const MESSAGES: PhysAddr = PhysAddr(0x1000);
const CONFIG: QtestConfig = QtestConfig { ram_bytes: 1 << 16, messages: MESSAGES };

fn said(command: Command<'_>) -> String {
    let mut line = Vec::new();
    command.encode(&mut line);
    String::from_utf8(line).expect("commands are ASCII")
}

/// QEMU, `softmmu/qtest.c`, "QTest Protocol".
#[test]
fn a_command_is_a_line_of_the_protocol() {
    let address = PhysAddr(0xb000_0000);
    assert_eq!(said(Command::Read { address, width: Width::W16 }), "readw 0xb0000000\n");
    let write = Command::Write { address, width: Width::W8, value: 0x1ff };
    assert_eq!(said(write), "writeb 0xb0000000 0xff\n", "what does not fit is not sent");
    let out = Command::Out { port: 0xcf8, width: Width::W64, value: 1 };
    assert_eq!(said(out), "outl 0xcf8 0x1\n");
    assert_eq!(said(Command::ReadBlock { address, len_bytes: 17 }), "b64read 0xb0000000 0x11\n");
    let block = Command::WriteBlock { address, data: b"Man" };
    assert_eq!(said(block), "b64write 0xb0000000 0x3 TWFu\n");
    assert_eq!(said(Command::ClockStep { ns: 100 }), "clock_step 100\n");
}

#[test]
fn a_line_is_a_reply_an_interrupt_or_an_error() {
    assert_eq!(parse_line(b"OK 0x00ff\r"), Ok(Line::Ok("0x00ff")));
    assert_eq!(parse_line(b"OK"), Ok(Line::Ok("")));
    assert_eq!(parse_line(b"FAIL Unknown command"), Ok(Line::Failed("Unknown command")));
    assert_eq!(parse_line(b"IRQ lower 11"), Ok(Line::Irq { number: 11, raised: false }));
    assert_eq!(parse_line(b"IRQ raise x"), Err(CodecError::NotANumber));
    assert_eq!(parse_line(b"YES 1"), Err(CodecError::UnknownWord));
    assert_eq!(parse_line(b"OK \xff"), Err(CodecError::NotText));
    assert_eq!(value("0x00000000ffffffff"), Ok(0xffff_ffff));
    assert_eq!(value("12"), Ok(12));
    for wrong in ["", "0x", "0x+1", "+1", "-1", "0x10000000000000000", "0b1"] {
        assert_eq!(value(wrong), Err(CodecError::NotANumber), "{wrong}");
    }
}

proptest! {
    /// RFC 4648 §4: what is encoded is decoded, and takes no other length.
    #[test]
    fn base64_is_the_inverse_of_itself(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = Vec::new();
        base64::encode(&data, &mut text);
        let mut back = vec![0; data.len()];
        prop_assert!(base64::decode(&text, &mut back));
        prop_assert_eq!(&back, &data);
        prop_assert!(!base64::decode(&text, &mut vec![0; data.len() + 3]));
    }

    /// One text for each block of bytes: whatever is taken is what would be sent.
    #[test]
    fn a_block_has_one_spelling(text in "[A-Za-z0-9+/=]{4,12}", len in 0usize..10) {
        let mut bytes = vec![0; len];
        if base64::decode(text.as_bytes(), &mut bytes) {
            let mut again = Vec::new();
            base64::encode(&bytes, &mut again);
            prop_assert_eq!(again, text.into_bytes());
        }
    }

    /// A peer may send anything.
    #[test]
    fn no_line_makes_the_codec_panic(line in prop::collection::vec(any::<u8>(), 0..80), len in 0usize..20) {
        if let Ok(Line::Ok(rest)) = parse_line(&line) {
            let _ = value(rest);
            let _ = block(rest, &mut vec![0; len]);
        }
    }
}

/// A peer which answers each line as `answer` says, until that says nothing.
fn peer(
    mut answer: impl FnMut(&str) -> Option<String> + Send + 'static,
) -> (Qemu, JoinHandle<Vec<String>>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let thread = std::thread::spawn(move || {
        let mut heard = Vec::new();
        let mut writer = theirs.try_clone().expect("a socket twice");
        for line in BufReader::new(theirs).lines() {
            let Ok(line) = line else { break };
            let reply = answer(&line);
            heard.push(line);
            match reply {
                Some(reply) if writer.write_all(reply.as_bytes()).is_ok() => {}
                _ => break,
            }
        }
        heard
    });
    (Qemu::connected(ours, PATIENCE).expect("a socket has time limits"), thread)
}

/// What a machine with nothing in it answers.
fn plain(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(' ').collect();
    Some(match words[0] {
        "b64read" => {
            let len = usize::from_str_radix(&words[2][2..], 16).expect("hex");
            let mut text = Vec::new();
            base64::encode(&vec![0; len], &mut text);
            format!("OK {}\n", String::from_utf8(text).expect("ASCII"))
        }
        "clock_step" => "FAIL Unknown command 'clock_step'\n".to_owned(),
        word if word.starts_with("read") => "OK 0x1234\n".to_owned(),
        _ => "OK\n".to_owned(),
    })
}

/// A host over a peer that behaves until a line begins with `word`.
fn host_until(word: &'static str, then: &'static str) -> QtestHost {
    let (qemu, _) = peer(move |line| {
        if line.starts_with(word) {
            return (!then.is_empty()).then(|| then.to_owned());
        }
        plain(line)
    });
    QtestHost::new(qemu, CONFIG).expect("up to there all is well")
}

#[test]
fn accesses_go_out_in_order_and_writes_wait_for_nobody() {
    let (qemu, thread) = peer(plain);
    let mut host = QtestHost::new(qemu, CONFIG).expect("it behaves");
    for number in 0..200 {
        host.mmio_write(PhysAddr(0xfed9_0000), Width::W32, number);
    }
    assert_eq!(host.mmio_read(PhysAddr(0xfed9_0000), Width::W8), 0x34, "cut to its width");
    host.settle().expect("all is done");
    drop(host);
    let heard = thread.join().expect("the peer ends");
    let writes: Vec<&String> = heard.iter().filter(|line| line.starts_with("writel")).collect();
    assert_eq!(writes.len(), 200);
    assert!(writes[199].ends_with("0xc7"));
    assert_eq!(heard.last().map(String::as_str), Some("readb 0xfed90000"));
    assert!(heard.iter().any(|line| line == "outl 0xcfc 0xb0000001"), "ECAM is switched on");
}

/// A message is a write to RAM, which is found by looking and then cleared.
#[test]
fn a_message_in_memory_is_an_interrupt_once() {
    let mut raised = false;
    let (qemu, thread) = peer(move |line| {
        // The second of two messages that were given out.
        if line == "b64read 0x1000 0x8" && !std::mem::replace(&mut raised, true) {
            return Some("OK AAAAAAIAAAA=\n".to_owned());
        }
        plain(line)
    });
    let mut host = QtestHost::new(qemu, CONFIG).expect("it behaves");
    let (_, first) = host.allocate_message().expect("there is room");
    let (vector, second) = host.allocate_message().expect("there is room");
    assert_eq!((first.address, second.address, second.data), (0x1000, 0x1004, 2));
    let deadline = host.now() + Span::from_ms(1);
    assert_eq!(host.wait_interrupt(deadline), Some(Vector(vector.0)));
    assert_eq!(host.wait_interrupt(deadline), None);
    assert!(host.now() >= deadline && host.failure().is_none());
    drop(host);
    let heard = thread.join().expect("the peer ends");
    assert!(heard.iter().any(|line| line == "b64write 0x1004 0x4 AAAAAA=="), "{heard:?}");
}

#[test]
fn a_clock_that_can_be_stepped_is_kept_up() {
    let (qemu, thread) = peer(|line| match line.strip_prefix("clock_step ") {
        Some(ns) => Some(format!("OK {ns}\n")),
        None => plain(line),
    });
    let mut host = QtestHost::new(qemu, CONFIG).expect("it behaves");
    assert!(host.has_clock());
    host.spend(Span::from_ms(2));
    assert_eq!(host.take_interrupt(), None);
    drop(host);
    let heard = thread.join().expect("the peer ends");
    let steps: u64 = heard
        .iter()
        .filter_map(|line| line.strip_prefix("clock_step "))
        .map(|ns| ns.parse::<u64>().expect("a number"))
        .sum();
    assert!(steps >= 2_000_000, "{steps} ns");
}

/// After a failure reads give all ones and whoever waits comes to an end.
fn is_over(host: &mut QtestHost) -> QtestError {
    let deadline = host.now() + Span::from_ms(50);
    assert_eq!(host.mmio_read(PhysAddr(0xfed9_0000), Width::W32), 0xffff_ffff);
    assert_eq!(host.wait_interrupt(deadline), None);
    assert!(host.now() >= deadline);
    let mut bytes = [0; 4];
    host.read(PhysAddr(0x2000), &mut bytes);
    assert_eq!(bytes, [0xff; 4]);
    host.failure().expect("it has failed").clone()
}

#[test]
fn a_qemu_that_dies_is_an_error_and_no_hang() {
    let mut host = host_until("readl 0xfed9", "");
    assert!(matches!(is_over(&mut host), QtestError::Gone { .. }));
    assert!(matches!(host.settle(), Err(QtestError::Gone { .. })));
}

#[test]
fn a_qemu_that_falls_silent_is_an_error_within_its_time() {
    let mut host = host_until("readl 0xfed9", "O");
    let QtestError::Silent { limit, .. } = is_over(&mut host) else {
        panic!("{:?}", host.failure())
    };
    assert_eq!(limit, PATIENCE);
}

#[test]
fn a_qemu_that_says_no_or_nonsense_is_quoted() {
    let mut host = host_until("readl 0xfed9", "ERR no such thing\n");
    let error = is_over(&mut host).to_string();
    assert_eq!(error, "QEMU does not do readl 0xfed90000: no such thing");
    let mut host = host_until("readl 0xfed9", "OK forty-two\n");
    let error = is_over(&mut host).to_string();
    assert!(error.contains("readl 0xfed90000 with «OK forty-two»: a number"), "{error}");
}

#[test]
fn a_program_that_is_not_there_or_no_qemu_is_told_with_its_last_words() {
    let start = |program: &str| Qemu::start(program.as_ref(), &[], PATIENCE);
    let error = start("/nonexistent/qemu").expect_err("there is no such program");
    assert!(matches!(error, QtestError::NotStarted { .. }), "{error}");
    // A shell takes no such option, says so, and ends.
    let qemu = start("/bin/sh").expect("there is a shell");
    let error = QtestHost::new(qemu, CONFIG).expect_err("it speaks another language");
    let QtestError::Gone { status, last_words } = &error else { panic!("{error}") };
    assert!(status.contains("exit status") && last_words.contains("option"), "{error}");
}
