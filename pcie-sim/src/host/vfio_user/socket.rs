//! The socket: private to its user, one client at a time, read by a thread of its own.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::message::{HEADER_BYTES, Header, Kind, Message, MessageError};

/// Descriptors that one message may bring; we say so in the version's capabilities.
pub(super) const MOST_FDS: usize = 16;
/// Messages that may wait for the simulation; then the socket fills, and the client waits.
const ROOM: usize = 256;
/// A client that takes no answer for so long is as good as gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// What comes from the socket.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message, and the descriptors that came with it.
    Message(Message, Vec<OwnedFd>),
    /// A message that is to be refused; the stream goes on.
    Bad(Header, MessageError),
    /// Somebody else has come, and was sent away.
    SecondClient,
    /// Nothing more comes.
    Gone(Gone),
}

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// The client has closed the connection, between two messages.
    Closed,
    /// The client has closed it in the middle of a message.
    HalfWay,
    /// What came cannot be followed any further.
    Nonsense(MessageError),
    /// The operating system says so.
    Failed(String),
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::HalfWay,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A socket that waits for its client. Its file goes away with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket, for this user alone; so is a folder that is made for it. One that nobody listens
    /// on any more is replaced.
    ///
    /// # Errors
    /// What the operating system says: somebody listens there already, something else is there, or it
    /// may not be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
            && !folder.exists()
        {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is there, and no socket",
                ));
            }
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there"));
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let socket = Self { listener, path: path.to_path_buf() };
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(socket)
    }

    /// Waits for a client, and reads what it sends in a thread of its own.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn accept(self) -> io::Result<Connection> {
        let (stream, _) = self.listener.accept()?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reading = stream.try_clone()?;
        let (sender, incoming) = bounded(ROOM);
        let reader = std::thread::Builder::new().name("vfio-user".to_owned()).spawn(move || {
            let gone = Reader { stream: reading, socket: &self, sender: &sender }.read();
            // Nobody may be there any more to whom it matters.
            let _ = sender.send(Incoming::Gone(gone));
        })?;
        Ok(Connection { stream, incoming, reader: Some(reader), buffer: Vec::new() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have been taken away by somebody; nothing depends on it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A client, seen from the simulation.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) incoming: Receiver<Incoming>,
    reader: Option<JoinHandle<()>>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a message.
    pub(super) fn send(&mut self, message: &Message) -> Result<(), Gone> {
        message.emit(&mut self.buffer);
        Ok((&self.stream).write_all(&self.buffer)?)
    }

    /// Refuses a message that could not be read.
    pub(super) fn refuse(&mut self, header: &Header, errno: u32) -> Result<(), Gone> {
        Ok((&self.stream).write_all(&refusal(header, errno))?)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The reader sees the end, drops the socket, and ends.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        while self.incoming.recv().is_ok() {}
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The answer to a message whose command may not even be known.
fn refusal(header: &Header, errno: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = Message {
        id: header.id,
        command: super::message::Command::Version,
        kind: Kind::Refuse(errno),
        body: super::message::Body::Empty,
    };
    message.emit(&mut bytes);
    bytes[2..4].copy_from_slice(&header.command.to_le_bytes());
    bytes
}

struct Reader<'a> {
    stream: UnixStream,
    socket: &'a Socket,
    sender: &'a Sender<Incoming>,
}

impl Reader<'_> {
    fn read(&mut self) -> Gone {
        loop {
            match self.next() {
                Ok(Some(incoming)) => {
                    if self.sender.send(incoming).is_err() {
                        return Gone::Closed;
                    }
                }
                Ok(None) => {}
                Err(gone) => return gone,
            }
        }
    }

    fn next(&mut self) -> Result<Option<Incoming>, Gone> {
        let mut fds = [
            PollFd::new(&self.stream, PollFlags::IN),
            PollFd::new(&self.socket.listener, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => return Ok(None),
            other => other.map_err(io::Error::from)?,
        };
        let [client, others] = fds.map(|fd| !fd.revents().is_empty());
        if others && self.socket.listener.accept().is_ok() {
            return Ok(Some(Incoming::SecondClient));
        }
        if client { self.message().map(Some) } else { Ok(None) }
    }

    fn message(&mut self) -> Result<Incoming, Gone> {
        let (mut bytes, mut fds) = ([0; HEADER_BYTES], Vec::new());
        let first = self.receive(&mut bytes, &mut fds)?;
        if first == 0 {
            return Err(Gone::Closed);
        }
        self.stream.read_exact(&mut bytes[first..])?;
        let header = Header::parse(&bytes).map_err(Gone::Nonsense)?;
        let mut body = vec![0; header.body_bytes()];
        self.stream.read_exact(&mut body)?;
        Ok(match Message::parse(&header, &body) {
            Ok(message) => Incoming::Message(message, fds),
            Err(error) => Incoming::Bad(header, error),
        })
    }

    /// The first bytes of a message, with which its descriptors come.
    fn receive(&self, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, Gone> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(bytes)];
        let received = loop {
            let flags = RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.stream, &mut into, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                other => break other.map_err(io::Error::from)?,
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            let why = format!("more than {MOST_FDS} descriptors came with a message");
            return Err(Gone::Failed(why));
        }
        Ok(received.bytes)
    }
}
