#!/bin/sh
# The launcher: runs the tasks of one node. Started as `sh launcher.sh serve <directory>`, where
# <directory> is the node's own and writable.
#
#   stdin                                   stdout
#   run <slot> <attempt> <task directory>   ready <protocol>
#   kill <slot> <attempt> <signal>          exited <attempt> <code | missing | denied>
#   end of file: drain                      lost <slot>
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
    CLOUDOPS_ATTEMPT="$__attempt;"
    if cd "${__home:-$__task/wd}" && . "$__task/cmd"; then
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
            "$__program" "$@" >"$__task/stdout.txt" 2>"$__task/stderr.txt" </dev/null
            __code=$?
            case $__code in
                127) [ -e "$__program" ] || __code=missing ;;
                126) [ -x "$__program" ] && [ -f "$__program" ] || __code=denied ;;
            esac
        fi
    else
        __code=denied
    fi
    echo "$__attempt $__code" >"$__task/exit"
    echo "exited $__attempt $__code"
}

__prepare() {
    export AZ_BATCH_TASK_ID AZ_BATCH_TASK_DIR AZ_BATCH_TASK_WORKING_DIR
    export AZ_BATCH_CERTIFICATES_DIR CLOUDOPS_ATTEMPT
    __name= __path=
    # Tasks start in the image's WORKDIR; where there is none, in their own directory.
    __home=$PWD
    [ "$__home" = / ] && __home=
}

__slot() {
    # A task may signal its whole process group, which is ours: stay. Handlers, unlike ignored
    # signals, are not inherited by programs.
    trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM
    __prepare
    exec <>"$1"
    echo $$ >"$1.pid"
    while read -r __attempt __task; do
        [ "$__attempt" = quit ] && exit 0
        __run
    done
}

# --- the dispatcher -----------------------------------------------------------------------------

# Keeps a slot's shell alive: a task that kills its process group must not take the slot away.
guard() {
    while ! $setsid "$shell" "$self" slot "$directory/slot.$1"; do
        echo "lost $1"
    done
}

# Signals every process of an attempt: those of the slot's session, and those that left it but still
# carry the attempt in their environment.
signal() {
    session=
    [ -n "$setsid" ] && read -r session <"$directory/slot.$1.pid"
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = "$session" ] && continue
        if [ -n "$session" ] && read -r stat <"$process/stat"; then
            # pid (name) state ppid pgrp session ...; the name may hold blanks and parentheses
            stat=${stat##*) }
            stat=${stat#* * * }
            [ "${stat%% *}" = "$session" ] && kill -s "$3" "$pid" && continue
        fi
        while IFS= read -r line || [ -n "$line" ]; do
            case $line in
                *"CLOUDOPS_ATTEMPT=$2;"*) kill -s "$3" "$pid" && break ;;
            esac
        done <"$process/environ"
    done 2>/dev/null
}

serve() {
    directory=$1
    self=$0
    shell=/bin/sh
    setsid=$(command -v setsid) || setsid=
    fifos=yes
    slots=
    # The first process of a container ignores what it does not handle.
    trap 'exit 143' TERM INT HUP
    echo "ready $protocol"
    while read -r verb slot attempt argument; do
        case $verb in
            run)
                case " $slots " in
                    *" $slot "*) ;;
                    *)
                        if [ $fifos = yes ] && mkfifo "$directory/slot.$slot" 2>/dev/null; then
                            guard "$slot" </dev/null 2>/dev/null &
                        else
                            fifos=no
                        fi
                        slots="$slots $slot"
                        ;;
                esac
                if [ -p "$directory/slot.$slot" ]; then
                    echo "$attempt $argument" >"$directory/slot.$slot"
                else # no mkfifo here: a subshell a task, slower but the same
                    (
                        __prepare
                        __attempt=$attempt __task=$argument
                        __run
                    ) </dev/null 2>/dev/null &
                fi
                ;;
            kill) signal "$slot" "$attempt" "$argument" ;;
        esac
    done
    for slot in $slots; do
        [ -p "$directory/slot.$slot" ] && echo "quit" >"$directory/slot.$slot"
    done
    wait
}

case $1 in
    serve) serve "$2" ;;
    slot) __slot "$2" ;;
esac
