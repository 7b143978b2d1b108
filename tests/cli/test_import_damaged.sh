# Files in HDF5 that were found by fuzzing, at which the library stops the process or prints at length where it is not
# stopped from it: one line, exit status 2, no store.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail=0
printf '[{"question_id": 10, "image_id": 1, "question": "What colour is it?"}]' >"$work/q.json"
for file in tests/fuzz/refused/*.h5 tests/fuzz/refused/{hdf5,ragged,csr}/*.h5; do
    options=()
    [[ $file == */ragged/* ]] && options=(--layout ragged)
    [[ $file == *[-/]csr* ]] && options=(--features-dataset / --shape 1x2x2 --layout nchw --ids-dataset '')
    "$HANPS" data import vqa --out "$work/store" --questions "$work/q.json" --features "$file" "${options[@]}" \
        >"$work/out" 2>"$work/err"
    code=$?
    if [ $code != 2 ] || [ "$(wc -l <"$work/err")" != 1 ] || ! grep -q "$file: " "$work/err" || [ -e "$work/store" ]; then
        echo "$file: exit status $code: $(cat "$work/err")"
        fail=1
    fi
    rm -rf "$work"/store*
done
exit $fail
