# Features in HDF5 are read by a process of their own: where that breaks down or is killed, the import says so and can go
# on; where the import is killed, that process ends.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
tests/bench/gen_features.py "$work/f.h5" 40000 1 256 >"$work/log" 2>&1 || { echo "no features: $(tail -n 1 "$work/log")"; exit 77; }
run=
import() { # store
    $run "$HANPS" data import vqa --out "$work/$1" --questions "$work/f.h5.json" --features "$work/f.h5" --layout ncellsc
}

# $pid: an import that has begun to write; $reader: its child.
begin() { # store
    (run="exec"; import "$1") >"$work/out" 2>"$work/err" &
    pid=$!
    until [ -d "$work/$1.partial" ] || [ -d "$work/$1" ]; do kill -0 $pid 2>/dev/null || break; done
    read -r reader </proc/$pid/task/$pid/children
}

import whole >/dev/null || fail "no store"
# Ends the child of an import that has written something, but not all.
end_reader() { # signal, exit status of the import, what it says
    wait=0.1
    for _ in {1..10}; do
        rm -rf "${work:?}"/store*
        begin store
        sleep $wait
        kill "-$1" "$reader" 2>/dev/null
        wait $pid
        code=$?
        if [ $code = 0 ]; then # too late
            wait=$(awk "BEGIN {print $wait / 2}")
            continue
        fi
        [ $code = "$2" ] && [ "$(wc -l <"$work/err")" = 1 ] && grep -q "$work/f.h5: $3" "$work/err" ||
            fail "exit status $code: $(cat "$work/err")"
        [ -e "$work/store" ] && fail "a store was left"
        [ -d "$work/store.partial" ] && return
        wait=$(awk "BEGIN {print $wait * 1.5}") # too early: nothing was there to keep
    done
    fail "never between begin and end: $code, $wait"
}

end_reader SEGV 2 "libhdf5 broke down (signal 11) reading row [0-9]* of 'features': the file is damaged"
end_reader KILL 3 "the process that reads it was ended (signal 9) reading row [0-9]* of 'features'"
import store >"$work/out" || fail "it does not go on"
for s in whole store; do
    "$HANPS" data verify "$work/$s" >/dev/null || fail "$s is damaged"
    "$HANPS" data info "$work/$s" --json | grep -vE '"(store|made|digest|bytes)"' >"$work/$s.info"
    for n in 0 19999 39999; do "$HANPS" data info "$work/$s" --question $n; done >"$work/$s.questions"
done
cmp "$work/whole.info" "$work/store.info" || fail "another store"
cmp "$work/whole.questions" "$work/store.questions" || fail "other features"

begin other
kill -KILL $pid
wait $pid 2>/dev/null
[ -n "$reader" ] || fail "no process that reads"
for _ in {1..100}; do
    grep -q '^State:[[:space:]]*[^Z]' "/proc/$reader/status" 2>/dev/null || exit 0 # gone, or waited for by nobody
    sleep 0.1
done
fail "the process that reads outlives the import"
