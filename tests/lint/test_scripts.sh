# Shell scripts pass shellcheck; Python scripts compile.
set -u
fail=0
scripts=$(git ls-files -co --exclude-standard | while read -r file; do
    case $file in *.sh) echo "$file" ;; *) head -n 1 "$file" 2>/dev/null | grep -aqE '^#!.*\b(ba|da)?sh$' && echo "$file" ;; esac
done)
for script in $scripts; do
    head -n 1 "$script" | grep -q '^#!' && shell="" || shell='--shell=bash'
    # shellcheck disable=SC2086
    shellcheck $shell --severity=warning --exclude=SC2086,SC1091,SC2153 "$script" || fail=1
done
git ls-files -co --exclude-standard | while read -r file; do
    case $file in *.py) echo "$file" ;; *) head -n 1 "$file" 2>/dev/null | grep -aq '^#!.*python3$' && echo "$file" ;; esac
done | xargs -r python3 -c 'import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name).read(), name)' || fail=1
exit $fail
