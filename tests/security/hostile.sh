#!/bin/sh
# A hostile task: for a while it does random harm to whatever it can reach. `test_hostile.py` runs it.
#
#   hostile <seed> <end, in seconds of the epoch> <namespace> <victim> <mount> <counts> <device>
#
# It kills what it sees, so it runs only where that is nobody else's: `namespace` is that of the host's
# processes, as a link in /proc says it, and there it ends at once. `victim` is a directory of the host
# that it was not shown, `mount` one that it was, and in `counts` it says how much it has done. `device`
# is one of the node's own, whose permissions it may change, or no device at all. The same seed makes
# the same choices, as far as what it finds is the same.

own=$(readlink /proc/self/ns/pid) && [ -n "$own" ] && [ -n "$3" ] && [ "$own" != "$3" ] || exit 9

state=$(($1 & 2147483647)) end=$2 victim=$4 mount=$5 device=$7
count=$6/$AZ_BATCH_TASK_ID.${CLOUDOPS_ATTEMPT%@*}
root=$AZ_BATCH_NODE_ROOT_DIR task=$AZ_BATCH_TASK_DIR id=$AZ_BATCH_TASK_ID
job=${task%/*}
line_end='
'
escape=$(printf '\033]0;evil\007\033[2J')
long=$(printf '%0255d' 7)
actions=0 background=
trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM

# A number below $1, in $number. No process is needed for it, so there are many actions a second.
roll() {
    state=$(((state * 1103515245 + 12345) & 2147483647))
    number=$(((state >> 8) % $1))
}

# One of the arguments, in $chosen.
choose() {
    roll $#
    shift $number
    chosen=$1
}

# Something that is there, in $found: a way down from one of the places that a task knows. Links are not
# followed on the way.
find_something() {
    choose "$job" "$job" "$task" "$task" "$mount" "$mount" "$root" "$root/shared" "$root/fsmounts" \
        "$root/volatile" "$root/volatile/box" "$root/startup" "$root/workitems" "${job%/*}"
    found=$chosen
    roll 5
    deep=$number
    while [ "$deep" -ge 0 ] && [ -d "$found" ] && ! [ -L "$found" ]; do
        set -- "$found"/* "$found"/.[!.]*
        choose "$@"
        [ -e "$chosen" ] || [ -L "$chosen" ] || return 0
        found=$chosen
        deep=$((deep - 1))
    done
}

# A name that somebody may use, now or later, in $name.
find_name() {
    roll 80
    choose stdout.txt stderr.txt wd cmd exit cmd.1 cmd.2 1 2 serving open launcher.sh journal job-1 \
        "${id%-*}-$number" "${id%-*}-$number" "${id%-*}-$number" "$number" data data.old count \
        "a${line_end}b" "$escape" "$long" -rf '*' ' ' .cloudops-0123456789abcdef .cloudops-x.part \
        certs fsmounts shared volatile workitems
    name=$chosen
}

# A place for something new, in $place.
find_place() {
    find_something
    find_name
    if [ -d "$found" ] && ! [ -L "$found" ]; then place=$found/$name; else place=${found%/*}/$name; fi
}

# Where links lead, in $target.
find_target() {
    find_name
    choose "$victim" "$victim/file" "$victim/job-1" "$victim/new" / /proc/1/root "/proc/1/root$victim" \
        "$device" "$device" "$device" "$name" ../.. . ../../../../../../../.. "$found" /etc/passwd \
        /proc/self/environ
    target=$chosen
}

# A process, in $pid: launchers and slots more often than others.
find_process() {
    set -- /proc/[0-9]*
    choose "$@" /proc/1 /proc/1 /proc/2 /proc/$PPID /proc/$PPID
    pid=${chosen#/proc/}
}

# A descriptor of a process, in $stream.
find_stream() {
    find_process
    set -- /proc/"$pid"/fd/[0-9]*
    choose "$@"
    stream=$chosen
}

# What a launcher or the agent would say, in $said.
find_words() {
    roll 60
    task_number=$number
    roll 3
    slot=$((number + 1))
    secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    choose "exited $task_number.1 0" "exited $task_number.1 $secret 0" "lost $slot $secret alone" \
        "lost $slot" "ready 2" "alive $secret" "full $task_number.1 $secret" "check $secret" quit \
        "kill $slot $task_number.1 KILL" "look empty" "host 127.0.0.1 evil" "= $task_number.1 $secret 0 1 1" \
        "exited" "lost x $secret" "exited $task_number.1 $secret $secret" "node $secret" "vanished 1"
    said=$chosen
}

# What may wait for ever goes to the background; the oldest of these is killed when there are many.
later() {
    background="$background $!"
    set -- $background
    [ $# -gt 6 ] || return 0
    kill -s KILL "$1"
    wait "$1"
    shift
    background=$*
}

act() {
    roll 100
    case $number in
        [0-9])
            find_something
            from=$found
            find_place
            mv "$from" "$place"
            ;;
        1[0-9])
            find_something
            find_target
            roll 2
            if [ "$number" = 0 ]; then rm -rf "$found"; else mv "$found" "$found.old"; fi
            ln -sn "$target" "$found"
            ;;
        2[0-4])
            find_place
            find_target
            ln -sn "$target" "$place"
            ;;
        2[5-6])
            find_something
            from=$found
            find_place
            ln "$from" "$place"
            ;;
        2[7-9])
            find_place
            rm -f "$place"
            mkfifo "$place"
            ;;
        30)
            find_place
            rm -f "$place"
            mknod "$place" c 1 5
            ;;
        3[1-3])
            find_place
            mkdir -p "$place/wd/stdout.txt"
            ;;
        3[4-8])
            find_something
            choose 0 000 777 4755 6777 2777 1777 400 111 4000
            chmod "$chosen" "$found"
            ;;
        39)
            find_something
            choose 0:0 12345:12345 65534
            chown "$chosen" "$found"
            ;;
        4[0-3])
            find_something
            (: >"$found") &
            later
            ;;
        4[4-6])
            find_something
            (echo "$victim" >>"$found") &
            later
            ;;
        4[7-9])
            find_something
            rm -rf "$found"
            ;;
        5[0-3])
            find_stream
            (exec head -c 200 <"$stream" >/dev/null) &
            later
            ;;
        5[4-9] | 6[0-3])
            find_stream
            find_words
            roll 3
            case $number in
                0) (echo "$said" >"$stream") & ;;
                1) (echo "$said" >>"$stream") & ;;
                2) (printf %s "$said" 1<>"$stream") & ;;
            esac
            later
            ;;
        6[4-6])
            find_stream
            (exec head -c 3000 /dev/urandom >>"$stream") &
            later
            ;;
        67) # much, and no line of it ends
            find_stream
            (exec head -c 5000000 /dev/zero >>"$stream") &
            later
            ;;
        6[89])
            find_process
            choose STOP CONT CONT KILL TERM INT HUP QUIT USR1 PIPE ALRM CHLD CONT
            [ "$pid" = $$ ] || kill -s "$chosen" "$pid"
            if [ "$chosen" = STOP ]; then # for a while: it may be what this task waits for
                (sleep 0.5 && kill -s CONT "$pid") &
                later
            fi
            ;;
        72)
            find_process
            (echo "$victim" >/proc/"$pid"/mem) &
            later
            ;;
        73)
            for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                sleep 1 &
            done
            ;;
        7[0-1] | 7[4-5])
            head -c 300000 /dev/urandom
            echo "$escape" >&2
            ;;
        76) # deeper than a path may be long
            find_place
            (
                cd "${place%/*}" || exit
                for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
                    mkdir "$long" && cd "$long" || exit
                done
            )
            ;;
        77)
            find_place
            mkdir -p "$place"
            for n in 1 2 3 4 5 6 7 8 9 10; do
                ln -s "$victim/file" "$place/$n$line_end$escape"
            done
            ;;
        78)
            roll 3
            case $number in
                0) rm -rf "$task" ;;
                1) mv "$task" "$job/gone.$actions" ;;
                2) rm -rf "$job"/* ;;
            esac
            ;;
        79)
            rm -rf "$root"/volatile/* "$root"/volatile/cmd.* "$root/volatile/box/open"
            (echo "exit 0" >"$root/volatile/launcher.sh") &
            later
            ;;
        80)
            choose "$root" "$job" "$mount" / /proc
            mount -o remount,rw "$chosen"
            umount -l "$chosen"
            mount --bind / "$mount"
            ;;
        81)
            (exec unshare -rm sh -c "mount --bind /proc/1/root $mount") &
            later
            ;;
        8[2-5]) # flips between a file, a directory and a link, where others look
            choose "$mount/data" "$task/stdout.txt" "$task" "$job/${id%-*}-$actions"
            for _ in 1 2 3 4 5; do
                rm -rf "$chosen"
                ln -sn "$victim" "$chosen"
                rm -rf "$chosen"
                mkdir "$chosen"
                rm -rf "$chosen"
                ln -sn "$victim/file" "$chosen"
                rm -rf "$chosen"
                (echo data >"$chosen") &
                later
            done
            ;;
        8[6-9])
            find_something
            (exec head -c 200 "$found" >/dev/null) &
            later
            ;;
        9[0-4])
            find_place
            (head -c 1000 /dev/urandom >"$place") &
            later
            chmod 6755 "$place"
            ;;
        95)
            find_something
            touch -t 197001010000 "$found"
            ;;
        96)
            roll 30
            [ "$number" != 0 ] || kill -s KILL -1
            ;;
        97)
            find_process
            (echo 1000 >/proc/"$pid"/oom_score_adj) &
            later
            ;;
        *)
            find_something
            rm -rf "$found" && mkdir "$found" && chmod 0 "$found"
            ;;
    esac
} 2>/dev/null

while :; do
    act
    actions=$((actions + 1))
    if [ $((actions % 10)) = 0 ]; then
        [ -p "$count" ] || [ -L "$count" ] || (echo $actions >"$count")
        [ "$(date +%s)" -lt "$end" ] || exit 5
    fi 2>/dev/null
done
