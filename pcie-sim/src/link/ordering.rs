//! Which TLP may overtake which: PCIe 5.0 §2.4.1, table "Ordering Rules Summary", as a table.
//!
//! ```text
//!   may the row pass the column?   posted   read   with data   completion
//!   posted                         no  *    yes    yes         may
//!   read                           no  *    may    may         may
//!   non-posted with data           no  *    may    may         may
//!   completion                     no  *    yes    yes         may (never its own transaction's)
//!   *: relaxed ordering or another ID may turn it into "may"
//! ```
//!
//! Not modelled: bridges to PCI (entry A5b), PASID as a part of an ID, and entry D2b's leave for
//! completions of I/O and configuration writes, of which nothing in the completion tells.

use crate::address::Bdf;
use crate::tlp::{Attributes, FlowClass, Tag, Tlp};

/// What the table tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Memory writes and messages.
    Posted,
    /// Requests for data that carry none.
    Read,
    /// Non-posted requests that carry data: I/O and configuration writes, atomic operations.
    WithData,
    /// Answers.
    Completion,
}

/// Whether a later TLP goes past an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It must not.
    No,
    /// It may or may not.
    May,
    /// It must be able to, or two sides could wait for each other forever.
    Yes,
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What holds when nothing below applies.
    pub plain: Pass,
    /// With Relaxed Ordering set in the later one it may.
    pub relaxed: bool,
    /// With ID-based Ordering set in the later one, and another sender, it may.
    pub other_id: bool,
    /// Within one transaction it must not.
    pub one_transaction: bool,
}

const fn rule(plain: Pass) -> Rule {
    Rule { plain, relaxed: false, other_id: false, one_transaction: false }
}

/// Entry 2a with 2b: never, but for Relaxed Ordering and ID-based Ordering.
const BEHIND: Rule =
    Rule { plain: Pass::No, relaxed: true, other_id: true, one_transaction: false };
/// Entry B2b: a read's own Relaxed Ordering means nothing here.
const READ_BEHIND: Rule = Rule { relaxed: false, ..BEHIND };
/// Entry D5.
const PARTS: Rule = Rule { one_transaction: true, ..rule(Pass::May) };

/// The table: `TABLE[later][earlier]`, in the order of [`Kind`].
pub const TABLE: [[Rule; 4]; 4] = [
    [BEHIND, rule(Pass::Yes), rule(Pass::Yes), rule(Pass::May)],
    [READ_BEHIND, rule(Pass::May), rule(Pass::May), rule(Pass::May)],
    [BEHIND, rule(Pass::May), rule(Pass::May), rule(Pass::May)],
    [BEHIND, rule(Pass::Yes), rule(Pass::Yes), PARTS],
];

/// What of a TLP the table asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Row or column.
    pub kind: Kind,
    /// Requester ID of a request, completer ID of a completion.
    pub sender: Bdf,
    /// The transaction a completion belongs to.
    pub transaction: Option<(Bdf, Tag)>,
    /// Its attributes.
    pub attributes: Attributes,
}

impl Facts {
    /// Of this TLP.
    #[must_use]
    pub fn of(tlp: &Tlp) -> Self {
        let kind = match tlp.flow_class() {
            FlowClass::Posted => Kind::Posted,
            FlowClass::Completion => Kind::Completion,
            FlowClass::NonPosted if tlp.data_dwords() > 0 => Kind::WithData,
            FlowClass::NonPosted => Kind::Read,
        };
        let none = Attributes::default();
        let (sender, attributes, transaction) = match tlp.plain() {
            Tlp::MemRead(read) => (read.requester, read.attributes, None),
            Tlp::MemWrite(write) => (write.requester, write.attributes, None),
            Tlp::ConfigRead(read) => (read.requester, none, None),
            Tlp::ConfigWrite(write) => (write.requester, none, None),
            Tlp::Message(message) => (message.requester, message.attributes, None),
            Tlp::IoRead(read) => (read.requester, none, None),
            Tlp::IoWrite(write) => (write.requester, none, None),
            Tlp::Atomic(atomic) => (atomic.requester, atomic.attributes, None),
            // What is plain is not extended.
            Tlp::Extended(_) => (Bdf::default(), none, None),
            Tlp::Completion(answer) => {
                (answer.completer, answer.attributes, Some((answer.requester, answer.tag)))
            }
        };
        Self { kind, sender, transaction, attributes }
    }

    /// Whether this one, handed over later, goes past `earlier`.
    #[must_use]
    pub fn passes(&self, earlier: &Self) -> Pass {
        let rule = TABLE[self.kind as usize][earlier.kind as usize];
        if rule.one_transaction && self.transaction == earlier.transaction {
            return Pass::No;
        }
        if rule.plain != Pass::No {
            return rule.plain;
        }
        let relaxed = rule.relaxed && self.attributes.relaxed_ordering;
        let other =
            rule.other_id && self.attributes.id_based_ordering && self.sender != earlier.sender;
        // Nothing orders one traffic class against another.
        let apart = self.attributes.traffic_class != earlier.attributes.traffic_class;
        if relaxed || other || apart { Pass::May } else { Pass::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: Kind) -> Facts {
        Facts {
            kind,
            sender: Bdf::new(1, 0, 0),
            transaction: (kind == Kind::Completion).then_some((Bdf::new(1, 0, 0), Tag(1))),
            attributes: Attributes::default(),
        }
    }

    fn relaxed(kind: Kind) -> Facts {
        let mut facts = facts(kind);
        facts.attributes.relaxed_ordering = true;
        facts
    }

    fn id_based(kind: Kind, sender: Bdf) -> Facts {
        let mut facts = Facts { sender, ..facts(kind) };
        facts.attributes.id_based_ordering = true;
        facts
    }

    const KINDS: [Kind; 4] = [Kind::Posted, Kind::Read, Kind::WithData, Kind::Completion];

    /// Entries A2a, B2a, C2a, D2a.
    #[test]
    fn nothing_passes_a_posted_request_without_leave() {
        for kind in KINDS {
            assert_eq!(facts(kind).passes(&facts(Kind::Posted)), Pass::No, "{kind:?}");
        }
    }

    /// Entries A2b, C2b, D2b; B2b does not name Relaxed Ordering.
    #[test]
    fn relaxed_ordering_lets_all_but_reads_pass_a_posted_request() {
        let posted = facts(Kind::Posted);
        assert_eq!(relaxed(Kind::Posted).passes(&posted), Pass::May);
        assert_eq!(relaxed(Kind::Read).passes(&posted), Pass::No);
        assert_eq!(relaxed(Kind::WithData).passes(&posted), Pass::May);
        assert_eq!(relaxed(Kind::Completion).passes(&posted), Pass::May);
        assert_eq!(facts(Kind::Posted).passes(&relaxed(Kind::Posted)), Pass::No, "the later one's");
    }

    /// Entries A2b, B2b, C2b, D2b: ID-based Ordering speaks of other senders only.
    #[test]
    fn id_based_ordering_lets_everything_pass_the_posted_requests_of_others() {
        for kind in KINDS {
            let posted = facts(Kind::Posted);
            assert_eq!(id_based(kind, Bdf::new(2, 0, 0)).passes(&posted), Pass::May, "{kind:?}");
            assert_eq!(id_based(kind, posted.sender).passes(&posted), Pass::No, "{kind:?}");
        }
    }

    /// Entries A3, A4, D3, D4: else two sides could wait for each other.
    #[test]
    fn posted_requests_and_completions_must_get_past_non_posted_requests() {
        for later in [Kind::Posted, Kind::Completion] {
            for earlier in [Kind::Read, Kind::WithData] {
                assert_eq!(facts(later).passes(&facts(earlier)), Pass::Yes);
            }
        }
    }

    /// Entries A5a, B3, B4, B5, C3, C4, C5: nobody asks for an order here.
    #[test]
    fn non_posted_requests_may_pass_each_other_and_completions() {
        assert_eq!(facts(Kind::Posted).passes(&facts(Kind::Completion)), Pass::May);
        for later in [Kind::Read, Kind::WithData] {
            for earlier in [Kind::Read, Kind::WithData, Kind::Completion] {
                assert_eq!(facts(later).passes(&facts(earlier)), Pass::May);
            }
        }
    }

    /// Entries D5a and D5b.
    #[test]
    fn completions_pass_each_other_but_never_within_one_transaction() {
        let (one, mut other) = (facts(Kind::Completion), facts(Kind::Completion));
        assert_eq!(relaxed(Kind::Completion).passes(&one), Pass::No, "whatever its attributes");
        other.transaction = Some((Bdf::new(1, 0, 0), Tag(2)));
        assert_eq!(one.passes(&other), Pass::May);
        other.transaction = Some((Bdf::new(1, 0, 1), Tag(1)));
        assert_eq!(one.passes(&other), Pass::May, "the tag of another requester");
    }
}
