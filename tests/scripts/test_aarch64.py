# SPDX-License-Identifier: Apache-2.0
"""The same for aarch64: built on another machine, its rooms emulated, its guest in QEMU."""

import re
import subprocess
from contextlib import suppress

import pytest

from fakeproxy.host import Disconnected, Host
from fakeproxy.vm import Vm
from rig import pace
from rig.scripts import ROOT

OUT = ROOT / "build/aarch64"
PRODUCT = OUT / "musl/hyperstart"
MAKE_SECONDS = 600


def make(*words):
    return subprocess.run(["make", "--no-print-directory", "ARCH=aarch64", *words], cwd=ROOT,
                          stdin=subprocess.DEVNULL, text=True, capture_output=True,
                          timeout=pace.scaled(MAKE_SECONDS))


@pytest.fixture(scope="module", autouse=True)
def built():
    setup = make("build/setup-aarch64")
    if setup.returncode != 0:
        pytest.skip("the packages for aarch64 cannot be installed: "
                    + "".join(setup.stderr.splitlines()[-1:]))
    result = make("-j2", "all", "build/aarch64/rootfs")
    assert result.returncode == 0, result.stderr


def test_the_product_is_static_and_of_that_architecture():
    headers = subprocess.run(["readelf", "-hlW", PRODUCT], check=True, text=True,
                             capture_output=True).stdout
    assert re.search(r"Machine: +AArch64\n", headers)
    assert "INTERP" not in headers
    assert "DYNAMIC" not in headers


def test_it_runs_a_container_and_fails_with_its_code():
    result = make("-s", "run", "CMD=uname -m; echo 'no' >&2; exit 3")
    assert result.stdout == "aarch64\n", result.stderr
    assert "no\n" in result.stderr
    assert "Error 3" in result.stderr


def test_it_serves_a_whole_session_of_a_host():
    result = subprocess.run(
        [ROOT / "scripts/fake-proxy", "session", "--as", "cc30", "--arch", "aarch64",
         "--kernel", OUT / "kernel/vmlinux", "--initrd", OUT / "initrd.cpio",
         "--rootfs", OUT / "rootfs"], text=True, capture_output=True, timeout=pace.scaled(MAKE_SECONDS))
    assert result.returncode == 0, result.stderr


def test_a_fault_of_the_agent_tells_where_and_by_which_build(tmp_path):
    # What differs by architecture: where the handler finds the program counter.
    initrd = tmp_path / "initrd.cpio"
    subprocess.run([ROOT / "scripts/build-initrd", "--kernel", OUT / "kernel", "--init", PRODUCT,
                    "--add", f"bin={OUT}/rootfs/bin", initrd], check=True)
    with Vm(arch="aarch64", kernel=OUT / "kernel/vmlinux", initrd=initrd,
            share=OUT / "rootfs") as vm:
        host = Host(vm.connect("control"), vm.connect("tty"))
        host.begin(pace.scaled(MAKE_SECONDS))
        host.start_pod("pod")
        with suppress(Disconnected):  # before its ACK or behind it
            host.exec("hyperstart", ["/bin/sh", "-c", "kill -SEGV 1"])
        assert vm.wait_shutdown_reason(pace.scaled(MAKE_SECONDS)) == "guest-shutdown"
        notes = subprocess.run(["readelf", "-n", PRODUCT], check=True, text=True,
                               capture_output=True).stdout
        build = re.search(r"Build ID: (\w+)", notes)[1]
        assert re.search(rf"fatal signal 11 \(0\) at pc 0x4\w{{5}}, .*, build {build}: powering off",
                         vm.console())


def test_the_unit_tests_pass_that_an_emulated_kernel_can_serve():
    result = make("-j2", "unit")
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(re.findall(r"^ok \d+ - ", result.stdout, re.MULTILINE)) > 100
