# SPDX-License-Identifier: Apache-2.0
"""stdout and stderr: everything arrives, in order and once, whatever the reader does."""

import pytest

from rig import pace
from rig.host import Digest
from rig.programs import pattern_sha256

MIB = 1 << 20

# Figures of memory are the product's; the same bytes under the sanitizers are another run.
both_binaries = pytest.mark.parametrize("", [
    pytest.param(id="sanitised", marks=[
        pytest.mark.options(binary="asan"),
        pytest.mark.only("host", "the guest runs the product's binary")]),
    pytest.param(id="product", marks=pytest.mark.options(binary="musl")),
])


def read_in_bursts(host, done, burst=MIB, pause=0.02):
    """Reads tty as a host does that is busy with other things now and then."""
    taken = 0

    def count(_seq, payload):
        nonlocal taken
        taken += len(payload)
    host.on_tty_frame = count
    while not done():
        enough = taken + burst
        host.wait_for(lambda: done() or taken >= enough, "output")
        host.tty.reading = False
        host.pump_for(pause)
        host.tty.reading = True
    host.on_tty_frame = None


def check_memory(host, before):
    if host.guest.binary == "musl":
        grown = host.guest.stat(host).rss_kib - before
        assert grown < 256, f"the agent's RSS grew by {grown} KiB"


def memory_at_rest(host, box):
    """Its resident set, in KiB, with every page touched that a small session touches."""
    host.run(box.name, ["say", "out", "err", "0"])
    return host.guest.stat(host).rss_kib


@both_binaries
@pytest.mark.limit(120)
def test_64_mib_reach_a_host_that_reads_in_bursts_and_memory_stays(pod, box):
    before = memory_at_rest(pod, box)
    process = pod.execcmd(box.name, ["pattern", "1", str(64 * MIB)], out=Digest()).started()
    read_in_bursts(pod, lambda: len(process.out) >= 32 * MIB)
    check_memory(pod, before)
    read_in_bursts(pod, lambda: process.ended)
    check_memory(pod, before)
    assert process.code == 0
    assert len(process.out) == 64 * MIB
    assert process.out.hexdigest() == pattern_sha256(1, 64 * MIB)


@both_binaries
@pytest.mark.limit(120)
def test_64_mib_of_four_processes_on_stdout_and_stderr_reach_a_host_that_reads_in_bursts(pod, box):
    before = memory_at_rest(pod, box)
    size = 8 * MIB
    processes = [
        pod.execcmd(box.name, ["sh", "-c", f"pattern {n} {size} & pattern {n + 4} {size} >&2; wait"],
                    out=Digest(), err=Digest())
        for n in range(4)]
    for process in processes:
        process.started()
    read_in_bursts(pod, lambda: all(process.ended for process in processes))
    check_memory(pod, before)
    for n, process in enumerate(processes):
        assert process.code == 0
        assert (len(process.out), len(process.err)) == (size, size)
        assert process.out.hexdigest() == pattern_sha256(n, size)
        assert process.err.hexdigest() == pattern_sha256(n + 4, size)


def test_the_agent_rests_while_the_host_does_not_read_and_nothing_is_missing_after_it(pod, box):
    pod.tty.reading = False
    process = pod.execcmd(box.name, ["pattern", "2", str(16 * MIB)], out=Digest()).started()
    idle = pod.guest.watch_idle(pod)()
    for _ in range(20):
        pod.ping()
    pod.tty.reading = True
    process.wait()
    assert process.out.hexdigest() == pattern_sha256(2, 16 * MIB)
    assert (idle.oncpu_ns, idle.switches) == (0, 0)


def test_the_agent_rests_while_nothing_happens(pod, box):
    idle = pod.guest.watch_idle(pod)()
    assert (idle.oncpu_ns, idle.switches) == (0, 0)


def test_bytes_of_every_value_pass_as_they_are(pod, box):
    every = bytes(range(256)) * 4
    process = pod.execcmd(box.name, ["cat"]).started()
    process.write(every)
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == every


def test_stdout_and_stderr_each_keep_their_own_order(pod, box):
    script = "i=0; while [ $i -lt 200 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"
    process = pod.run(box.name, ["sh", "-c", script])
    assert process.out.decode().split() == [f"o{i}" for i in range(200)]
    assert process.err.decode().split() == [f"e{i}" for i in range(200)]


@pytest.mark.only("host", "it needs the daemon's end of the socket")
@pytest.mark.limit(120)
def test_a_flood_delays_neither_an_echo_nor_an_exit_by_more_than_three_rounds(pod, box):
    pod.guest.shrink_send_buffer("tty")
    cat = pod.execcmd(box.name, ["cat"]).started()
    cat.write(b"warm")
    cat.wait_output(b"warm")
    short = pod.execcmd(box.name, ["sh", "-c", "read x; exit 5"]).started()
    floods = start_floods(pod, box)
    seqs = {flood.stdio for flood in floods}
    pod.wait_for(lambda: all(len(flood.out) > MIB for flood in floods), "a MiB of each flood")

    # The host stops, so that all there is to come before the echo is in the queues; the echo and
    # the exit are pending when it reads on.
    pod.tty.reading = False
    pod.guest.watch_idle(pod)()
    cat.write(b"ping")
    short.write(b"\n")
    pod.wait_for(lambda: not pod.tty.chunks, "their input to leave")
    pod.guest.watch_idle(pod)()
    frames = []
    pod.on_tty_frame = lambda seq, payload: frames.append((seq, len(payload)))
    pod.tty.reading = True
    cat.wait_output(b"ping")
    short.wait()
    pod.on_tty_frame = None

    # What was queued before, by bytes: tty.out (64 KiB) and both ends of the socket.
    queued, rounds = 64 * 1024 + 16 * 1024, 3 * len(floods)
    for seq in (cat.stdio, short.stdio):
        at = next(i for i, (frame_seq, _) in enumerate(frames) if frame_seq == seq)
        behind, size = [], 0
        for frame_seq, length in frames[:at]:
            size += length + 12
            if size > queued and frame_seq in seqs:
                behind.append(frame_seq)
        assert len(behind) <= rounds, f"{len(behind)} frames of the floods came first"


@pytest.mark.limit(120)
def test_four_floods_get_equal_shares(pod, box):
    if not pod.guest.is_vm:
        pod.guest.shrink_send_buffer("tty")
    floods = start_floods(pod, box)
    pod.wait_for(lambda: all(flood.out.length > 0 for flood in floods), "the start of each flood")
    # A host that is slower than any of them, or the shares would be the scheduler's.
    pod.tty.read_size = 16 * 1024
    before = [flood.out.length for flood in floods]
    read_in_bursts(pod, lambda: sum(flood.out.length for flood in floods) - sum(before) >= 16 * MIB,
                   burst=64 * 1024, pause=pace.scaled(0.01))
    shares = [flood.out.length - start for flood, start in zip(floods, before)]
    mean = sum(shares) / len(shares)
    assert all(abs(share - mean) <= 0.1 * mean for share in shares), shares


def start_floods(host, box):
    floods = [host.execcmd(box.name, ["pattern", str(n), str(1 << 40)], out=Digest())
              for n in range(4)]
    return [flood.started() for flood in floods]
