use proptest::prelude::*;

use super::*;
use crate::host::Barrier;

const CARD: Bdf = Bdf::new(1, 0, 0);
const PORT: Bdf = Bdf::new(0, 1, 0);
const REGISTERS: PhysAddr = PhysAddr(0xfed9_0000);

/// The root port with the card below it, and a second port with a switch below it.
fn topology() -> Topology {
    let bridge = |bus, device, secondary, subordinate| Bridge {
        bdf: Bdf::new(bus, device, 0),
        secondary,
        subordinate,
    };
    let bridges =
        vec![bridge(0, 1, 1, 1), bridge(0, 2, 2, 4), bridge(2, 0, 3, 4), bridge(3, 5, 4, 4)];
    Topology { bridges }
}

fn covering(scopes: Vec<Scope>) -> Dmar {
    Dmar::covering(REGISTERS, scopes)
}

/// VT-d specification, "Device Scope Structure": the bytes of one scope, checked by hand.
#[test]
fn the_bytes_are_the_specifications() {
    let bytes = covering(vec![Scope::endpoint(&[(1, 0), (0, 0)])]).to_bytes();
    assert_eq!(bytes.len(), 48 + 16 + 10);
    assert_eq!(bytes[..4], *b"DMAR");
    assert_eq!(bytes[4..8], [74, 0, 0, 0]);
    assert_eq!(bytes[36], 45, "46 bits");
    assert_eq!(bytes[48..64], [0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0]);
    assert_eq!(bytes[64..], [1, 10, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!(Dmar::covering_all(REGISTERS).to_bytes()[52], 1, "INCLUDE_PCI_ALL");
}

/// "Device Scope Structure": type 1 names one function.
#[test]
fn an_endpoint_scope_covers_one_function() {
    let dmar = covering(vec![Scope::endpoint(&[(1, 0), (0, 0)])]);
    assert_eq!(dmar.unit_of(CARD, &topology()), Some(0));
    for other in [PORT, Bdf::new(1, 0, 1), Bdf::new(1, 1, 0), Bdf::new(0, 0, 0)] {
        assert_eq!(dmar.unit_of(other, &topology()), None, "{other}");
    }
    let through_nothing = covering(vec![Scope::endpoint(&[(9, 0), (0, 0)])]);
    assert_eq!(through_nothing.unit_of(CARD, &topology()), None);
}

/// "Device Scope Structure": type 2 names a bridge and the hierarchy below.
#[test]
fn a_bridge_scope_covers_the_bridge_and_all_below() {
    let dmar = covering(vec![Scope::bridge(&[(2, 0), (0, 0)])]);
    for inside in [Bdf::new(2, 0, 0), Bdf::new(3, 5, 0), Bdf::new(4, 31, 7)] {
        assert_eq!(dmar.unit_of(inside, &topology()), Some(0), "{inside}");
    }
    for outside in [Bdf::new(0, 2, 0), Bdf::new(2, 1, 0), CARD, Bdf::new(5, 0, 0)] {
        assert_eq!(dmar.unit_of(outside, &topology()), None, "{outside}");
    }
}

/// "DMA Remapping Hardware Unit Definition Structure": INCLUDE_PCI_ALL takes what no other unit names.
#[test]
fn the_unit_that_includes_all_leaves_what_another_names() {
    let mut dmar = Dmar::covering_all(REGISTERS);
    let scopes = vec![Scope::endpoint(&[(1, 0), (0, 0)])];
    dmar.units.extend(Dmar::covering(PhysAddr(0xfed9_1000), scopes).units);
    assert_eq!(dmar.unit_of(CARD, &topology()), Some(1));
    assert_eq!(dmar.unit_of(PORT, &topology()), Some(0));
    dmar.units[0].segment = 1;
    assert_eq!(dmar.unit_of(PORT, &topology()), None, "another segment is another world");
    let apic = Scope { kind: ScopeKind::Other(3), ..Scope::endpoint(&[(1, 0)]) };
    assert_eq!(covering(vec![apic]).unit_of(PORT, &topology()), None);
}

/// PLATFORMS, `x86-vtd-unscoped`.
#[test]
fn a_covered_function_is_not_plugged_below_a_bridge_that_nobody_covers() {
    let topology = topology();
    let card = Scope::endpoint(&[(1, 0), (0, 0)]);
    let refused = HotplugRefused { device: CARD, bridge: PORT };
    assert_eq!(hotplug_allowed(&covering(vec![card.clone()]), &topology, CARD), Err(refused));
    let with_bridge = covering(vec![card.clone(), Scope::endpoint(&[(1, 0)])]);
    assert_eq!(hotplug_allowed(&with_bridge, &topology, CARD), Ok(()));
    for allowed in [
        covering(vec![Scope::bridge(&[(1, 0)])]),
        Dmar::covering_all(REGISTERS),
        covering(Vec::new()),
    ] {
        assert_eq!(hotplug_allowed(&allowed, &topology, CARD), Ok(()));
    }
    let on_the_root_bus = covering(vec![Scope::endpoint(&[(7, 0)])]);
    assert_eq!(hotplug_allowed(&on_the_root_bus, &topology, Bdf::new(0, 7, 0)), Ok(()));
}

struct Flat(Vec<u8>);

impl Memory for Flat {
    fn read(&mut self, address: PhysAddr, into: &mut [u8]) {
        let at = address.get() as usize;
        into.copy_from_slice(&self.0[at..at + into.len()]);
    }

    fn write(&mut self, address: PhysAddr, data: &[u8]) {
        let at = address.get() as usize;
        self.0[at..at + data.len()].copy_from_slice(data);
    }

    fn barrier(&mut self, _: Barrier) {}

    fn ram_bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

#[test]
fn what_firmware_stored_is_what_the_os_loads() {
    let mut memory = Flat(vec![0; 4096]);
    let dmar = covering(vec![Scope::bridge(&[(1, 0)])]);
    let at = PhysAddr(0x123);
    assert_eq!(Dmar::load(&mut memory, at), Err(DmarError::Signature([0; 4])));
    dmar.store(&mut memory, at);
    assert_eq!(Dmar::load(&mut memory, at), Ok(dmar));
    memory.0[0x127 + 1] = 0x80;
    let length = 0x8000 + 72;
    assert_eq!(Dmar::load(&mut memory, at), Err(DmarError::Length { at: 4, length }));
}

#[test]
fn a_structure_of_another_type_is_skipped() {
    let mut bytes = covering(Vec::new()).to_bytes();
    bytes.splice(48..48, [1, 0, 5, 0, 0xee]);
    bytes[4] += 5;
    bytes[9] = 0;
    bytes[9] = sum(&bytes).wrapping_neg();
    assert_eq!(Dmar::parse(&bytes), Ok(covering(Vec::new())));
}

fn scopes() -> impl Strategy<Value = Scope> {
    let path = prop::collection::vec((0u8..32, 0u8..8), 0..5);
    (any::<u8>(), any::<u8>(), any::<u8>(), path).prop_map(|(kind, id, bus, path)| Scope {
        kind: match kind {
            1 => ScopeKind::Endpoint,
            2 => ScopeKind::Bridge,
            other => ScopeKind::Other(other),
        },
        enumeration_id: id,
        start_bus: bus,
        path,
    })
}

fn tables() -> impl Strategy<Value = Dmar> {
    let scopes = prop::collection::vec(scopes(), 0..4);
    let unit = (any::<u16>(), any::<u64>(), any::<bool>(), scopes);
    let units = prop::collection::vec(unit, 0..4);
    (1u16..=256, any::<u8>(), units).prop_map(|(host_address_bits, flags, units)| Dmar {
        host_address_bits,
        flags,
        units: units
            .into_iter()
            .map(|(segment, registers, include_all, scopes)| Unit {
                segment,
                registers: PhysAddr(registers),
                include_all,
                scopes,
            })
            .collect(),
    })
}

proptest! {
    #[test]
    fn a_table_reads_back_as_it_was_written(dmar in tables()) {
        prop_assert_eq!(Dmar::parse(&dmar.to_bytes()), Ok(dmar));
    }

    /// Firmware's mistakes are refused, whichever byte they are in.
    #[test]
    fn a_damaged_table_never_panics_and_a_changed_byte_is_noticed(
        dmar in tables(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..=255,
        honest in any::<bool>(),
    ) {
        let mut bytes = dmar.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if honest {
            bytes[9] = 0;
            bytes[9] = sum(&bytes).wrapping_neg();
            let _ = Dmar::parse(&bytes);
        } else {
            prop_assert!(Dmar::parse(&bytes).is_err());
        }
        let _ = Dmar::parse(&bytes[..at]);
    }
}
