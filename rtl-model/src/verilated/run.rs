//! Runs a program with a limit of time and hears what it says.

use std::io::Read;
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
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
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
            end(&descendants(child.id()));
            child.kill()?;
            child.wait()?;
            Err(ToolError::Late(limit))
        }
    }
}

/// What `process` has started, and what that has. It stays in our own process group, so that who ends us from
/// the keyboard ends it as well.
fn descendants(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let mut all: Vec<u32> = children.split_whitespace().flat_map(str::parse).collect();
    all.extend(all.clone().into_iter().flat_map(descendants));
    all
}

fn end(processes: &[u32]) {
    if !processes.is_empty() {
        let ids = processes.iter().map(u32::to_string);
        let _ = Command::new("kill").args(["-KILL", "--"]).args(ids).status();
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
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", note.display());
        let error = run(&mut shell(&script), Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, ToolError::Late(_)), "{error}");
        let id = std::fs::read_to_string(note).unwrap();
        // A signal takes a moment on a busy machine, and then the entry may stay as one nobody has waited for.
        let ended = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", id.trim()));
            status.is_err() || status.unwrap().contains("State:\tZ")
        };
        assert!((0..200).any(|_| {
            let _ = shell("sleep 0.05").status();
            ended()
        }));
    }
}
