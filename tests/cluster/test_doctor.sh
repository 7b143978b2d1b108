# hanps doctor over three hosts: nothing wrong; a host with a slow network; a store that is not there; a rank that never
# starts. The pure checks are in tests/unit/test_doctor.c.
work= # set there
. tests/cluster/net.sh
hosts 3

# examine CODE SAYS ARGUMENT...: the exit status, and what a line says.
examine() {
    launch --doctor -n 3 --placement spread "${@:3}" >"$work/out" 2>&1
    code=$?
    [ $code = "$1" ] || fail "$2: exit status $code: $(cat "$work/out")"
    grep -Eq "$2" "$work/out" || fail "no line '$2': $(cat "$work/out")"
}
examine 0 '^ok    link +3 pairs of hosts: [0-9]+ MB/s or more' "$work/config.yaml" --run "$work/runs/a"
for what in build kernel cores network clock store memory folder; do
    grep -q "^ok    $what " "$work/out" || fail "nothing on $what: $(cat "$work/out")"
done
grep -q WRONG "$work/out" && fail "wrong where all is well: $(cat "$work/out")"
[ -e "$work/runs/a" ] && fail 'the doctor has made the run folder'
[ -z "$(find "$work" -name '.hanps-run*' -o -name '*probe*')" ] || fail "left behind: $(ls -A "$work" "$work/runs")"

rate host3 100mbit
examine 3 '^WRONG link +host3 has ([5-9]|1[0-2]) MB/s to the others at most'
rate host3 none

examine 3 '^WRONG store +rank 1 on host2: .*no_such_store' "$work/config.yaml" --set data.store="$work/no_such_store"
examine 2 'model.bogus' "$work/config.yaml" --set model.bogus=1

printf '#!/bin/sh\n[ $(hostname) = host3 ] && exec sleep 1000\nexec %s "$@"\n' "$HANPS" >"$work/hanps"
chmod +x "$work/hanps"
HANPS=$work/hanps examine 3 'did not begin within 5 s; ranks that are not there: 2$' --start-limit 5
exit 0
