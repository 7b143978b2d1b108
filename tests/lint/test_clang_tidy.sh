# clang-tidy finds nothing; .clang-tidy lists the checks.
# timeout: 1800
set -u
flags=$(mktemp -d)
trap 'rm -rf "$flags"' EXIT
for flag in -std=c11 -D_GNU_SOURCE "-I$PWD" "-I$BUILD/gen" \
    $(pkg-config --cflags ompi-c openblas lmdb libprotobuf-c yaml-0.1 hdf5 libpng yajl); do
    echo "$flag"
done >"$flags/compile_flags.txt"
# Without oneDNN its files are stubs.
echo '#include <dnnl.h>' | clang -fsyntax-only -x c - 2>/dev/null && echo -DHP_WITH_DNNL >>"$flags/compile_flags.txt"
git ls-files -co --exclude-standard 'common/*.c' 'ps/*.c' 'worker/*.c' 'cli/*.c' |
    xargs -P "$(nproc)" -n 2 clang-tidy --quiet --warnings-as-errors='*' -p "$flags" 2>/dev/null
