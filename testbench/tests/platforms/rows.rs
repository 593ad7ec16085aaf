//! What the last column of PLATFORMS.md says of single rows, beyond what became of the card.

use pcie_sim::time::Span;
use testbench::bench;
use testbench::bench::record::{Led, Record};
use testbench::bench::witness::Grant;
use testbench::parallel::run_all;
use testbench::platform::{Outcome, runnable};
use testbench::preset::Timing;
use testbench::report::RunResult;
use testbench::scenario::source::Source;
use testbench::scenario::{Overrides, Scenario};

use crate::rig::{blk, case, patterns, run};

fn record(result: &RunResult) -> &Record {
    result.record.as_deref().expect("the run was watched")
}

fn handed_over(result: &RunResult) -> Vec<(u64, u64)> {
    let pair = |grant: &Grant| (grant.had.get(), grant.bus.get());
    record(result).grants.iter().map(pair).collect()
}

/// `x86-os-off`: same addresses as `x86-noiommu`.
#[test]
fn an_iommu_that_is_never_enabled_changes_no_address() {
    let (without, _) = blk("x86-noiommu", "");
    let (off, _) = blk("x86-os-off", "");
    assert_eq!(handed_over(&off), handed_over(&without));
    assert!(handed_over(&off).iter().all(|(had, bus)| had == bus));
}

/// `x86-vtd`: without the bit each DMA faults, and the record names requester, address and reason.
#[test]
fn without_the_bit_every_dma_faults_and_memory_is_untouched() {
    let (result, verdict) = blk("x86-vtd", "driver without bit 33");
    let record = record(&result);
    assert!(!record.dma.is_empty() && !record.faults.is_empty());
    assert!(record.dma.iter().all(|dma| matches!(dma.led, Led::Refused(_))));
    let fault = record.faults[0];
    let first = &record.dma[0];
    assert_eq!((fault.requester, fault.address.get()), (first.requester, first.address & !0xfff));
    assert!(verdict.evidence.contains("01:00.0 read 2 bytes at"), "{}", verdict.evidence);
    assert!(
        verdict.evidence.contains("physical address handed to a translated device"),
        "{}",
        verdict.evidence
    );
    assert_eq!(result.completed, 0);
}

/// `x86-vtd-lazy`: cheaper than strict.
#[test]
fn deferred_invalidation_costs_the_cpu_less() {
    let (strict, _) = blk("x86-vtd", "");
    let (lazy, _) = blk("x86-vtd-lazy", "");
    assert!(lazy.facts.cpu_time * 2 < strict.facts.cpu_time);
}

/// `x86-vtd-lazy`: a touch between unmap and flush passes the IOMMU, and is reported all the same.
#[test]
fn use_after_unmap_is_reported_although_the_iommu_lets_it_pass() {
    let (result, verdict) = blk("x86-vtd-lazy", "card touches after unmap");
    assert_eq!(verdict.outcome, Outcome::Corrupts);
    assert!(verdict.evidence.contains("use after unmap"), "{}", verdict.evidence);
    let record = record(&result);
    assert!(record.faults.is_empty(), "the IOMMU saw nothing wrong");
    let late = record.dma.iter().find(|dma| {
        let mut grants = record.grants.iter().filter(|grant| grant.contains(dma.address));
        grants.all(|grant| !grant.is_live(dma.at))
    });
    let late = late.expect("the card touched a buffer that was not its own any more");
    assert!(matches!(late.led, Led::Memory { .. }));
}

/// `x86-vtd-2m`: fewer IOTLB misses.
#[test]
fn large_pages_miss_the_iotlb_less_often() {
    let (small, _) = blk("x86-vtd", "");
    let (large, _) = blk("x86-vtd-2m", "");
    assert!(large.iotlb.misses * 4 < small.iotlb.misses, "{:?} {:?}", large.iotlb, small.iotlb);
}

/// `x86-vtd-pt`: bus = physical.
#[test]
fn pass_through_hands_over_what_the_driver_has() {
    let (result, _) = blk("x86-vtd-pt", "");
    assert!(handed_over(&result).iter().all(|(had, bus)| had == bus));
}

/// `x86-vtd-dma-blocked`: before the first mapping it faults, afterwards it works.
#[test]
fn dma_is_blocked_until_the_system_maps_and_works_afterwards() {
    let (result, _) = blk("x86-vtd-dma-blocked", "DMA before the first mapping");
    let refused = |dma: &&testbench::bench::record::Dma| matches!(dma.led, Led::Refused(_));
    assert_eq!(record(&result).dma.iter().filter(refused).count(), 1);
    assert!(matches!(record(&result).dma[0].led, Led::Refused(_)));
    assert_eq!(result.completed, 64, "the disk's commands are all done");
}

/// `xen-dom0`: a buffer across a discontiguous boundary bounces, rings are machine-contiguous.
#[test]
fn xen_bounces_across_pages_and_hands_over_machine_addresses() {
    let (within, _) = blk("xen-dom0", "");
    let (across, _) = blk("xen-dom0", "buffers across pages");
    assert_eq!(within.dma_api.bounced_bytes, 0);
    assert!(across.dma_api.bounced_bytes >= 64 * 4096);
    assert!(handed_over(&within).iter().any(|(had, bus)| had != bus));
}

/// `ppc64-tce` against `ppc64-ddw`: what a hypercall for each mapping costs.
#[test]
fn a_window_over_all_memory_saves_the_hypercalls() {
    let (tce, _) = blk("ppc64-tce", "");
    let (ddw, _) = blk("ppc64-ddw", "");
    assert!(
        tce.facts.cpu_time.as_ns() / tce.completed > 2_000,
        "two calls a mapping and unmapping"
    );
    assert!(ddw.facts.cpu_time * 10 < tce.facts.cpu_time);
    assert!(handed_over(&ddw).iter().all(|(had, bus)| bus - had == 1 << 59));
}

/// `ppc64-secure`: the card touches the pool and nothing else.
#[test]
fn a_secure_guest_hands_over_its_pool_only() {
    let (result, _) = blk("ppc64-secure", "");
    let record = record(&result);
    assert!(record.dma.iter().all(|dma| match dma.led {
        Led::Memory { machine, .. } => record.in_pool(machine),
        Led::Refused(_) => false,
    }));
    let (stray, _) = blk("ppc64-secure", "card reads another page");
    assert_eq!(stray.completed, 64, "the rest works on");
}

/// `pkvm-restricted`: zero upstream round trips, CPU copies and MMIO are counted instead.
#[test]
fn a_bounce_buffer_on_the_card_needs_no_round_trip() {
    let (result, _) = blk("pkvm-restricted", "");
    assert_eq!((result.round_trips, record(&result).dma.len()), (0, 0));
    assert!(result.mmio_reads > 64 * 4096 / 2 / 8, "what was read is fetched by the CPU");
    assert!(result.dma_api.bounced_bytes >= 64 * 4096);
}

/// `pkvm-hint`: the driver may mix.
#[test]
fn a_hint_is_taken_for_short_buffers_only() {
    let (result, _) = blk("pkvm-hint", "hint taken, mixed");
    assert!(result.dma_api.bounced_bytes > 0 && result.dma_api.bounced_bytes < 64 * 64);
    assert!(!record(&result).dma.is_empty());
}

/// `arm64-weak-order`: with the bit no seed shows it.
#[test]
fn with_order_platform_no_seed_shows_an_index_before_its_descriptor() {
    let setup = case("arm64-weak-order", "").setup;
    for seed in 0..8 {
        let mut setup = setup;
        setup.shape.stores = pcie_sim::host::shape::Stores::Weak { seed, depth: 64 };
        for pattern in patterns(&["driver.kick_batch=16"]) {
            let (_, verdict) = run("arm64-weak-order", setup, &pattern);
            assert_eq!(verdict.outcome, Outcome::Works, "seed {seed}: {}", verdict.evidence);
        }
    }
}

/// `vtb run --platform ID`: the ordinary traffic runs on every platform on which a card works.
#[test]
fn recorded_traffic_runs_on_every_platform() {
    let text = "name = \"ordinary\"\nplatforms = [\"all\"]\n[matrix]\nevent_idx = [true]\n\
                rings = [\"host\"]\n[blk]\nmax_requests = 60\n[net]\nmax_packets = 60\n";
    let source = Source::built_in("ordinary.toml", text);
    let scenario = Scenario::from_source(&source, &Overrides::default()).unwrap();
    assert_eq!(scenario.runs.len(), 4 * runnable().count());
    for (run, result) in
        scenario.runs.iter().zip(run_all(&scenario.runs, 2, &bench::run, &mut |_| {}).unwrap())
    {
        assert_eq!(result.violations, [], "{}", run.name());
        assert!(result.completed >= 60, "{}", run.name());
    }
}

/// `mmio-platform`: the same drivers over another transport, also in a slot that gets its device later.
#[test]
fn the_same_driver_runs_over_another_transport() {
    let (pci, _) = blk("x86-noiommu", "");
    let (mmio, _) = blk("mmio-platform", "");
    let (late, verdict) = blk("mmio-platform", "slot empty at first");
    assert_eq!((mmio.completed, late.completed), (64, 64));
    // In which order buffers come back, and so are used again, is the transport's own time.
    let in_order = |result| {
        let mut addresses = handed_over(result);
        addresses.sort_unstable();
        addresses
    };
    assert_eq!(in_order(&mmio), in_order(&pci));
    assert!(verdict.evidence.starts_with("the slot was empty until"), "{}", verdict.evidence);
}

/// `arm64-noncoherent`: a step left out shows stale data, and DMA debug names it.
#[test]
fn a_step_of_maintenance_left_out_spoils_data_and_is_named() {
    for (variant, named) in [
        ("no clean at map", "not cleaned"),
        ("no invalidate at unmap", "not invalidated"),
        ("coherent memory cached", "stayed cached"),
    ] {
        let setup = case("arm64-noncoherent", variant).setup;
        for pattern in patterns(&[]) {
            let (result, _) = run("arm64-noncoherent", setup, &pattern);
            let found = |rule: &str, part: &str| {
                let mut all = result.violations.iter();
                all.any(|found| found.rule.starts_with(rule) && found.message.contains(part))
            };
            assert!(found("DMA-API", named), "{variant}, {}", pattern.device);
            assert!(found("DATA", "") || found("BLK", ""), "{variant}, {}", pattern.device);
        }
    }
}

/// Costs of back ends are values of the preset: each one reaches the platform whose CPU pays it.
#[test]
fn what_a_back_end_costs_is_a_value_of_the_preset() {
    let dear = Span::from_us(5);
    type Set = fn(&mut Timing, Span);
    let values: [(&str, Set); 9] = [
        ("x86-vtd", |timing, cost| timing.driver_iommu_map = cost),
        ("x86-vtd-lazy", |timing, cost| timing.driver_iommu_flush = cost),
        ("ppc64-tce", |timing, cost| timing.driver_tce_unmap = cost),
        ("ppc64-tce", |timing, cost| timing.host_hypercall = cost),
        ("ppc64-secure", |timing, cost| timing.driver_bounce_slot = cost),
        ("ppc64-secure", |timing, cost| timing.driver_copy_line = cost),
        ("xen-dom0", |timing, cost| timing.driver_frame_lookup = cost),
        ("arm64-noncoherent", |timing, cost| timing.host_line_maintenance = cost),
        ("x86-noiommu", |timing, cost| timing.host_barrier = cost),
    ];
    for (nth, (id, set)) in values.into_iter().enumerate() {
        let pattern = &patterns(&["blk.synthetic.requests=200"])[0];
        let mut changed = pattern.clone();
        set(&mut changed.timing, dear);
        let (before, _) = run(id, case(id, "").setup, pattern);
        let (after, verdict) = run(id, case(id, "").setup, &changed);
        assert_eq!(after.violations, [], "{nth} {id}: {}", verdict.evidence);
        assert!(after.facts.cpu_time > before.facts.cpu_time + dear, "{nth} {id}");
    }
}
