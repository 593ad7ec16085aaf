//! The signals of a bench, and where they stand in the viewer's tree.

use pcie_sim::tlp::FlowClass;
use waves::{DeclareError, SignalId, Tree};

use super::Shape;
use super::card::CardSignals;

/// Room for the longest mnemonic.
const KIND_BYTES: u32 = 8;
/// Room for a completion status.
const STATUS_BYTES: u32 = 4;
/// Room for what the analyzer calls a purpose.
pub(super) const PURPOSE_BYTES: usize = 24;
/// Room for a queue's state.
pub(super) const STATE_BYTES: usize = 16;

pub(super) struct Signals {
    /// Indexed by `Direction`.
    pub(super) lanes: [Lane; 2],
    pub(super) queues: Vec<Queue>,
    pub(super) bus_master: SignalId,
    pub(super) vectors: Vec<SignalId>,
    pub(super) card: CardSignals,
}

pub(super) struct Lane {
    pub(super) busy: SignalId,
    pub(super) kind: SignalId,
    pub(super) purpose: SignalId,
    pub(super) status: SignalId,
    pub(super) address: SignalId,
    pub(super) tag: SignalId,
    pub(super) length: SignalId,
    pub(super) tlps: SignalId,
    posted: (SignalId, SignalId),
    non_posted: (SignalId, SignalId),
    completion: (SignalId, SignalId),
}

#[derive(Clone, Copy)]
pub(super) struct Queue {
    pub(super) avail_idx: SignalId,
    pub(super) used_idx: SignalId,
    pub(super) state: SignalId,
}

impl Lane {
    /// The signals of a class's credits: headers, data.
    pub(super) fn credits_of(&self, class: FlowClass) -> (SignalId, SignalId) {
        match class {
            FlowClass::Posted => self.posted,
            FlowClass::NonPosted => self.non_posted,
            FlowClass::Completion => self.completion,
        }
    }
}

pub(super) fn declare(shape: &Shape) -> Result<(Tree, Signals), DeclareError> {
    let mut tree = Tree::new();
    let lanes = tree.scope("link", |link| {
        Ok([link.scope("downstream", lane)?, link.scope("upstream", lane)?])
    })?;
    let queues = (0..shape.queues)
        .map(|number| tree.scope(&format!("queue{number}"), queue))
        .collect::<Result<_, _>>()?;
    let (bus_master, vectors) = tree.scope("interrupt", |interrupt| {
        let bus_master = interrupt.bits("bus_master", 1)?;
        let vectors = (0..shape.vectors)
            .map(|number| interrupt.bits(&format!("vector{number}"), 32))
            .collect::<Result<_, _>>()?;
        Ok((bus_master, vectors))
    })?;
    let card = CardSignals::declare(&mut tree)?;
    Ok((tree, Signals { lanes, queues, bus_master, vectors, card }))
}

fn lane(tree: &mut Tree) -> Result<Lane, DeclareError> {
    let (busy, kind) = (tree.bits("busy", 1)?, tree.text("kind", KIND_BYTES)?);
    let purpose = tree.text("purpose", PURPOSE_BYTES as u32)?;
    let status = tree.text("status", STATUS_BYTES)?;
    let (address, tag) = (tree.bits("address", 64)?, tree.bits("tag", 10)?);
    let (length, tlps) = (tree.bits("length", 13)?, tree.bits("tlps", 32)?);
    let [posted, non_posted, completion] = tree.scope("credits", |credits| {
        let mut class = |name: &str| {
            Ok((
                credits.bits(&format!("{name}_header"), 16)?,
                credits.bits(&format!("{name}_data"), 16)?,
            ))
        };
        Ok([class("posted")?, class("non_posted")?, class("completion")?])
    })?;
    Ok(Lane {
        busy,
        kind,
        purpose,
        status,
        address,
        tag,
        length,
        tlps,
        posted,
        non_posted,
        completion,
    })
}

fn queue(tree: &mut Tree) -> Result<Queue, DeclareError> {
    Ok(Queue {
        avail_idx: tree.bits("avail_idx", 16)?,
        used_idx: tree.bits("used_idx", 16)?,
        state: tree.text("state", STATE_BYTES as u32)?,
    })
}

/// As much of a text as fits.
pub(super) fn fit(text: &'static str, len_bytes: usize) -> &'static str {
    text.get(..len_bytes).unwrap_or(text)
}
