//! A split queue without a driver: the test plays the card on the ring itself.

use pcie_sim::address::PhysAddr;
use pcie_sim::host::Barrier;
use pcie_sim::spec::virtq;
use proptest::prelude::*;

use super::*;
use crate::dma::debug::DmaDebug;
use crate::pages::Pages;
use crate::testing::card::Card;
use crate::testing::flaky::{Flaky, Strings};
use crate::testing::{BAR2, FakeHost, pages};

const BUFFER: PhysAddr = PhysAddr(0x1_0000);

struct Bench {
    host: FakeHost,
    dma: Dma,
    queue: Virtqueue,
    strings: Strings,
    pages: Pages,
}

fn config(size: u16) -> QueueConfig {
    QueueConfig {
        index: 0,
        size,
        event_idx: false,
        indirect: Indirect::Never,
        table_entries: 16,
        order_platform: true,
        interrupts: true,
    }
}

impl Bench {
    fn new(config: QueueConfig, placement: Placement) -> Self {
        let mut host = FakeHost::new(Card::blk());
        let pages = pages();
        let strings = Strings::default();
        let mut dma = Dma::new(Box::new(Flaky::new(&pages, &strings)), Some(DmaDebug::new()));
        let mut window = Some(CardWindow::new(PhysAddr(BAR2), 1 << 20));
        let areas = Areas::of_split(&mut host, &mut dma, placement, config.size, &mut window)
            .expect("there is room");
        let queue = Virtqueue::Split(Box::new(Split::new(&mut host, areas, &pages, config)));
        let at = queue.addresses();
        host.card.queues[0].size = config.size;
        host.card.queues[0].enabled = true;
        host.card.queues[0].addresses = [at.descriptors.get(), at.driver.get(), at.device.get()];
        Self { host, dma, queue, strings, pages }
    }

    fn add(&mut self, out: usize, in_: usize, token: u64) -> Result<(), AddError> {
        let segments: Vec<_> = (0..(out + in_) as u64)
            .map(|nth| Segment { address: BUFFER + nth * 256, len: 100 })
            .collect();
        self.queue.add(&mut self.host, &mut self.dma, &segments[..out], &segments[out..], token)
    }

    /// The card takes the next chain; what it found there.
    fn card_takes(&mut self) -> Option<(u16, usize)> {
        let (head, chain) = self.host.card.next_chain(&mut self.host.fabric, 0)?;
        self.host.card.queues[0].seen = self.host.card.queues[0].seen.wrapping_add(1);
        Some((head, chain.len()))
    }

    fn card_uses(&mut self, id: u32, len: u32) {
        self.host.card.complete(&mut self.host.fabric, 0, id, len);
    }

    fn take(&mut self) -> Option<Result<Used, QueueBroken>> {
        self.queue.take_used(&mut self.host, &mut self.dma)
    }

    fn findings(&self) -> usize {
        self.dma.debug().map_or(0, |debug| debug.findings().len())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add { out: usize, in_: usize, maps: Option<u32> },
    Use(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let add = (0usize..4, 0usize..4, prop::option::weighted(0.3, 0u32..6));
    prop_oneof![
        3 => add.prop_map(|(out, in_, maps)| Step::Add { out, in_, maps }),
        2 => any::<prop::sample::Index>().prop_map(Step::Use),
    ]
}

/// Descriptors of the ring and mappings that a chain of `segments` takes.
fn cost(indirect: Indirect, segments: usize) -> (u16, i64) {
    let table = match indirect {
        Indirect::Never => false,
        Indirect::Chains => segments > 1,
        Indirect::Always => true,
    };
    if table { (1, segments as i64 + 1) } else { (segments as u16, segments as i64) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// PLATFORMS.md, rule 5: whatever order buffers come back in, and whatever map fails, the free list
    /// and what is mapped are what the outstanding chains need, no more.
    #[test]
    fn the_queue_holds_exactly_what_is_outstanding(
        steps in prop::collection::vec(step(), 1..120),
        indirect in prop_oneof![Just(Indirect::Never), Just(Indirect::Chains), Just(Indirect::Always)],
    ) {
        let mut bench = Bench::new(QueueConfig { indirect, ..config(8) }, Placement::Host);
        let mut on_card: Vec<(u16, u64, usize)> = Vec::new();
        let (mut used_descriptors, mut mapped, mut token) = (0u16, 0i64, 0u64);
        for step in steps {
            match step {
                Step::Add { out, in_, maps } => {
                    token += 1;
                    bench.strings.maps_left.set(maps);
                    let result = bench.add(out, in_, token);
                    bench.strings.maps_left.set(None);
                    let (needs, maps_needed) = cost(indirect, out + in_);
                    let enough = maps.is_none_or(|maps| i64::from(maps) >= maps_needed);
                    let free = 8 - used_descriptors;
                    match result {
                        Ok(()) => {
                            prop_assert!(enough && needs <= free && out + in_ > 0);
                            let (head, len) = bench.card_takes().expect("published at once");
                            prop_assert_eq!(len, out + in_);
                            on_card.push((head, token, out + in_));
                            used_descriptors += needs;
                            mapped += maps_needed;
                        }
                        Err(AddError::Full { needed, free: said }) => {
                            prop_assert_eq!((needed, said), (needs, free));
                            prop_assert!(needs > free);
                        }
                        Err(AddError::Io(_)) => prop_assert!(!enough),
                        Err(AddError::BadChain { .. }) => prop_assert_eq!(out + in_, 0),
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Step::Use(pick) if !on_card.is_empty() => {
                    let (head, token, segments) = on_card.swap_remove(pick.index(on_card.len()));
                    bench.card_uses(u32::from(head), 0);
                    prop_assert_eq!(bench.take(), Some(Ok(Used { token, len: 0 })));
                    let (needs, maps_needed) = cost(indirect, segments);
                    used_descriptors -= needs;
                    mapped -= maps_needed;
                }
                Step::Use(_) => prop_assert_eq!(bench.take(), None),
            }
            prop_assert_eq!(bench.queue.free_descriptors(), 8 - used_descriptors);
            prop_assert_eq!(bench.queue.outstanding(), on_card.len() as u16);
            prop_assert_eq!(bench.strings.live.get(), mapped);
            prop_assert!(bench.card_takes().is_none(), "a failed add shows the card nothing");
        }
        let mut left = bench.queue.detach_unused(&mut bench.host, &mut bench.dma).expect("all mapped");
        left.sort_unstable();
        let mut tokens: Vec<_> = on_card.iter().map(|&(_, token, _)| token).collect();
        tokens.sort_unstable();
        prop_assert_eq!(left, tokens);
        prop_assert_eq!(bench.strings.live.get(), 0);
        prop_assert_eq!(bench.findings(), 0);
        bench.queue.free(&mut bench.host, &mut bench.dma).expect("given out by it");
        prop_assert_eq!(bench.pages.in_use_bytes(), 0);
    }
}

/// PLATFORMS.md, rule 5: out-of-memory for an indirect table.
#[test]
fn without_memory_for_a_table_nothing_stays_mapped() {
    let mut bench =
        Bench::new(QueueConfig { indirect: Indirect::Chains, ..config(8) }, Placement::Host);
    while bench.pages.alloc(4096, 1).is_ok() {}
    assert!(matches!(bench.add(1, 1, 0), Err(AddError::OutOfMemory(_))));
    assert_eq!((bench.strings.live.get(), bench.queue.free_descriptors()), (0, 8));
    bench.add(1, 0, 0).expect("a single descriptor needs no table");
}

#[test]
fn the_ring_index_wraps_at_65536_without_a_trace() {
    for event_idx in [false, true] {
        for placement in [Placement::Host, Placement::Card] {
            let mut bench = Bench::new(QueueConfig { event_idx, ..config(4) }, placement);
            for token in 0..65_536 + 10u64 {
                bench.add(1, 1, token).expect("room");
                assert!(bench.queue.prepare_kick(&mut bench.host), "the card is idle: {token}");
                let (head, len) = bench.card_takes().expect("published");
                assert_eq!(len, 2);
                bench.card_uses(u32::from(head), 100);
                assert_eq!(bench.take(), Some(Ok(Used { token, len: 100 })));
                assert_eq!(bench.take(), None);
            }
            assert_eq!(bench.queue.free_descriptors(), 4);
        }
    }
}

/// PLATFORMS.md, rule 5: a device cannot make the driver unmap what it did not map.
#[test]
fn a_lying_card_breaks_the_queue_and_nothing_else() {
    type Lie = fn(&mut Bench, u16);
    type IsNoticed = fn(QueueBroken) -> bool;
    let lies: [(Lie, IsNoticed); 5] = [
        (
            |bench, _| bench.card_uses(8, 0),
            |broken| matches!(broken, QueueBroken::BadId { id: 8, .. }),
        ),
        (
            |bench, head| bench.card_uses(u32::from(head) | 0x1_0000, 0),
            |broken| matches!(broken, QueueBroken::BadId { .. }),
        ),
        // The second descriptor of the chain is no head.
        (
            |bench, head| bench.card_uses(u32::from(head) + 1, 0),
            |broken| matches!(broken, QueueBroken::BadId { .. }),
        ),
        (
            |bench, head| bench.card_uses(u32::from(head), 101),
            |broken| matches!(broken, QueueBroken::BadLength { len: 101, writable: 100, .. }),
        ),
        (
            |bench, head| {
                bench.host.card.queues[0].used = 41;
                bench.card_uses(u32::from(head), 0);
            },
            |broken| {
                matches!(broken, QueueBroken::IndexJump { from: 0, to: 42, outstanding: 1, .. })
            },
        ),
    ];
    for (lie, is_noticed) in lies {
        let mut bench = Bench::new(config(8), Placement::Host);
        bench.add(1, 1, 9).expect("room");
        let (head, _) = bench.card_takes().expect("published");
        lie(&mut bench, head);
        let Some(Err(broken)) = bench.take() else { panic!("not noticed") };
        assert!(is_noticed(broken), "{broken}");
        assert_eq!(bench.strings.live.get(), 2, "nothing was unmapped");
        assert_eq!(bench.take(), Some(Err(broken)), "broken it stays");
        assert_eq!(bench.add(1, 0, 10), Err(AddError::Broken(broken)));
        let left = bench.queue.detach_unused(&mut bench.host, &mut bench.dma);
        assert_eq!((left, bench.strings.live.get(), bench.findings()), (Ok(vec![9]), 0, 0));
    }
}

/// A used element that comes twice names a chain that is not outstanding any more.
#[test]
fn a_chain_that_comes_back_twice_breaks_the_queue() {
    let mut bench = Bench::new(config(8), Placement::Host);
    bench.add(1, 0, 1).expect("room");
    bench.add(1, 0, 2).expect("room");
    let (head, _) = bench.card_takes().expect("published");
    bench.card_uses(u32::from(head), 0);
    bench.card_uses(u32::from(head), 0);
    assert_eq!(bench.take(), Some(Ok(Used { token: 1, len: 0 })));
    assert!(matches!(bench.take(), Some(Err(QueueBroken::BadId { .. }))));
    assert_eq!(bench.strings.live.get(), 1, "the other chain is still mapped");
}

/// VQ-ASUP-DRV-03, -04.
#[test]
fn without_event_index_the_used_flag_silences_the_doorbell() {
    let mut bench = Bench::new(config(8), Placement::Host);
    bench.add(1, 0, 1).expect("room");
    assert!(bench.queue.prepare_kick(&mut bench.host));
    assert!(!bench.queue.prepare_kick(&mut bench.host), "nothing new");
    bench.host.card.script.no_notify = true;
    bench.card_takes();
    bench.add(1, 0, 2).expect("room");
    assert!(!bench.queue.prepare_kick(&mut bench.host));
}

/// VQ-ASUP-DRV-06, -07.
#[test]
fn with_event_index_the_doorbell_rings_only_when_the_event_is_passed() {
    let mut bench = Bench::new(QueueConfig { event_idx: true, ..config(8) }, Placement::Host);
    bench.add(1, 0, 0).expect("room");
    assert!(bench.queue.prepare_kick(&mut bench.host), "index 0 to 1 passes event 0");
    bench.add(1, 0, 1).expect("room");
    assert!(!bench.queue.prepare_kick(&mut bench.host), "index 1 to 2 does not");
    let at = bench.queue.addresses().device.get() + virtq::avail_event(8);
    bench.host.fabric.write(at, &3u16.to_le_bytes());
    bench.add(1, 0, 2).expect("room");
    assert!(!bench.queue.prepare_kick(&mut bench.host), "index 2 to 3 does not pass event 3");
    bench.add(1, 0, 3).expect("room");
    bench.add(1, 0, 4).expect("room");
    assert!(bench.queue.prepare_kick(&mut bench.host), "index 3 to 5 does");
}

/// VQ-ASUP-DRV-06: what must be rung is rung, though the driver cannot see in time what the card asks.
#[test]
fn with_the_areas_apart_the_doorbell_rings_always_and_the_wish_for_interrupts_is_read_back() {
    for event_idx in [false, true] {
        let mut bench = Bench::new(QueueConfig { event_idx, ..config(8) }, Placement::Hybrid);
        bench.host.card.script.no_notify = true;
        for token in 0..4 {
            bench.add(1, 0, token).expect("room");
            assert!(bench.queue.prepare_kick(&mut bench.host));
            assert!(bench.card_takes().is_some());
        }
        assert!(!bench.queue.prepare_kick(&mut bench.host), "nothing new");
        assert_eq!(bench.host.mmio_reads, 0);
        assert!(!bench.queue.enable_interrupts(&mut bench.host));
        assert_eq!(bench.host.mmio_reads, 1);
    }
}

/// VQ-USUP-DRV-02, -03, -04.
#[test]
fn interrupts_are_asked_for_by_flag_or_by_event() {
    for event_idx in [false, true] {
        let mut bench = Bench::new(QueueConfig { event_idx, ..config(8) }, Placement::Host);
        let driver = bench.queue.addresses().driver.get();
        let word = |bench: &mut Bench, offset: u64| {
            u16::from_le_bytes(bench.host.fabric.read(driver + offset).expect("RAM"))
        };
        bench.add(1, 0, 0).expect("room");
        let (head, _) = bench.card_takes().expect("published");
        bench.queue.disable_interrupts(&mut bench.host);
        assert_eq!(word(&mut bench, virtq::AVAIL_FLAGS), u16::from(!event_idx));
        bench.card_uses(u32::from(head), 0);
        assert!(bench.queue.enable_interrupts(&mut bench.host), "one is there already");
        assert!(bench.take().is_some());
        assert!(!bench.queue.enable_interrupts(&mut bench.host));
        assert_eq!(word(&mut bench, virtq::AVAIL_FLAGS), 0);
        assert_eq!(word(&mut bench, virtq::used_event(8)), u16::from(event_idx));
    }
}

#[test]
fn a_polling_driver_is_never_interrupted_by_an_event_left_behind() {
    let polling = QueueConfig { event_idx: true, interrupts: false, ..config(4) };
    let mut bench = Bench::new(polling, Placement::Host);
    let driver = bench.queue.addresses().driver.get();
    for token in 0..140_000u64 {
        bench.add(1, 0, token).expect("room");
        let (head, _) = bench.card_takes().expect("published");
        let old = bench.host.card.queues[0].used;
        bench.card_uses(u32::from(head), 0);
        let event = bench.host.fabric.read(driver + virtq::used_event(4)).expect("RAM");
        assert!(!virtq::need_event(u16::from_le_bytes(event), old.wrapping_add(1), old), "{token}");
        assert!(bench.take().is_some());
    }
}

/// PLATFORMS.md, rule 4.
#[test]
fn order_platform_makes_the_barriers_real() {
    for (order_platform, placement, expected) in [
        (true, Placement::Host, Barrier::DmaWrite),
        (false, Placement::Host, Barrier::SmpWrite),
        (false, Placement::Hybrid, Barrier::DmaWrite),
    ] {
        let mut bench = Bench::new(QueueConfig { order_platform, ..config(8) }, placement);
        bench.host.barriers.clear();
        bench.add(1, 0, 0).expect("room");
        bench.queue.prepare_kick(&mut bench.host);
        assert_eq!(bench.host.barriers, [expected, Barrier::Full]);
    }
}
