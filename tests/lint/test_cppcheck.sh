# cppcheck finds nothing. (It does not see system headers: generated code asks for these two.)
set -u
cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingIncludeSystem -j "$(nproc)" -I. -I"$BUILD/gen" -D_GNU_SOURCE -UNN_DOUBLE \
    -DPROTOBUF_C_VERSION_NUMBER=9999999 -DPROTOBUF_C_MIN_COMPILER_VERSION=0 \
    common ps worker cli
