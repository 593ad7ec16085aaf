//! Reads a Perfetto trace by Perfetto's published schema, and holds it to what a reader relies on:
//! every packet known, no unknown field, time never going back on a sequence, names told before they are
//! used, slices nested and closed, events on tracks that were described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, Value};

/// A track, and the names of those above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) path: String,
}

/// A slice, begun and ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadSlice {
    pub(crate) track: String,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) arguments: Vec<(String, String)>,
    pub(crate) flows: Vec<u64>,
    pub(crate) ended_flows: Vec<u64>,
}

/// What happened, in the order of the file; a slice stands where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Slice(ReadSlice),
    Counter { track: String, at_ns: u64, value: i64 },
}

/// A whole trace.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// In order of their descriptors.
    pub(crate) tracks: Vec<Track>,
    pub(crate) events: Vec<Event>,
}

impl Read {
    pub(crate) fn slices(&self) -> impl Iterator<Item = &ReadSlice> {
        self.events.iter().filter_map(|event| match event {
            Event::Slice(slice) => Some(slice),
            Event::Counter { .. } => None,
        })
    }
}

fn schema() -> &'static DescriptorPool {
    static SCHEMA: OnceLock<DescriptorPool> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = include_str!("trace.proto");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("trace.proto"), text).unwrap();
        let files = protox::compile(["trace.proto"], [folder.path()]).expect("the schema is valid");
        DescriptorPool::from_file_descriptor_set(files).expect("the schema is whole")
    })
}

/// No field of it, or of a message in it, is unknown to the schema.
fn all_known(message: &DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}");
    for (_, value) in message.fields() {
        match value {
            Value::Message(inner) => all_known(inner),
            Value::List(list) => list.iter().filter_map(Value::as_message).for_each(all_known),
            _ => {}
        }
    }
}

trait Fields {
    fn number(&self, name: &str) -> Option<u64>;
    fn text(&self, name: &str) -> Option<String>;
    fn inner(&self, name: &str) -> Option<DynamicMessage>;
    fn numbers(&self, name: &str) -> Vec<u64>;
    fn messages(&self, name: &str) -> Vec<DynamicMessage>;
}

fn as_number(value: &Value) -> Option<u64> {
    match value {
        Value::U64(number) => Some(*number),
        Value::U32(number) => Some(u64::from(*number)),
        Value::EnumNumber(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

impl Fields for DynamicMessage {
    fn number(&self, name: &str) -> Option<u64> {
        let value = self.has_field_by_name(name).then(|| self.get_field_by_name(name)).flatten();
        value.and_then(|value| as_number(&value))
    }

    fn text(&self, name: &str) -> Option<String> {
        let value = self.has_field_by_name(name).then(|| self.get_field_by_name(name)).flatten();
        value.and_then(|value| value.as_str().map(str::to_owned))
    }

    fn inner(&self, name: &str) -> Option<DynamicMessage> {
        let value = self.has_field_by_name(name).then(|| self.get_field_by_name(name)).flatten();
        value.and_then(|value| value.as_message().cloned())
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        let list = self.get_field_by_name(name).expect("a field of the schema");
        list.as_list().expect("repeated").iter().filter_map(as_number).collect()
    }

    fn messages(&self, name: &str) -> Vec<DynamicMessage> {
        let list = self.get_field_by_name(name).expect("a field of the schema");
        list.as_list().expect("repeated").iter().filter_map(Value::as_message).cloned().collect()
    }
}

#[derive(Default)]
struct Sequence {
    cleared: bool,
    reached_ns: u64,
    names: BTreeMap<(&'static str, u64), String>,
}

#[derive(Default)]
struct Reader {
    read: Read,
    sequences: BTreeMap<u64, Sequence>,
    tracks: BTreeMap<u64, Track>,
    counters: BTreeSet<u64>,
    open: BTreeMap<u64, Vec<ReadSlice>>,
}

/// Reads a trace.
///
/// # Panics
/// When it is not one that a reader can rely on.
pub(crate) fn read(path: &Path) -> Read {
    let bytes = std::fs::read(path).expect("the file is there");
    let trace = schema().get_message_by_name("perfetto.protos.Trace").expect("in the schema");
    let trace = DynamicMessage::decode(trace, bytes.as_slice()).expect("it is a trace");
    all_known(&trace);
    let mut reader = Reader::default();
    for packet in trace.messages("packet") {
        reader.packet(&packet);
    }
    let open: usize = reader.open.values().map(Vec::len).sum();
    assert_eq!(open, 0, "every slice is ended");
    reader.read
}

impl Reader {
    fn packet(&mut self, packet: &DynamicMessage) {
        let id = packet.number("trusted_packet_sequence_id").filter(|id| *id != 0);
        let id = id.expect("every packet belongs to a sequence");
        let flags = packet.number("sequence_flags").expect("every packet says what it needs");
        let sequence = self.sequences.entry(id).or_default();
        if flags & 1 != 0 {
            sequence.cleared = true;
            sequence.names.clear();
        }
        assert!(sequence.cleared, "a sequence begins by forgetting what was interned");
        if let Some(news) = packet.inner("interned_data") {
            for kind in ["event_categories", "event_names", "debug_annotation_names"] {
                for entry in news.messages(kind) {
                    let (iid, name) = (entry.number("iid").unwrap(), entry.text("name").unwrap());
                    assert_ne!(iid, 0);
                    assert_eq!(sequence.names.insert((kind, iid), name), None, "told once");
                }
            }
        }
        let descriptor = packet.inner("track_descriptor");
        let event = packet.inner("track_event");
        assert!(descriptor.is_some() != event.is_some(), "one or the other: {packet:?}");
        if let Some(event) = event {
            assert_ne!(flags & 2, 0, "it needs what was interned");
            let at_ns = packet.number("timestamp").expect("an event has a time");
            assert!(at_ns >= sequence.reached_ns, "time goes back on sequence {id}");
            sequence.reached_ns = at_ns;
            self.event(id, at_ns, &event);
        }
        if let Some(descriptor) = descriptor {
            self.track(&descriptor);
        }
    }

    fn track(&mut self, descriptor: &DynamicMessage) {
        let uuid = descriptor.number("uuid").filter(|uuid| *uuid != 0).expect("a number");
        let name = descriptor.text("name").expect("a name");
        let parent = descriptor.number("parent_uuid");
        let path = match parent {
            None => name,
            Some(parent) => format!("{}/{name}", self.tracks[&parent].path),
        };
        let track = Track { path };
        self.read.tracks.push(track.clone());
        assert_eq!(self.tracks.insert(uuid, track), None, "described once");
        if descriptor.has_field_by_name("counter") {
            self.counters.insert(uuid);
        }
    }

    fn event(&mut self, sequence: u64, at_ns: u64, event: &DynamicMessage) {
        let uuid = event.number("track_uuid").expect("an event is on a track");
        let track = self.tracks.get(&uuid).expect("a track that was described").path.clone();
        match event.number("type").expect("an event has a type") {
            1 => {
                assert!(!self.counters.contains(&uuid));
                let slice = self.begun(sequence, track, at_ns, event);
                self.open.entry(uuid).or_default().push(slice);
            }
            2 => {
                let open = self.open.get_mut(&uuid).and_then(Vec::pop);
                let mut slice = open.expect("what ends has begun");
                slice.end_ns = at_ns;
                self.read.events.push(Event::Slice(slice));
            }
            4 => {
                assert!(self.counters.contains(&uuid));
                let value = event.get_field_by_name("counter_value").and_then(|v| v.as_i64());
                let value = value.expect("a counter has a value");
                self.read.events.push(Event::Counter { track, at_ns, value });
            }
            other => panic!("no such event is written: {other}"),
        }
    }

    fn begun(&self, sequence: u64, track: String, at_ns: u64, event: &DynamicMessage) -> ReadSlice {
        let names = &self.sequences[&sequence].names;
        let name = |kind, iid| names.get(&(kind, iid)).expect("a name that was told").clone();
        let categories = event.numbers("category_iids");
        assert_eq!(categories.len(), 1);
        let arguments = event.messages("debug_annotations");
        let argument = |argument: &DynamicMessage| {
            let of = name("debug_annotation_names", argument.number("name_iid").expect("a name"));
            let number = argument.number("uint_value").map(|number| number.to_string());
            let address = argument.number("pointer_value").map(|address| format!("{address:#x}"));
            let value = number.or(address).or_else(|| argument.text("string_value"));
            (of, value.expect("an argument has a value"))
        };
        ReadSlice {
            track,
            name: name("event_names", event.number("name_iid").expect("a slice has a name")),
            category: name("event_categories", categories[0]),
            begin_ns: at_ns,
            end_ns: at_ns,
            arguments: arguments.iter().map(argument).collect(),
            flows: event.numbers("flow_ids"),
            ended_flows: event.numbers("terminating_flow_ids"),
        }
    }
}
