# Checkpoints that cannot be written while a run goes on: over quota, a failed fsync, a full disk, a folder that has become
# read-only. Training goes on, the log says why, the last whole checkpoint stays, and the next one is written when the
# fault is over. A disk that is full at the end is a failure that can be resumed.
# timeout: 600
set -u
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
if [ -z "${HANPS_MOUNTS:-}" ]; then # a disk of its own: nobody else sees it, it goes with the test
    user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    unshare "${user[@]}" --mount mount -t tmpfs none /mnt 2>/dev/null || { echo 'no mounts are allowed here'; exit 77; }
    HANPS_MOUNTS=1 exec unshare "${user[@]}" --mount bash "$0" "$@"
fi
work= # set there
. tests/support/run.sh
disk=$work/disk run=$work/disk/run out=$work/run.out
mkdir "$disk"
mount -t tmpfs -o size=64m none "$disk" || fail 'no tmpfs'
trap 'umount -l "$disk/run/checkpoints" "$disk" 2>/dev/null; rm -rf "$work"' EXIT
export HANPS_DISK=$work/fault

start() { # arguments
    deploy/run -n 3 --hanps "$HANPS" -x LD_PRELOAD="$BUILD/tests/fault/preload.so" -x HANPS_DISK "$@" --run "$run" --servers 2 >"$out" 2>&1 &
    launcher=$!
}
count() { grep -c "$1" "$out"; }
# more TEXT N: N more lines with the text appear.
more() {
    local before now
    before=$(count "$1")
    for _ in $(seq 600); do
        now=$(count "$1")
        [ $((now - before)) -ge "$2" ] && return
        kill -0 $launcher 2>/dev/null || fail "it ended: $(tail -n 20 "$out")"
        sleep 0.1
    done
    fail "no '$1': $(tail -n 20 "$out")"
}
newest() { find "$run/checkpoints" -name 'step-*' ! -name '*.*' | sort | tail -n 1; }
whole() { "$HANPS" checkpoint verify "$run" >"$work/out" 2>&1 || fail "$1: $(cat "$work/out")"; }

start "$work/config.yaml" --set run.steps=100000000 --set checkpoint.every_steps=20 --set checkpoint.keep=3
for _ in $(seq 300); do [ -n "$(newest 2>/dev/null)" ] && break; sleep 0.1; done
more 'checkpoint at step [0-9]* written' 1

fails() { # name, what the log says
    more "not written: .*$2" 3 # at several steps: training goes on
    local kept
    kept=$(newest)
    whole "$1: while it lasts"
    more "not written: .*$2" 2
    [ "$kept" = "$(newest)" ] || fail "$1: $(newest) took the place of $kept"
}
over() {
    more 'checkpoint at step [0-9]* written' 2
    whole "$1: when it is over"
}
printf quota >"$HANPS_DISK"
fails quota 'Disk quota exceeded'
rm "$HANPS_DISK"
over quota
printf fsync >"$HANPS_DISK"
fails fsync 'cannot sync.*Input/output error'
rm "$HANPS_DISK"
over fsync
printf short >"$HANPS_DISK"
over short
rm "$HANPS_DISK"
mount --bind "$run/checkpoints" "$run/checkpoints" && mount -o remount,ro,bind "$run/checkpoints" || fail 'no read-only folder'
fails read-only 'Read-only file system'
umount -l "$run/checkpoints"
over read-only
dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null
fails full 'No space left on device'
rm "$disk/filler"
over full

# Full at the end.
dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null
kept=$(newest)
kill -TERM $launcher
wait $launcher
code=$?
[ $code = 3 ] || fail "full at the end: exit status $code: $(tail -n 20 "$out")"
[ "$kept" = "$(newest)" ] || fail "full at the end: $kept became $(newest)"
whole 'full at the end'
rm "$disk/filler"
start --resume --set run.steps=1 # it is past that already
wait $launcher
code=$?
[ $code = 0 ] || fail "room again: exit status $code: $(cat "$out")"
exit 0
