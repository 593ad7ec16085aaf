use super::*;
use crate::host::ram::Ram;
use crate::spec::tce::entry;

const CARD: Bdf = Bdf::new(1, 0, 0);
const LIOBN: u32 = Window::DEFAULT.liobn;
const REGISTERS: PhysAddr = PhysAddr(0xfed9_0000);

struct Bench {
    unit: Tce,
    ram: Ram,
}

impl Bench {
    fn new(config: TceConfig) -> Self {
        Self { unit: Tce::new(config), ram: Ram::anonymous(1 << 20).expect("a megabyte") }
    }

    fn sparc64() -> Self {
        let access = TceAccess::Direct { registers: REGISTERS };
        let mut bench = Self::new(TceConfig { access, freezes: false, ..TceConfig::default() });
        bench.register(reg::TABLE, 0x8000);
        bench
    }

    fn register(&mut self, offset: u64, value: u64) {
        self.unit.register_write(Instant::ZERO, &mut self.ram, offset, 8, value);
    }

    fn dma(&mut self, address: u64, kind: DmaKind) -> Result<u64, u8> {
        let done =
            self.unit.translate(Instant::ZERO, &mut self.ram, CARD, BusAddr(address), 64, kind);
        done.map(|done| done.address.get()).map_err(|blocked| blocked.reason)
    }

    fn read(&mut self, address: u64) -> Result<u64, u8> {
        self.dma(address, DmaKind::Read)
    }

    fn put(&mut self, ioba: u64, tces: &[u64]) -> Result<(), HypercallError> {
        self.unit.put_tces(&mut self.ram, LIOBN, ioba, tces)
    }

    fn store(&mut self, page: u64, tce: u64) {
        assert!(self.ram.write(PhysAddr(0x8000 + page * 8), &tce.to_be_bytes()));
    }
}

/// LoPAR, `H_PUT_TCE`: an entry maps one page with its permissions, and the next call takes it back.
#[test]
fn an_entry_maps_its_page_until_it_is_cleared() {
    let mut bench = Bench::new(TceConfig { freezes: false, ..TceConfig::default() });
    assert_eq!(bench.read(0x3010), Err(fault::NOT_MAPPED));
    assert_eq!(
        bench.put(0x3000, &[entry(0x7000, true, false), entry(0x5000, false, true)]),
        Ok(())
    );
    assert_eq!(bench.unit.mapped_pages(LIOBN), 2);
    assert_eq!(bench.read(0x3010), Ok(0x7010));
    assert_eq!(bench.dma(0x3010, DmaKind::Write), Err(fault::WRITE_DENIED));
    assert_eq!(bench.dma(0x4fff, DmaKind::Write), Ok(0x5fff));
    assert_eq!(bench.read(0x4000), Err(fault::READ_DENIED));
    assert_eq!(bench.put(0x3000, &[0, 0]), Ok(()));
    assert_eq!(bench.read(0x3010), Err(fault::NOT_MAPPED), "the cached entry went with the call");
    assert_eq!(bench.unit.mapped_pages(LIOBN), 0);
}

/// A hypervisor trusts no guest: what it may not map is refused whole.
#[test]
fn a_call_with_a_wrong_parameter_changes_nothing() {
    let mut bench = Bench::new(TceConfig::default());
    let good = entry(0x7000, true, true);
    let end = Window::DEFAULT.pages << 12;
    for (ioba, tces) in [
        (0x3001, &[good][..]),
        (end, &[good]),
        (end - 0x1000, &[good, good]),
        (u64::MAX - 0xfff, &[good, good]),
        (0x3000, &[good, entry(1 << 40, true, true)]),
        (0x3000, &[good, good | 0x800]),
    ] {
        assert!(matches!(bench.put(ioba, tces), Err(HypercallError::Parameter(_))), "{ioba:#x}");
    }
    let other = bench.unit.put_tces(&mut bench.ram, 7, 0, &[good]);
    assert_eq!(other, Err(HypercallError::Parameter(7)));
    assert_eq!(bench.unit.mapped_pages(LIOBN), 0);
    assert_eq!(bench.put(end - 0x1000, &[good]), Ok(()), "the last page is one");
}

/// LoPAR, "Enhanced I/O Error Handling": a slot that made an error is isolated until it is released.
#[test]
fn a_fault_freezes_the_slot_until_it_is_thawed() {
    let mut bench = Bench::new(TceConfig::default());
    assert_eq!(bench.put(0, &[entry(0x7000, true, true)]), Ok(()));
    assert_eq!((bench.read(0), bench.unit.frozen()), (Ok(0x7000), Some(false)));
    assert_eq!(bench.read(0x1000), Err(fault::NOT_MAPPED));
    assert_eq!((bench.read(0), bench.unit.frozen()), (Err(fault::FROZEN), Some(true)));
    assert!(bench.unit.thaw());
    assert_eq!(bench.read(0), Ok(0x7000));
}

/// PLATFORMS, `ppc64-ddw`: bus = physical + window base.
#[test]
fn a_direct_window_maps_all_of_ram_at_its_base_beside_the_default_window() {
    let windows = vec![Window::DEFAULT, Window::direct(40 << 20)];
    let mut bench = Bench::new(TceConfig { windows, freezes: false, ..TceConfig::default() });
    let base = 1 << 59;
    assert_eq!(bench.read(base + 0x12_3456), Ok(0x12_3456));
    assert_eq!(bench.dma(base + (48 << 20) - 1, DmaKind::Write), Ok((48 << 20) - 1));
    assert_eq!(bench.read(base + (48 << 20)), Err(fault::NO_WINDOW));
    assert_eq!(
        bench.read(0x12_3456),
        Err(fault::NOT_MAPPED),
        "a physical address is no bus address"
    );
    assert_eq!(bench.read(base - 1), Err(fault::NO_WINDOW));
    assert_eq!(bench.read(base + 0x12_3456), Ok(0x12_3456));
    assert_eq!(bench.unit.counts(), IotlbCounts { hits: 1, misses: 3 });
}

/// PLATFORMS, `sparc64`: as POWER's, without the hypercall.
#[test]
fn an_entry_in_memory_is_seen_at_once_but_forgotten_only_when_flushed() {
    let mut bench = Bench::sparc64();
    assert_eq!(bench.put(0, &[0]), Err(HypercallError::NoHypervisor));
    bench.store(3, entry(0x7000, true, true));
    assert_eq!(bench.read(0x3010), Ok(0x7010));
    bench.store(3, 0);
    assert_eq!(bench.read(0x3010), Ok(0x7010), "stale until flushed");
    bench.register(reg::FLUSH, 0x3fff);
    assert_eq!(bench.read(0x3010), Err(fault::NOT_MAPPED));
    bench.store(3, entry(0x9000, true, true));
    assert_eq!(bench.read(0x3010), Ok(0x9010), "what is not mapped is not cached");
    bench.store(3, 0);
    bench.register(reg::FLUSH_ALL, 0);
    assert_eq!(bench.read(0x3010), Err(fault::NOT_MAPPED));
}

#[test]
fn the_fault_register_keeps_the_first_fault_until_it_is_cleared() {
    let mut bench = Bench::sparc64();
    let fault = |bench: &mut Bench| {
        let mut read = |offset| bench.unit.register_read(Instant::ZERO, offset, 8);
        (read(reg::FAULT), read(reg::FAULT_ADDRESS))
    };
    assert_eq!(fault(&mut bench), (0, 0));
    assert!(bench.dma(0x5000, DmaKind::Write).is_err() && bench.read(0x6000).is_err());
    let status = fault_status::VALID
        | fault_status::WRITE
        | u64::from(CARD.0) << fault_status::REQUESTER_SHIFT
        | u64::from(fault::NOT_MAPPED);
    assert_eq!(fault(&mut bench), (status, 0x5000));
    bench.register(reg::FAULT, 0);
    assert_eq!(fault(&mut bench), (0, 0));
    assert_eq!((bench.unit.frozen(), bench.unit.thaw()), (None, false), "nothing ever freezes");
}

#[test]
fn a_unit_without_a_table_faults_and_never_lets_anything_pass() {
    let access = TceAccess::Direct { registers: REGISTERS };
    let mut bench = Bench::new(TceConfig { access, freezes: false, ..TceConfig::default() });
    assert_eq!(bench.read(0x3000), Err(fault::TABLE_UNREACHABLE));
    bench.register(reg::TABLE, 1 << 40);
    assert_eq!(bench.read(0x3000), Err(fault::TABLE_UNREACHABLE));
}
