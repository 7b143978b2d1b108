# Ranks of real runs that are killed, stopped, or crash: a short form of `make chaos`. A worker and a server in training, server 0
# and another one while a checkpoint is written.
# timeout: 600
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
exec python3 tests/fault/ranks.py --build "$BUILD" --seed 1 --only 24,27,9,28
