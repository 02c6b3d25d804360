# SPDX-License-Identifier: Apache-2.0
"""Odd places: other people's directories, names with a second meaning, what no initrd holds."""

import os
import subprocess
import sys

import pytest

from fakeproxy import vm
from fakeproxy.commands import container_path
from rig import pace
from rig.scripts import ROOT

SECONDS = 10


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_in_another_users_directory_nothing_is_written(tmp_path):
    precious, place = tmp_path / "precious", tmp_path / "vm"
    precious.write_text("data")
    place.mkdir()
    for name in "lock", "holder.log":
        (place / name).symlink_to(precious)
    os.chown(place, 1000, 1000)
    done = subprocess.run([ROOT / "scripts/fake-proxy", "run", "--vm", place, tmp_path, "true"],
                          capture_output=True, text=True, timeout=pace.scaled(SECONDS))
    assert (done.returncode, done.stderr) == (125, f"fake-proxy: {place} is another user's\n")
    assert precious.read_text() == "data"


def test_a_comma_in_a_name_is_no_option_of_qemus(tmp_path, monkeypatch):
    place, share = tmp_path / "a,b", tmp_path / "c,readonly=on"
    place.mkdir()
    share.mkdir()
    words = []
    monkeypatch.setattr(vm.subprocess, "Popen",
                        lambda command, **_: words.extend(command) or sys.exit())
    with pytest.raises(SystemExit):
        vm.Vm(directory=place, share=share, accel="tcg").start()
    assert f"file,id=console,path={tmp_path}/a,,b/console.log" in words
    assert f"local,id=share,path={tmp_path}/c,,readonly=on,security_model=none,multidevs=remap" \
        in words


def build_initrd(tree, output):
    return subprocess.run([ROOT / "scripts/build-initrd", "--init", "/bin/true", "--add",
                           f"tree={tree}", output], capture_output=True, text=True, timeout=pace.scaled(SECONDS))


def test_an_initrd_holds_files_of_any_name(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(os.fsencode(tree) + b"/odd\xff", "wb"):
        os.symlink(b"to\xfe", os.fsencode(tree) + b"/link")
    done = build_initrd(tree, tmp_path / "initrd")
    assert (done.returncode, done.stderr) == (0, "")
    archive = (tmp_path / "initrd").read_bytes()
    assert b"tree/odd\xff\0" in archive and b"to\xfe" in archive


def test_what_no_initrd_can_hold_is_named_and_not_waited_for(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    done = build_initrd(tree, tmp_path / "initrd")
    assert done.returncode == 1
    assert str(tree / "fifo") in done.stderr


@pytest.mark.parametrize("text, found", [
    ("web:/etc/hosts", ("web", "/etc/hosts", "hosts")),
    ("web:-n", ("web", "/-n", "-n")),
    ("web:/a\nb", ("web", "/a\nb", "a\nb")),
    ("web:/var/..", ("web", "/var/..", "")),
    ("./web:page", None),
    ("page", None),
])
def test_a_path_in_a_container_is_one_whatever_its_name(text, found):
    assert container_path(text) == found
