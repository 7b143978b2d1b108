# Debian packages, the one list of what a fresh machine needs. The Makefile, the container recipe
# and the Slurm script read it; tests/check/test_packages.sh holds that it is whole and that
# nothing in it is idle.
PACKAGES := gcc make pkg-config libc6-dev \
  openmpi-bin libopenmpi-dev libopenblas-dev libdnnl-dev liblmdb-dev \
  libprotobuf-c-dev protobuf-c-compiler \
  libyaml-dev libhdf5-dev libpng-dev libjpeg-dev libyajl-dev libxxhash-dev zlib1g-dev libcmocka-dev \
  python3 python3-lmdb python3-numpy python3-protobuf python3-xxhash protobuf-compiler \
  iproute2

# What `make check` needs besides.
CHECK_PACKAGES := clang clang-format clang-tidy cppcheck shellcheck binutils git
