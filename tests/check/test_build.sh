# The Makefile: rebuilt on a change of flags (quotes included) or of a header, and only then; clear
# lines for a missing library and a wrong sanitizer.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
library=$scratch/b/libproto.a
object=$scratch/b/obj/common/status.o
build() { make --no-print-directory BUILD="$scratch/b" "$@" "$library" "$object"; }

expect() { # title, pattern, text
    echo "$3" | grep -qE "$2" || { printf '%s\nexpected %s in:\n%s\n' "$1" "$2" "$3"; exit 1; }
}

expect 'the first build compiles' 'cc obj/common/status.o' "$(build)"
expect 'nothing changed' 'up to date' "$(build)"
flag="CFLAGS=-DHANPS_TEST='\"a b\"' -DHANPS_TWO=2"
expect 'other flags compile again' 'cc obj/common/status.o' "$(build "$flag")"
expect 'the same flags do not' 'up to date' "$(build "$flag")"
expect 'DEVELOPER=1 changes no output' 'up to date' "$(build "$flag" DEVELOPER=1)"
expect 'another compiler does' 'cc obj/common/status.o' "$(build CC="gcc -DX")"
sleep 0.01
grep -q 'common/status.h' "${object%.o}.d"
expect 'a newer header compiles again' 'cc obj/common/status.o' "$(build CC="gcc -DX" -W common/status.h)"

found() { make -pn "CC=$1" BUILD="$scratch/d" help | grep '^DNNL :='; }
expect 'a wrapped compiler finds oneDNN where the compiler does' "^$(found gcc)\$" "$(found 'env gcc')"

text=$(PKG_CONFIG_LIBDIR=/nonexistent make BUILD="$scratch/c" 2>&1) && { echo 'built without libraries'; exit 1; }
expect 'missing libraries are named' 'missing: ompi-c openblas' "$text"
expect 'and how to get them' 'make deps' "$text"
text=$(make SANITIZER=tread 2>&1) && { echo 'took a wrong sanitizer'; exit 1; }
expect 'a wrong sanitizer is refused' 'SANITIZER=tread is not allowed: address, undefined or thread' "$text"
for target in all deps demo test check bench format install clean; do
    expect 'make help lists every target' "^  $target " "$(make help)"
done
