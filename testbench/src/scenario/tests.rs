use std::collections::BTreeSet;

use super::*;

const SMALL: &str = "name = \"small\"\nplatforms = [\"x86-vtd\"]\n";

fn load(text: &str) -> Result<Scenario, InputError> {
    load_with(text, &Overrides::default())
}

fn load_with(text: &str, overrides: &Overrides) -> Result<Scenario, InputError> {
    Scenario::from_source(&Source::built_in("s.toml", text), overrides)
}

fn complaint(rest: &str) -> String {
    load(&format!("{SMALL}{rest}")).unwrap_err().to_string()
}

#[test]
fn the_default_scenario_has_every_ring_placement_on_both_platforms() {
    let scenario = Scenario::load(None, &Overrides::default()).unwrap();
    let names: BTreeSet<String> = scenario.runs.iter().map(RunConfig::name).collect();
    assert_eq!((scenario.runs.len(), names.len()), (48, 48));
    assert_eq!(scenario.runs[0].name(), "split/host/direct/blk/x86-noiommu");
    assert!(names.contains("split/card/indirect+event_idx/net/x86-vtd"));
}

#[test]
fn an_unknown_key_is_refused_with_line_and_place() {
    let text = complaint("[card]\nqueue_sise = 8\n");
    assert!(text.starts_with("s.toml:4: card.queue_sise: unknown field `queue_sise`"), "{text}");
}

#[test]
fn a_wrong_type_is_refused_with_line_and_key() {
    let text = complaint("[card]\nqueue_size = \"many\"\n");
    assert!(text.starts_with("s.toml:4: card.queue_size: invalid type: string"), "{text}");
}

#[test]
fn what_a_list_does_not_have_is_refused_with_what_it_has() {
    let text = complaint("[matrix]\nrings = [\"hosts\"]\n");
    assert!(text.contains("s.toml:4: matrix.rings") && text.contains("`hybrid`"), "{text}");
    let text = complaint("[matrix]\ndevices = [\"rng\"]\n");
    assert!(text.contains("`blk`") && text.contains("`net`"), "{text}");
}

#[test]
fn an_unknown_platform_is_refused_with_those_that_exist() {
    let text = load("name = \"x\"\nplatforms = [\"x86\"]\n").unwrap_err().to_string();
    let start = "s.toml:2: platforms: unknown platform `x86`; there are: x86-noiommu, x86-os-off";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_platform_that_no_scenario_runs_on_is_refused_with_the_reason() {
    let text = load("name = \"x\"\nplatforms = [\"qemu-guest\"]\n").unwrap_err().to_string();
    assert!(text.contains("`qemu-guest` does not run a scenario: run by `vtb serve`"), "{text}");
}

/// Virtio 1.4 §2.7: "Queue Size value is always a power of 2", at most 32,768.
#[test]
fn a_ring_size_that_is_no_power_of_two_is_refused() {
    for size in ["0", "3", "65536", "100000"] {
        let text = complaint(&format!("[card]\nqueue_size = {size}\n"));
        assert!(text.starts_with("s.toml:4: card.queue_size: "), "{text}");
        assert!(text.contains("not a power of two"), "{text}");
    }
}

#[test]
fn ram_too_small_for_the_rings_is_refused() {
    let text = complaint("[host]\nram = \"1 MiB\"\n");
    assert!(text.starts_with("s.toml:4: host.ram: 1048576 bytes are too small"), "{text}");
}

#[test]
fn card_memory_too_small_for_the_rings_is_refused() {
    let text = complaint("[card]\nmemory = \"4 KiB\"\n");
    assert!(text.starts_with("s.toml:4: card.memory: 4096 bytes are too small"), "{text}");
    assert!(load(&format!("{SMALL}[matrix]\nrings=[\"host\"]\n[card]\nmemory=4096\n")).is_ok());
}

#[test]
fn a_disk_image_of_a_part_of_a_sector_is_refused() {
    let mut image = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut image, &[0; 700]).unwrap();
    let text = complaint(&format!("[blk]\ndisk = {:?}\n", image.path()));
    assert!(text.starts_with("s.toml:4: blk.disk: the disk's 700 bytes"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_refused_at_the_key_that_names_it() {
    for key in ["net.pcap", "blk.log", "blk.disk"] {
        let (table, name) = key.split_once('.').unwrap();
        let text = complaint(&format!("[{table}]\n{name} = \"nowhere/at.all\"\n"));
        assert!(
            text.starts_with(&format!("s.toml:4: {key}: cannot read nowhere/at.all")),
            "{text}"
        );
    }
}

#[test]
fn always_interrupting_goes_only_without_event_index() {
    assert!(complaint("[card]\nalways_interrupt = true\n").contains("event_idx = [false]"));
    let without = "[matrix]\nevent_idx = [false]\n[card]\nalways_interrupt = true\n";
    assert!(load(&format!("{SMALL}{without}")).unwrap().runs[0].card.always_interrupt);
}

#[test]
fn a_link_without_room_for_one_packet_is_refused() {
    let text = complaint("[link.card_buffers]\nposted = { headers = 1, data = 15 }\n");
    assert!(text.contains("link.card_buffers") && text.contains("at least 16"), "{text}");
}

#[test]
fn a_kick_batch_beyond_the_queue_depth_is_refused() {
    let text = complaint("[driver]\nqueue_depth = 4\nkick_batch = 5\n");
    assert!(text.starts_with("s.toml:5: driver.kick_batch: 5 is not between 1 and 4"), "{text}");
}

#[test]
fn options_stand_in_for_what_the_scenario_says() {
    let overrides = Overrides {
        platforms: vec!["x86-noiommu".to_owned(), "x86-noiommu".to_owned()],
        seed: Some(7),
        only: Some("hybrid/direct/net".to_owned()),
        set: vec!["card.queue_size=64".to_owned(), "driver.completion=poll".to_owned()],
        ..Overrides::default()
    };
    let scenario = load_with(SMALL, &overrides).unwrap();
    assert_eq!((scenario.seed, scenario.runs.len()), (7, 1));
    let run = &scenario.runs[0];
    assert_eq!((run.platform.id, run.seed, run.card.queue_size), ("x86-noiommu", 7, 64));
    assert_eq!(run.driver.completion, config::CompletionMode::Poll);
}

#[test]
fn a_setting_of_no_such_key_is_refused() {
    for set in ["card.nothing=1", "card", "name.x=1", "card.queue_size=\"a\""] {
        let overrides = Overrides { set: vec![set.to_owned()], ..Overrides::default() };
        let text = load_with(SMALL, &overrides).unwrap_err().to_string();
        assert!(text.starts_with(&format!("--set {set}: ")), "{text}");
    }
}

#[test]
fn one_ram_file_does_not_serve_two_runs() {
    let text = complaint("[host]\nram_file = \"ram.bin\"\n");
    assert!(text.contains("cannot stand for the RAM of 24 runs"), "{text}");
}

#[test]
fn paths_start_at_the_scenarios_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.toml");
    std::fs::write(folder.path().join("a.pcap"), b"x").unwrap();
    std::fs::write(&file, format!("{SMALL}[net]\npcap = \"a.pcap\"\n")).unwrap();
    let scenario = Scenario::load(Some(&file), &Overrides::default()).unwrap();
    let Workload::Net(net) = &scenario.runs.last().unwrap().workload else { panic!("net is last") };
    assert_eq!(net.source, PacketSource::Capture(folder.path().join("a.pcap")));
}
