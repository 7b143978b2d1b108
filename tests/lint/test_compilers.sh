# gcc and clang build everything, tests included, without a warning.
# timeout: 1200
set -eu
for compiler in gcc clang; do
    make -s -j"$(nproc)" CC=$compiler BUILD="build/$compiler" DEVELOPER=1 tests
done
