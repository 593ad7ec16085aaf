//! Messages by name: their codes, the rules that go with a code, and how to make the usual ones.
//! PCIe 5.0 §2.2.8, "Message Request Rules", and appendix F, "Message Code Usage".

use super::{Attributes, Message, MessageRouting, Payload, Tag};
use crate::address::Bdf;

/// Message codes.
pub mod code {
    /// Unlock: a locked sequence is over.
    pub const UNLOCK: u8 = 0x00;
    /// Address translation: forget a translation.
    pub const INVALIDATE_REQUEST: u8 = 0x01;
    /// Address translation: it is forgotten.
    pub const INVALIDATE_COMPLETION: u8 = 0x02;
    /// Address translation: a page is wanted.
    pub const PAGE_REQUEST: u8 = 0x04;
    /// Address translation: the page is there, or is not.
    pub const PAGE_GROUP_RESPONSE: u8 = 0x05;
    /// Latency Tolerance Reporting.
    pub const LTR: u8 = 0x10;
    /// Optimized Buffer Flush/Fill.
    pub const OBFF: u8 = 0x12;
    /// Active state power management is refused.
    pub const PM_ACTIVE_STATE_NAK: u8 = 0x14;
    /// A power management event.
    pub const PM_PME: u8 = 0x18;
    /// Power will go.
    pub const PME_TURN_OFF: u8 = 0x19;
    /// Power may go.
    pub const PME_TO_ACK: u8 = 0x1b;
    /// INTA rises; INTB to INTD are the next three.
    pub const ASSERT_INTA: u8 = 0x20;
    /// INTA falls; INTB to INTD are the next three.
    pub const DEASSERT_INTA: u8 = 0x24;
    /// A correctable error.
    pub const ERR_COR: u8 = 0x30;
    /// An error that loses something, on a link that still works.
    pub const ERR_NONFATAL: u8 = 0x31;
    /// An error after which the link is not to be trusted.
    pub const ERR_FATAL: u8 = 0x33;
    /// How much power the slot gives.
    pub const SET_SLOT_POWER_LIMIT: u8 = 0x50;
    /// Precision Time Measurement, asked.
    pub const PTM_REQUEST: u8 = 0x52;
    /// Precision Time Measurement, answered.
    pub const PTM_RESPONSE: u8 = 0x53;
    /// A vendor's; who does not know it answers with an error.
    pub const VENDOR_DEFINED_TYPE_0: u8 = 0x7e;
    /// A vendor's; who does not know it drops it.
    pub const VENDOR_DEFINED_TYPE_1: u8 = 0x7f;
}

/// How bad an error is. PCIe 5.0 §2.2.8.3, "Error Signaling Messages".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorSeverity {
    /// ERR_COR.
    Correctable,
    /// ERR_NONFATAL.
    NonFatal,
    /// ERR_FATAL.
    Fatal,
}

/// A legacy interrupt line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IntxLine {
    /// INTA.
    A,
    /// INTB.
    B,
    /// INTC.
    C,
    /// INTD.
    D,
}

/// The name of a message code, in the specification's spelling.
#[must_use]
pub fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        code::UNLOCK => "Unlock",
        code::INVALIDATE_REQUEST => "Invalidate_Request",
        code::INVALIDATE_COMPLETION => "Invalidate_Completion",
        code::PAGE_REQUEST => "Page_Request",
        code::PAGE_GROUP_RESPONSE => "PRG_Response",
        code::LTR => "LTR",
        code::OBFF => "OBFF",
        code::PM_ACTIVE_STATE_NAK => "PM_Active_State_Nak",
        code::PM_PME => "PM_PME",
        code::PME_TURN_OFF => "PME_Turn_Off",
        code::PME_TO_ACK => "PME_TO_Ack",
        0x20 => "Assert_INTA",
        0x21 => "Assert_INTB",
        0x22 => "Assert_INTC",
        0x23 => "Assert_INTD",
        0x24 => "Deassert_INTA",
        0x25 => "Deassert_INTB",
        0x26 => "Deassert_INTC",
        0x27 => "Deassert_INTD",
        code::ERR_COR => "ERR_COR",
        code::ERR_NONFATAL => "ERR_NONFATAL",
        code::ERR_FATAL => "ERR_FATAL",
        0x40 | 0x41 | 0x43 | 0x44 | 0x45 | 0x47 | 0x48 => "Ignored",
        code::SET_SLOT_POWER_LIMIT => "Set_Slot_Power_Limit",
        code::PTM_REQUEST => "PTM_Request",
        code::PTM_RESPONSE => "PTM_Response",
        code::VENDOR_DEFINED_TYPE_0 => "Vendor_Defined_Type_0",
        code::VENDOR_DEFINED_TYPE_1 => "Vendor_Defined_Type_1",
        _ => return None,
    })
}

/// Whether a message of this code has to use traffic class 0; one that does not is malformed.
/// PCIe 5.0 §2.2.8.1 to §2.2.8.10, "... must use the default Traffic Class designator (TC0)".
#[must_use]
pub fn needs_traffic_class_0(code: u8) -> bool {
    matches!(
        code,
        code::UNLOCK
            | code::LTR
            | code::OBFF
            | code::PM_ACTIVE_STATE_NAK
            | code::PM_PME..=code::PME_TURN_OFF
            | code::PME_TO_ACK
            | code::ASSERT_INTA..=0x27
            | code::ERR_COR..=code::ERR_NONFATAL
            | code::ERR_FATAL
            | code::SET_SLOT_POWER_LIMIT
            | code::PTM_REQUEST..=code::PTM_RESPONSE
    )
}

/// How many bytes a message of this code carries, where the code fixes it.
#[must_use]
pub fn data_bytes(code: u8) -> Option<usize> {
    match code {
        code::SET_SLOT_POWER_LIMIT => Some(4),
        code::PTM_RESPONSE => None,
        code if needs_traffic_class_0(code) => Some(0),
        _ => None,
    }
}

impl ErrorSeverity {
    /// The code of the message that reports it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Correctable => code::ERR_COR,
            Self::NonFatal => code::ERR_NONFATAL,
            Self::Fatal => code::ERR_FATAL,
        }
    }
}

impl Message {
    /// A message without data, tag or meaning in bytes 8 to 15.
    #[must_use]
    pub fn new(requester: Bdf, code: u8, routing: MessageRouting) -> Self {
        Self {
            requester,
            tag: Tag(0),
            code,
            routing,
            specific: [0; 8],
            data: Payload::new(),
            attributes: Attributes::default(),
        }
    }

    /// ERR_COR, ERR_NONFATAL or ERR_FATAL, to the root complex.
    #[must_use]
    pub fn error(requester: Bdf, severity: ErrorSeverity) -> Self {
        Self::new(requester, severity.code(), MessageRouting::ToRootComplex)
    }

    /// How bad an error it reports, if it reports one.
    #[must_use]
    pub fn severity(&self) -> Option<ErrorSeverity> {
        [ErrorSeverity::Correctable, ErrorSeverity::NonFatal, ErrorSeverity::Fatal]
            .into_iter()
            .find(|severity| severity.code() == self.code)
    }

    /// Assert_INTx or Deassert_INTx, to the other side of the link. The function number of `requester`
    /// does not go with it. PCIe 5.0 §2.2.8.1, "INTx Interrupt Signaling - Rules".
    #[must_use]
    pub fn intx(requester: Bdf, line: IntxLine, asserted: bool) -> Self {
        let first = if asserted { code::ASSERT_INTA } else { code::DEASSERT_INTA };
        let sender = Bdf(requester.0 & !7);
        Self::new(sender, first + line as u8, MessageRouting::Local)
    }

    /// PM_PME, to the root complex.
    #[must_use]
    pub fn power_event(requester: Bdf) -> Self {
        Self::new(requester, code::PM_PME, MessageRouting::ToRootComplex)
    }

    /// PME_Turn_Off, from the root complex to all below.
    #[must_use]
    pub fn turn_off(requester: Bdf) -> Self {
        Self::new(requester, code::PME_TURN_OFF, MessageRouting::Broadcast)
    }

    /// PME_TO_Ack, gathered on its way to the root complex.
    #[must_use]
    pub fn turn_off_acknowledged(requester: Bdf) -> Self {
        Self::new(requester, code::PME_TO_ACK, MessageRouting::Gathered)
    }

    /// Set_Slot_Power_Limit: `value` watts times a power of ten, 0 for 1.0 down to 3 for 0.001.
    /// PCIe 5.0 §2.2.8.5, "Slot Power Limit Support".
    #[must_use]
    pub fn slot_power_limit(requester: Bdf, value: u8, scale: u8) -> Self {
        let mut message = Self::new(requester, code::SET_SLOT_POWER_LIMIT, MessageRouting::Local);
        // The bits of a register, as data: its low byte comes first.
        message.data = Payload::from_slice(&[value, scale & 3, 0, 0]);
        message
    }

    /// Vendor_Defined: type 0 wants an answer in the form of an error from who does not know it, type 1
    /// does not. `words` are bytes 12 to 15 of the header. PCIe 5.0 §2.2.8.6, "Vendor_Defined Messages".
    #[must_use]
    pub fn vendor_defined(
        requester: Bdf,
        must_be_known: bool,
        routing: MessageRouting,
        vendor: u16,
        words: [u8; 4],
        data: Payload,
    ) -> Self {
        let code = match must_be_known {
            true => code::VENDOR_DEFINED_TYPE_0,
            false => code::VENDOR_DEFINED_TYPE_1,
        };
        let mut message = Self::new(requester, code, routing);
        message.specific[2..4].copy_from_slice(&vendor.to_be_bytes());
        message.specific[4..].copy_from_slice(&words);
        message.data = data;
        message
    }
}
