# Every header compiles alone, with both compilers.
set -u
fail=0
includes=$(pkg-config --cflags ompi-c openblas lmdb libprotobuf-c yaml-0.1 hdf5 yajl)
for header in $(git ls-files -co --exclude-standard '*.h'); do
    for compiler in gcc clang; do
        # shellcheck disable=SC2086
        echo "#include \"$header\"" | $compiler -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. \
            -I"$BUILD/gen" $includes -fsyntax-only -x c - || fail=1
    done
    guard=$(echo "$header" | sed -E 's,.*/,,; s/\./_/' | tr '[:lower:]' '[:upper:]')
    grep -qE "^#ifndef [A-Z]+_${guard#*_}|^#ifndef [A-Z_]*$guard$" "$header" || {
        echo "$header: no include guard that ends in $guard"
        fail=1
    }
done
exit $fail
