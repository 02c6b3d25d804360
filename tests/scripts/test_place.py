# SPDX-License-Identifier: Apache-2.0
"""Where fake-proxy keeps a VM: other people's directories, and names that QEMU reads in its own way."""

import os
import subprocess

import pytest

from rig.scripts import ROOT, load_script

SECONDS = 60


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_in_another_users_directory_nothing_is_written(tmp_path):
    precious, place = tmp_path / "precious", tmp_path / "vm"
    precious.write_text("data")
    place.mkdir()
    for name in "lock", "holder.log":
        (place / name).symlink_to(precious)
    os.chown(place, 1000, 1000)
    done = subprocess.run([ROOT / "scripts/fake-proxy", "run", "--vm", place, tmp_path, "true"],
                          capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (125, f"fake-proxy: {place} is another user's\n")
    assert precious.read_text() == "data"


def test_a_comma_in_a_name_is_no_option_of_qemus(tmp_path, monkeypatch):
    run_qemu = load_script("run-qemu")
    place, share = tmp_path / "a,b", tmp_path / "c,readonly=on"
    place.mkdir()
    share.mkdir()
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with run_qemu.Vm(directory=place, share=share, accel="tcg") as vm:
        vm.qemu.wait(SECONDS)
        words = vm.output().splitlines()
    assert f"file,id=console,path={tmp_path}/a,,b/console.log" in words
    assert f"local,id=share,path={tmp_path}/c,,readonly=on,security_model=none,multidevs=remap" \
        in words
