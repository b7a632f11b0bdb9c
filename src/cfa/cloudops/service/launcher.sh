#!/bin/sh
# The launcher: runs the tasks of one node. Started as `sh launcher.sh serve <directory> <job directory>`;
# `once <directory> <job directory> [memory]` runs a single task, `keep <directory>` none: it keeps a
# network for others.
#
# <directory> is the agent's. In a container or sandbox nobody can write to it but for `box`, which has
# the directory `open` in it: that is opened here, and the agent then takes it out of everybody's sight.
# What is written by that descriptor lies where no task can name it: the journal, a file a slot, in which
# each result stands before it is reported. In `cmd.<slot>` the agent leaves what to run. A FIFO, `users`
# of a keeper and `network` of those that use its network, tells it how long it is needed.
#
#   stdin                                            stdout
#   node <secret>                                    ready <protocol>
#   run <slot> <attempt> <secret> <task>             exited <attempt> <secret> <code>
#   kill <slot> <attempt> <signal>                   full <attempt> <secret>: its result waits for space
#   check <word>: does all of it live?               lost <slot> <node secret> [alone | refused]
#   end of file: drain                               alive <word>: the answer, after what was lost
#                                                    refused [<node secret>]: it ends, because no
#                                                    process can be made
#
# A code may also be `missing`, `denied` or `gone`: no such program, none that may be run, no directory
# of the task. A task writes to our output if it likes: what it says is believed only with the secret,
# which it is not given.
#
# Every slot is one warm shell, fed a line a task through a pipe without a name: no engine call, no
# subshell, one vfork and one exec a task. Lines are short, because a shell reads them byte by byte. Only
# POSIX sh, `/proc` and, where the image has it, setsid are used. Descriptor 9 is the null device, which a
# task may remove or replace.

protocol=2

# A report to the agent. A task may have left a line without an end there, so it begins with one.
__say() {
    echo "
$*"
}

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

# Runs $__attempt in $__task. `$__command` is `set -- <program> <arguments>`, made by the agent.
__run() {
    AZ_BATCH_TASK_ID=$__task
    __task=$__job/$__task
    AZ_BATCH_TASK_DIR=$__task
    AZ_BATCH_TASK_WORKING_DIR=$__task/wd
    AZ_BATCH_CERTIFICATES_DIR=$__task/certs
    CLOUDOPS_ATTEMPT=$__attempt@$CLOUDOPS_DIRECTORY # other nodes may show in /proc as well
    # Not for tasks: where this shell was before, which the task before may have been as well.
    if [ -n "$__home" ] && ! [ -d "$__task" ]; then
        __code=gone
    elif cd "${__home:-$__task/wd}" && unset OLDPWD && . "$__command"; then
        case $1 in
            */*) __program=$1 ;;
            "$__name") __program=$__path ;;
            *) if __resolve "$1"; then __program=$__path; else __program=; fi ;;
        esac
        # Opened for both, a pipe that another task put there keeps nobody waiting; the agent has seen
        # to it that the files are new.
        if [ -z "$__program" ]; then
            __code=missing
            : 1<>"$__task/stdout.txt"
            echo "cloudops: program not found: $1 (PATH is $PATH)" 1<>"$__task/stderr.txt"
        else
            shift
            __code=
            {
                "$__program" "$@" <&9 3>&- 4<&- 9>&-
                __code=$?
            } 1<>"$__task/stdout.txt" 2<>"$__task/stderr.txt"
            case $__code in
                127) [ -e "$__program" ] || __code=missing ;;
                126) [ -x "$__program" ] && [ -f "$__program" ] || __code=denied ;;
            esac
        fi
    else
        __code=
    fi
    if [ -z "$__code" ]; then # it was not started
        __code=denied
        [ -d "$__task" ] || __code=gone
    fi
    __memory=
    [ -n "$__peak" ] && read -r __memory <"$__peak"
    # The journal also says what this shell and all that it waited for have taken so far (`usage.py`
    # subtracts); `times` and `read` are builtins, so that costs no process.
    # A full disk is waited for, so that no result is lost. What it tore off ends with the empty line.
    : $((__count += 1))
    __told=
    until {
        echo "
= $__attempt $__secret $__code $$ $__count $__memory" && times
    } >&3; do
        [ -n "$__told" ] || __say "full $__attempt $__secret"
        __told=1
        sleep 1
    done
    __say "exited $__attempt $__secret $__code"
}

__prepare() {
    export AZ_BATCH_TASK_ID AZ_BATCH_TASK_DIR AZ_BATCH_TASK_WORKING_DIR
    export AZ_BATCH_CERTIFICATES_DIR CLOUDOPS_ATTEMPT
    __name= __path= __count=0 __peak=
    # Tasks start in the image's WORKDIR; where there is none, in their own directory.
    __home=$PWD
    [ "$__home" = / ] && __home=
}

# Opens the journal of slot $1 in place of the directory of journals. Waits for space.
__open() {
    __told=
    until true >>"/proc/self/fd/3/$1"; do
        [ -n "$__told" ] || __say "full $__attempt $__secret"
        __told=1
        sleep 1
    done 2>&9
    exec 3>>"/proc/self/fd/3/$1"
}

__slot() {
    # A task may signal its whole process group, which is ours: stay. Handlers, unlike ignored
    # signals, are not inherited by programs.
    trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM
    exec 4<&- # the guard's, which has no end
    __prepare
    __command=$1/cmd.$2 __job=$3
    # Whose guard is dead may be given up already, by somebody who did not see it: a process has the mark
    # in its environment only once it runs a program.
    [ "$PPID" = "$4" ] || exit 1
    # For the guard: our session is that of our tasks. On a full disk it looks for them by their mark.
    { echo $$ >"/proc/self/fd/3/shell.$2"; } 2>&9
    __opened= __last=
    while read -r __attempt __secret __task; do
        if [ "$__attempt" = quit ]; then
            [ -n "$__opened" ] && exit 0
            __last=1 # it overtook the first task
            continue
        fi
        [ -n "$__opened" ] || __open "$2"
        __opened=1
        __run
        [ -n "$__last" ] && exit 0
    done
}

# --- the dispatcher -----------------------------------------------------------------------------

# Opens the directory of journals, in which `serving` says that the end of input was not seen yet.
begin() {
    exec 9<>/dev/null
    directory=$1
    exec 3<"$directory/box/open" && : >"/proc/self/fd/3/serving" || exit 1
    export CLOUDOPS_DIRECTORY="$directory;" # by which all that we start can be found
}

# The end of input was seen.
end() {
    rm -f /proc/self/fd/3/serving
}

# Runs a slot's shell, and gives it its first task. When the shell is killed (a task may do it, by its
# process group) the slot is given up: what runs there is ended, what waits in the pipe is swallowed, and
# only then is it said to be lost, so that the agent may start the attempt again elsewhere; `alone` when
# nothing ran any more, `refused` when no process could be started for it.
guard() {
    trap : PIPE # there may be nobody to tell
    # Opened for both it has no end: the dispatcher opens it anew for each line, as descriptor 4, because
    # `read` from a file takes the place of our input meanwhile.
    exec <>/proc/self/fd/0 4<&0
    echo "$attempt $secret $argument" >&0
    # A `quit` of before went elsewhere: what was our input then was the dispatcher's.
    [ -e /proc/self/fd/3/serving ] || echo quit >&0
    slot=$1 guarded=1
    # A shell that cannot make a process ends, most of them not by `command`. In bash the first command
    # then takes the status of the process that is not there.
    trap ':; give_up "$slot" refused' EXIT
    export CLOUDOPS_SLOT="$1@$CLOUDOPS_DIRECTORY" # by which its shell and its tasks can be found
    read -r me _ </proc/self/stat
    # For reading only: a slot whose guard was killed finds the end of its input after what is in it.
    command eval '$setsid $reset "$shell" "$self" slot "$directory" "$1" "$job" "$me" </proc/self/fd/4'
    code=$?
    trap - EXIT
    case $code in
        0) return ;;
        129 | 1[3-9]? | 2[0-4]?) give_up "$1" ;;
        *) give_up "$1" refused ;;
    esac
    # With the shell's end of the pipe a `quit` in it was lost as well; a later one arrives.
    while [ -e /proc/self/fd/3/serving ] && read -r verb rest; do
        [ "$verb" = quit ] && return
    done
}

# Ends what is left of a slot, its shell as well, and says that it is lost. That is not said by whoever
# cannot look: a guard's end is noticed by the dispatcher, the dispatcher's silence by the agent.
give_up() {
    can_look || return
    session= spared=
    if [ -n "$setsid" ]; then
        # Only its guard has just seen the shell end: later, its number may be somebody else's.
        [ -n "$guarded" ] && [ -r "/proc/self/fd/3/shell.$1" ] &&
            read -r session <"/proc/self/fd/3/shell.$1"
        [ -n "$session" ] || find_session "" "CLOUDOPS_SLOT=$1@$CLOUDOPS_DIRECTORY"
    fi
    # The guard looks first, and at what is younger than itself: a task that ends by itself before it is
    # found would look as if it had ended with its shell.
    since=${guarded:+$me} seen=
    [ -n "$since" ] && pass "CLOUDOPS_SLOT=$1@$CLOUDOPS_DIRECTORY" 0 2>&9 && seen=1
    since=0
    # Stopped before: a shell that is found after its task would report that the task was killed.
    pass "CLOUDOPS_SLOT=$1@$CLOUDOPS_DIRECTORY" STOP 2>&9
    signal "CLOUDOPS_SLOT=$1@$CLOUDOPS_DIRECTORY" KILL
    how=$2
    [ -z "$how$seen" ] && [ $tries = 0 ] && how=alone
    __say "lost $1 $node $how"
}

# Whether this shell can open files: a task may have taken its descriptors from it.
can_look() {
    { read -r stat </proc/self/stat; } 2>&9
}

# The session of a slot: of the child of its guard that leads one, or of whoever carries a text in its
# environment: `find_session <guard> <text>`. $spared is the slot's shell.
find_session() {
    for process in /proc/[0-9]*; do
        session= spared=
        read -r stat <"$process/stat" || continue
        # pid (name) state ppid pgrp session ...; the name may hold blanks and parentheses
        stat=${stat##*) }
        stat=${stat#* }
        if [ -n "$1" ]; then
            [ "${stat%% *}" = "$1" ] || continue
            spared=${process#/proc/}
        else
            carries "$process" "$2" || continue
        fi
        stat=${stat#* * }
        session=${stat%% *}
        [ -z "$1" ] || [ "$session" = "$spared" ] && return
    done
    session= spared=
} 2>&9

# Signals every process of $session but $spared, and those that left it but still carry a text in their
# environment: `signal <text> <signal>`. KILL is repeated until there is none.
signal() {
    tries=0
    while pass "$1" "$2" && [ "$2" = KILL ] && [ $tries -lt 50 ]; do
        tries=$((tries + 1))
    done
} 2>&9

# Signals them once. False when there was none.
pass() {
    found=1
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = "$spared" ] || [ "$pid" -lt "$since" ] && continue
        if read -r stat <"$process/stat"; then
            stat=${stat##*) }
            case $stat in Z* | X*) continue ;; esac
            stat=${stat#* * * }
            if [ -n "$session" ] && [ "${stat%% *}" = "$session" ]; then
                kill -s "$2" "$pid" && found=0
                continue
            fi
        fi
        carries "$process" "$1" && kill -s "$2" "$pid" && found=0
    done
    return $found
}

# Whether a text stands in the environment of a process.
carries() {
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in *"$2"*) return 0 ;; esac
    done <"$1/environ"
    return 1
}

# Gives up slots without a guard: a task may kill everything that it can see. False: it could not look.
check() {
    can_look || return
    alive=
    for each in $slots; do
        eval "guard=\$guard_$each"
        if ! lives "$guard" && give_up "$each"; then lost="$lost $each"; else alive="$alive $each"; fi
    done
    slots=$alive
}

lives() {
    read -r stat <"/proc/$1/stat" || return
    case ${stat##*) } in Z* | X*) return 1 ;; esac
} 2>&9

# Starts the guard of a new slot. By `command`, because a shell that cannot make a process would end.
open_slot() {
    command eval ': | guard "$slot" 2>&9 &' 2>&9 || return
    eval "guard_$slot=$!"
    slots="$slots $slot"
}

# The guard of $slot could not be told: it is dead, or this shell can open nothing.
undelivered() {
    check
    case " $slots " in *" $slot "*) __say "lost $slot $node refused" ;; esac
}

# Ends an attempt, or signals it: `end_attempt <slot> <attempt> <signal>`.
end_attempt() {
    session= spared=
    eval "guard=\$guard_$1"
    [ -n "$setsid" ] && [ -n "$guard" ] && find_session "$guard"
    signal "CLOUDOPS_ATTEMPT=$2@$CLOUDOPS_DIRECTORY" "$3"
}

# The workspace was removed: nothing can be finished any more.
end_all() {
    session= spared=
    signal "CLOUDOPS_DIRECTORY=$directory;" KILL
}

serve() {
    node= since=0
    trap 'echo "refused $node"' EXIT
    begin "$1"
    job=$2
    self=$0
    shell=/bin/sh
    setsid=
    __resolve setsid && setsid=$__path
    # A shell's background processes ignore INT and QUIT for good, unless somebody helps.
    reset="env --default-signal=INT,QUIT"
    $reset true 2>&9 || reset=
    slots= lost= guarded=
    # The first process of a container ignores what it does not handle.
    trap 'trap - EXIT; exit 143' TERM INT HUP
    trap : PIPE # the agent may be gone
    echo "ready $protocol"
    while read -r verb slot attempt secret argument; do
        case $verb in
            run)
                case "$lost /$slots " in
                    *" $slot "*/*) ;; # it was on its way when the slot was given up
                    */*" $slot "*)
                        eval "guard=\$guard_$slot"
                        { echo "$attempt $secret $argument" >"/proc/$guard/fd/4"; } 2>&9 || undelivered
                        ;;
                    *) open_slot || __say "lost $slot $node refused" ;;
                esac
                ;;
            kill) end_attempt "$slot" "$attempt" "$secret" ;;
            check)
                check && __say "alive $slot"
                ;;
            node) node=$slot ;;
        esac
    done
    trap - EXIT
    if [ ! -e "$self" ]; then
        end_all
        exit 0
    fi
    # Before, so that the end is not seen by somebody whom no slot has heard; after, for the slots whose
    # guards were coming up and looked for the end just before.
    quit
    end
    quit
    wait
}

# Lets every slot end after what is in its pipe.
quit() {
    for slot in $slots; do
        eval "guard=\$guard_$slot"
        echo quit >"/proc/$guard/fd/4"
    done 2>&9
}

# A node for one task, for containers: no slot, and no program but the task's. What a task does to its
# process group cannot reach this shell, the first process of its container.
once() {
    begin "$1"
    # While this shell lives, the node whose network is used here stays: see `keep`.
    [ -p "$directory/network" ] && exec 4<>"$directory/network"
    node= since=0
    trap 'trap - EXIT; exit 143' TERM INT HUP
    trap : PIPE
    trap 'echo "refused $node"' EXIT
    echo "ready $protocol"
    verb=
    until [ "$verb" = run ]; do
        read -r verb slot __attempt __secret __task || {
            trap - EXIT
            end
            exit 0
        }
        [ "$verb" = node ] && node=$slot
    done
    exec 5<&0 <&9
    {
        trap : PIPE
        session= spared=
        while read -r verb slot attempt word; do
            case $verb in
                kill) signal "CLOUDOPS_ATTEMPT=$attempt@$CLOUDOPS_DIRECTORY" "$word" ;;
                check) __say "alive $slot" ;;
            esac
        done
        end
        [ -e "$0" ] || end_all
    } <&5 5<&- 2>&9 &
    ears=$!
    exec 5<&-
    trap : HUP INT QUIT TERM USR1 USR2 ALRM # as for a slot's shell
    __prepare
    __command=$directory/cmd.$slot __job=$2
    __open "$slot"
    # The highest memory of the container is the task's. Only the agent knows whether the container
    # has a control group of its own: what can be seen here may be the whole machine's.
    [ "$3" = memory ] && for __file in memory.peak memory/memory.max_usage_in_bytes; do
        [ -r "/sys/fs/cgroup/$__file" ] && __peak=/sys/fs/cgroup/$__file
    done
    __run
    trap - EXIT
    kill -s KILL "$ears" # what else the task left ends with the container
}

# A node that runs nothing. Others use its network, one after another, and each holds the FIFO open:
# after the end of input it ends with the last of them.
keep() {
    begin "$1"
    trap 'exit 143' TERM INT HUP
    # How its network calls it: those that use it are told the same, with a name of their own.
    tell name </proc/sys/kernel/hostname && tell host </etc/hosts &&
        tell resolver </etc/resolv.conf || exit 1
    echo "ready $protocol"
    while read -r verb; do
        [ "$verb" = look ] || continue
        left=empty
        for table in tcp tcp6 udp udp6 sctp/eps; do
            look "/proc/net/$table" && left=used
        done
        echo "look $left"
    done
    end
    # Opened for both it waits for nobody; with that closed, the end comes when no other has it.
    exec 5<>"$directory/users" 4<"$directory/users" 5>&-
    while read -r verb <&4; do :; done # only the end counts: a task may write there
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
    serve) serve "$2" "$3" ;;
    once) once "$2" "$3" "$4" ;;
    keep) keep "$2" ;;
    slot) __slot "$2" "$3" "$4" "$5" ;;
esac
