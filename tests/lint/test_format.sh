# clang-format leaves every source as it is (`make format` repairs); no overlong files or lines.
set -u
fail=0
mapfile -t files < <(git ls-files -co --exclude-standard '*.c' '*.h')
clang-format --dry-run -Werror "${files[@]}" || fail=1
for file in "${files[@]}"; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 700 ]; then
        echo "$file: $lines lines: more than 700 is too long for one file"
        fail=1
    fi
done
mapfile -t texts < <(git ls-files -co --exclude-standard | grep -vE '\.(png|jpg|bin)$')
if grep -nIE '[[:blank:]]+$' "${texts[@]}"; then
    echo '^ blanks at the end of a line'
    fail=1
fi
if printf '%s\0' "${texts[@]}" | grep -zv '^tests/lint/' | xargs -0 grep -nE '\b(TODO|FIXME)\b'; then
    echo '^ unfinished business'
    fail=1
fi
exit $fail
