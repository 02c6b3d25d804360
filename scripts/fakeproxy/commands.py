# SPDX-License-Identifier: Apache-2.0
"""The commands of the tool, and its command line."""

import argparse
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import common
from common import say
from fakeproxy.holder import (BOOT_SECONDS, COMMAND_SECONDS, DESTROY_SECONDS, EXIT_NOT_FOUND,
                              EXIT_TROUBLE, REQUEST, STDOUT, ToolError, hold, write_all)
from fakeproxy.host import CommandError, Disconnected, HostTimeout
from fakeproxy.hosts import HOSTS, Life, LifeError
from fakeproxy.terminal import (EXIT_BROKEN_PIPE, SCRIPTS, Left, Place, default_directory, explain,
                                leave, terminal_size)
from fakeproxy.vm import MACHINES, ROOT, Vm
from fakeproxy.wire import Code, ProtocolError


def show(options, value, text):
    """A result: JSON for a program, else a text."""
    print(json.dumps(value, indent=2) if options.json else text)


def show_table(options, rows, columns):
    """Objects; columns: heading -> how to show it of a row."""
    lines = [list(columns)] + [[str(column(row)) for column in columns.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    show(options, rows, "\n".join("  ".join(map(str.ljust, line, widths)).rstrip()
                                  for line in lines))


def process_fields(options):
    if options.tty and not (os.isatty(0) and os.isatty(1)):
        raise ToolError("-t: stdin and stdout are not a terminal")
    envs = [dict(zip(("env", "value"), env.partition("=")[::2])) if "=" in env else
            {"env": env, "value": os.environ.get(env, "")} for env in options.env]
    return {"args": options.args, "envs": envs, "workdir": options.workdir, "user": options.user,
            "size": terminal_size() if options.tty else None}


def machine_of(options):
    """How run-qemu's Vm is to differ from its defaults."""
    asked = {name: getattr(options, name)
             for name in ("memory", "accel", "append", "arch", "kernel", "initrd")}
    return {name: value for name, value in asked.items() if value}


def launch(link, do, options, fields):
    """The exit code of a process of ours, or, of a detached one, the holder's answer."""
    if options.detach:
        return link.request(do, stdin=options.interactive, detach=True, **fields)
    return link.attach(do, stdin=0 if options.interactive or options.tty else None, **fields)


def run(options):
    options.args = options.args or ["sh"]
    fields = process_fields(options) | {
        "name": options.name, "remove": options.rm,
        "rootfs": str(options.rootfs) if options.rootfs else None}
    if options.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", options.name):
        raise ToolError(f"--name {options.name}: letters, digits, '_', '.' and '-' only")
    place = Place(options.vm)
    share = options.share or options.rootfs or ROOT / "build/rootfs"
    link = None
    try:
        link = place.boot(str(share), machine_of(options))
        result = launch(link, "run", options, fields)
        if not options.detach:
            return result
        place.progress.done()
        show(options, result, result["name"])
        return 0
    except Left:
        if place.holder and not (link and link.heard):  # nobody has any use for it
            place.holder.kill()
            place.holder.wait()
        elif link:
            link.hang_up()
        raise
    finally:
        place.progress.done()


def exec_(options):
    if not options.args:
        options.usage_error("which command?")
    link = Place(options.vm).open()
    result = launch(link, "exec", options, process_fields(options) | {"container": options.container})
    return 0 if options.detach else result


def ps(options):
    link = Place(options.vm).open()
    if options.container:
        print(link.command(Code.PSCONTAINER, {
            "container": options.container, "psargs": options.psargs,
            "format": "json" if options.json else "table"}).decode(), end="")
        return 0
    show_table(options, link.request("ps"), {
        "NAME": lambda row: row["name"],
        "STATE": lambda row: row["state"] if row["exit_code"] is None else
        f"exited ({row['exit_code']})",
        "SINCE": lambda row: f"{row['seconds']} s",
        "COMMAND": lambda row: " ".join(row["command"])})
    return 0


def kill(options):
    name = options.signal.upper().removeprefix("SIG")
    try:
        number = int(name) if name.isdigit() else signal.Signals[f"SIG{name}"].value
    except KeyError:
        raise ToolError(f"no such signal: {options.signal}") from None
    link = Place(options.vm).open()
    for container in options.containers:
        link.command(Code.KILLCONTAINER, {"container": container, "signal": number,
                                          "allProcesses": options.all})
    return 0


def stop(options):
    place = Place(options.vm)
    link = place.open()
    link.say(REQUEST, {"do": "stop"})
    link.await_end()
    place.progress.done()
    return 0


# Each is for `sh -c` in the container, with the path as $1 and a name as $2.
COPY_IN_FILE = """[ -d "$1" ] && set -- "${1%/}/$2" "$2" "$3"; cat >"$1" && chmod "$3" "$1" """
COPY_IN_TREE = """[ -d "$1" ] && set -- "${1%/}/$2"; mkdir -p "$1" && exec tar -xf - -C "$1" """
COPY_OUT_WHAT = """if [ -d "$1" ]; then echo tree
elif [ -f "$1" ]; then stat -Lc %a "$1"
else echo "$1: no such file or directory" >&2; exit 1; fi"""
COPY_OUT_FILE = """exec cat "$1" """
COPY_OUT_TREE = """exec tar -cf - -C "$1" . """


def container_path(text):
    """(container, path, its last name) of NAME:PATH; None if it is a path of ours."""
    found = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_.-]*):(.+)", text, re.DOTALL)
    # From "/", as where the programs run: no option of theirs, and ".." is nobody's name here.
    path = found and os.path.join("/", found[2])
    return found and (found[1], path, Path(os.path.normpath(path)).name)


def cp(options):
    """By programs of the container's, for they stream: READFILE and WRITEFILE end at 4 MiB, hold up
    all other commands meanwhile, and know no modes. They remain for an image without a shell."""
    inward, outward = map(container_path, (options.destination, options.source))
    if bool(inward) == bool(outward):
        raise ToolError("cp: one of the two paths is NAME:PATH")
    container, inside, name = inward or outward
    outside = Path(options.source if inward else options.destination)
    link = Place(options.vm).open()
    call = {"container": container, "envs": [], "workdir": "/", "user": None}

    def in_container(script, *arguments, stdin=None):
        return link.attach("exec", stdin, args=["sh", "-c", script, "sh", inside, *arguments],
                           **call)
    try:
        if inward:
            return copy_in(in_container, options.source, outside)
        return copy_out(link, in_container, outside, name)
    except ToolError as error:
        if error.code != EXIT_NOT_FOUND or outside.is_dir() and inward:
            raise
    file = {"container": container, "file": inside}
    if inward:
        link.command(Code.WRITEFILE, file, outside.read_bytes())
    else:
        data = link.command(Code.READFILE, file)
        target = outside / name if outside.is_dir() else outside
        target.write_bytes(data)
    return 0


def copy_in(in_container, source, path):
    if not path.is_dir():
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o7777
            return in_container(COPY_IN_FILE, path.name, f"{mode:o}", stdin=file.fileno())
    name = "." if source.endswith("/.") else path.resolve().name
    with subprocess.Popen(["tar", "-cf", "-", "-C", path, "."], stdout=subprocess.PIPE) as archive:
        code = in_container(COPY_IN_TREE, name, stdin=archive.stdout.fileno())
    return code or archive.returncode


def copy_out(link, in_container, path, name):
    what = bytearray()
    link.writers[STDOUT] = lambda data: what.extend(data[:8 - len(what)])
    if code := in_container(COPY_OUT_WHAT):
        return code
    if not re.fullmatch(rb"tree\n|[0-7]{1,4}\n", what):
        raise ToolError("cp: the container's shell does not do what it was told")
    target = path / name if path.is_dir() else path
    if what != b"tree\n":
        with open(target, "wb") as file:
            os.fchmod(file.fileno(), int(what, 8) & 0o777)
            link.writers[STDOUT] = write_all(file.fileno())
            return in_container(COPY_OUT_FILE)
    target.mkdir(exist_ok=True)
    # tar keeps below the directory whatever the container says.
    with subprocess.Popen(["tar", "-xf", "-", "--no-same-owner", "-C", target],
                          stdin=subprocess.PIPE) as archive:
        link.writers[STDOUT] = write_all(archive.stdin.fileno())
        code = in_container(COPY_OUT_TREE)
    return code or archive.returncode


SAMPLE_SECONDS = 1


def stats(options):
    """CPU by the container's cgroup, memory by ps: both are there whatever the image holds."""
    link = Place(options.vm).open()
    names = options.containers or [container["name"] for container in link.request("ps")
                                   if container["exit_code"] is None]

    def cpu_seconds(name):
        text = link.command(Code.READFILE, {"container": name, "file": "/sys/fs/cgroup/cpu.stat"})
        return int(text.split()[1]) / 1e6, time.monotonic()

    before = {name: cpu_seconds(name) for name in names}
    time.sleep(SAMPLE_SECONDS if names else 0)
    rows = []
    for name in names:
        cpu, now = cpu_seconds(name)
        table = link.command(Code.PSCONTAINER, {"container": name, "format": "table",
                                                "psargs": ["-o", "rss=,nlwp="]}).split()
        rows.append({"name": name, "cpu_seconds": round(cpu, 3),
                     "cpu_percent": round(100 * (cpu - before[name][0]) / (now - before[name][1]), 1),
                     "rss_bytes": 1024 * sum(map(int, table[::2])), "processes": len(table) // 2,
                     "threads": sum(map(int, table[1::2]))})
    show_table(options, rows, {
        "NAME": lambda row: row["name"], "CPU %": lambda row: row["cpu_percent"],
        "CPU s": lambda row: row["cpu_seconds"],
        "RSS KiB": lambda row: row["rss_bytes"] // 1024,
        "PROCESSES": lambda row: row["processes"], "THREADS": lambda row: row["threads"]})
    return 0


def console(options):
    place = Place(options.vm)
    file = place.directory / (f"{options.container}.out" if options.container else "console.log")
    if not file.exists():
        raise ToolError(f"{file} is not there")
    link = place.connect() if options.follow else None
    with open(file, "rb") as log:
        while True:
            lives = link and not select.select([link], [], [], 0.25)[0]  # it says nothing but EOF
            write_all(1)(log.read())
            if not lives:
                return 0


def session(options):
    """A whole life."""
    host_class = HOSTS[options.host]
    vm = Vm(share=options.rootfs, tag=host_class.SHARE, **machine_of(options))
    try:
        vm.start()
        say(f"waiting for READY: the guest boots ({vm.accel})")
        host = host_class(vm.connect("control"), vm.connect("tty"))
        host.seconds = COMMAND_SECONDS
        host.begin(BOOT_SECONDS)
        Life(host, ".", ".", say).play()
        say("the grace")
        host.await_power_off()
        vm.await_power_off(DESTROY_SECONDS)
        return 0
    except (HostTimeout, ProtocolError, Disconnected, CommandError, LifeError, OSError) as error:
        broken = vm.breakdown()
        say(broken or error)
        if not broken:
            explain(vm.directory / "console.log", vm.directory / "qemu.log")
        return EXIT_TROUBLE
    finally:
        vm.kill()


def completion(options):
    """What the last of these words may become, one a line; without words, what bash is to run."""
    if not options.words:
        print((SCRIPTS / "fake-proxy.bash").read_text(), end="")
        return 0
    *before, last = options.words
    parser = build_parser()
    commands = next(action for action in parser._actions if action.dest == "command_name").choices
    command = next((commands[word] for word in before if word in commands), None)
    if not command:
        found = [*commands, "--help"]
    else:
        flags = command._option_string_actions
        flag = flags.get(before[-1])
        if flag and flag.nargs is None and flag.const is None:  # it takes a value
            found = flag.choices or []
        elif last.startswith("-"):
            found = flags
        else:
            takes_one = any("NAME" in (each.metavar or "") for each in command._get_positional_actions())
            found = names_of_containers(before) if takes_one else []
            suffix = ":" if command is commands["cp"] else ""
            found = [name + suffix for name in found]
    print("".join(f"{word}\n" for word in found if word.startswith(last)), end="")
    return 0


def names_of_containers(words):
    at = words.index("--vm") + 1 if "--vm" in words[:-1] else 0
    link = Place(Path(words[at]) if at else default_directory()).connect()
    return [container["name"] for container in link.request("ps")] if link else []


# --- The command line -----------------------------------------------------------------------------

SUMMARY = "Runs containers in small VMs: starts a VM, is its host, and the terminal of what runs " \
    "in it."
EXAMPLES = """\
examples:
  fake-proxy run -it --rm build/rootfs sh         a VM with a shell in it, and both end together
  fake-proxy run -d --name web build/rootfs httpd -f
                                                  leaves the VM running, for all of these:
  fake-proxy exec -it web sh
  fake-proxy cp ./page.html web:/var/www/
  fake-proxy ps; fake-proxy ps web -ef
  fake-proxy stats --json
  fake-proxy kill -s TERM web
  fake-proxy console -f                           what the guest's kernel and agent say
  fake-proxy stop                                 ends the VM
  source <(fake-proxy completion)                 tab completion, for bash

exit codes: the command's own; 128 + n if signal n killed it; 125 if it did not come to that, 126 if
it cannot be executed, 127 if it is not found."""


class Parser(common.Parser):
    TROUBLE = EXIT_TROUBLE


def directory(text):
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such directory")
    return path


def file(text):
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return str(path)


def arg(*names, **options):
    return names, options


VM = [
    arg("--vm", type=Path, default=default_directory(), metavar="DIR",
        help="the VM's directory (default: $HYPERSTART_VM, else %(default)s)"),
    arg("--json", action="store_true", help="results and errors as JSON"),
]
PROCESS = [
    arg("-i", "--interactive", action="store_true", help="stdin is ours"),
    arg("-t", "--tty", action="store_true", help="on our terminal; implies -i"),
    arg("-d", "--detach", action="store_true", help="do not wait for its end"),
    arg("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]"),
    arg("-u", "--user", help="a name or number"),
    arg("-w", "--workdir", metavar="DIR"),
]
MACHINE = [
    arg("--memory", type=int, metavar="MIB", help="of the VM (default: 256)"),
    arg("--accel", choices=("kvm", "tcg"), help="default: kvm where it works"),
    arg("--append", metavar="WORDS", help="for the kernel command line"),
    arg("--arch", choices=MACHINES, help="default: x86_64"),
    arg("--kernel", type=file, help="default: build/kernel/vmlinux"),
    arg("--initrd", type=file, help="default: build/initrd.cpio"),
]
# What each does, and its arguments.
COMMANDS = {
    run: ("run a container, in a VM that is started if need be", [
        *VM, *PROCESS, *MACHINE,
        arg("--name", help="of the container (default: c1, c2, …)"),
        arg("--rm", action="store_true", help="with -d: do not list it once it has exited"),
        arg("--share", type=directory, metavar="DIR",
            help="what the VM is to see, with all ROOTFSes below it (default: ROOTFS)"),
        arg("rootfs", nargs="?", type=directory, metavar="ROOTFS",
            help="the container's root directory (default: what the VM has, or busybox)"),
        arg("args", nargs=argparse.REMAINDER, metavar="COMMAND…",
            help="what runs in it (default: sh)")]),
    exec_: ("run a command in a container", [
        *VM, *PROCESS, arg("container", metavar="NAME"),
        arg("args", nargs=argparse.REMAINDER, metavar="COMMAND…")]),
    ps: ("list containers, or the processes of one", [
        *VM, arg("container", nargs="?", metavar="NAME"),
        arg("psargs", nargs=argparse.REMAINDER, metavar="PS-OPTIONS…")]),
    kill: ("send a signal to the first process of containers", [
        *VM, arg("-s", "--signal", default="KILL", help="a name or number (default: KILL)"),
        arg("-a", "--all", action="store_true", help="to all of their processes"),
        arg("containers", nargs="+", metavar="NAME")]),
    cp: ("copy a file or directory into a container or out of it", [
        *VM, arg("source", metavar="[NAME:]SOURCE"),
        arg("destination", metavar="[NAME:]DESTINATION")]),
    stats: ("show what containers use", [*VM, arg("containers", nargs="*", metavar="NAME")]),
    console: ("show what the guest writes to its console, or a detached container wrote", [
        *VM, arg("-f", "--follow", action="store_true", help="until the VM ends"),
        arg("container", nargs="?", metavar="NAME")]),
    stop: ("end all containers and the VM", VM),
    session: ("lead a whole life with a guest of its own, as a real host", [
        arg("--as", choices=HOSTS, required=True, dest="host"),
        arg("--rootfs", type=directory, default=ROOT / "build/rootfs"), *MACHINE]),
    completion: ("print what bash needs to complete these commands", [
        arg("words", nargs=argparse.REMAINDER)]),
}


def build_parser():
    parser = Parser(prog="fake-proxy", description=SUMMARY, epilog=EXAMPLES,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command_name", required=True, metavar="COMMAND",
                                     parser_class=Parser)
    for act, (text, arguments) in COMMANDS.items():
        command = commands.add_parser(act.__name__.rstrip("_"), help=text, description=text,
                                      allow_abbrev=False)
        command.set_defaults(act=act, usage_error=command.error, json=False)
        for names, fields in arguments:
            command.add_argument(*names, **fields)
    return parser


def main():
    if sys.argv[1:2] == ["hold"]:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, common.LEAVING)
        described = json.loads(sys.argv[2])
        return hold(Path(described["directory"]), socket.socket(fileno=described["listener"]),
                    Path(described["share"]), described["machine"])
    options = build_parser().parse_args()
    for number in common.LEAVING:
        signal.signal(number, leave)
    try:
        return options.act(options)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE  # nobody reads our output
    except Left as left:
        return left.code
    except (ToolError, OSError) as error:
        code = getattr(error, "code", EXIT_TROUBLE)
        if options.json:
            print(json.dumps({"error": str(error), "code": code}), file=sys.stderr)
        else:
            say(error)
            if getattr(error, "vm", False):
                Place(options.vm).explain()
        return code
