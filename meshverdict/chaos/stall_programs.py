"""Programs that let a container's processes stand still, and end that by themselves when nobody is left to end it.

They run in the container's own shell. A process that was stopped and that nobody continues is the worst that a run could
leave behind, so there is one way to stop them, for all faults and triggers.
"""

from __future__ import annotations

from typing import Final

# The name ($0) by which RELEASE knows these programs.
NAME: Final = "meshverdict-stall"
WORKERS: Final = "workers"
ALL: Final = "all"
# $1 stalls, each $2 seconds long with $3 seconds after it. The first process of a container cannot be stopped from inside
# it, so others are: with `workers` as $5 its children with the same name (of Apache, of gunicorn, of nginx), with `all`
# everything but us. Should this program be killed, its watch lets them go on after $4 seconds. Naps are waited for, since
# a shell hears a signal only when a program in front of it has ended. Says which processes it stopped.
SIGNALS: Final = """
name=$(cat /proc/1/comm); pids= nap=
for p in /proc/[0-9]*; do
  n=${p#/proc/}
  [ "$n" = 1 ] || [ "$n" = $$ ] || [ "$n" = $PPID ] && continue
  grep -q 'meshverdict-[s]tall' $p/cmdline 2>/dev/null && continue
  comm=$(cat $p/comm 2>/dev/null) || continue
  if [ "$5" = all ] || [ "$comm" = "$name" ]; then pids="$pids $n"; fi
done
[ -n "$pids" ] || { echo "no $5 beside the first process, $name" >&2; exit 3; }
(sleep $4; kill -CONT $pids) >/dev/null 2>&1 & watch=$!
trap 'kill -CONT $pids; kill $watch $nap' EXIT
trap 'exit 4' HUP INT TERM
stop() {
  kill -STOP $pids 2>/dev/null && return
  for n in $pids; do grep -q '^State:.T' /proc/$n/status 2>/dev/null && return; done
  echo "none of the processes $pids can be stopped" >&2; exit 4
}
i=0
while [ $i -lt $1 ]; do
  stop; sleep $2 >/dev/null 2>&1 & nap=$!; wait $nap
  kill -CONT $pids; sleep $3 >/dev/null 2>&1 & nap=$!; wait $nap
  nap=; i=$((i+1))
done
echo $pids
"""
# $1 stalls of a Redis, each $2 seconds ($4 milliseconds) long with $3 seconds after it. redis-cli ends with 0 also when
# it was refused, so what it says is read.
REDIS: Final = """
i=0
while [ $i -lt $1 ]; do
  said=$(redis-cli CLIENT PAUSE $(printf '%.0f' $4) ALL 2>&1)
  [ "$said" = OK ] || { echo "redis does not pause: $said" >&2; exit 3; }
  sleep $2; sleep $3; i=$((i+1))
done
"""
# First the programs that stall, known by their name; the brackets keep this one from being taken for one of them.
RELEASE: Final = """
name=$(cat /proc/1/comm)
for p in /proc/[0-9]*; do grep -q 'meshverdict-[s]tall' $p/cmdline 2>/dev/null && kill -TERM ${p#/proc/} && sleep 0.5; done
for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = "$name" ] && kill -CONT ${p#/proc/}; done
if [ "$name" = redis-server ]; then
  said=$(redis-cli CLIENT UNPAUSE 2>&1)
  [ "$said" = OK ] || { echo "redis does not go on: $said" >&2; exit 3; }
fi
sleep 0.05
for p in /proc/[0-9]*; do
  if grep -q '^State:.T' $p/status 2>/dev/null; then echo "process ${p#/proc/} still stands still" >&2; exit 4; fi
done
"""


def stall(script: str, stalls: int, stall_s: float, rest_s: float, last: str) -> list[str]:
    """The command of a stall: *script* with how many there are, how long each is, and the pause after it.

    Args:
        script: ``SIGNALS`` or ``REDIS``.
        stalls: How many.
        stall_s: Seconds of each.
        rest_s: Seconds after each.
        last: For ``SIGNALS`` which processes, ``WORKERS`` or ``ALL``; the pause of a Redis needs none.
    """
    fourth = f"{1000 * stall_s:g}" if script is REDIS else f"{stalls * (stall_s + rest_s) + 2:.0f}"
    return ["sh", "-c", script, NAME, str(stalls), f"{stall_s:.3f}", f"{rest_s:.3f}", fourth, last]
