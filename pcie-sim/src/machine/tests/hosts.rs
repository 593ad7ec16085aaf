//! Hosts that are not a PC, as a card and a driver find them.

use super::*;
use crate::host::shape::{Caches, Frames, HostCosts, HostShape, Stores};
use crate::host::{Hypercall, HypercallError};
use crate::iommu::tce::{Tce, TceConfig, Window};
use crate::spec::tce;

/// A machine of this shape, and what its card does: each TLP at its time.
fn host(
    shape: HostShape,
    script: impl IntoIterator<Item = (Instant, Tlp)>,
) -> (Machine<Deaf>, Seen) {
    let config = MachineConfig { shape, ..MachineConfig::default() };
    machine_of(config, None, Puppet { script: script.into_iter().collect(), ..Puppet::default() })
}

fn not_snooped() -> HostShape {
    let caches = Caches::NotSnooped { line_bytes: 64, lines: 64 };
    HostShape { caches, ..HostShape::default() }
}

fn weak(seed: u64) -> HostShape {
    HostShape { stores: Stores::Weak { seed, depth: 32 }, ..HostShape::default() }
}

fn bytes_at(machine: &mut Machine<Deaf>, address: u64) -> [u8; 4] {
    let mut bytes = [0; 4];
    machine.read(PhysAddr(address), &mut bytes);
    bytes
}

fn data_seen(seen: &Seen) -> Vec<Vec<u8>> {
    completions(seen).iter().map(|part| part.data.to_vec()).collect()
}

/// PLATFORMS, `arm64-noncoherent`: stale both ways without maintenance, never with it.
#[test]
fn without_maintenance_cpu_and_card_miss_each_others_data() {
    let script = [
        (at_us(10), read(1, 0x1000, 4)),
        (at_us(20), write(0x2000, &[9; 4])),
        (at_us(40), read(2, 0x1000, 4)),
    ];
    let (mut machine, seen) = host(not_snooped(), script);
    machine.write(PhysAddr(0x1000), &[7; 4]);
    assert_eq!(bytes_at(&mut machine, 0x2000), [0; 4]);
    machine.run_until(at_us(30));
    assert_eq!(data_seen(&seen), [[0; 4]], "the card misses what the CPU wrote");
    assert_eq!(bytes_at(&mut machine, 0x2000), [0; 4], "the CPU misses what the card wrote");
    let before = machine.now();
    machine.clean(PhysAddr(0x1000), 4);
    machine.invalidate(PhysAddr(0x2000), 4);
    let cost = HostCosts::default().line_maintenance * 2;
    assert_eq!(machine.now().since(before), cost);
    assert_eq!(bytes_at(&mut machine, 0x2000), [9; 4]);
    machine.run_until(at_us(50));
    assert_eq!(data_seen(&seen)[1], [7; 4]);
}

/// PLATFORMS, `arm64-weak-order`: the same two stores that a driver makes for each request, seen by a
/// card that polls the index and reads the descriptor when it finds it changed.
#[test]
fn without_a_dma_barrier_some_seed_shows_an_index_before_its_descriptor() {
    let out_of_order = |barrier: Option<Barrier>| {
        (0..40).filter(|&seed| index_without_descriptor(seed, barrier)).count()
    };
    assert!(out_of_order(None) > 0);
    assert!(out_of_order(Some(Barrier::SmpWrite)) > 0, "that one is for CPUs");
    assert_eq!(out_of_order(Some(Barrier::DmaWrite)), 0);
    assert_eq!(out_of_order(Some(Barrier::Full)), 0);
}

fn index_without_descriptor(seed: u64, barrier: Option<Barrier>) -> bool {
    let polls = (0..16).map(|n| {
        let at = at_us(10) + Span::from_ns(60 * n);
        [(at, read(2 * n as u16, 0x1000, 4)), (at, read(2 * n as u16 + 1, 0x2000, 4))]
    });
    let (mut machine, seen) = host(weak(seed), polls.flatten());
    machine.run_until(at_us(10));
    machine.write(PhysAddr(0x2000), &[5; 4]);
    if let Some(barrier) = barrier {
        machine.barrier(barrier);
    }
    machine.write(PhysAddr(0x1000), &[1; 4]);
    assert_eq!(bytes_at(&mut machine, 0x2000), [5; 4], "the CPU sees its own stores");
    machine.run_until(at_us(30));
    let reads = data_seen(&seen);
    assert_eq!(reads.len(), 32);
    assert_eq!(reads[30..], [[1; 4], [5; 4]], "in the end everything arrives");
    reads.chunks(2).any(|pair| pair[0] == [1; 4] && pair[1] != [5; 4])
}

/// The register write leaves while the store still waits: `writel_relaxed`.
#[test]
fn a_doorbell_may_overtake_the_store_before_it() {
    let overtaken = |barrier: Option<Barrier>| {
        (0..20u64).any(|seed| {
            let config = MachineConfig {
                shape: weak(seed),
                host_costs: HostCosts { store_drain: Span::from_us(5), ..HostCosts::default() },
                ..MachineConfig::default()
            };
            let (mut machine, seen) = machine_of(config, None, Puppet::default());
            machine.write(PhysAddr(0x2000), &[5; 4]);
            if let Some(barrier) = barrier {
                machine.barrier(barrier);
            }
            machine.mmio_write(PhysAddr(0xe000_0000), Width::W32, 1);
            let rung = machine.now() + Span::from_us(1);
            machine.run_until(rung);
            assert_eq!(seen.borrow().len(), 1);
            machine.root.ram.slice(PhysAddr(0x2000), 4) != Some(&[5; 4][..])
        })
    };
    assert!(overtaken(None));
    assert!(!overtaken(Some(Barrier::DmaWrite)));
}

/// Maintenance by address includes the stores to that address which came before it.
#[test]
fn cleaning_on_a_weak_host_reaches_stores_still_in_the_buffer() {
    let shape = HostShape { stores: weak(1).stores, ..not_snooped() };
    let (mut machine, _) = host(shape, []);
    machine.write(PhysAddr(0x1000), &[7; 200]);
    machine.clean(PhysAddr(0x1000), 200);
    assert_eq!(machine.root.ram.slice(PhysAddr(0x1000), 200), Some(&[7; 200][..]));
}

/// PLATFORMS, `xen-dom0`.
#[test]
fn a_guests_address_is_not_the_machines_and_an_exchange_makes_pages_contiguous() {
    let shape = HostShape { frames: Frames::Scattered { seed: 3 }, ..HostShape::default() };
    let (mut machine, _) = host(shape, []);
    let data: Vec<u8> = (0..8192u32).map(|n| (n / 16) as u8).collect();
    machine.write(PhysAddr(0x1800), &data);
    let mut back = vec![0; data.len()];
    machine.read(PhysAddr(0x1800), &mut back);
    assert_eq!(back, data, "the guest cannot tell");
    assert!(machine.ram_bytes() < machine.root.ram.size_bytes());
    let mut frame = |pfn| machine.hypercall(Hypercall::MachineFrame { pfn }).expect("its own");
    let frames = [frame(1), frame(2), frame(3)];
    assert_ne!([frames[0] + 1, frames[0] + 2], frames[1..], "discontiguous under this seed");
    let in_machine = machine.root.ram.slice(PhysAddr(frames[1] * 4096), 4096);
    assert_eq!(in_machine, Some(&data[0x800..0x1800]));
    let call = Hypercall::ExchangeContiguous { pfn: 1, frames: 3, address_bits: 32 };
    let first = machine.hypercall(call).expect("the heap has three frames");
    for n in 0..3 {
        assert_eq!(machine.hypercall(Hypercall::MachineFrame { pfn: 1 + n }), Ok(first + n));
    }
}

#[test]
fn a_guest_that_waits_for_its_own_address_sees_the_card_write_the_machines() {
    let shape = HostShape { frames: Frames::Scattered { seed: 3 }, ..HostShape::default() };
    let (mut twin, _) = host(shape, []);
    let frame = twin.hypercall(Hypercall::MachineFrame { pfn: 5 }).expect("its own");
    let (mut machine, _) = host(shape, [(at_us(10), write(frame * 4096 + 8, &[4; 4]))]);
    assert!(machine.spin_on_memory(PhysAddr(0x5008), 4, at_us(30)));
    assert_eq!(bytes_at(&mut machine, 0x5008), [4; 4]);
}

/// PLATFORMS, `ppc64-secure`.
#[test]
fn a_card_touches_only_the_pages_that_a_secure_guest_has_shared() {
    let script = [
        (at_us(10), write(0x2000, &[9; 4])),
        (at_us(11), write(0x3000, &[9; 4])),
        (at_us(12), read(1, 0x2ffc, 4)),
        (at_us(13), read(2, 0x3000, 4)),
    ];
    let protection = Protection::SharedOnly;
    let (mut machine, seen) = host(HostShape { protection, ..HostShape::default() }, script);
    let page = PhysAddr(0x3000);
    assert_eq!(machine.hypercall(Hypercall::SharePages { page, pages: 1 }), Ok(0));
    let outside = Hypercall::SharePages { page: PhysAddr(1 << 40), pages: 1 };
    assert_eq!(machine.hypercall(outside), Err(HypercallError::Parameter(1 << 40)));
    machine.run_until(at_us(20));
    assert_eq!(bytes_at(&mut machine, 0x2000), [0; 4]);
    assert_eq!(bytes_at(&mut machine, 0x3000), [9; 4]);
    let statuses: Vec<_> = completions(&seen).iter().map(|part| part.status).collect();
    use CompletionStatus::{Success, UnsupportedRequest};
    assert_eq!(statuses, [UnsupportedRequest, Success]);
    let refused: Vec<_> =
        machine.root.refused().iter().map(|one| (one.address, one.refusal)).collect();
    assert_eq!(refused, [(0x2000, Refusal::NotShared), (0x2ffc, Refusal::NotShared)]);
    assert_eq!(machine.hypercall(Hypercall::UnsharePages { page, pages: 1 }), Ok(0));
    assert!(!machine.root.shared.as_ref().is_some_and(|shared| shared.covers(page, 1)));
}

#[test]
fn a_pc_has_no_hypervisor_and_no_path_to_pay_for() {
    let (mut machine, _) = machine(Puppet::default());
    assert!(machine.path().is_none());
    let calls = [
        Hypercall::PutTce { liobn: 0, ioba: 0, tce: 0 },
        Hypercall::StuffTce { liobn: 0, ioba: 0, tce: 0, count: 1 },
        Hypercall::PutTceIndirect { liobn: 0, ioba: 0, list: PhysAddr(0), count: 1 },
        Hypercall::SlotState,
        Hypercall::ThawSlot,
        Hypercall::MachineFrame { pfn: 0 },
        Hypercall::ExchangeContiguous { pfn: 0, frames: 1, address_bits: 64 },
        Hypercall::SharePages { page: PhysAddr(0), pages: 1 },
        Hypercall::UnsharePages { page: PhysAddr(0), pages: 1 },
    ];
    for call in calls {
        assert_eq!(machine.hypercall(call), Err(HypercallError::NoHypervisor), "{call:?}");
    }
    let before = machine.now();
    machine.clean(PhysAddr(0), 4096);
    machine.invalidate(PhysAddr(0), 4096);
    machine.set_cached(PhysAddr(0), 4096, false);
    assert_eq!(machine.now(), before);
}

/// PLATFORMS, `ppc64-tce`: mapped by hypercall, one fault cuts the slot off, its registers included.
#[test]
fn a_pseries_slot_works_by_hypercall_and_freezes_at_the_first_stray_dma() {
    let script = [
        (at_us(10), read(1, 0x1_0000, 4)),
        (at_us(20), write(0x9_0000, &[9; 4])),
        (at_us(30), read(2, 0x1_0000, 4)),
        (at_us(30), write(INTERRUPT_RANGE.start, &[0; 4])),
        (at_us(50), read(3, 0x1_0000, 4)),
    ];
    let config = vec![0x55; 4096];
    let puppet = Puppet { script: script.into_iter().collect(), config, ..Puppet::default() };
    let iommu = Some(Box::new(Tce::new(TceConfig::default())) as Box<dyn Iommu>);
    let (mut machine, seen) = machine_of(MachineConfig::default(), iommu, puppet);
    let _ = machine.allocate_message().expect("vectors are plenty");
    let liobn = Window::DEFAULT.liobn;
    machine.write(PhysAddr(0x4_0000), &[7; 4]);
    let list = PhysAddr(0x8000);
    machine.write(list, &tce::entry(0x4_0000, true, false).to_be_bytes());
    let before = machine.now();
    let call = Hypercall::PutTceIndirect { liobn, ioba: 0x1_0000, list, count: 1 };
    assert_eq!(machine.hypercall(call), Ok(0));
    assert!(machine.now().since(before) >= HostCosts::default().hypercall);
    let too_many = Hypercall::StuffTce { liobn, ioba: 0, tce: 0, count: 513 };
    assert_eq!(machine.hypercall(too_many), Err(HypercallError::Parameter(513)));
    machine.run_until(at_us(15));
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0x1234_5678);
    assert_eq!(machine.hypercall(Hypercall::SlotState), Ok(0));
    machine.run_until(at_us(40));
    assert_eq!(machine.hypercall(Hypercall::SlotState), Ok(1));
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0xffff_ffff);
    assert_eq!(machine.config_read(CARD, header::VENDOR_ID, Width::W16), 0xffff);
    assert_eq!(machine.take_interrupt(), None);
    assert_eq!(machine.hypercall(Hypercall::ThawSlot), Ok(0));
    assert_eq!(machine.config_read(CARD, header::VENDOR_ID, Width::W16), 0x5555);
    assert_eq!(machine.mmio_read(PhysAddr(0xe000_0000), Width::W32), 0x1234_5678);
    machine.run_until(at_us(60));
    let statuses: Vec<_> = completions(&seen).iter().map(|part| part.status).collect();
    use CompletionStatus::{Success, UnsupportedRequest};
    assert_eq!(statuses, [Success, UnsupportedRequest, Success]);
    assert_eq!(data_seen(&seen)[0], [7; 4]);
    let refused: Vec<_> =
        machine.root.refused().iter().map(|one| (one.address, one.refusal)).collect();
    let because = |reason| Refusal::Iommu(reason);
    assert_eq!(
        refused,
        [
            (0x9_0000, because(tce::fault::NOT_MAPPED)),
            (0x1_0000, because(tce::fault::FROZEN)),
            (INTERRUPT_RANGE.start, Refusal::SlotFrozen)
        ]
    );
}

/// A secure guest's hypervisor cannot read the list that it is asked to.
#[test]
fn a_list_of_entries_in_a_page_that_is_not_shared_is_refused() {
    let shape = HostShape { protection: Protection::SharedOnly, ..HostShape::default() };
    let config = MachineConfig { shape, ..MachineConfig::default() };
    let iommu = Some(Box::new(Tce::new(TceConfig::default())) as Box<dyn Iommu>);
    let (mut machine, _) = machine_of(config, iommu, Puppet::default());
    let list = PhysAddr(0x8000);
    let liobn = Window::DEFAULT.liobn;
    let call = Hypercall::PutTceIndirect { liobn, ioba: 0, list, count: 2 };
    assert_eq!(machine.hypercall(call), Err(HypercallError::NotShared(list)));
    assert_eq!(machine.hypercall(Hypercall::SharePages { page: list, pages: 1 }), Ok(0));
    assert_eq!(machine.hypercall(call), Ok(0));
}
