//! What may be said of a card for a live guest, and of the guest.

use std::path::PathBuf;

use clap::Args;
use pcie_sim::host::vfio_user::Dma;
use pcie_sim::time::Span;
use rtl_model::{Deed, Malice};

use super::args::{RunOptions, device, picoseconds};
use crate::card::CardChoice;
use crate::guest::Work;
use crate::scenario::Overrides;
use crate::scenario::config::{Device, RunConfig};
use crate::scenario::file::ByteSize;
use crate::scenario::source::InputError;
use crate::serve::ServeConfig;

/// The options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where the socket is made: for this user alone
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// The card.
    #[command(flatten)]
    pub card: CardArgs,
}

/// The options of `guest`.
#[derive(Debug, Args)]
pub struct GuestArgs {
    /// Folder with `qemu`, `vmlinuz` and `initramfs`, as `scripts/guest` makes it
    #[arg(long, value_name = "DIR")]
    pub kit: PathBuf,
    /// The card.
    #[command(flatten)]
    pub card: CardArgs,
    /// Seconds after which a guest is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub limit: u64,
    /// Do not boot with QEMU's own disk as well
    #[arg(long)]
    pub only_card: bool,
    /// What the guest does: `disk` or `net`, all there is to do with such a card; `unplug`, the disk is pulled
    /// while the guest runs; `blocks`, `packets`: the work of the table of drivers. [default: all, by device]
    #[arg(long, value_name = "WORK", value_parser = work)]
    pub work: Option<Work>,
    /// What the guest's console must have; may be repeated. Then its work need not succeed
    #[arg(long, value_name = "TEXT")]
    pub says: Vec<String>,
    /// A rule that must be found broken, and no other may be; may be repeated. Then the guest's work need
    /// not succeed
    #[arg(long, value_name = "RULE")]
    pub finds: Vec<String>,
    /// Write what the guest wrote to its console
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
}

/// A card for a live guest.
#[derive(Debug, Args)]
pub struct CardArgs {
    /// Card under test: `model`, or `rtl:MANIFEST`
    #[arg(long, value_name = "CARD", default_value = "model")]
    pub card: String,
    /// Which virtio device the card is: `blk` or `net`
    #[arg(long, value_name = "DEVICE", default_value = "blk", value_parser = device)]
    pub device: Device,
    /// How the card reaches the guest's memory: `messages`, which the guest's IOMMU translates, or
    /// `shared`, where the guest shares it
    #[arg(long, value_name = "WAY", default_value = "messages", value_parser = dma)]
    pub dma: Dma,
    /// What the disk holds at first; the file is never written to
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// Size of a disk that holds nothing at first
    #[arg(long, value_name = "SIZE", default_value = "64 MiB", value_parser = size)]
    pub disk_size: ByteSize,
    /// A wrong that the card does on purpose, and at which request of queue 0, as in `stray-read@100`; may
    /// be repeated
    #[arg(long, value_name = "DEED@N", value_parser = malice)]
    pub malice: Vec<Malice>,
    /// Simulated time for which the card goes on when nothing crosses the link and no request is under way;
    /// then time stands. Also the longest that a reset takes. [default: 50ms, a reset 100ms; of RTL, of which
    /// every edge of the clock is computed, 200us]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub idle: Option<Span>,
    /// Set one key of the scenario, as in `card.queue_size=64`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write every TLP, one a line, in hex and in words
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write waves (.fst or .vcd)
    #[arg(long, value_name = "FILE")]
    pub waves: Option<PathBuf>,
}

fn span(text: &str) -> Result<Span, String> {
    match picoseconds(text)? {
        0 => Err("no time at all is too short".to_owned()),
        ps => Ok(Span::from_ps(ps)),
    }
}

fn work(name: &str) -> Result<Work, String> {
    let names = Work::ALL.map(Work::name).join(", ");
    let work = Work::ALL.into_iter().find(|work| work.name() == name);
    work.ok_or_else(|| format!("there are: {names}"))
}

fn dma(name: &str) -> Result<Dma, String> {
    match name {
        "messages" => Ok(Dma::Messages),
        "shared" => Ok(Dma::Shared),
        _ => Err("there are: messages, shared".to_owned()),
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).ok_or("a size is written as in 64 MiB")?;
    match size.0 {
        bytes if bytes >= 512 && bytes.is_multiple_of(512) => Ok(size),
        _ => Err("a disk has whole sectors of 512 bytes".to_owned()),
    }
}

/// Where no guest has memory or a mapping, so that whatever is there refuses.
const STRAY: u64 = 0xdead_f000;

fn malice(text: &str) -> Result<Malice, String> {
    let (name, request) = text.split_once('@').unwrap_or((text, "1"));
    let request = request.parse().map_err(|_| format!("`{request}` is no number"))?;
    let deeds = [
        Deed::WrongUsedId,
        Deed::UsedLengthBeyondBuffer,
        Deed::UsedIndexJump,
        Deed::UsedElementTwice,
        Deed::RewriteDescriptor,
        Deed::UseAfterUsed { delay: Span::from_ms(1) },
        Deed::StrayRead { address: STRAY, len_bytes: 64 },
        Deed::StrayWrite { address: STRAY, len_bytes: 64 },
        Deed::FetchBeforeDriverOk,
    ];
    let names = deeds.map(Deed::name).join(", ");
    let deed = deeds.into_iter().find(|deed| deed.name() == name);
    let deed = deed.ok_or_else(|| format!("there are: {names}"))?;
    Ok(Malice { deed, queue: 0, request, seed: 1 })
}

impl CardArgs {
    /// The card that they name.
    ///
    /// # Errors
    /// A card that there is not, or that cannot do wrong on purpose; what is wrong in its manifest.
    pub(super) fn choice(&self) -> Result<CardChoice, InputError> {
        let card = CardChoice::parse(&self.card)?;
        if matches!(card, CardChoice::Rtl(_)) && !self.malice.is_empty() {
            let why = "only the model does wrong on purpose; bugs of RTL are put into its source";
            return Err(InputError::whole("--malice", why));
        }
        Ok(card)
    }

    /// What they put in place of what the built-in scenario says.
    pub(super) fn overrides(&self) -> Overrides {
        let only = Some(format!("/{}", self.device));
        Overrides { set: self.set.clone(), only, ..Overrides::default() }
    }

    /// The files to be written, as `run` has them.
    pub(super) fn files(&self) -> RunOptions {
        RunOptions {
            json: self.json.clone(),
            trace: self.trace.clone(),
            waves: self.waves.clone(),
            ..RunOptions::default()
        }
    }

    /// What is served at `socket`.
    pub(super) fn config(&self, socket: PathBuf, run: RunConfig) -> ServeConfig {
        ServeConfig {
            socket,
            dma: self.dma,
            device: self.device,
            disk: self.disk.clone(),
            disk_bytes: self.disk_size.0,
            malice: self.malice.clone(),
            idle: self.idle,
            run,
        }
    }
}
