# A cluster on one machine, for the tests of this folder: hosts are network namespaces with names of their
# own, joined by a bridge; between them there is TCP alone. Sourced first: it runs the test again in namespaces of
# its own, so that nothing is left on the machine, however the test ends. Exit status 77 where that is not allowed.
#
#   hosts N            make host1 .. hostN, 10.77.0.1 and so on, and $work/hostfile
#   host I             make hostI, again if it died
#   on HOST COMMAND    run a command there
#   link HOST up|down  its cable
#   rate HOST RATE     both ways (1gbit); `rate HOST none`
#   wires MBIT MS      other cables, of such a rate, which delay; there is no way back. Returns 77 where there are no tap devices
#   kill_host HOST     every process there dies at once
#   launch OPTION...   deploy/run, or what $with says, on host1, with all hosts, for at most $limit seconds
#
# $work is a folder that all hosts share, as a cluster shares a file system.
# shellcheck disable=SC2034
set -u
if [ -z "${HANPS_NAMESPACES:-}" ]; then
    for program in ip tc unshare nsenter mpirun; do
        command -v $program >/dev/null || { echo "no $program"; exit 77; }
    done
    user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    unshare "${user[@]}" --net --mount --uts --pid --fork sh -c 'ip link add bridge0 type bridge' 2>/dev/null ||
        { echo 'network namespaces are not allowed here'; exit 77; }
    # The new process is the first of its kind: when it ends, so does all that it started.
    HANPS_NAMESPACES=1 exec unshare "${user[@]}" --net --mount --uts --pid --fork --mount-proc --kill-child=KILL bash "$0" "$@"
fi

work= # set there
. tests/support/run.sh
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
network=10.77.0
rsh=$PWD/tests/cluster/rsh
export HANPS_HOSTS=$work/hosts

hosts() {
    mkdir -p "$HANPS_HOSTS"
    ip link set lo up
    ip link add bridge0 type bridge && ip link set bridge0 up || fail 'no bridge'
    echo '127.0.0.1 localhost' >"$work/etc-hosts"
    mount --bind "$work/etc-hosts" /etc/hosts
    # Another such cluster has hosts of the same names, and processes of the same ids.
    mount -t tmpfs none /dev/shm || fail 'no shared memory of its own'
    mkdir "$work/ompi"
    export OMPI_MCA_orte_tmpdir_base=$work/ompi
    : >"$work/hostfile"
    local i
    for i in $(seq "$1"); do host "$i"; done
}

host() {
    local i=$1
    rm -f "$work/up"
    unshare --net --uts sh -c "hostname host$i && touch '$work/up' && exec sleep 100000" &
    echo $! >"$HANPS_HOSTS/host$i"
    until [ -e "$work/up" ]; do sleep 0.02; done
    ip link del "port$i" 2>/dev/null # of a host that died
    ip link add eth0 netns $! type veth peer name "port$i" netns $$ || fail "no link to host$i"
    ip link set "port$i" master bridge0 up
    on "host$i" sh -c "ip link set lo up && ip addr add $network.$i/24 dev eth0 && ip link set eth0 up" || fail "host$i"
    grep -qw "host$i" "$work/hostfile" && return
    echo "$network.$i host$i" >>"$work/etc-hosts"
    echo "host$i slots=2" >>"$work/hostfile"
}

on() { nsenter --net --uts --target "$(cat "$HANPS_HOSTS/$1")" -- "${@:2}"; }

link() { ip link set "port${1#host}" "$2"; }

rate() {
    local port=port${1#host}
    tc qdisc del dev "$port" root 2>/dev/null
    on "$1" tc qdisc del dev eth0 root 2>/dev/null
    [ "$2" = none ] && return
    tc qdisc add dev "$port" root tbf rate "$2" burst 128kb latency 50ms || fail "no rate for $1"
    on "$1" tc qdisc add dev eth0 root tbf rate "$2" burst 128kb latency 50ms || fail "no rate for $1"
}

wires() {
    local name switch pids=()
    python3 tests/cluster/wires.py "$1" "$2" "$work/wired" || return
    for name in $(awk '{print $1}' "$work/hostfile"); do
        ip link del "port${name#host}"
        pids+=("$(cat "$HANPS_HOSTS/$name")")
    done
    python3 tests/cluster/wires.py "$1" "$2" "$work/wired" "${pids[@]}" 2>"$work/wires.out" &
    switch=$!
    until [ -e "$work/wired" ]; do
        kill -0 $switch 2>/dev/null || fail "wires: $(cat "$work/wires.out")"
        sleep 0.02
    done
    for name in $(awk '{print $1}' "$work/hostfile"); do
        on "$name" sh -c "ip addr add $network.${name#host}/24 dev eth0 && ip link set eth0 up" || fail "$name"
    done
}

# The ids of all processes of a host.
processes() {
    local own process
    own=$(readlink "/proc/$(cat "$HANPS_HOSTS/$1")/ns/net")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/net" 2>/dev/null)" = "$own" ] && echo "${process#/proc/}"
    done
}

kill_host() {
    # shellcheck disable=SC2046  # one word an id
    kill -KILL $(processes "$1")
}

launch() {
    on host1 timeout -k 20 "${limit:-200}" ${with:-deploy/run} --hostfile "$work/hostfile" --net $network.0/24 --rsh "$rsh" --hanps "$HANPS" "$@"
}
