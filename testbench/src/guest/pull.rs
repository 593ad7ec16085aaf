//! A card is pulled while the guest runs: as much of QEMU's monitor protocol (QMP) as that takes.
//!
//! ```text
//!   guest: "the card may be pulled" ─console─▶ Pull ─device_del─▶ QEMU ─attention button─▶ guest
//!                                                   ◀─DEVICE_DELETED─      ◀─slot off──
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// What the guest says when nothing holds the card any more.
const READY: &str = "GUEST: the card may be pulled";
/// How long it is listened each time.
const LISTEN: Duration = Duration::from_millis(5);
/// The card's name in QEMU.
pub(super) const CARD: &str = "card";

/// Somebody who pulls the card.
#[derive(Debug)]
pub(super) struct Pull {
    /// QEMU's monitor.
    pub(super) monitor: PathBuf,
    /// Where the guest says that it may be.
    pub(super) console: PathBuf,
    connection: Option<BufReader<UnixStream>>,
    line: String,
    is_done: bool,
}

impl Pull {
    pub(super) fn new(monitor: PathBuf, console: PathBuf) -> Self {
        Self { monitor, console, connection: None, line: String::new(), is_done: false }
    }

    /// QEMU has told that the card is gone.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Looks whether there is something to do.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if self.is_done {
            return Ok(());
        }
        if self.connection.is_some() {
            return self.listen();
        }
        let said = fs::read(&self.console)?;
        if String::from_utf8_lossy(&said).contains(READY) {
            self.connection = Some(self.ask()?);
        }
        Ok(())
    }

    fn ask(&self) -> io::Result<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(&self.monitor)?;
        stream.set_read_timeout(Some(LISTEN))?;
        let delete =
            serde_json::json!({ "execute": "device_del", "arguments": { "id": CARD } }).to_string();
        stream.write_all(b"{\"execute\": \"qmp_capabilities\"}\n")?;
        stream.write_all((delete + "\n").as_bytes())?;
        Ok(BufReader::new(stream))
    }

    fn listen(&mut self) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        loop {
            match connection.read_line(&mut self.line) {
                // QEMU is gone, and whoever waits for it sees that.
                Ok(0) => return Ok(()),
                Ok(_) => {
                    self.is_done |= tells_of_the_end(&self.line);
                    self.line.clear();
                }
                // What has come of a line stays there for the next time.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A line with the event that a card is unplugged.
fn tells_of_the_end(line: &str) -> bool {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return false };
    message["event"] == "DEVICE_DELETED" && message["data"]["device"] == CARD
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Before the guest says so nothing is asked; other devices' events and torn lines are no end.
    #[test]
    fn a_card_is_pulled_when_the_guest_says_so_and_is_gone_when_qemu_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let (monitor, console) = (folder.path().join("monitor"), folder.path().join("console"));
        let listener = UnixListener::bind(&monitor).expect("a socket");
        fs::write(&console, "GUEST: ok work\n").expect("written");
        let mut pull = Pull::new(monitor, console.clone());
        pull.turn().expect("nothing to do");
        assert!(pull.connection.is_none());
        fs::write(&console, format!("noise{READY}\r\n")).expect("written");
        pull.turn().expect("it asks");
        let (mut qemu, _) = listener.accept().expect("it came");
        let mut asked = BufReader::new(qemu.try_clone().expect("a copy")).lines();
        assert!(asked.next().expect("a line").expect("text").contains("qmp_capabilities"));
        assert!(asked.next().expect("a line").expect("text").contains("device_del"));
        let other = "{\"event\": \"DEVICE_DELETED\", \"data\": {\"path\": \"/x\"}}\n{\"even";
        qemu.write_all(other.as_bytes()).expect("sent");
        pull.turn().expect("it listens");
        assert!(!pull.is_done());
        let rest = "t\": \"DEVICE_DELETED\", \"data\": {\"device\": \"card\"}}\n";
        qemu.write_all(rest.as_bytes()).expect("sent");
        pull.turn().expect("it listens");
        assert!(pull.is_done());
    }
}
