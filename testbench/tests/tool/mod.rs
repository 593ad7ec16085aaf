//! Programs from outside, each with a limit of time.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What `command` says when it ends well within `patience`; `remedy` is for who does not have it.
pub(crate) fn said(command: &mut Command, patience: Duration, remedy: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}; {remedy}"));
    let mut output = child.stdout.take().expect("it is a pipe");
    let (said, hear) = mpsc::channel();
    std::thread::spawn(move || said.send(std::io::read_to_string(&mut output)));
    let heard = hear.recv_timeout(patience);
    if heard.is_err() {
        child.kill().expect("it is our child");
    }
    let status = child.wait().expect("it is our child");
    assert!(status.success(), "{name}: {status}");
    heard.expect("it ends in time").expect("it says text")
}
