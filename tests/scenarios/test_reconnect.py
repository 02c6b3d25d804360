# SPDX-License-Identifier: Apache-2.0
"""The host goes and comes back: nothing spins, no frame is torn, nothing is lost that the port had
not taken yet."""

import contextlib
import fcntl
import socket
import struct
import termios
import threading

import pytest

from rig.host import Digest
from rig.programs import pattern
from rig.wire import Code, TtyFrame, command, tty_decoder

pytestmark = pytest.mark.not_over("isa", "a UART does not tell that its host went")

MIB = 1 << 20
SO_SNDBUFFORCE = 32  # of asm-generic/socket.h
GONE = "port {}: host gone"
CONNECTED = "port {}: host connected"


def leave_control(host):
    seen = host.guest.log.count(GONE.format("control"))
    host.disconnect_control()
    host.wait_log(GONE.format("control"), seen + 1)


def leave_tty(host):
    seen = host.guest.log.count(GONE.format("tty"))
    host.disconnect_tty()
    host.wait_log(GONE.format("tty"), seen + 1)


def check_own_replies(host):
    """A host that re-attaches gets its own GETVERSION answered first, and exact NEXTs."""
    assert len(host.ack(Code.GETVERSION)) == 4
    host.settle()


@pytest.mark.options(fresh=True)
def test_ready_waits_for_the_first_host(guest_host):
    guest_host.connect_tty()
    guest_host.wait_log(CONNECTED.format("tty"))
    guest_host.connect_control()
    guest_host.wait_ready()


def test_a_host_that_returns_to_control_gets_no_second_ready_and_its_own_replies(pod, box):
    for _ in range(5):
        leave_control(pod)
        pod.connect_control()
        check_own_replies(pod)


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 40])
def test_half_a_command_is_forgotten_with_its_host(pod, box, cut):
    raw = command(Code.KILLCONTAINER, {"container": box.name, "signal": 9})
    pod.control.send(raw[:cut])
    pod.wait_for(lambda: pod.control.taken == pod.control.sent and not pod.control.chunks, "NEXT")
    leave_control(pod)
    pod.connect_control()
    check_own_replies(pod)
    pod.kill(box.name, 0)


def test_replies_and_nexts_that_were_not_read_are_not_the_next_hosts(pod, box):
    pod.control.reading = False
    for _ in range(2000):
        pod.send(Code.GETVERSION)
    pod.send(99)
    pod.pump_for(0.2)
    leave_control(pod)
    pod.connect_control()
    check_own_replies(pod)


def test_the_reply_of_the_command_still_running_goes_nowhere(pod, box):
    pod.execcmd(box.name, ["true"])
    pod.pump(0)
    leave_control(pod)
    pod.connect_control()
    check_own_replies(pod)


# A second without a host: on a device a timer looks for its return.
QUIET_NS = {False: 2_000_000, True: 50_000_000}


@pytest.mark.parametrize("ports", ["control", "tty", "control and tty"])
def test_nothing_spins_without_a_host(pod, box, ports):
    watch = pod.guest.watch_idle(pod, delay=2)
    pod.settle()
    if "control" in ports:
        leave_control(pod)
    if "tty" in ports:
        leave_tty(pod)
    idle = watch()
    if not pod.control:
        pod.connect_control()
    if not pod.tty:
        pod.connect_tty()
    check_own_replies(pod)
    assert idle.oncpu_ns < QUIET_NS[pod.guest.is_vm]


def test_output_made_while_no_host_is_on_tty_waits_for_it(pod, box):
    leave_tty(pod)
    process = pod.execcmd(box.name, ["say", "waited\n", "patiently\n", "7"]).started()
    pod.ping()
    pod.connect_tty()
    assert process.wait() == 7
    assert (process.out, process.err) == (b"waited\n", b"patiently\n")


@pytest.mark.parametrize("cut", [1, 11, 12, 13, 50])
def test_half_a_tty_frame_is_forgotten_with_its_host(pod, box, cut):
    process = pod.execcmd(box.name, ["cat"]).started()
    process.write(b"whole ")
    process.wait_output(b"whole ")
    pod.tty.send(TtyFrame(process.stdio, b"x" * 100).build()[:cut])
    pod.wait_for(lambda: not pod.tty.chunks, "the cut frame to leave")
    pod.ping()
    leave_tty(pod)
    pod.connect_tty()
    process.write(b"again")
    process.close_stdin()
    assert process.wait() == 0
    # What was delivered of the cut frame is a part of its 100 bytes, never a header.
    assert process.out.startswith(b"whole ") and process.out.endswith(b"again")
    middle = process.out[6:-5]
    assert middle == b"x" * len(middle) and len(middle) <= max(0, cut - 12)


def test_events_wait_for_the_host_that_returns_to_control(pod, box):
    process = pod.execcmd(box.name, ["sh", "-c", "read x; exit 6"], id="late").started()
    leave_control(pod)
    process.write(b"go\n")
    pod.wait_for(lambda: process.eof, "EOF")
    pod.connect_control()
    assert process.wait() == 6
    check_own_replies(pod)


@pytest.mark.only("host", "it needs a control port that takes nothing")
def test_an_event_that_was_queued_and_not_sent_is_told_to_the_host_that_returns(pod, box):
    process = pod.execcmd(box.name, ["sh", "-c", "read x; exit 6"], id="late").started()
    fill_control_socket(pod, box)
    process.write(b"go\n")
    pod.wait_for(lambda: process.eof, "EOF")
    pod.guest.watch_idle(pod)()
    leave_control(pod)
    pod.connect_control()
    assert process.wait() == 6
    assert len(pod.events) == 1
    check_own_replies(pod)


@pytest.mark.only("host", "QEMU throws its ring away, so nothing can be counted exactly")
@pytest.mark.parametrize("seed", range(4))
def test_a_flood_is_complete_but_for_what_the_socket_had_taken(pod, box, seed):
    size = 4 * MIB
    process = pod.execcmd(box.name, ["pattern", str(seed), str(size)]).started()
    slow_down(pod)
    for goal in (size // 4 + seed * 1001, size // 2):
        pod.wait_for(lambda: len(process.out) >= goal, "output")
        pod.tty.reading = False
        pod.guest.watch_idle(pod)()
        # The daemon rests: what is in the socket now is all that will be lost with it, but for a
        # frame that is not all out: that one it keeps.
        taken = bytes(pod.tty.decoder.pending) + \
            pod.tty.sock.recv(waiting_bytes(pod.tty.sock), socket.MSG_PEEK)
        lost = tty_decoder().feed(taken)
        assert all(frame.seq == process.stdio for frame in lost)
        leave_tty(pod)
        for frame in lost:
            process.out.extend(frame.payload)
        pod.connect_tty()
        slow_down(pod)
    assert process.wait() == 0
    assert bytes(process.out) == pattern(seed, size)


def fill_control_socket(host, box):
    """One PING after the other until a reply stays in the daemon."""
    cat = host.execcmd(box.name, ["cat"]).started()
    host.guest.shrink_send_buffer("control")
    host.control.reading = False
    before = -1
    while (now := waiting_bytes(host.control.sock)) > before:
        before = now
        host.send(Code.PING)
        host.wait_for(lambda: not host.control.chunks, "the command to leave")
        echoed = len(cat.out) + 1
        cat.write(b"x")  # by the time of its echo the PING was taken up
        host.wait_for(lambda: len(cat.out) == echoed, "an echo")


def slow_down(host):
    """Both ends take and give few bytes at a time, so that a frame is rarely whole in the socket."""
    host.wait_for(lambda: host.guest.log.count(CONNECTED.format("tty")) ==
                  host.guest.log.count(GONE.format("tty")) + 1, "the connection")
    host.guest.shrink_send_buffer("tty")
    host.tty.read_size = 1013


def waiting_bytes(sock, request=termios.FIONREAD):
    return struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0]


@pytest.mark.limit(120)
def test_a_host_that_goes_in_a_flood_finds_whole_frames_and_the_exit_when_it_returns(pod, box):
    process = pod.execcmd(box.name, ["pattern", "1", str(24 * MIB)], out=Digest()).started()
    for part in (1, 2, 3):
        pod.wait_for(lambda: len(process.out) >= part * MIB, "output")
        leave_tty(pod)
        pod.connect_tty()
    assert process.wait() == 0
    assert 3 * MIB <= len(process.out) <= 24 * MIB


def test_a_host_on_both_ports_that_goes_and_returns_finds_its_processes(pod, box):
    process = pod.execcmd(box.name, ["cat"]).started()
    for n in range(5):
        leave_control(pod)
        leave_tty(pod)
        pod.connect()
        check_own_replies(pod)
        process.write(b"%d" % n)
        process.wait_output(b"%d" % n)
    process.close_stdin()
    assert process.wait() == 0
    assert process.out == b"01234"


listening = pytest.mark.not_over("virtio", "a device has no connections: QEMU decides who is let in")


@listening
def test_a_second_connection_is_closed_and_the_first_goes_on(pod, box):
    for connect in (pod.guest.connect_control, pod.guest.connect_tty):
        with connect() as second:
            second.settimeout(pod.timeout)
            assert second.recv(1) == b""
    check_own_replies(pod)
    assert pod.run(box.name, ["say", "x", "", "0"]).out == b"x"


@listening
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with words on their way"])
def test_a_host_that_closes_control_and_returns_at_once_is_let_in(pod, box, busy):
    for i in range(200):
        if busy:
            pod.control.sock.send(command(Code.PING) * (1 + i % 7))
        for _ in range(1 + i % 3):  # one that came and went is never served
            pod.disconnect_control()
            pod.connect_control()
        assert len(pod.ack(Code.GETVERSION)) == 4, i


@listening
def test_a_host_that_closes_the_tty_and_returns_at_once_is_let_in(pod, box):
    cat = pod.execcmd(box.name, ["cat"]).started()
    for i in range(200):
        for _ in range(1 + i % 3):
            pod.disconnect_tty()
            pod.connect_tty()
        cat.write(b"%d;" % i)
        cat.wait_output(b"%d;" % i)


@listening
def test_a_live_host_stays_and_a_second_is_refused(pod, box):
    first = pod.control
    pod.guest.connect_control().close()
    pod.settle()
    assert pod.control is first and len(pod.ack(Code.GETVERSION)) == 4


@pytest.mark.only("host", "it needs the agent's own socket, half closed")
def test_a_host_that_reads_no_more_and_floods_makes_place_for_the_next(pod, box):
    """The reply cannot be written, so that host is gone, with all that it still sends."""
    flood = command(Code.PING) * 4096

    def pour(sock):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), sock:
            while True:
                sock.sendall(flood)
    seen = pod.guest.log.count(GONE.format("control"))
    pod.control.reading = False  # the agent's replies stop it, until they can go
    sock = pod.control.sock.dup()
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 * MIB)
    threads = [threading.Thread(target=pour, args=(sock.dup(),), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    pod.wait_seen(lambda: waiting_bytes(sock, termios.TIOCOUTQ) > 8 * MIB, "a flood")
    sock.shutdown(socket.SHUT_RD)
    with contextlib.suppress(ConnectionResetError):  # the agent may have closed already
        while sock.recv(MIB):
            pass
    sock.close()
    pod.disconnect_control()
    pod.wait_log(GONE.format("control"), seen + 1)
    for thread in threads:
        thread.join()
    pod.connect_control()
    check_own_replies(pod)
