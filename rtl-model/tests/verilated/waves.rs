//! FST files of a design, read back by `wellen`.

use wellen::simple::Waveform;

use super::*;

/// The changes of a signal: time in ps, and value.
fn changes(waves: &mut Waveform, name: &str) -> Vec<(u64, u64)> {
    let signal = {
        let hierarchy = waves.hierarchy();
        let mut all = hierarchy.all_vars().map(|var| &hierarchy[var]);
        let found = all.find(|var| var.full_name(hierarchy).ends_with(name));
        found.unwrap_or_else(|| panic!("no signal {name}")).signal_ref()
    };
    waves.load_signals(&[signal]);
    let times = waves.time_table().to_vec();
    let signal = waves.get_signal(signal).expect("it was loaded");
    let value = |value: wellen::SignalValueRef<'_>| {
        u64::from_str_radix(&value.to_bit_string().expect("bits"), 2).expect("two states")
    };
    signal.iter_changes().map(|(at, bits)| (times[at as usize], value(bits))).collect()
}

#[test]
fn waves_of_a_design_are_read_back_in_picoseconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counter.fst");
    let mut model = model(&load(&counter(), true));
    let enable = port(&model, "enable");
    model.open_waves(&path).unwrap();
    let mut at = model.reset(Instant::from_ps(1_000_000));
    for _ in 0..3 {
        model.cycle(at, |model| model.write(enable, 1));
        at += model.period();
    }
    model.close_waves();
    let mut waves = wellen::simple::read(&path).unwrap();
    let scale = waves.hierarchy().timescale().expect("it has one");
    assert_eq!((scale.factor, scale.unit), (1, wellen::TimescaleUnit::PicoSeconds));
    let rises: Vec<u64> = changes(&mut waves, "TOP.clk")
        .iter()
        .filter(|(_, level)| *level == 1)
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(rises, [1_000_000, 1_010_000, 1_020_000, 1_030_000, 1_040_000]);
    // An input changes at the edge behind which it was written.
    assert_eq!(changes(&mut waves, "TOP.enable").last(), Some(&(1_020_000, 1)));
    assert_eq!(changes(&mut waves, "TOP.count").last(), Some(&(1_040_000, 2)));
}

#[test]
fn a_pause_leaves_a_window_and_results_do_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.fst");
    let manifest = reference("reference.toml");
    let mut with = model(&load(&manifest, true));
    let mut without = model(&load(&manifest, false));
    with.open_waves(&path).unwrap();
    let mut at = with.reset(Instant::ZERO);
    without.reset(Instant::ZERO);
    let ports: Vec<_> = with.ports().to_vec();
    for cycle in 0..300_u32 {
        match cycle {
            100 => with.pause_waves(),
            200 => with.resume_waves(),
            _ => {}
        }
        for model in [&mut with, &mut without] {
            model.cycle(at, |model| {
                let inputs = ports.iter().filter(|port| port.direction == PortDirection::Input);
                for port in inputs
                    .filter(|port| port.name.starts_with("rx_") || port.name.starts_with("tx_"))
                {
                    model.write(port.id, cycle.wrapping_mul(0x9e37_79b9) >> (port.id.0 % 16));
                }
            });
        }
        for port in &ports {
            let (mut a, mut b) = ([0; 8], [0; 8]);
            let _ = with.read_wide(port.id, &mut a);
            let _ = without.read_wide(port.id, &mut b);
            assert_eq!(a, b, "{} in cycle {cycle}", port.name);
        }
        at += with.period();
    }
    drop(with);
    let mut waves = wellen::simple::read(&path).unwrap();
    let clock = changes(&mut waves, "TOP.clk_i");
    let inside = clock.iter().filter(|(at, _)| (420_000..800_000).contains(at)).count();
    assert_eq!(inside, 0, "nothing is written in the pause");
    assert!(clock.iter().any(|(at, _)| *at > 1_100_000));
    assert!(waves.hierarchy().all_vars().count() > 500, "signals inside are written as well");
}

#[test]
fn waves_of_a_design_built_without_them_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut plain = model(&load(&counter(), false));
    let said = plain.open_waves(&folder.path().join("x.fst")).unwrap_err().to_string();
    assert!(said.ends_with("built without waves"), "{said}");
    let mut able = model(&load(&counter(), true));
    let said = able.open_waves(&folder.path().join("no/x.fst")).unwrap_err().to_string();
    assert!(said.contains("no/x.fst: No such file"), "{said}");
}
