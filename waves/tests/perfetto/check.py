"""Reads a trace with the schema that Perfetto publishes (the package `perfetto` of PyPI).

check.py TRACE SCHEMA

TRACE must have no field that the schema does not know; prints what is in it, as JSON. SCHEMA, the part of
the schema that other tests read traces with, as a FileDescriptorSet, must say what Perfetto's says.
"""

import json
import sys
from collections import Counter

from google.protobuf import descriptor_pb2, unknown_fields
from perfetto.protos.perfetto.trace import perfetto_trace_pb2


def unknown(message):
    count = len(unknown_fields.UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            inner = [value] if hasattr(value, "ListFields") else value
            count += sum(unknown(one) for one in inner)
    return count


def count(path):
    trace = perfetto_trace_pb2.Trace()
    with open(path, "rb") as file:
        trace.ParseFromString(file.read())
    kinds = Counter()
    for packet in trace.packet:
        kind = packet.WhichOneof("data") or "nothing"
        if kind == "track_event":
            kind = perfetto_trace_pb2.TrackEvent.Type.Name(packet.track_event.type)
        kinds[kind] += 1
    return {"unknown": unknown(trace), **kinds}


def fields(messages, prefix=""):
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield from fields(message.nested_type, name)
        for field in message.field:
            yield f"{name}.{field.name}", (field.number, field.type, field.label, field.type_name)
        for enum in message.enum_type:
            for value in enum.value:
                yield f"{name}.{enum.name}.{value.name}", value.number


def differing(path):
    ours = descriptor_pb2.FileDescriptorSet()
    with open(path, "rb") as file:
        ours.ParseFromString(file.read())
    theirs = descriptor_pb2.FileDescriptorProto()
    perfetto_trace_pb2.DESCRIPTOR.CopyToProto(theirs)
    theirs = dict(fields(theirs.message_type))
    ours = [entry for file in ours.file for entry in fields(file.message_type)]
    return len(ours), [name for name, facts in ours if theirs.get(name) != facts]


if __name__ == "__main__":
    compared, differ = differing(sys.argv[2])
    print(json.dumps({**count(sys.argv[1]), "compared": compared, "differ": differ}))
