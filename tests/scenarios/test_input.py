# SPDX-License-Identifier: Apache-2.0
"""stdin: everything arrives, in order and once, however slow its reader; and one that never reads
harms nobody for ever."""

import hashlib

import pytest

from rig.programs import pattern, pattern_sha256
from rig.wire import TTY_FRAME_MAX, TtyFrame, tty_frames

MIB = 1 << 20


def digest_line(sha256):
    return f"{sha256}  -\n".encode()


@pytest.mark.limit(120)
def test_16_mib_in_the_largest_frames_reach_a_slow_reader(pod, box):
    process = pod.execcmd(box.name, ["sh", "-c", "trickle 65536 1000 | sha256sum"]).started()
    process.write(pattern(3, 16 * MIB), frame=TTY_FRAME_MAX)
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == digest_line(pattern_sha256(3, 16 * MIB))


@pytest.mark.limit(120)
def test_1_mib_in_frames_of_one_byte_reach_their_reader(pod, box):
    process = pod.execcmd(box.name, ["sha256sum"]).started()
    process.write(pattern(4, MIB), frame=13)
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == digest_line(pattern_sha256(4, MIB))


def test_a_frame_of_10_mib_is_streamed(pod, box):
    process = pod.execcmd(box.name, ["sh", "-c", "trickle 65536 100 | sha256sum"]).started()
    process.write(pattern(5, 10 * MIB), frame=10 * MIB + 12)
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == digest_line(pattern_sha256(5, 10 * MIB))


def test_eof_alone_ends_a_reader(pod, box):
    process = pod.execcmd(box.name, ["cat"]).started()
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == b""


def test_input_and_eof_right_behind_the_command_are_not_lost(pod, box):
    """cc-shim 2.1 sends EOF as soon as it can, before the ACK."""
    for _ in range(20):
        process = pod.execcmd(box.name, ["cat"])
        process.write(b"early")
        process.close_stdin()
        process.started()
        assert process.wait() == 0
        assert process.out == b"early"


def test_input_behind_an_acknowledged_start_is_never_lost(pod, box):
    for _ in range(20):
        process = pod.execcmd(box.name, ["cat"]).started()
        process.write(b"first\n")
        process.close_stdin()
        assert process.wait() == 0
        assert process.out == b"first\n"


def test_input_behind_eof_is_dropped(pod, box):
    process = pod.execcmd(box.name, ["cat"]).started()
    process.write(b"before")
    process.close_stdin()
    process.write(b"after")
    assert process.wait() == 0
    assert process.out == b"before"


def test_input_on_an_unknown_seq_is_dropped_in_silence(pod, box):
    pod.tty.send(tty_frames(987654321, bytes(50000)) + TtyFrame(987654321).build())
    assert pod.run(box.name, ["say", "still here", "", "0"]).out == b"still here"


def test_input_on_a_stderr_seq_is_dropped_in_silence(pod, box):
    process = pod.execcmd(box.name, ["cat"]).started()
    pod.tty.send(tty_frames(process.stderr, b"wrong way"))
    process.write(b"right way")
    process.close_stdin()
    process.wait()
    assert process.out == b"right way"


def test_frames_of_two_processes_that_are_cut_anywhere_reach_the_right_one(pod, box):
    first = pod.execcmd(box.name, ["sha256sum"]).started()
    second = pod.execcmd(box.name, ["sha256sum"]).started()
    stream = bytearray()
    data = {first: pattern(6, 40000), second: pattern(7, 40000)}
    for at in range(0, 40000, 97):
        for process in (first, second):
            stream += TtyFrame(process.stdio, data[process][at : at + 97]).build()
    for process in (first, second):
        stream += TtyFrame(process.stdio).build()
    pod.tty.send(stream, step=61)
    for process, sent in data.items():
        assert process.wait() == 0
        assert process.out == digest_line(hashlib.sha256(sent).hexdigest())


def test_a_process_that_exits_discards_its_input_and_only_its_own(pod, box):
    reader = pod.execcmd(box.name, ["cat"]).started()
    gone = pod.execcmd(box.name, ["sh", "-c", "read line; exit 4"]).started()
    gone.write(b"line\n" + bytes(2 * MIB))
    reader.write(b"for the reader")
    reader.close_stdin()
    assert gone.wait() == 4
    assert reader.wait() == 0
    assert reader.out == b"for the reader"


def test_a_process_that_closes_its_stdin_discards_its_input_and_only_its_own(pod, box):
    reader = pod.execcmd(box.name, ["cat"]).started()
    closed = pod.execcmd(box.name, ["sh", "-c", "exec 0</dev/null; echo closed; sleep 100000"])
    closed.started()
    closed.write(bytes(2 * MIB))
    reader.write(b"for the reader")
    reader.close_stdin()
    assert reader.wait() == 0
    assert reader.out == b"for the reader"


def test_two_processes_on_one_seq_input_goes_to_the_one_started_last(pod, box):
    """cc30 gives 1 and 2 to every process without a client."""
    first = pod.execcmd(box.name, ["cat"], stdio=1, stderr=2).started()
    second = pod.execcmd(box.name, ["cat"], stdio=1, stderr=2).started()
    second.write(b"second")
    second.close_stdin()
    second.wait()
    assert second.out == b"second"
    first.write(b"first")
    first.close_stdin()
    first.wait()
    assert first.out == b"first"


@pytest.mark.limit(120)
def test_a_process_that_never_reads_harms_nobody_but_input_behind_its_own(pod, box):
    stuck = pod.newcontainer("stuck", ["sleep", "100000"]).started()
    before = pod.execcmd(box.name, ["cat"]).started()
    before.write(b"before the jam\n")
    before.wait_output(b"before the jam\n")
    ticker = pod.execcmd(box.name, ["sh", "-c", "while echo tick; do sleep 0.05; done"]).started()

    stuck.write(bytes(2 * MIB))  # a virtio port and its socket alone hold 1 MiB
    before.write(b"behind the jam\n")
    before.close_stdin()
    for _ in range(20):
        pod.ping()
    seen = len(ticker.out)
    pod.wait_for(lambda: len(ticker.out) > seen + 50, "ticks during the jam")
    for n in range(5):
        late = pod.run(box.name, ["say", "out", "err", str(n)])
        assert (late.out, late.err, late.code) == (b"out", b"err", n)
    assert pod.tty.chunks, "2 MiB were taken from the host though nobody reads it"
    assert before.out == b"before the jam\n"

    pod.kill("stuck")
    assert stuck.wait() == 137
    assert before.wait() == 0
    assert before.out == b"before the jam\nbehind the jam\n"


@pytest.mark.limit(120)
@pytest.mark.parametrize("way_out", ["reads", "closes", "exits"])
def test_a_jam_clears_when_the_process(pod, box, way_out):
    fifo = f"/dev/shm/go{pod.fresh_seq()}"  # 9p has no fifos
    script = f"mkfifo {fifo} && exec 3<>{fifo} && echo && read go <&3 || exit 1; " + {
        "reads": "sha256sum", "closes": "exec 0</dev/null; cat", "exits": "exit 0"}[way_out]
    jammed = pod.execcmd(box.name, ["sh", "-c", script])
    jammed.started().wait_output(b"\n")
    data = pattern(8, MIB)
    jammed.write(data)
    jammed.close_stdin()
    behind = pod.execcmd(box.name, ["cat"]).started()
    behind.write(b"behind")
    behind.close_stdin()
    pod.ping()
    pod.run(box.name, ["sh", "-c", f"echo go >{fifo}"])
    assert jammed.wait() == 0
    assert behind.wait() == 0
    assert behind.out == b"behind"
    if way_out == "reads":
        assert jammed.out == b"\n" + digest_line(hashlib.sha256(data).hexdigest())


@pytest.mark.limit(120)
def test_a_process_that_reads_is_served_though_all_queues_are_taken(pod, box):
    """stdin queues are 8 MiB together, 256 KiB each: the 33rd process does without."""
    stuck = [pod.execcmd(box.name, ["sleep", "100000"]).started() for _ in range(32)]
    for process in stuck:
        process.write(bytes(100000))  # more than its pipe holds
    fifo = f"/dev/shm/go{pod.fresh_seq()}"  # 9p has no fifos
    reader = pod.execcmd(box.name, ["sh", "-c", f"mkfifo {fifo} && exec 3<>{fifo} && echo && "
                                    "read go <&3 && exec sha256sum"]).started()
    reader.wait_output(b"\n")
    data = pattern(9, 98000)  # a pipe and tty.in: a socket polls writable when 3/4 empty
    reader.write(data)
    reader.close_stdin()
    pod.wait_for(lambda: not pod.tty.chunks, "its input to leave")
    pod.run(box.name, ["sh", "-c", f"echo go >{fifo}"])
    assert reader.wait() == 0
    assert reader.out == b"\n" + digest_line(hashlib.sha256(data).hexdigest())
