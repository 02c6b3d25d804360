# SPDX-License-Identifier: Apache-2.0
"""Hostile or broken bytes: the agent stays in step, answers what deserves an answer, and lives."""

import json
import re
import random
import struct

import pytest

from rig.wire import ControlFrame, Code, TtyFrame, command, tty_frames

MIB = 1 << 20
PING = command(Code.PING)
VERSION = command(Code.GETVERSION)

LONGER_THAN_BELIEVED = [(16 << 20) + 1, 0x40000000, 0x7FFFFFFF, 0xFFFFFFFF]


def in_step(host):
    """A PING is answered, and a GETVERSION by its number: no reply is off by one."""
    host.ping()
    assert len(host.ack(Code.GETVERSION)) == 4
    host.settle()


def container_spec(host, **process):
    process = {"args": ["true"], "stdio": host.fresh_seq(), "stderr": host.fresh_seq(), **process}
    return {"id": "framed", "image": "box", "rootfs": "rootfs", "process": process}


# Splits

def test_commands_that_arrive_byte_by_byte_are_taken(host):
    cmds = host.send_raw(VERSION * 3 + command(99) + PING, replies=5, step=1)
    host.reply_to(cmds[-1])
    assert [cmd.kind for cmd in cmds] == [Code.ACK] * 3 + [Code.ERROR, Code.ACK]
    in_step(host)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 8, 9, 11, 13, 512])
def test_a_session_in_writes_of_a_few_bytes_works(pod, box, step):
    process = {"args": ["say", "out", "err", "3"], "stdio": 71, "stderr": 72}
    raw = command(Code.EXECCMD, {"container": "nowhere", "process": process})
    cmds = pod.send_raw(PING + raw + VERSION, replies=3, step=step)
    pod.reply_to(cmds[-1])
    assert [cmd.kind for cmd in cmds] == [Code.ACK, Code.ERROR, Code.ACK]
    assert "nowhere" in cmds[1].text
    in_step(pod)


def test_many_commands_in_one_write_are_taken(host):
    cmds = host.send_raw(b"".join([PING, VERSION, command(7)] * 200), replies=600)
    host.reply_to(cmds[-1])
    assert [len(cmd.payload) for cmd in cmds[:3]] == [0, 4, len("unknown command 7")]
    in_step(host)


def test_nexts_add_up_in_the_middle_of_a_message(host):
    """runV writes 512 bytes and no more until the NEXTs say that they were taken."""
    payload = json.dumps({"container": "c", "x": "y" * 5000}).encode()
    raw = command(Code.KILLCONTAINER, payload)
    cmds = host.send_raw(b"", replies=1)
    for at in range(0, len(raw), 512):
        host.control.send(raw[at : at + 512])
        host.wait_for(lambda: host.control.taken == host.control.sent and not host.control.chunks,
                      "NEXTs for what was written")
    host.reply_to(cmds[0])
    assert cmds[0].kind == Code.ERROR
    in_step(host)


# Lengths

@pytest.mark.parametrize("length", [0, 1, 4, 7, *LONGER_THAN_BELIEVED])
@pytest.mark.parametrize("code", [Code.PING, Code.STARTPOD, Code.EXECCMD, 99])
def test_a_length_that_cannot_be_is_an_error_and_the_stream_goes_on(host, code, length):
    cmds = host.send_raw(struct.pack(">II", code, length) + PING, replies=2)
    host.reply_to(cmds[1])
    assert [cmd.kind for cmd in cmds] == [Code.ERROR, Code.ACK]
    in_step(host)


@pytest.mark.parametrize("length", [0, 4, 11, *LONGER_THAN_BELIEVED])
def test_a_tty_length_that_cannot_be_is_dropped_and_the_stream_goes_on(pod, box, length):
    process = pod.execcmd(box.name, ["cat"]).started()
    process.write(b"one ")
    pod.tty.send(struct.pack(">QI", process.stdio, length))
    process.write(b"two")
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == b"one two"
    in_step(pod)


@pytest.mark.options(binary="musl")
@pytest.mark.parametrize("code", [Code.PING, Code.STARTPOD, Code.NEWCONTAINER, Code.EXECCMD,
                                  Code.WINSIZE, 99])
def test_a_command_of_10_mb_is_skipped_exactly(host, code):
    before = host.guest.stat(host).rss_kib if not host.guest.is_vm else None
    payload = b'{"id": "' + b"x" * 10_000_000 + b'"}'
    cmds = host.send_raw(ControlFrame(code, payload).build() + PING, replies=2)
    host.reply_to(cmds[1])
    assert [cmd.kind for cmd in cmds] == [Code.ERROR, Code.ACK]
    in_step(host)
    if before:
        grown = host.guest.stat(host).rss_kib - before
        assert grown < 256, f"the agent's RSS grew by {grown} KiB"


@pytest.mark.parametrize("size", [511, 512, 513, 1023, 1024, 1025, 4096, 16384, 65536, 200000])
def test_commands_of_every_size_are_taken(pod, box, size):
    process = pod.execcmd(box.name, ["true"], padding="x" * size).started()
    assert process.wait() == 0


def test_an_announced_command_that_never_comes_costs_nothing_but_the_wait(host):
    host.control.send(struct.pack(">II", Code.STARTPOD, 16 << 20) + b"{")
    host.wait_for(lambda: not host.control.chunks and host.control.taken == host.control.sent,
                  "NEXTs for what was written")
    gone = host.guest.log.count("port control: host gone")
    host.disconnect_control()
    host.wait_log("port control: host gone", gone + 1)
    host.connect_control()
    in_step(host)


# Numbers

def test_empty_frames_on_every_seq_are_dropped(pod, box):
    pod.tty.send(b"".join(TtyFrame(seq).build() for seq in (0, 1, 1 << 32, (1 << 64) - 1)))
    pod.tty.send(b"".join(tty_frames(seq, b"data") for seq in (0, 1, 1 << 32, (1 << 64) - 1)))
    assert pod.run(box.name, ["say", "x", "", "0"]).out == b"x"
    in_step(pod)


# JSON

MALFORMED = [
    b"", b" ", b"null", b'""', b"x", b"{", b"}", b"[", b"]", b"[]", b"1", b"true", b'"text"',
    b"{}x", b"{}{}", b"{},", b"{,}", b'{"a"}', b'{"a":}', b'{"a" 1}', b'{"a" "b"}', b'{"a":1,}',
    b'{"a":1 "b":2}', b"{'a':1}", b"{a:1}", b"{1:1}", b'{"a":01}', b'{"a":+1}', b'{"a":1.}',
    b'{"a":.5}', b'{"a":1e}', b'{"a":1-2}', b'{"a":--1}', b'{"a":0x10}', b'{"a":NaN}',
    b'{"a":Infinity}', b'{"a":tru}', b'{"a":nul}', b'{"a":True}', b'{"a":"\\x"}', b'{"a":"\\u12"}',
    b'{"a":"\\u12g4"}', b'{"a":"', b'{"a":"\n"}', b'{"a":"\0"}', b'{"a\\', b'{"a":[1,]}',
    b'{"a":[1 2]}', b'{"a":[1}', b'{"a":{]}', b"\xef\xbb\xbf{}", b"\0", b"{}\0",
    b'{"a":1}//c', b"/**/{}", b'{"a":"\xff"}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}',
    b"[" * 100000, b'{"a":' * 50000, b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    b'{"a":[' + b"1," * 60000 + b"1]}", b"\xff" * 1000, b'{"id":"\\u0000"}', b'{"id":"\\ud800"}',
]


@pytest.mark.parametrize("code", [Code.NEWCONTAINER, Code.EXECCMD, Code.KILLCONTAINER,
                                  Code.WINSIZE])
def test_malformed_json_is_an_error_and_the_agent_stays_in_step(pod, box, code):
    for payload in MALFORMED:
        assert pod.error(code, payload), payload[:40]
    in_step(pod)
    assert pod.run(box.name, ["say", "x", "", "0"]).out == b"x"


@pytest.mark.options(fresh=True)
def test_malformed_startpods_are_errors_and_the_pod_can_still_be_started(host):
    for payload in MALFORMED:
        # Under a name that nobody reads much of it is skipped.
        payload = re.sub(rb'"(a|id)"', b'"hostname"', payload)
        if payload not in (b"", b"null", b'""', b" ", b"{,}"):
            assert host.error(Code.STARTPOD, payload), payload[:40]
    in_step(host)
    host.startpod()


def test_the_same_garbage_cut_at_every_byte_is_an_error_each_time(pod):
    whole = json.dumps(container_spec(pod)).encode()
    cmds = [pod.send(Code.NEWCONTAINER, whole[:at]) for at in range(len(whole))]
    pod.reply_to(cmds[-1])
    assert {cmd.kind for cmd in cmds} == {Code.ERROR}
    in_step(pod)


FIELDS = {
    "id": str, "image": str, "rootfs": str, "readOnly": bool, "process": dict,
    "process.args": list, "process.envs": list, "process.user": str,
    "process.additionalGroups": list, "process.terminal": bool, "process.stdio": int,
    "process.stderr": int, "process.workdir": str, "process.rows": int}
VALUES = [1, -1, 1.5, True, "text", [], [1], {}, {"a": 1}]


def is_taken(kind, value):
    return type(value) is kind and value not in (-1, [1]) or (kind is bool and value == 1)


@pytest.mark.parametrize("field, value", [
    pytest.param(field, value, id=f"{field}={json.dumps(value)}")
    for field, kind in FIELDS.items() for value in VALUES
    if not is_taken(kind, value) and value != {}])
def test_a_wrong_type_is_an_error_that_names_the_field(pod, field, value):
    spec = container_spec(pod)
    *way, last = field.split(".")
    target = spec
    for key in way:
        target = target[key]
    target[last] = value
    text = pod.error(Code.NEWCONTAINER, spec)
    assert field in text
    pod.ping()


def test_deep_nesting_in_an_unknown_key_is_ignored_or_refused_but_never_fatal(pod, box):
    for depth in (1, 8, 16, 31, 32, 33, 64, 1000, 100000):
        payload = b'{"container":"%s","signal":0,"deep":%s%s}' % (
            box.name.encode(), b"[" * depth, b"]" * depth)
        cmd = pod.reply_to(pod.send(Code.KILLCONTAINER, payload))
        assert cmd.kind == (Code.ACK if depth < 31 else cmd.kind)
    in_step(pod)


def test_duplicate_keys_and_any_order_of_keys_are_taken(pod, box):
    payload = b'{"signal":9,"container":"%s","signal":0}' % box.name.encode()
    pod.ack(Code.KILLCONTAINER, payload)
    payload = b' {\n"x":null ,\t"signal" : 0\r\n,"container":"%s" } \n' % box.name.encode()
    pod.ack(Code.KILLCONTAINER, payload)


@pytest.mark.limit(120)
def test_a_thousand_seeded_mutations_of_a_command_leave_the_agent_in_step(pod, box):
    random_source = random.Random(2)
    whole = json.dumps({"container": box.name, "signal": 0, "allProcesses": False,
                        "x": [1, {"y": "\u20ac\"\\"}, None]}).encode()
    for _ in range(1000):
        broken = bytearray(whole)
        for _ in range(random_source.randint(1, 4)):
            at = random_source.randrange(len(broken))
            choice = random_source.randrange(3)
            if choice == 0:
                broken[at] = random_source.randrange(256)
            elif choice == 1:
                del broken[at]
            else:
                broken.insert(at, random_source.choice(b'{}[]",:\\0 ut\xc3'))
        if b"9" in broken or b"1" in broken.replace(b"[1", b""):
            continue  # not a signal by accident
        pod.send(Code.KILLCONTAINER, bytes(broken))
    in_step(pod)
