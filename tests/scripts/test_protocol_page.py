# SPDX-License-Identifier: Apache-2.0
"""doc/protocol.md, held against the sources: numbers, keys with their types, limits, examples."""

import json
import re

import pytest

from rig import wire
from rig.scripts import ROOT

KINDS = {"STR": "string", "STRV": "[string]", "U64": "u64", "U32_TEXT": "digits", "BOOL": "bool",
         "MAP": "{string}"}
RANGES = {"UINT16_MAX": "u16", "UINT32_MAX": "u32", "INT32_MIN, INT32_MAX": "i32", "0, 64": "0–64"}


def read(name):
    return (ROOT / name).read_text()


PAGE = read("doc/protocol.md")
CODES = {name: int(number) for name, number in re.findall(
    r"^\t(\w+) = (\d+),", read("include/protocol.h"), re.MULTILINE)}
TO_HOST = {"READY", "ACK", "ERROR", "NEXT", "PROCESSASYNCEVENT"}


# --- The sources ----------------------------------------------------------------------------------


def type_of(kind, arguments):
    """As the page calls it. The arguments are those behind REQ, OPT or EMPTY."""
    kind = kind.removesuffix("_CHECKED")
    arguments = arguments.strip(", ")
    if kind in ("OBJ", "OBJP", "LIST"):
        name = arguments.removesuffix("_spec").replace("_", " ")
        return f"[{name}]" if kind == "LIST" else name
    return RANGES[arguments] if kind in ("U32", "INT") else KINDS[kind]


def objects_of_the_source():
    """{object: {key: (type, is required)}}"""
    tables = re.findall(r"^JSON_TABLE(?:_CHECKED)?\((\w+)_spec,(.*?)\);$", read("src/spec/spec.c"),
                        re.MULTILINE | re.DOTALL)
    return {name.replace("_", " "): {
        key: (type_of(kind, rest), need == "REQ")
        for kind, key, need, rest in re.findall(
            r'F_(\w+)\([^"()]*"(\w+)",\s*(REQ|OPT|EMPTY)([^)]*)\)', body)} for name, body in tables}


OBJECTS = objects_of_the_source()
# The object that is a command's payload.
PAYLOADS = {name: payload.replace("_", " ") for name, payload in re.findall(
    r"^\t\[(\w+)\] .*&(\w+)_spec_schema,", read("src/commands.c"), re.MULTILINE)}
COMMANDS = set(re.findall(r"^\t\[(\w+)\] ", read("src/commands.c"), re.MULTILINE))


# --- The page -------------------------------------------------------------------------------------


def section(title):
    return re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def rows(text, columns):
    """The rows of its tables with that many columns."""
    for body in re.findall(r"^\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE):
        for line in body.splitlines():
            cells = [cell.strip() for cell in line[1:-1].split("|")]
            if len(cells) == columns:
                yield cells


def unlinked(text):
    return re.sub(r"\[([\w ]+)\]\(#[\w-]+\)", r"\1", text)


def table(found):
    """{key: (type, is required)} of the rows of one object."""
    keys = [key.strip("`") for key, *_ in found]
    assert len(set(keys)) == len(keys)
    return {key: (unlinked(kind), default == "required")
            for key, (_, kind, default, _) in zip(keys, found)}


def parts():
    """{object: its rows}"""
    found = {}
    for name, *row in rows(section("parts"), 5):
        found.setdefault(name, []).append(row)
    return found


# By their headings: a name and a number, or several. {command: text}
TITLES = {name: title for title in re.findall(r"^### ([A-Z]+ \(.*)$", PAGE, re.MULTILINE)
          for name in re.findall(r"([A-Z]+) \(", title)}
SECTIONS = {name: section(title) for name, title in TITLES.items()}


def block(text):
    """Of a section: the JSON of its example, and the bytes of its frames."""
    (example,) = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    value = "".join(re.findall(r"^[{ ].*\n", example, re.MULTILINE))
    return value, bytes.fromhex(example.removeprefix(value))


# --- Numbers --------------------------------------------------------------------------------------


def test_the_page_has_every_number_of_the_header_and_no_other():
    shown = [(name, int(number)) for number, name, *_ in rows(PAGE, 4) if number.isdigit()]
    shown += [(name, int(number)) for name, number in re.findall(
        r"([A-Z]+) \((\d+)\)", " ".join(set(TITLES.values())))]
    assert len(shown) == len(COMMANDS) + len(TO_HOST)
    assert dict(shown) == CODES
    assert {name for name, _ in shown} - TO_HOST == COMMANDS - {"READY"}
    assert {name for _, name, *_ in rows(section("Replies and events"), 4)} == TO_HOST


def test_the_page_has_both_headers_and_the_api():
    header = read("include/protocol.h")
    for name in "control", "tty":
        length = re.search(rf"#define {name.upper()}_HEADER +(\d+)u", header)[1]
        first, word = re.search(rf"{name}: +(u\d+) (\w+) +\| u32 length", header).groups()
        ((_, shown, payload),) = [row for row in rows(section("Frames"), 3) if row[0] == name]
        at = int(first[1:]) // 8
        assert shown == f"bytes 0–{at - 1}: {first} {word}; bytes {at}–{at + 3}: u32 length, {length} or more"
        assert payload == f"length − {length} bytes"
    api = re.search(r"#define PROTOCOL_API (\d+)u", header)[1]
    assert f"a u32: {api}, " in section("Commands")


def test_the_page_has_the_ports_of_each_transport():
    source = read("src/transport.c")
    for name in "control", "tty":
        ports = re.findall(rf'\.{name} = "(?:/dev/)?(.*)"', source) + \
            re.findall(rf"#define VSOCK_{name.upper()} +(\d+)", source)
        assert len(ports) == 3
        column = ("transport", "control", "tty").index(name)
        shown = " ".join(row[column] for row in rows(section("Channels"), 4))
        assert set(re.findall(r"sh\.hyper\.channel\.\d|ttyS\d|\d{4}", shown)) == set(ports)


# --- Keys -----------------------------------------------------------------------------------------


def test_the_sources_are_understood():
    keys = re.findall(r'"(\w+)",\s*(?:REQ|OPT|EMPTY)', read("src/spec/spec.c"))
    assert sum(map(len, OBJECTS.values())) == len(keys) > 100
    assert len(PAYLOADS) == 13


def test_every_command_with_a_payload_has_its_section_and_no_other():
    assert set(SECTIONS) == set(PAYLOADS)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_command_has_every_key_of_its_table_and_no_other(name):
    payload = PAYLOADS[name]
    if re.search(rf"The payload is an? \[{payload}\]\(#{payload}\)", SECTIONS[name]):
        assert not list(rows(SECTIONS[name], 4))
    else:
        assert table(list(rows(SECTIONS[name], 4))) == OBJECTS[payload]


def test_an_object_has_every_key_of_its_table_and_no_other():
    described = {name: table(found) for name, found in parts().items()}
    for name in set(re.findall(r"^### ([a-z ]+)$", PAGE, re.MULTILINE)) - {"parts"}:
        assert name not in described
        described[name] = table(list(rows(section(name), 4)))
    by_commands = {payload for payload in PAYLOADS.values() if payload not in described}
    assert described == {name: keys for name, keys in OBJECTS.items() if name not in by_commands}


def test_every_link_leads_to_a_heading():
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings


def test_a_type_links_to_where_its_object_is():
    for name, target in re.findall(r"\| \[?\[([\w ]+)\]\(#([\w-]+)\)\]? \|", PAGE):
        assert name in OBJECTS and target == ("parts" if name in parts() else name)


# --- Limits ---------------------------------------------------------------------------------------


def test_limits_are_those_of_the_header():
    limits = dict(re.findall(r"^#define (\w+) +(.+?)(?: +/\*.*)?$", read("include/limits.h"), re.MULTILINE))

    def value(name):
        expression = re.sub(r"\b(\d+)u\b", r"\1", limits[name])
        return eval(re.sub(r"\b[A-Z]\w+", lambda match: str(value(match[0])), expression))

    shown = list(rows(section("Limits"), 3))
    assert len(shown) > 10
    for name, number, _ in shown:
        assert int(number.replace(",", "")) == value(name.strip("`"))
    assert int(re.search(r"none above ([\d,]+) bytes", section("Frames"))[1].replace(",", "")) == \
        value("TTY_FRAME_MAX")


# --- Examples -------------------------------------------------------------------------------------


def test_the_frame_of_each_example_is_that_of_its_json():
    for name, text in SECTIONS.items():
        value, frames = block(text)
        data = re.search(r"with the bytes `(.*)`", text)
        data = data[1].encode().decode("unicode_escape").encode() if data else b""
        plain = json.dumps(json.loads(value), separators=(",", ":")).encode()
        names = [other for other in TITLES if TITLES[other] == TITLES[name]]
        assert frames == b"".join(
            wire.command(CODES[each], plain + data if each == "WRITEFILE" else plain) for each in names)


def test_the_frame_of_each_row_has_its_number():
    for number, name, payload, example in rows(PAGE, 4):
        digits = re.match(r"`([0-9a-f ]+)`(?:: (.*))?$", example)
        if not number.isdigit() or name == "PROCESSASYNCEVENT":
            continue
        (frame,) = wire.control_decoder().feed(bytes.fromhex(digits[1]))
        assert frame.code == int(number)
        if name == "ERROR":
            assert frame.payload.decode() == digits[2].strip("`")
        elif name == "NEXT":
            assert int.from_bytes(frame.payload, "big") == int(digits[2]) and len(frame.payload) == 4
        else:
            assert frame.payload == b""


def test_the_event_has_the_keys_that_the_agent_sends():
    sent = re.search(r'"(\{\\"container.*\})"', read("src/wire/control.c"))[1].replace("\\", "")
    value, frame = block(section("Replies and events"))
    assert list(json.loads(value)) == re.findall(r'"(\w+)":', sent)
    assert frame == wire.command(CODES["PROCESSASYNCEVENT"], json.loads(value))


def test_the_frames_of_a_stream_are_those_that_the_page_says():
    _, frames = block(section("Streams"))
    assert wire.tty_decoder().feed(frames) == [
        wire.TtyFrame(1, b"hi\n"), wire.TtyFrame(1), wire.TtyFrame(1, b"\x03")]


def check_value(kind, value):
    if kind.startswith("["):
        for element in value:
            check_value(kind[1:-1], element)
    elif kind in OBJECTS:
        keys = OBJECTS[kind]
        assert set(value) <= set(keys)
        assert {key for key in keys if keys[key][1]} <= set(value)
        for key in value:
            check_value(keys[key][0], value[key])
    else:
        assert type(value) is {"string": str, "bool": bool, "{string}": dict}.get(kind, int)


@pytest.mark.parametrize("name", PAYLOADS)
def test_an_example_has_only_keys_and_types_of_its_table(name):
    check_value(PAYLOADS[name], json.loads(block(SECTIONS[name])[0]))
