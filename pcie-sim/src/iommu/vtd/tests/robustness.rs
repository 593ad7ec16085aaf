use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write { offset: u64, wide: bool, value: u64 },
    Read { offset: u64, len: usize },
    Poke { address: u64, value: u64 },
    Dma { requester: u16, address: u64, read: bool },
    Pass { ns: u64 },
}

/// Values near what the registers and tables expect, and any other.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0u64..RAM_BYTES as u64).prop_map(|address| address & !0xfff | 3),
        (0u64..8, any::<u16>()).prop_map(|(low, high)| low | u64::from(high) << 4),
        (0u32..64).prop_map(|bit| 1 << bit),
        Just(u64::from(gcmd::TE | gcmd::QIE | gcmd::SRTP)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let offset = || prop_oneof![0u64..0x300, 0u64..0x2000, any::<u64>()];
    prop_oneof![
        (offset().prop_map(|at| at & !3), any::<bool>(), value())
            .prop_map(|(offset, wide, value)| Step::Write { offset, wide, value }),
        (offset(), 0usize..10).prop_map(|(offset, len)| Step::Read { offset, len }),
        (0u64..RAM_BYTES as u64 / 8 - 1, value())
            .prop_map(|(word, value)| Step::Poke { address: word * 8 % 0x8000, value }),
        (0x100u16..0x104, prop_oneof![any::<u64>(), 0u64..1 << 20], any::<bool>())
            .prop_map(|(requester, address, read)| Step::Dma { requester, address, read }),
        (0u64..2000).prop_map(|ns| Step::Pass { ns }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any writes to registers and any bytes in tables and queue give faults and errors, never a panic;
    /// time only goes forward and the unit comes to rest.
    #[test]
    fn nothing_a_driver_or_card_does_stops_the_unit(
        steps in prop::collection::vec(step(), 1..120),
        running in any::<bool>(),
    ) {
        let config = VtdConfig::default();
        let mut bench = if running { Bench::running(config).0 } else { Bench::new(config) };
        for step in steps {
            match step {
                Step::Write { offset, wide: false, value } => bench.write32(offset, value as u32),
                Step::Write { offset, wide: true, value } => bench.write64(offset, value),
                Step::Read { offset, len } => {
                    bench.unit.register_read(bench.now, offset, len);
                }
                Step::Poke { address, value } => bench.ram.set_word(address, value),
                Step::Dma { requester, address, read } => {
                    let kind = if read { DmaKind::Read } else { DmaKind::Write };
                    let _ = bench.dma(Bdf(requester), address, kind);
                }
                Step::Pass { ns } => {
                    bench.pass(Span::from_ns(ns));
                }
            }
        }
        bench.pass(Span::from_ms(50));
        prop_assert_eq!(bench.unit.next_wake(), None);
    }

    /// Random tables: a request ends in a place or in a fault that the specification knows.
    #[test]
    fn a_walk_through_random_tables_ends(
        words in prop::collection::vec(value(), 64),
        address in 0u64..1 << 24,
    ) {
        let (mut bench, _) = Bench::running(instant());
        for page in (0x1000..0x10_0000u64).step_by(0x1000) {
            for (index, word) in words.iter().enumerate() {
                bench.ram.set_word(page + index as u64 * 8, word.rotate_left((page >> 12) as u32 & 1));
            }
        }
        for function in 0..16 {
            if let Err(reason) = bench.dma(Bdf(function), address, DmaKind::Read) {
                prop_assert!((1..=0xc).contains(&reason));
            }
        }
    }
}
