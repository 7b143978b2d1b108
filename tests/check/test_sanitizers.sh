# The unit tests under address and undefined, those with threads under thread, and some minutes of fuzzing
# under address: the short form of `make sanitize` and `make fuzz`.
# timeout: 1800
set -u
cd "$(dirname "$0")/../.." || exit 1
case $BUILD in */address | */undefined | */thread) echo 'this is a sanitizer run itself'; exit 77 ;; esac
fail=0
mapfile -t threads < <(grep -lE 'pthread_create|loopback|transport_body' tests/unit/test_*.c | sed 's,.*/test_,unit/,; s,\.c$,,')
for sanitizer in address undefined thread; do
    filter=()
    [ $sanitizer = thread ] && filter=("${threads[@]}")
    [ $sanitizer = thread ] && [ ${#filter[@]} = 0 ] && continue
    targets=(unit)
    [ $sanitizer = address ] && targets+=(build/address/tests/fuzz/fuzz)
    [ $sanitizer = thread ] && targets=("${filter[@]/#unit\//build/thread/tests/unit/test_}")
    make -s --no-print-directory -j"$(nproc)" SANITIZER=$sanitizer "${targets[@]}" >/dev/null || { fail=1; continue; }
    tests/run --build build/$sanitizer --kinds unit --timeout 900 "${filter[@]}" >"build/$sanitizer/tests.log" 2>&1 || {
        fail=1
        echo "under $sanitizer:"
        grep -v '^ok' "build/$sanitizer/tests.log"
    }
    [ $sanitizer = address ] || continue
    # Damaged files for some minutes, most of it for HDF5, as a process is made for each of those; the same ones each
    # time: `make fuzz` looks for others, and longer.
    # What libhdf5 does not give back after a damaged file is not ours.
    LSAN_OPTIONS=suppressions=tests/fuzz/lsan.supp build/address/tests/fuzz/fuzz --runs "${HANPS_FUZZ_RUNS:-4000}" >"build/address/fuzz.log" 2>&1 || {
        fail=1
        echo "fuzzing:"
        tail -n 60 build/address/fuzz.log
    }
done
exit $fail
