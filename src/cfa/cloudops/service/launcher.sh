#!/bin/sh
# The launcher: runs the tasks of one node. Started as `sh launcher.sh serve <directory>`, where
# <directory> is the node's own and writable; `once <directory> [memory [<users>]]` runs a single task,
# `keep <directory>` none: it keeps a network for others, and <users> is its FIFO.
#
#   stdin                                   stdout
#   run <slot> <attempt> <task directory>   ready <protocol>
#   kill <slot> <attempt> <signal>          exited <attempt> <code | missing | denied>
#   check: does all of it live?             vanished <attempt>
#                                           alive: the answer to `check`, after what was lost
#   end of file: drain                      full <attempt>: its result waits for space on the disk
#                                           lost <slot> [alone]
#
# Every slot is one warm shell, fed a line a task through a FIFO: no engine call, no subshell, one
# vfork and one exec a task. `exit` is written before it is reported, so nothing depends on the
# report. Only POSIX sh and, where the image has them, mkfifo and setsid are used.

protocol=1

# --- a slot -------------------------------------------------------------------------------------

# Finds a program in PATH. Task programs are always run by path, because a bare name such as `kill`
# or `exit` would reach a builtin of this shell.
__resolve() {
    __name=$1 __rest=$PATH:
    while [ -n "$__rest" ]; do
        __path=${__rest%%:*} __rest=${__rest#*:}
        __path=${__path:-.}/$1
        [ -f "$__path" ] && [ -x "$__path" ] && return 0
    done
    __name=
    return 1
}

# Runs $__attempt in $__task. `cmd` there is `set -- <program> <arguments>`, made by the agent.
__run() {
    AZ_BATCH_TASK_ID=${__task##*/}
    AZ_BATCH_TASK_DIR=$__task
    AZ_BATCH_TASK_WORKING_DIR=$__task/wd
    AZ_BATCH_CERTIFICATES_DIR=$__task/certs
    CLOUDOPS_ATTEMPT=$__attempt@$CLOUDOPS_DIRECTORY # other nodes may show in /proc as well
    # Not for tasks: where this shell was before, which the task before may have been as well.
    if cd "${__home:-$__task/wd}" && unset OLDPWD && . "$__task/cmd"; then
        case $1 in
            */*) __program=$1 ;;
            "$__name") __program=$__path ;;
            *) if __resolve "$1"; then __program=$__path; else __program=; fi ;;
        esac
        if [ -z "$__program" ]; then
            __code=missing
            : >"$__task/stdout.txt"
            echo "cloudops: program not found: $1 (PATH is $PATH)" >"$__task/stderr.txt"
        else
            shift
            "$__program" "$@" >"$__task/stdout.txt" 2>"$__task/stderr.txt" </dev/null 4<&-
            __code=$?
            case $__code in
                127) [ -e "$__program" ] || __code=missing ;;
                126) [ -x "$__program" ] && [ -f "$__program" ] || __code=denied ;;
            esac
        fi
    else
        __code=denied
    fi
    __memory=
    [ -n "$__peak" ] && read -r __memory <"$__peak"
    # `exit` also says what this shell and all that it waited for have taken so far (`usage.py`
    # subtracts); `times` and `read` are builtins, so that costs no process.
    # A full disk is waited for, so that no result is lost. A task that took its own directory away
    # is not.
    __told=
    until {
        echo "$__attempt $__code
$$ $((__count += 1)) $__memory" && times
    } >"$__task/exit"; do
        [ -w "$__task" ] && [ ! -d "$__task/exit" ] || break
        [ -n "$__told" ] || echo "full $__attempt"
        __told=1
        sleep 1
    done
    echo "exited $__attempt $__code"
}

__prepare() {
    export AZ_BATCH_TASK_ID AZ_BATCH_TASK_DIR AZ_BATCH_TASK_WORKING_DIR
    export AZ_BATCH_CERTIFICATES_DIR CLOUDOPS_ATTEMPT
    __name= __path= __count=0 __peak=
    # Tasks start in the image's WORKDIR; where there is none, in their own directory.
    __home=$PWD
    [ "$__home" = / ] && __home=
}

__slot() {
    # A task may signal its whole process group, which is ours: stay. Handlers, unlike ignored
    # signals, are not inherited by programs.
    trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM
    __prepare
    export CLOUDOPS_SLOT="$1;" # for `guard`, which does not know the attempt
    exec <>"$1"
    echo $$ >"$1.pid"
    while read -r __attempt __task; do
        [ "$__attempt" = quit ] && exit 0
        __run
    done
}

# --- the dispatcher -----------------------------------------------------------------------------

# Runs a slot's shell. When that is killed (a task may do it, by its process group) the slot is given
# up: what runs there is ended, what waits in the FIFO is swallowed, and only then is it said to be
# lost, so that the agent may start the attempt again elsewhere; `alone` when nothing ran any more.
guard() {
    trap : PIPE # there may be nobody to tell
    fifo=$directory/slot.$1
    $setsid $reset "$shell" "$self" slot "$fifo" && return
    exec <>"$fifo"
    give_up "$1"
    # With the shell's end of the FIFO a `quit` in it was lost as well; a later one arrives.
    while [ -e "$directory/serving" ] && read -r verb rest; do
        [ "$verb" = quit ] && return
    done
}

# Ends what is left of a slot and says that it is lost.
give_up() {
    fifo=$directory/slot.$1
    shell_pid= line=
    { read -r shell_pid <"$fifo.pid" && read -r line <"/proc/$shell_pid/cmdline"; } 2>/dev/null
    case $line in
        *"slot$fifo") kill -s KILL "$shell_pid" ;; # it has outlived its guard
        *) shell_pid= ;;
    esac
    signal "$1" "CLOUDOPS_SLOT=$fifo;" KILL
    [ -z "$shell_pid" ] && [ $tries = 0 ] && echo "lost $1 alone" || echo "lost $1"
}

# Signals every process of a slot's session, and those that left it but still carry a text in their
# environment: `signal <slot> <text> <signal>`. KILL is repeated until there is none.
signal() {
    session=
    [ -n "$setsid" ] && read -r session <"$directory/slot.$1.pid"
    tries=0
    while pass "$2" "$3" && [ "$3" = KILL ] && [ $tries -lt 50 ]; do
        tries=$((tries + 1))
    done
} 2>/dev/null

# Signals them once. False when there was none.
pass() {
    found=1
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = "$session" ] && continue # the slot's shell itself
        if read -r stat <"$process/stat"; then
            # pid (name) state ppid pgrp session ...; the name may hold blanks and parentheses
            stat=${stat##*) }
            case $stat in Z* | X*) continue ;; esac
            stat=${stat#* * * }
            if [ -n "$session" ] && [ "${stat%% *}" = "$session" ]; then
                kill -s "$2" "$pid" && found=0
                continue
            fi
        fi
        while IFS= read -r line || [ -n "$line" ]; do
            case $line in
                *"$1"*)
                    kill -s "$2" "$pid" && found=0
                    break
                    ;;
            esac
        done <"$process/environ"
    done
    return $found
}

# Gives up slots without a guard: a task may kill everything that it can see. `guards`
# and `subshells` are lists of <slot>:<pid> and <attempt>:<pid>.
check() {
    alive=
    for pair in $guards; do
        if lives "${pair#*:}"; then alive="$alive $pair"; else give_up "${pair%%:*}"; fi
    done
    guards=$alive alive=
    for pair in $subshells; do
        if lives "${pair#*:}"; then alive="$alive $pair"; else echo "vanished ${pair%%:*}"; fi
    done
    subshells=$alive
}

lives() {
    read -r stat <"/proc/$1/stat" || return
    case ${stat##*) } in Z* | X*) return 1 ;; esac
} 2>/dev/null

serve() {
    directory=$1
    self=$0
    shell=/bin/sh
    setsid=$(command -v setsid) || setsid=
    # A shell's background processes ignore INT and QUIT for good, unless somebody helps.
    reset="env --default-signal=INT,QUIT"
    $reset true 2>/dev/null || reset=
    fifos=yes
    slots=
    guards=
    subshells=
    # The first process of a container ignores what it does not handle.
    trap 'exit 143' TERM INT HUP
    trap : PIPE # the agent may be gone
    : >"$directory/serving"
    export CLOUDOPS_DIRECTORY="$directory;" # by which all that we start can be found
    echo "ready $protocol"
    while read -r verb slot attempt argument; do
        case $verb in
            run)
                fifo=$directory/slot.$slot
                case " $slots " in
                    *" $slot "*)
                        # Opened for both, it neither waits for a reader nor breaks without one.
                        [ -p "$fifo" ] && echo "$attempt $argument" 1<>"$fifo" && continue
                        ;;
                    *)
                        slots="$slots $slot"
                        if [ $fifos = yes ] && mkfifo "$fifo" 2>/dev/null; then
                            guard "$slot" </dev/null 2>/dev/null &
                            guards="$guards $slot:$!"
                            echo "$attempt $argument" >"$fifo" # waits for the slot's shell
                            continue
                        fi
                        fifos=no
                        ;;
                esac
                # No mkfifo here: a subshell a task, slower but the same.
                {
                    (
                        __prepare
                        __attempt=$attempt __task=$argument
                        __run
                    ) || echo "lost $slot alone"
                } </dev/null 2>/dev/null &
                subshells="$subshells $attempt:$!"
                ;;
            kill) signal "$slot" "CLOUDOPS_ATTEMPT=$attempt@$CLOUDOPS_DIRECTORY" "$argument" ;;
            check)
                check
                echo alive
                ;;
        esac
    done
    rm -f "$directory/serving"
    if [ ! -d "$directory" ]; then # the workspace was removed: nothing can be finished any more
        signal 0 "CLOUDOPS_DIRECTORY=$directory;" KILL
        exit 0
    fi
    for slot in $slots; do
        [ -p "$directory/slot.$slot" ] && echo "quit" 1<>"$directory/slot.$slot"
    done
    wait
}

# A node for one task, for containers: no slot, and no program but the task's. What a task does to its
# process group cannot reach this shell, the first process of its container.
once() {
    directory=$1
    setsid=
    # While this shell lives, the node whose network is used here stays: see `keep`.
    [ -p "$3" ] && exec 4<>"$3"
    trap 'exit 143' TERM INT HUP
    trap : PIPE
    : >"$directory/serving"
    export CLOUDOPS_DIRECTORY="$directory;"
    echo "ready $protocol"
    verb=
    until [ "$verb" = run ]; do
        read -r verb slot __attempt __task || exec rm -f "$directory/serving"
    done
    exec 3<&0 </dev/null
    {
        trap : PIPE
        while read -r verb slot attempt argument; do
            case $verb in
                kill) signal "$slot" "CLOUDOPS_ATTEMPT=$attempt@$CLOUDOPS_DIRECTORY" "$argument" ;;
                check) echo alive ;;
            esac
        done
        rm -f "$directory/serving"
        # The workspace was removed: nothing can be finished any more.
        [ -d "$directory" ] || signal 0 "CLOUDOPS_DIRECTORY=$directory;" KILL
    } <&3 3<&- 2>/dev/null &
    ears=$!
    exec 3<&-
    trap : HUP INT QUIT TERM USR1 USR2 ALRM # as for a slot's shell
    __prepare
    # The highest memory of the container is the task's. Only the agent knows whether the container
    # has a control group of its own: what can be seen here may be the whole machine's.
    [ "$2" = memory ] && for __file in memory.peak memory/memory.max_usage_in_bytes; do
        [ -r "/sys/fs/cgroup/$__file" ] && __peak=/sys/fs/cgroup/$__file
    done
    __run
    kill -s KILL "$ears" # what else the task left ends with the container
}

# A node that runs nothing. Others use its network, one after another, and each holds the FIFO open:
# after the end of input it ends with the last of them.
keep() {
    directory=$1
    trap 'exit 143' TERM INT HUP
    : >"$directory/serving"
    # How its network calls it: those that use it are told the same, with a name of their own.
    tell name </proc/sys/kernel/hostname && tell host </etc/hosts &&
        tell resolver </etc/resolv.conf || exit 1
    echo "ready $protocol"
    while read -r verb; do
        left=empty
        for table in tcp tcp6 udp udp6 sctp/eps; do
            look "/proc/net/$table" && left=used
        done
        echo "look $left"
    done
    rm -f "$directory/serving"
    # Opened for both it waits for nobody; with that closed, the end comes when no other has it.
    exec 3<>"$directory/users" 4<"$directory/users" 3>&-
    read -r verb <&4
    exit 0
}

# Says the lines of its input.
tell() {
    while IFS= read -r line || [ -n "$line" ]; do
        echo "$1 $line"
    done
}

# Whether a table of sockets has a line below its head.
look() {
    [ -r "$1" ] || return 1
    { read -r line && read -r line; } <"$1"
}

case $1 in
    serve) serve "$2" ;;
    once) once "$2" "$3" "$4" ;;
    keep) keep "$2" ;;
    slot) __slot "$2" ;;
esac
