//! `virtio_pkg.sv` beside [`pcie_sim::spec`]: the RTL's constants are the bench's.
//!
//! A constant of the package is named as its counterpart, module path and name in capitals. So the names that
//! follow the rule are compared one by one; those few that stand for something the bench has as a function, or in
//! another unit, are given by hand; and the rest are listed with the reason why they have no counterpart.

use std::collections::BTreeMap;

use pcie_sim::address::Bdf;
use pcie_sim::spec::virtio_pci::CommonReg;
use pcie_sim::spec::{aer, virtq};
use pcie_sim::tlp::{
    Attributes, Completion, CompletionStatus, ConfigRead, MemRead, Message, MessageRouting,
    Payload, Tag, Tlp, codec,
};

const PACKAGE: &str = include_str!("../rtl/virtio_pkg.sv");

/// Constants by the package's names.
type Constants = BTreeMap<String, u128>;

/// Constants of modules of `spec`, each under the name that it has in the package.
macro_rules! constants {
    ($($($module:ident)::+ { $($name:ident),* $(,)? })*) => {{
        let mut all = Constants::new();
        $({
            use pcie_sim::spec::$($module)::+ as module;
            let path = [$(stringify!($module)),+].join("_").to_uppercase();
            $(all.insert(format!("{path}_{}", stringify!($name)), module::$name as u128);)*
        })*
        all
    }};
}

fn by_rule() -> Constants {
    constants! {
        pci::header {
            VENDOR_ID, COMMAND, REVISION_ID, CACHE_LINE_SIZE, BAR0, SUBSYSTEM_VENDOR_ID, CAPABILITIES,
            INTERRUPT_LINE,
        }
        pci::command { MEMORY_SPACE, BUS_MASTER, PARITY, SERR, INTX_DISABLE }
        pci::status {
            CAPABILITIES, RECEIVED_TARGET_ABORT, RECEIVED_MASTER_ABORT, SIGNALED_SYSTEM_ERROR, DETECTED_PARITY,
            ERRORS,
        }
        pci::cap_id { POWER_MANAGEMENT, VENDOR, PCI_EXPRESS, MSIX }
        pci::bar { MEMORY_64, PREFETCHABLE }
        pci::express {
            DEVICE_CAPABILITIES, DEVICE_CONTROL, LINK_CAPABILITIES, LINK_CONTROL, DEVICE_CAPABILITIES_2,
            DEVICE_CONTROL_2, LINK_CAPABILITIES_2, LINK_CONTROL_2, SLOT_CAPABILITIES_2, CAPABLE_EXTENDED_TAG,
            CAPABLE_ROLE_BASED_ERRORS, CAPABLE_FLR, CONTROL_CORRECTABLE, CONTROL_NON_FATAL, CONTROL_FATAL,
            CONTROL_UNSUPPORTED, CONTROL_RELAXED_ORDERING, CONTROL_PAYLOAD, CONTROL_READ_REQUEST,
            CONTROL_EXTENDED_TAG, CONTROL_NO_SNOOP, CONTROL_FLR, STATUS_CORRECTABLE, STATUS_NON_FATAL,
            STATUS_FATAL, STATUS_UNSUPPORTED, LINK_STATUS_SLOT_CLOCK, LINK_CAPABLE_ASPM_OPTIONALITY,
            LINK_CONTROL_ENDPOINT, LINK_CONTROL_2_SPEED, LINK_STATUS_2_EQUALISED, CAPABLE_TIMEOUT_RANGES,
            CAPABLE_TIMEOUT_OFF, CAPABLE_TAG_10_COMPLETER, CAPABLE_TAG_10_REQUESTER, CONTROL_2_TIMEOUT,
            CONTROL_2_TIMEOUT_OFF, CONTROL_2_TAG_10,
        }
        pci::power { CONTROL, VERSION, CONTROL_STATE, D0, D3HOT }
        pci::extended { SERIAL_NUMBER, SERIAL_NUMBER_VALUE }
        pci::msix { TABLE, PBA, BYTES, CONTROL_FUNCTION_MASK, CONTROL_ENABLE }
        aer {
            CAP_ID, CAP_VERSION, UNCORRECTABLE_STATUS, UNCORRECTABLE_MASK, UNCORRECTABLE_SEVERITY,
            CORRECTABLE_STATUS, CORRECTABLE_MASK, CONTROL, HEADER_LOG, BYTES, CONTROL_FIRST_ERROR,
            ADVISORY_NON_FATAL, UNCORRECTABLE, CORRECTABLE, SEVERITY_DEFAULT,
        }
        virtio_pci { VENDOR_ID, DEVICE_ID_BASE, NO_VECTOR, COMMON_CFG_BYTES }
        virtio_pci::cfg_type { COMMON, NOTIFY, ISR, DEVICE, PCI, SHARED_MEMORY, VENDOR }
        virtio_pci::cap {
            BAR, OFFSET, LENGTH, PCI_CFG_DATA, LENGTH_HI, BYTES, BYTES_WITH_DATA, BYTES_64, BYTES_VENDOR,
        }
        virtio_pci::status { DRIVER_OK, FEATURES_OK, SUSPEND, DEVICE_NEEDS_RESET }
        virtio_pci::isr { QUEUE, CONFIG }
        features { INDIRECT_DESC, EVENT_IDX, VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM }
        virtq {
            DESC_BYTES, MAX_SIZE, DESC_F_NEXT, DESC_F_WRITE, DESC_F_INDIRECT, AVAIL_F_NO_INTERRUPT, AVAIL_FLAGS,
            AVAIL_IDX, USED_IDX,
        }
        net { DEVICE_TYPE, RECEIVE_QUEUE, F_MTU, F_MAC, F_STATUS, HDR_BYTES, CONFIG_BYTES, STATUS_LINK_UP }
        blk {
            DEVICE_TYPE, SECTOR_BYTES, F_SEG_MAX, F_BLK_SIZE, F_FLUSH, F_DISCARD, F_WRITE_ZEROES, T_IN, T_OUT,
            T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES, REQ_HDR_BYTES, RANGE_BYTES, S_OK, S_IOERR, S_UNSUPP,
            CONFIG_BYTES,
        }
    }
}

/// The doubleword in which a field of the common configuration lies.
fn common(reg: CommonReg) -> u128 {
    u128::from(reg.offset() & !3)
}

/// What the bench has too, if not as a constant of that name.
fn by_hand() -> Constants {
    let bit = |error: aer::Error| u128::from(error.bit());
    let signal = |signal: aer::Signal| u128::from(signal.code());
    let disk = rtl_model::BlkConfig::default();
    let list = [
        ("AER_ERROR_POISONED", bit(aer::Error::PoisonedTlp)),
        ("AER_ERROR_TIMEOUT", bit(aer::Error::CompletionTimeout)),
        ("AER_ERROR_UNEXPECTED", bit(aer::Error::UnexpectedCompletion)),
        ("AER_ERROR_MALFORMED", bit(aer::Error::MalformedTlp)),
        ("AER_ERROR_UNSUPPORTED", bit(aer::Error::UnsupportedRequest)),
        ("AER_SIGNAL_CORRECTABLE", signal(aer::Signal::Correctable)),
        ("AER_SIGNAL_NON_FATAL", signal(aer::Signal::NonFatal)),
        ("AER_SIGNAL_FATAL", signal(aer::Signal::Fatal)),
        ("COMMON_DEVICE_FEATURE_SELECT", common(CommonReg::DeviceFeatureSelect)),
        ("COMMON_DRIVER_FEATURE_SELECT", common(CommonReg::DriverFeatureSelect)),
        ("COMMON_DRIVER_FEATURE", common(CommonReg::DriverFeature)),
        ("COMMON_CONFIG_MSIX_VECTOR", common(CommonReg::ConfigMsixVector)),
        ("COMMON_DEVICE_STATUS", common(CommonReg::DeviceStatus)),
        ("COMMON_QUEUE_SIZE", common(CommonReg::QueueSize)),
        ("COMMON_QUEUE_ENABLE", common(CommonReg::QueueEnable)),
        ("COMMON_QUEUE_DESC_LOW", common(CommonReg::QueueDescLow)),
        ("COMMON_QUEUE_DESC_HIGH", common(CommonReg::QueueDescHigh)),
        ("COMMON_QUEUE_DRIVER_LOW", common(CommonReg::QueueDriverLow)),
        ("COMMON_QUEUE_DRIVER_HIGH", common(CommonReg::QueueDriverHigh)),
        ("COMMON_QUEUE_DEVICE_LOW", common(CommonReg::QueueDeviceLow)),
        ("COMMON_QUEUE_DEVICE_HIGH", common(CommonReg::QueueDeviceHigh)),
        ("VIRTQ_AVAIL_RING", virtq::avail_entry(0).into()),
        ("VIRTQ_USED_RING", virtq::used_elem(0).into()),
        ("BLK_MAX_RANGE_SECTORS", disk.max_range_sectors.into()),
        ("BLK_MAX_RANGES", disk.max_ranges.into()),
    ];
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Names without a counterpart, by how they begin, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("LAYOUT_", "where the card keeps things: compared as configuration space, which says so"),
    ("NET_CLASS_CODE", "compared as configuration space"),
    ("BLK_CLASS_CODE", "compared as configuration space"),
    ("CARD_", "compared as configuration space"),
    ("BLK_ID", "more bits than a number here: the_disk_has_the_same_name"),
    ("NET_ETHERNET_BYTES", "what a frame has besides its payload: no constant of virtio's"),
    ("TLP_TYPE_", "what_stands_on_the_wire_is_what_the_codec_writes"),
    ("TLP_STATUS_", "what_stands_on_the_wire_is_what_the_codec_writes"),
    (
        "TLP_COMPLETION_BOUNDARY",
        "fixed for endpoints, PCIe 5.0 §2.3.1.1; the model keeps it to itself",
    ),
];

/// What the package declares: bits and expression by name.
fn declarations() -> BTreeMap<String, (u32, String)> {
    let mut found = BTreeMap::new();
    let text: String = PACKAGE
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join(" ");
    for statement in text.split(';') {
        let Some(at) = statement.find("localparam ") else { continue };
        let (declared, value) = statement[at..].split_once('=').expect("a localparam has a value");
        let name = declared.split_whitespace().last().expect("a localparam has a name");
        assert!(
            found.insert(name.to_owned(), (width(declared), value.trim().to_owned())).is_none(),
            "{name} twice"
        );
    }
    found
}

/// Bits of a declared type; an `int` has 32.
fn width(declared: &str) -> u32 {
    let Some((_, range)) = declared.split_once('[') else { return 32 };
    let high = range.split(':').next().and_then(|high| high.trim().parse::<u32>().ok());
    1 + high.expect("a range is [high:0]")
}

/// The value of an expression of literals and names with `|`, `<<` and `+`, in the order in which they bind.
fn value(expression: &str, names: &BTreeMap<String, (u32, String)>) -> u128 {
    let expression = expression.trim();
    if let Some((left, right)) = expression.rsplit_once('|') {
        return value(left, names) | value(right, names);
    }
    if let Some((left, right)) = expression.rsplit_once("<<") {
        return value(left, names) << value(right, names);
    }
    if let Some((left, right)) = expression.rsplit_once('+') {
        return value(left, names) + value(right, names);
    }
    if let Some((_, expression)) = names.get(expression) {
        return value(expression, names);
    }
    literal(expression).unwrap_or_else(|| panic!("no number: {expression}"))
}

fn literal(text: &str) -> Option<u128> {
    let digits = text.replace('_', "");
    let Some((_, based)) = digits.split_once('\'') else { return digits.parse().ok() };
    let (base, digits) = based.split_at(1);
    let radix = match base {
        "h" => 16,
        "d" => 10,
        "b" => 2,
        _ => return None,
    };
    u128::from_str_radix(digits, radix).ok()
}

/// A wrong value fails, and so does a name that nobody here knows.
#[test]
fn every_constant_of_the_package_is_the_benchs() {
    let declared = declarations();
    assert!(declared.len() > 100, "the package was not understood");
    let mut known = by_rule();
    known.extend(by_hand());
    for (name, (bits, expression)) in &declared {
        if WITHOUT.iter().any(|(prefix, _)| name.starts_with(prefix)) {
            assert!(!known.contains_key(name), "{name} has a counterpart");
            continue;
        }
        let expected = known.remove(name).unwrap_or_else(|| panic!("{name} is not known here"));
        assert_eq!(value(expression, &declared), expected, "{name}");
        assert!(*bits == 128 || expected >> bits == 0, "{name} does not fit its {bits} bits");
    }
    assert!(known.is_empty(), "the package has no {:?}", known.keys());
    for (prefix, reason) in WITHOUT {
        let used = declared.keys().any(|name| name.starts_with(prefix));
        assert!(used, "nothing begins with {prefix} any more ({reason})");
    }
}

/// The same comparison, of values that are wrong: it can fail.
#[test]
fn a_value_that_differs_is_seen() {
    let names = declarations();
    assert_eq!(value("64'h1 << 28", &names), 1 << 28);
    assert_eq!(value("16'h40 + 16'd12 | 16'h0001", &names), 0x4d);
    assert_eq!(value("5'b0_1010", &names), 10);
    assert_ne!(value("64'h1 << 29", &names), by_rule()["FEATURES_INDIRECT_DESC"]);
    assert_eq!(literal("12'o7"), None);
}

/// `BLK_ID` is what GET_ID answers, byte 0 in bits 7:0.
#[test]
fn the_disk_has_the_same_name() {
    let names = declarations();
    let (bits, text) = &names["BLK_ID"];
    let digits = text.split_once("'h").expect("hexadecimal").1.replace('_', "");
    let digits = format!("{digits:0>40}");
    let byte =
        |i: usize| u8::from_str_radix(&digits[38 - 2 * i..40 - 2 * i], 16).expect("two digits");
    let name: Vec<u8> = (0..20).map(byte).collect();
    assert_eq!((*bits, name.as_slice()), (160, &rtl_model::BlkConfig::default().id[..]));
}

/// Fmt and Type, and completion status, as the codec puts them on the wire. PCIe 5.0 §2.2.1, §2.2.9.
#[test]
fn what_stands_on_the_wire_is_what_the_codec_writes() {
    let names = declarations();
    let number = |name: &str| value(&names[name].1, &names);
    let bytes = |tlp: &Tlp| {
        let mut bytes = Vec::new();
        codec::emit(tlp, &mut bytes);
        bytes
    };
    let (requester, tag, attributes) = (Bdf::new(0, 0, 0), Tag(1), Attributes::default());
    let read = MemRead { requester, tag, address: 0x1000, len_bytes: 4, attributes };
    let kind = |tlp: &Tlp| u128::from(bytes(tlp)[0] & 0x1f);
    assert_eq!(kind(&Tlp::MemRead(read)), number("TLP_TYPE_MEMORY"));
    let target = Bdf::new(1, 0, 0);
    let read = ConfigRead { requester, tag, target, offset: 0, len_bytes: 4, forwarded: false };
    assert_eq!(kind(&Tlp::ConfigRead(read)), number("TLP_TYPE_CONFIG_0"));
    let message = Message {
        requester,
        tag,
        code: aer::Signal::Fatal.code(),
        routing: MessageRouting::ToRootComplex,
        specific: [0; 8],
        data: Payload::new(),
        attributes,
    };
    let to_root = kind(&Tlp::Message(Box::new(message)));
    assert_eq!(to_root >> 3, number("TLP_TYPE_MESSAGE"));
    assert_eq!(to_root & 7, number("TLP_TYPE_MESSAGE_TO_ROOT"));
    for (status, name) in [
        (CompletionStatus::Success, "TLP_STATUS_SUCCESS"),
        (CompletionStatus::UnsupportedRequest, "TLP_STATUS_UNSUPPORTED"),
        (CompletionStatus::RequestRetry, "TLP_STATUS_RETRY"),
        (CompletionStatus::CompleterAbort, "TLP_STATUS_ABORT"),
    ] {
        let data = Payload::new();
        let completer = target;
        let (byte_count, lower_address) = (4, 0);
        let answer = Completion {
            completer,
            requester,
            tag,
            status,
            byte_count,
            lower_address,
            data,
            attributes,
        };
        let wire = bytes(&Tlp::Completion(answer));
        assert_eq!(u128::from(wire[0] & 0x1f), number("TLP_TYPE_COMPLETION"));
        assert_eq!(u128::from(wire[6] >> 5), number(name), "{status:?}");
    }
}
