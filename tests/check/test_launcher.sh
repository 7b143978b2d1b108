# deploy/run with a stand-in for hanps: exit statuses, arguments, signals, a rank that never ends.
set -u
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/hanps" <<'END'
#!/bin/bash
# $1 train; $2 what to play; then --run RUN
rank=$OMPI_COMM_WORLD_RANK run=$4
leave() { [ "$1" = - ] || echo "$1" >"$HANPS_EXIT_FOLDER/$rank"; exit "${1/-/0}"; }
state() { mkdir -p "$run"; [ "$rank" = 0 ] && echo "{\"state\": \"$1\"}" >"$run/status.tmp" && mv "$run/status.tmp" "$run/status"; }
case $2 in
exit-*) leave "${2#exit-}" ;;
arguments) [ "$rank" = 0 ] && printf '<%s>\n' "${@:5}"; leave 0 ;;
signal)
    state running
    [ "$rank" = 2 ] && { sleep 0.2; leave 3; } # one that has ended is no reason not to stop the others
    trap 'state stopped; leave 130' USR2
    [ "$rank" = 0 ] && touch "$run/ready"
    for i in $(seq 200); do sleep 0.1 & wait $!; done
    leave 9 ;;
stubborn)
    state running
    trap '' USR2 TERM
    [ "$rank" = 0 ] && touch "$run/ready"
    sleep 30; leave 9 ;;
ls) [ -e "$3/whole" ] && printf '      step  written\n         5  2026-01-01  1  1.0 KiB  whole\n         7  2026-01-01  1  1.0 KiB  whole, best\n         9  not whole: x\n' ;;
lost) state running; [ "$rank" = 0 ] && kill -KILL $$; sleep 0.5; leave 3 ;;
hang) state done; [ "$rank" = 0 ] && leave 0; echo $$ >"$run/pid"; exec sleep 100 ;;
esac
END
chmod +x "$scratch/hanps"
fail=0
expect() { # title, wanted, got
    [ "$2" = "$3" ] || { printf '%s: wanted %s, got %s\n' "$1" "$2" "$3"; fail=1; }
}
go() { timeout 60 deploy/run -n 2 --hanps "$scratch/hanps" "$1" --run "$scratch/runs/$1" "${@:2}"; }

for code in 0 2 3 130; do
    go exit-$code >"$scratch/out" 2>&1
    expect "exit status" $code $?
done
expect 'arguments are kept' '<--set><a=b c><--resume>' "$(go arguments --set 'a=b c' --resume 2>/dev/null | tr -d '\n')"

for signal in INT TERM; do
    rm -rf "$scratch/runs/signal"
    # A shell without job control has INT ignored in the background: start it as a terminal would.
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' deploy/run -n 3 --hanps "$scratch/hanps" signal --run "$scratch/runs/signal" >"$scratch/out" 2>&1 &
    launcher=$!
    for _ in $(seq 100); do [ -e "$scratch/runs/signal/ready" ] && break; sleep 0.1; done
    sleep 0.5
    kill -$signal $launcher
    wait $launcher
    expect "$signal stops with a checkpoint" 130 $?
done

# A second signal ends at once, and says what is left: here a checkpoint, there none.
for left in 'from step 7 ' 'no checkpoint to go on from'; do
    rm -rf "$scratch/runs/stubborn"
    mkdir -p "$scratch/runs/stubborn"
    [ "$left" = 'from step 7 ' ] && touch "$scratch/runs/stubborn/whole"
    deploy/run -n 2 --hanps "$scratch/hanps" stubborn --run "$scratch/runs/stubborn" >"$scratch/out" 2>&1 &
    launcher=$!
    for _ in $(seq 100); do [ -e "$scratch/runs/stubborn/ready" ] && break; sleep 0.1; done
    kill -TERM $launcher
    sleep 1
    kill -TERM $launcher
    wait $launcher
    expect 'a second signal' 3 $?
    grep -q "stopped at once.*$left" "$scratch/out" || { echo "a second signal says: $(cat "$scratch/out")"; fail=1; }
    grep -q 'was lost' "$scratch/out" && { echo 'a second signal is called a loss'; fail=1; }
done

go lost >"$scratch/out" 2>&1
expect 'a lost rank 0' 3 $?
grep -q -- '--resume' "$scratch/out" || { echo 'the way on is not said'; fail=1; }

HANPS_RUN_GRACE=2 go hang >"$scratch/out" 2>&1
expect 'ranks that never end' 0 $?
left=$(cat "$scratch/runs/hang/pid")
for _ in $(seq 50); do grep -qs 'State:.[RSDT]' "/proc/$left/status" || break; sleep 0.1; done
grep -qs 'State:.[RSDT]' "/proc/$left/status" && { echo "rank $left was left behind"; fail=1; }

for wrong in '' '-n' '-n x c --run r' '-n 1 c --run r' '-n 2 c' '-n 2 --hostfile /none c --run r' '-n 2 --hanps /none c --run r'; do
    # shellcheck disable=SC2086
    deploy/run $wrong >"$scratch/out" 2>&1
    expect "deploy/run $wrong" 2 $?
    expect "one line for deploy/run $wrong" 1 "$(wc -l <"$scratch/out")"
done
expect 'nothing is left behind' '' "$(find "$scratch/runs" -name '.hanps-run*')"
exit $fail
