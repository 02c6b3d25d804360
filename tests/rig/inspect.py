# SPDX-License-Identifier: Apache-2.0
"""What can be seen of the agent from outside of all containers.

Both rigs offer `shell(host, script)`: the script runs as root where $AGENT is the agent's pid and
$CGROUP its cgroup directory, and what it writes comes back. The rest is the same scripts for both.
"""

import dataclasses

from rig import pace


@dataclasses.dataclass
class AgentStat:
    rss_kib: int
    oncpu_ns: int
    switches: int
    fds: int


@dataclasses.dataclass
class Idle:
    oncpu_ns: int
    switches: int


STAT = """
cd /proc/$AGENT
grep ^Rss: smaps_rollup; cat schedstat; grep ctxt_switches status; ls fd | wc -l
"""

# Once the agent rests, or has had as many tries to come to rest: the next second of it.
IDLE = """
cd /proc/$AGENT
look() { set -- $(cat schedstat) $(grep ctxt_switches status); echo $1 $(($5 + $7)); }
before= now=$(look)
while [ "$before" != "$now" ] && [ $((tries -= 1)) -gt 0 ]; do
	sleep 0.2
	before=$now now=$(look)
done
set -- $(look)
sleep 1
set -- $1 $2 $(look)
echo $(($3 - $1)) $(($4 - $2))
"""

ZOMBIES = """
walk() {
	for child in $(cat /proc/$1/task/*/children 2>/dev/null); do
		grep -q '^State:.Z' /proc/$child/status 2>/dev/null && echo $child
		walk $child
	done
}
walk $AGENT
"""


CHILDREN = """
for pid in $(cat /proc/$AGENT/task/$AGENT/children); do
	[ "$(cat /proc/$pid/comm 2>/dev/null)" = watch ] || echo $pid
done
"""


class Inspected:
    """A guest that has a shell."""

    def look(self, host, script, delay=0):
        """What the script writes, as words."""
        return self.shell(host, script, delay)().split()

    def stat(self, host):
        words = self.look(host, STAT)
        rss, oncpu, switches, more, fds = (int(words[at]) for at in (1, 3, 7, 9, 10))
        return AgentStat(rss, oncpu, switches + more, fds)

    def watch_idle(self, host, delay=0):
        """Call the result: once the agent rests, it says what the agent does in a second. In the
        VM it takes the agent to begin, so that is done now, after a delay."""
        output = self.shell(host, f"tries={pace.scaled(25)}\n{IDLE}", delay)
        return lambda: Idle(*(int(word) for word in output().split()))

    def zombies(self, host):
        """Dead and unreaped processes of the agent, and of all that descends from it."""
        return self.look(host, ZOMBIES)

    def children(self, host):
        """The pids of the agent's own children; without the watcher, which is always there."""
        return set(self.look(host, CHILDREN))


class Cgroup:
    """The cgroup of a container; it may be made before the container is, which takes it over."""

    def __init__(self, host, container):
        self.host = host
        self.path = f'"$CGROUP/pod/c-{container}"'

    def _shell(self, script):
        return self.host.guest.look(self.host, f"cd {self.path} 2>/dev/null || exit\n{script}")

    def make_frozen(self):
        """What joins it stops right there."""
        self.host.guest.look(self.host, f"mkdir {self.path}; echo 1 >{self.path}/cgroup.freeze")

    def freeze(self, frozen=True):
        self._shell(f"echo {int(frozen)} >cgroup.freeze")

    def join(self, args):
        """Puts a process of the rig's own into it; returns its pid."""
        (pid,) = self._shell(f"{' '.join(args)} >/dev/null 2>&1 & echo $! | tee cgroup.procs")
        return pid

    def members(self):
        return self._shell("cat cgroup.procs")

    def wait_frozen(self, count):
        """Until that many processes are in it, and stopped. Returns them."""
        members = self._shell(f"""
            tries={pace.scaled(400)}
            until grep -q 'frozen 1' cgroup.events && [ $(wc -l <cgroup.procs) = {count} ]; do
                    [ $((tries -= 1)) -gt 0 ] || exit
                    sleep 0.05
            done
            cat cgroup.procs""")
        assert len(members) == count, f"{count} processes did not join {self.path}"
        return members

    def signal(self, name, pids):
        self._shell(f"kill -{name} {' '.join(pids)}")

    def is_empty(self):
        return self.members() == []

    def exists(self):
        return self._shell("echo yes") == ["yes"]
