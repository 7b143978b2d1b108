# cppcheck finds nothing.
set -u
cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingIncludeSystem -j "$(nproc)" -I. -I"$BUILD/gen" -D_GNU_SOURCE -UNN_DOUBLE \
    common ps worker cli
