# Debian packages, the one list of what a fresh machine needs. Read by the Makefile and by deploy/.
PACKAGES := gcc make pkg-config libc6-dev \
  openmpi-bin libopenmpi-dev libopenblas-dev liblmdb-dev \
  libprotobuf-c-dev protobuf-c-compiler protobuf-compiler \
  libyaml-dev libhdf5-dev libpng-dev libjpeg-dev libyajl-dev libxxhash-dev libcmocka-dev \
  python3 python3-lmdb python3-numpy python3-protobuf
