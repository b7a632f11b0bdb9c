#!/usr/bin/env bash
# The first hour of a new user: what README and the first pages say, in order, on a terminal of 80 columns
# and 24 rows, with wrong input and interrupted runs. What the screen shows is compared.
#
#   tests/first_hour.sh BACKEND...   docker, podman, subprocess, or subprocess-nosandbox
#
# Needs git, tmux, Python, and the engines with the image `python:3.10-slim`. What it makes lies in one
# directory and goes at the end.
set -euo pipefail
umask 022
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/first-hour.XXXXXX")
tmux=(tmux -S "$work/terminal" -f /dev/null)
step="the beginning"

cleanup() {
    "${tmux[@]}" kill-server 2>/dev/null || true
    for _ in {1..60}; do # agents leave when nothing is left to do
        rm -rf "$work" 2>/dev/null && return
        sleep 0.5
    done
    echo "$work is still in use" >&2
}
trap cleanup EXIT

fail() {
    printf '%s: %s: %s\nThe screen:\n' "$backend" "$step" "$1" >&2
    screen | sed 's/^/    | /' >&2
    exit 1
}

screen() { "${tmux[@]}" capture-pane -p; }

# type COMMAND: on an empty screen.
type() {
    "${tmux[@]}" send-keys -l "clear; $1"
    "${tmux[@]}" send-keys Enter
}

# press KEY: `C-c`, for instance.
press() { "${tmux[@]}" send-keys "$1"; }

# see PATTERN [SECONDS]: wait for it, an extended regular expression.
see() {
    local end=$((SECONDS + ${2:-60}))
    until screen | grep --quiet --extended-regexp -e "$1"; do
        ((SECONDS < end)) || fail "nothing like '$1' appears"
        sleep 0.1
    done
}

# sees_no PATTERN: it is not there now.
sees_no() { ! screen | grep --quiet --extended-regexp -e "$1" || fail "there is '$1'"; }

# ends STATUS [SECONDS]: the command ends with this exit status; the prompt shows it.
ends() { see "^\[$1\]> *$" "${2:-60}"; }

# once PATTERN: one line of the screen has it.
once() {
    local count
    count=$(screen | grep --count --extended-regexp -e "$1") || true
    ((count == 1)) || fail "'$1' is there $count times"
}

open_terminal() {
    local sandbox=auto
    [[ $backend != *-nosandbox ]] || sandbox=off
    "${tmux[@]}" new-session -d -x 80 -y 24 -c "$1" env -i \
        HOME="$HOME" PATH="$work/clone/.venv/bin:$PATH" TERM=screen-256color LANG=C.UTF-8 PS1='[$?]> ' \
        CLOUDOPS_AGENT_IDLE_S=2 CLOUDOPS_BACKEND="${backend%-nosandbox}" CLOUDOPS_SUBPROCESS_SANDBOX="$sandbox" \
        ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} ${CONTAINER_HOST:+CONTAINER_HOST="$CONTAINER_HOST"} \
        ${CONTAINERS_CONF:+CONTAINERS_CONF="$CONTAINERS_CONF"} \
        ${CONTAINERS_STORAGE_CONF:+CONTAINERS_STORAGE_CONF="$CONTAINERS_STORAGE_CONF"} \
        ${XDG_RUNTIME_DIR:+XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR"} \
        bash --norc --noprofile
    see '^\[0\]>'
}

close_terminal() { "${tmux[@]}" kill-server; }

# --- a fresh clone, once

backend=set-up
if [[ -e $checkout/.git ]]; then
    git clone --quiet "$checkout" "$work/clone"
else
    cp --recursive "$checkout" "$work/clone"
fi

step="the first command of the README"
command=$(sed -n '/^python3 -m venv .*quickstart\.py$/p' "$work/clone/README.md")
[[ -n $command ]] || { echo "README has no first command" >&2; exit 1; }
backend=subprocess
open_terminal "$work/clone"
type "$command"
see '7 succeeded, 0 failed' 300
see '^Results are in'
ends 0
close_terminal

hour() {
    local place=$work/$backend
    mkdir "$place"

    step="the example of the README"
    # What it sets for its reader is chosen here.
    sed -n '/^```python title="sweep.py"$/,/^```$/p' "$work/clone/README.md" | sed '1d;$d' >"$place/sweep.py"
    [[ -s $place/sweep.py ]] || fail "README has no example"
    open_terminal "$place"
    type "python sweep.py"
    ends 0 120
    see 'sweep--3 \| simulating with rate 0\.3'
    see 'cloudops: 4 succeeded, 0 failed'

    step="the same again"
    type "python sweep.py"
    ends 1
    see 'JobExistsError'
    see 'cloudops run --fresh'
    type "cloudops run --fresh sweep.py"
    ends 0 120
    see '4 succeeded, 0 failed'

    step="what is there"
    type "cloudops"
    ends 0
    see 'sweep'
    see "${backend%-nosandbox}"
    type "cloudops job list"
    ends 0
    see '^sweep +small +completed'
    type "cloudops logs sweep"
    ends 0
    see 'sweep--4 \| all runs have succeeded'
    type "cloudops --help | head -20"
    ends 0
    see 'run'
    sees_no '[a-z,]\.\.\.$'

    step="wrong input"
    type "cloudops job show nosuch"
    ends 3
    see 'nosuch'
    sees_no 'Traceback'
    type "cloudops job lst"
    ends 2
    see 'list'
    type "cloudops logs"
    ends 2
    type "python -c 'from cfa.cloudops.local import CloudClient; CloudClient().add_task(\"nojob\", \"true\")'"
    ends 1
    see 'nojob'

    step="a task that fails"
    cat >"$place/fails.py" <<'PY'
from cfa.cloudops.local import CloudClient

client = CloudClient()
client.create_pool("small", container_image_name="python:3.10-slim")
client.create_job("fails", "small", existing_job="replace")
client.add_task("fails", "sh -c 'echo the reason >&2; exit 3'")
client.monitor_job("fails")
PY
    type "python fails.py"
    ends 0
    see 'fails--1 failed: The program ended with exit code 3'
    see 'the reason'
    see 'cloudops task show fails fails--1'
    type "cloudops task show fails fails--1"
    ends 0
    see 'exit code +3'
    type "cloudops run --check fails.py"
    ends 1
    type "CLOUDOPS_ON_FAILURE=exit python fails.py"
    ends 1

    step="a script that is interrupted while it waits"
    cat >"$place/slow.py" <<'PY'
from cfa.cloudops.local import CloudClient

client = CloudClient()
client.create_pool("small", container_image_name="python:3.10-slim")
client.create_job("slow", "small", existing_job="force-replace")
client.add_task("slow", "sh -c 'echo begun; sleep 30; echo over'")
PY
    type "python slow.py"
    see 'slow--1 \| begun'
    see 'slow: 0 of 1 done, 1 running'
    see 'Ctrl-C detaches'
    sleep 3
    once 'Ctrl-C detaches'
    press C-c
    ends 130
    see '1 task of slow goes on'
    see 'cloudops job terminate slow'
    sees_no 'Traceback'

    step="the same job, looked at"
    type "cloudops job monitor slow"
    see 'slow: 0 of 1 done, 1 running'
    sleep 3
    once 'Ctrl-C detaches'
    press C-c
    ends 130
    sees_no 'Traceback'
    type "cloudops logs -f slow"
    see 'slow--1 \| begun'
    press C-c
    ends 130
    sees_no 'Traceback'
    type "cloudops job terminate slow"
    ends 0
    type "cloudops job monitor slow"
    ends 1

    step="the end"
    type "cloudops job delete sweep fails slow"
    ends 0
    type "cloudops job list"
    see 'no jobs'
    close_terminal
    rm -rf "$place/.cloudops"
}

for backend in "$@"; do
    hour
    echo "$backend: the first hour is as it should be"
done
