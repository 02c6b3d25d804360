# SPDX-License-Identifier: Apache-2.0
"""Figures of the agent, read from its /proc entry: here, or in the guest by a script."""

import dataclasses


@dataclasses.dataclass
class AgentStat:
    rss_kib: int
    oncpu_ns: int
    switches: int
    fds: int


# sh -c STAT_SCRIPT sh PID
STAT_SCRIPT = """
cd /proc/$1
grep ^Rss: smaps_rollup; cat schedstat; grep ctxt_switches status; ls fd | wc -l
"""


def parse_stat(text):
    words = text.split()
    rss, oncpu, switches, more, fds = (int(words[at]) for at in (1, 3, 7, 9, 10))
    return AgentStat(rss, oncpu, switches + more, fds)


# Dead and unreaped processes, by pid.
ZOMBIES_SCRIPT = "cd /proc; grep -l '^State:.Z' [0-9]*/status 2>/dev/null; true"


# sh -c IDLE_SCRIPT sh PID SECONDS: once the process rests, what it does for that long. Two lines:
# nanoseconds on a CPU, context switches.
IDLE_SCRIPT = r"""
cd /proc/$1
look() { set -- $(cat schedstat) $(grep ctxt_switches status); echo $1 $(($5 + $7)); }
before= now=$(look) tries=100
while [ "$before" != "$now" ] && [ $((tries -= 1)) -gt 0 ]; do sleep 0.2; before=$now; now=$(look); done
set -- $2 $(look)
sleep $1
set -- $2 $3 $(look)
echo $(($3 - $1)) $(($4 - $2))
"""


@dataclasses.dataclass
class Idle:
    oncpu_ns: int
    switches: int


def parse_idle(text):
    return Idle(*(int(word) for word in text.split()))
