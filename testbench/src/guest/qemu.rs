//! QEMU as a process: how it is started, and that it ends.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::after;
use pcie_sim::host::vfio_user::Dma;

use super::pull::{self, Pull};
use super::{Kit, Work};

/// How often it is looked whether the guest has powered off.
const TICK: Duration = Duration::from_millis(20);
/// How long QEMU waits for an answer of ours. Its own 5 s are too few for RTL on a busy machine.
const PATIENCE_MS: u32 = 60_000;
/// Of the time limit, the guest itself has all but so many seconds, in which to say what it knows.
const SPARE_S: u64 = 30;

/// The disk of a guest.
#[derive(Debug, Clone)]
pub enum Storage {
    /// QEMU's own virtio-blk on this image.
    Own(PathBuf),
    /// A card at this socket.
    Card(PathBuf, Dma),
}

/// A guest to be started.
#[derive(Debug)]
pub struct Qemu<'a> {
    /// Kernel and the rest.
    pub kit: &'a Kit,
    /// What it is to do.
    pub work: Work,
    /// What it has for a disk, or a network interface.
    pub storage: Storage,
    /// Where its console goes.
    pub console: &'a Path,
    /// Seconds of wall-clock time after which it is ended.
    pub limit_s: u64,
}

/// A guest that runs.
#[derive(Debug)]
pub struct Running {
    watcher: JoinHandle<io::Result<Ended>>,
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// By itself, within its time.
    pub by_itself: bool,
    /// QEMU has told that the card was pulled.
    pub unplugged: bool,
}

impl Qemu<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(self) -> io::Result<Running> {
        let console = File::create(self.console)?;
        let child = Command::new(self.kit.folder.join("qemu"))
            .args(self.arguments())
            .stdin(Stdio::null())
            .stderr(console.try_clone()?)
            .stdout(console)
            .spawn()?;
        let ticks = self.limit_s * 1000 / TICK.as_millis() as u64;
        let socket = match &self.storage {
            Storage::Own(_) => None,
            Storage::Card(socket, _) => Some(socket.clone()),
        };
        let pull = self.monitor().map(|monitor| Pull::new(monitor, self.console.to_path_buf()));
        let watcher = std::thread::spawn(move || watch(child, ticks, socket.as_deref(), pull));
        Ok(Running { watcher })
    }

    /// Where QEMU's monitor is, if somebody is to speak to it.
    fn monitor(&self) -> Option<PathBuf> {
        (self.work == Work::Unplug).then(|| self.console.with_extension("monitor"))
    }

    fn arguments(&self) -> Vec<String> {
        let kit = |name: &str| self.kit.folder.join(name).display().to_string();
        let limit = self.limit_s.saturating_sub(SPARE_S).max(5);
        // On a busy machine QEMU's timer is late, which the kernel would take for a broken board.
        let append = format!(
            "console=ttyS0 intel_iommu=on no_timer_check loglevel=5 panic=-1 vtb.limit={limit} \
             vtb.work={}",
            self.work.name()
        );
        let mut all: Vec<String> = [
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "512",
            "-smp",
            "1",
            "-display",
            "none",
            "-nodefaults",
            "-no-reboot",
            "-serial",
            "stdio",
            "-device",
            "intel-iommu,intremap=off,caching-mode=on",
            "-device",
            "pcie-root-port,id=slot1,slot=1,chassis=1",
        ]
        .map(str::to_owned)
        .into();
        all.extend(["-kernel".to_owned(), kit("vmlinuz"), "-initrd".to_owned(), kit("initramfs")]);
        all.extend(["-append".to_owned(), append]);
        let machine = match &self.storage {
            Storage::Own(image) => {
                all.extend([
                    "-drive".to_owned(),
                    format!("if=none,id=disk,format=raw,file={}", image.display()),
                ]);
                all.extend([
                    "-device".to_owned(),
                    "virtio-blk-pci,bus=slot1,drive=disk,disable-legacy=on,iommu_platform=on"
                        .to_owned(),
                ]);
                "q35"
            }
            Storage::Card(socket, dma) => {
                let device = serde_json::json!({
                    "driver": "vfio-user-pci",
                    "id": pull::CARD,
                    "bus": "slot1",
                    "socket": { "type": "unix", "path": socket },
                    "x-msg-timeout": PATIENCE_MS,
                });
                all.extend(["-device".to_owned(), device.to_string()]);
                match dma {
                    Dma::Messages => "q35",
                    Dma::Shared => {
                        let memory = "memory-backend-memfd,id=memory,size=512M,share=on";
                        all.extend(["-object".to_owned(), memory.to_owned()]);
                        "q35,memory-backend=memory"
                    }
                }
            }
        };
        all.extend(["-machine".to_owned(), machine.to_owned()]);
        if let Some(monitor) = self.monitor() {
            // The slot's own registers are to be used, not the firmware's substitute for them.
            let native = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
            all.extend(["-global".to_owned(), native.to_owned()]);
            let monitor = format!("unix:{},server=on,wait=off", monitor.display());
            all.extend(["-qmp".to_owned(), monitor]);
        }
        all
    }
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait(self) -> io::Result<Ended> {
        self.watcher.join().unwrap_or_else(|_| Err(io::Error::other("the watcher panicked")))
    }
}

fn watch(
    mut child: Child,
    ticks: u64,
    socket: Option<&Path>,
    mut pull: Option<Pull>,
) -> io::Result<Ended> {
    let mut by_itself = false;
    for _ in 0..ticks {
        if child.try_wait()?.is_some() {
            by_itself = true;
            break;
        }
        if let Some(pull) = &mut pull {
            // A monitor that cannot be spoken to pulls nothing, which is told in the end.
            let _ = pull.turn();
        }
        let _ = after(TICK).recv();
    }
    if !by_itself {
        child.kill()?;
        child.wait()?;
    }
    // Whoever still waits for a client that never came gets one that says nothing.
    if let Some(socket) = socket {
        drop(UnixStream::connect(socket));
    }
    Ok(Ended { by_itself, unplugged: pull.is_some_and(|pull| pull.is_done()) })
}
