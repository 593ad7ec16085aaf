//! Runs a program with a limit of time and hears what it says.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::error::ToolError;

/// What a program said, both streams in the order in which it wrote them, and how it ended.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: ExitStatus,
    pub(super) said: String,
}

/// Runs `command` to its end. Whatever it started is ended with it when it takes longer than `limit`.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<Heard, ToolError> {
    let (mut reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // Our own ends of the pipe, or it would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (said, hear) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = reader.read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens any more when it was too late.
        let _ = said.send(result);
    });
    match hear.recv_timeout(limit) {
        Ok(bytes) => {
            let said = String::from_utf8_lossy(&bytes?).into_owned();
            Ok(Heard { status: child.wait()?, said })
        }
        Err(_) => {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            child.kill()?;
            child.wait()?;
            Err(ToolError::Late(limit))
        }
    }
}

/// Runs `command`, which has to succeed, and gives what it said.
pub(super) fn run_well(command: &mut Command, limit: Duration) -> Result<String, ToolError> {
    let heard = run(command, limit)?;
    match heard.status.success() {
        true => Ok(heard.said),
        false => Err(ToolError::Failed {
            status: heard.status.to_string(),
            said: heard.said.lines().take(5).collect::<Vec<_>>().join("; "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_is_heard_on_both_streams() {
        let heard = run(&mut shell("echo a; echo b >&2; exit 3"), Duration::from_secs(20)).unwrap();
        assert_eq!((heard.said.as_str(), heard.status.code()), ("a\nb\n", Some(3)));
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_its_children() {
        let error = run(&mut shell("sleep 600 & wait"), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ToolError::Late(_)), "{error}");
    }
}
