# SPDX-License-Identifier: Apache-2.0
"""What is given away: the tarball, what make install installs, and the man page."""

import re
import shlex
import shutil
import subprocess

import pytest

from rig import pace
from rig.scripts import ROOT

PRODUCT = "build/musl/hyperstart"
MAN_PAGE = ROOT / "doc/hyperstart.8"
RUN_SECONDS = 120


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True,
                          timeout=pace.scaled(RUN_SECONDS), **options).stdout


def read(name):
    return (ROOT / name).read_text()


VERSION = re.search(r'#define VERSION "(.*)"', read("src/version.h"))[1]


# --- The tarball and the installation --------------------------------------------------------------


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    """Two clones of what is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: there is no commit to make a tarball of")
    directory = tmp_path_factory.mktemp("clones")
    names = "a", "another with a longer name"
    for name in names:
        run("git", "clone", "-q", ROOT, directory / name)
    return [directory / name for name in names]


@pytest.fixture(scope="module")
def unpacked(clones):
    """The tarball's directory; there is no .git in it."""
    run("make", "-s", "dist", cwd=clones[0])
    directory = clones[0].with_name("unpacked")
    directory.mkdir()
    run("tar", "-xf", clones[0] / f"build/hyperstart-{VERSION}.tar.gz", "-C", directory)
    (tree,) = directory.iterdir()
    return tree


def test_the_tarball_is_the_same_bytes_in_any_directory(clones):
    for clone in clones:
        run("make", "-s", "dist", cwd=clone)
    first, second = (clone / f"build/hyperstart-{VERSION}.tar.gz" for clone in clones)
    assert first.read_bytes() == second.read_bytes()


def test_the_tarball_builds_the_binary_that_the_clone_builds(clones, unpacked):
    for directory in clones[1], unpacked:
        run("make", "-s", PRODUCT, cwd=directory)
    assert (clones[1] / PRODUCT).read_bytes() == (unpacked / PRODUCT).read_bytes()


def test_what_is_installed_is_enough_to_make_an_initrd_and_run_a_container(unpacked, tmp_path):
    source = shutil.copytree(unpacked, tmp_path / "source")
    installed = tmp_path / "installed"
    run("make", "-s", "install", f"DESTDIR={installed}", "PREFIX=/usr", cwd=source)
    shutil.rmtree(source)
    tools, elsewhere = installed / "usr/lib/hyperstart", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(tools / "get-kernel", "kernel", cwd=elsewhere)
    run(tools / "build-initrd", "--init", installed / "usr/sbin/hyperstart", "--kernel", "kernel",
        "--add", "etc/hello=/etc/hostname", "initrd.cpio", cwd=elsewhere)
    result = subprocess.run(
        [tools / "fake-proxy", "run", "--vm", "vm", "--kernel", "kernel/vmlinux", "--initrd",
         "initrd.cpio", ROOT / "build/rootfs", "sh", "-c", "echo hi; exit 3"], cwd=elsewhere, text=True,
        capture_output=True, timeout=pace.scaled(RUN_SECONDS))
    assert (result.stdout, result.returncode) == ("hi\n", 3), result.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What is installed for a place of its own: the DESTDIR."""
    directory = tmp_path_factory.mktemp("installed")
    run("make", "-s", "install", f"DESTDIR={directory}", "PREFIX=/opt/pod", cwd=ROOT)
    return directory


def test_the_unit_starts_the_program_that_is_installed_with_it(installed):
    unit = (installed / "opt/pod/lib/systemd/system/hyperstart.service").read_text()
    (program,) = re.findall(r"^ExecStart=/(.*)$", unit, re.MULTILINE)
    assert program == "opt/pod/sbin/hyperstart"
    assert (installed / program).read_bytes() == (ROOT / PRODUCT).read_bytes()


def test_bash_finds_the_completion_that_is_installed(installed):
    tool = installed / "opt/pod/lib/hyperstart/fake-proxy"
    found = installed / "opt/pod/share/bash-completion/completions/fake-proxy"
    assert run(tool, "completion") == found.read_text()
    completed = f'source {found}; COMP_WORDS=({tool} st); COMP_CWORD=1; _fake_proxy {tool} st; ' \
        'printf "%s\n" "${COMPREPLY[@]}"'
    assert run("bash", "-c", completed).split() == ["stats", "stop"]


# --- --version and --help ----------------------------------------------------------------------------


def test_the_version_tells_the_build_id_that_is_in_the_file():
    product = ROOT / PRODUCT
    notes = run("readelf", "-n", product)
    api = re.search(r"#define PROTOCOL_API (\d+)u", read("include/protocol.h"))[1]
    build = re.search(r"Build ID: (\w{40})", notes)[1]
    assert run(product, "--version") == f"hyperstart {VERSION}, API {api}, build {build}\n"


def test_help_names_every_option():
    shown = run(ROOT / PRODUCT, "--help")
    for option in options_of_the_source():
        assert f"--{option}" in shown


def test_a_wrong_option_is_answered_by_the_usage_and_2():
    result = subprocess.run([ROOT / PRODUCT, "--wrong"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert "usage: hyperstart" in result.stderr


def test_an_agent_that_cannot_start_exits_with_1(tmp_path):
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'umount -l /proc; exec "$@"', "sh", ROOT / PRODUCT, "--control=0",
         "--tty=0", f"--run={tmp_path}"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 1
    assert "daemon: " in result.stderr


# --- The man page -------------------------------------------------------------------------------------


def keys(function, file):
    """The words that this function of the source knows."""
    body = re.search(rf"^static \w+ {function}\(.*?^\}}\n|^\w+ {function}\(.*?^\}}\n", read(file),
                     re.MULTILINE | re.DOTALL)[0]
    return set(re.findall(r'strcmp\(key, "(?:--)?(\w+)"', body))


def options_of_the_source():
    return keys("option_apply", "src/main.c") | keys("parse_arguments", "src/main.c") | \
        keys("boot_option", "src/boot.c")


def text_of_man_page():
    """Without macros and fonts: its words."""
    text = MAN_PAGE.read_text().replace("\\-", "-").replace("\\&", "")
    return re.sub(r"\\f[A-Z]|\\s", "", text)


def section(name):
    return re.search(rf"^\.SH {name}\n(.*?)(?=^\.SH |\Z)", text_of_man_page(),
                     re.MULTILINE | re.DOTALL)[1]


def test_the_man_page_is_well_formed_and_of_this_version():
    result = subprocess.run(["groff", "-man", "-Tutf8", "-ww", MAN_PAGE], text=True,
                            capture_output=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert f'"hyperstart {VERSION}"' in MAN_PAGE.read_text()


def test_the_man_page_has_every_option_and_no_other():
    assert set(re.findall(r"--(\w+)", section("OPTIONS"))) == options_of_the_source()


def test_the_man_page_has_every_word_of_the_kernel_command_line_and_no_other():
    shown = section("KERNEL COMMAND LINE")
    words = keys("word_apply", "src/boot.c") | keys("boot_option", "src/boot.c")
    assert "vsock" in words
    assert set(re.findall(r"hyperstart\.(\w+)", shown)) == words
    source = "".join(file.read_text() for file in ROOT.glob("src/**/*.c"))
    assert set(re.findall(r"hyper_use_\w+", shown)) == set(re.findall(r'"(hyper_use_\w+)', source)) \
        == {"hyper_use_serial"}
    levels = re.search(r"levels\[\] = \{(.*?)\n\};", read("src/base/log.c"), re.DOTALL)[1]
    for level in re.findall(r'"(\w+)"', levels):
        assert level in shown


def test_the_man_page_has_every_command_by_its_number_and_no_other():
    codes = dict(re.findall(r"^\t(\w+) = (\d+),", read("include/protocol.h"), re.MULTILINE))
    table = set(re.findall(r"^\t\[(\w+)\] ", read("src/commands.c"), re.MULTILINE))
    shown = dict(re.findall(r'^\.BR (\w+) " \((\d+)\)"', section("COMMANDS"), re.MULTILINE))
    assert set(shown) == table | {"PROCESSASYNCEVENT"}
    assert shown == {name: codes[name] for name in shown}


def test_the_man_page_has_every_kernel_option_that_is_asked_for():
    asked = set(re.findall(r"CONFIG_\w+", read("src/boot.c")))
    assert asked <= set(re.findall(r"CONFIG_\w+", section("KERNEL")))


def bold(text):
    """What stands for itself, every other word of .BR and all of .B, without punctuation."""
    for macro, words in re.findall(r"^\.(B|BR|RB) (.*)$", text, re.MULTILINE):
        words = shlex.split(words)
        yield from {"B": words, "BR": words[::2], "RB": words[1::2]}[macro]


def test_the_man_page_has_every_key_of_a_description_and_no_other():
    known = set(re.findall(r'"(\w+)", (?:REQ|OPT|EMPTY)', read("src/spec/spec.c")))
    words = {word for word in bold(section("DESCRIPTIONS")) if re.fullmatch(r"\w+", word)}
    assert words - {"ps", "prctl"} == known


def test_the_man_page_has_the_ports_of_each_way_to_the_host():
    shown, source = section("CHANNELS"), read("src/transport.c")
    named = re.findall(r"\.(?:control|tty) = \"(.*)\"", source) + \
        re.findall(r"#define VSOCK_(?:CONTROL|TTY) +(\d+)", source)
    assert len(named) == 6
    for name in named:
        assert name in shown


def generalised(text):
    """Numbers and names replaced: both the source's %u and the page's N become one mark. What stands
    against a word in the source may be nothing."""
    text = re.sub(r"^%s(?=\w)|(?<=%d)%s$", "", text)
    text = re.sub(r"%\.?\d*(?:ll|z)?[a-z]", "*", text)
    return re.sub(r"\b(?:N|ID|FILE|NAME)\b", "*", text)


def test_the_man_page_has_every_error_of_commands_and_no_other():
    # Those of descriptions tell the field's path, and those of children the kernel's reason.
    rooms = ("commands", "daemon", "pod/container", "pod/containers", "pod/pod", "pod/process", "pod/spawn",
             "wire/control")
    source = "".join(read(f"src/{room}.c") for room in rooms)
    calls = re.findall(r'error_set\(\s*&?\w+,\s*E\w+,\s*"([^"]+)"', source) + \
        re.findall(r'_cancel\([^;"]*"([^"]+)"\)', source)
    calls = {generalised(call) for call in calls}
    if "error_memory(" in source:
        calls.add("out of memory")
    # Another's text, wrapped; what is only logged, or told to nobody.
    calls -= {"*", "container '*': *", "not done in time", "the pod ends"}
    shown = re.search(r'^\.\\" errors \{\n(.*)^\.\\" \} errors', section("ERRORS"),
                      re.MULTILINE | re.DOTALL)[1]
    lines = {generalised(line) for line in shown.splitlines() if not line.startswith(".")}
    assert lines == calls
