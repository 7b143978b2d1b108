# hanps data synth: the store as others read it, prefixes, bad arguments.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}

"$HANPS" data synth sort-of-clevr --out "$work/a" --images 30 --valid 5 --test 7 || fail "synth"
"$HANPS" data synth sort-of-clevr --out "$work/b" --images 12 --valid 5 --test 3 || fail "synth"
"$HANPS" data synth sort-of-clevr --out "$work/c" --images 12 --valid 0 --test 0 --features none --seed 2 ||
    fail "synth without features"
"$HANPS" data synth sort-of-clevr --out "$work/new/folder/d" --images 2 --valid 0 --test 0 &&
    [ -f "$work/new/folder/d/manifest.pb" ] || fail "folders above the store are made"
cmp -s "$work/a/data.mdb" "$work/b/data.mdb" && fail "different sets, same bytes"

bad() { # what the message must contain, then the arguments
    want=$1
    shift
    out=$("$HANPS" data synth "$@" 2>&1)
    code=$?
    [ $code = 2 ] || fail "$*: exit status $code"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
}
bad "$work/a" sort-of-clevr --out "$work/a"
bad "from 1 to" sort-of-clevr --out "$work/x" --images 0
bad "--images -3" sort-of-clevr --out "$work/x" --images -3
bad "whole number" sort-of-clevr --out "$work/x" --images 1e3
bad "patches or none" sort-of-clevr --out "$work/x" --features all
bad "sort-of-clevr" sort-of-cleverer --out "$work/x"
bad "--out" sort-of-clevr
bad "--bogus" sort-of-clevr --bogus
[ ! -e "$work/x" ] || fail "a refused set left a store"

# A disk that becomes full: one line, nothing that opens; with room again the same command begins anew.
cat >"$work/full.sh" <<'END'
mount -t tmpfs -o size=3m none "$1/disk" || exit 77
synth() { "$HANPS" data synth sort-of-clevr --out "$1/disk/s" --images 300; }
synth "$1" >"$1/out" 2>&1
[ $? = 3 ] && [ "$(wc -l <"$1/out")" = 1 ] && grep -q 'no space left on the disk.*again$' "$1/out" || exit 1
"$HANPS" data info "$1/disk/s" >"$1/out" 2>&1
[ $? = 2 ] || exit 1
mount -o remount,size=200m "$1/disk" && synth "$1" >"$1/out" 2>&1 && "$HANPS" data verify "$1/disk/s" >"$1/out" 2>&1
END
mkdir "$work/disk"
user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
if unshare "${user[@]}" --mount true 2>/dev/null; then
    unshare "${user[@]}" --mount bash "$work/full.sh" "$work"
    code=$?
    [ $code = 0 ] || [ $code = 77 ] || fail "a full disk: $(cat "$work/out")"
fi
exit 0
