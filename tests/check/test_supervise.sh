# deploy/supervise with a stand-in for hanps: when it starts again and when not, what it passes on, which
# processes it ends and which it leaves alone, hosts that do not answer, one supervisor a run.
set -u
command -v mpirun >/dev/null || { echo 'no mpirun'; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/hanps" <<'END_HANPS'
#!/bin/bash
# train CONFIG --run RUN ...: the n-th start plays the n-th word of the file CONFIG.
rank=$OMPI_COMM_WORLD_RANK play=$2 run=$4
[ "$rank" = 0 ] || { sleep 0.3; exit 0; }
mkdir -p "$run/ranks" "$run/checkpoints"
touch "$run/config.yaml"
echo "$OMPI_COMM_WORLD_SIZE $*" >>"$run/starts"
state() { echo "{\"state\":\"$1\",\"requeue\":$2,\"message\":\"$3\"}" >"$run/status.tmp" && mv "$run/status.tmp" "$run/status"; }
record() { # rank, pid, started
    echo "{\"rank\":$1,\"host\":\"$(hostname)\",\"pid\":$2,\"started\":$3,\"boot\":\"$(cat /proc/sys/kernel/random/boot_id)\",\"start\":1}" >"$run/ranks/000$1"
}
leave() { echo "$1" >"$HANPS_EXIT_FOLDER/0"; exit "$1"; }
n=$(wc -l <"$run/starts")
case $(cut -d ' ' -f "$n" "$play") in
done) state done false; leave 0 ;;
input) leave 2 ;;
lost) state running true; mkdir -p "$run/checkpoints/step-0000000$n"; kill -KILL $$ ;;
failed) state failed true 'server 1 is lost'; leave 3 ;;
nonfinite) state failed false 'not finite'; leave 3 ;;
stopped) state stopped true; leave 130 ;;
wait)
    state running true
    trap 'state stopped true; leave 130' USR2
    touch "$run/ready"
    for _ in $(seq 200); do sleep 0.1 & wait $!; done ;;
left)
    setsid sleep 300 </dev/null >/dev/null 2>&1 &
    echo $! >"$run/mine"
    record 1 $! "$(sed 's/.*) //' /proc/$!/stat | cut -d ' ' -f 20)"
    record 2 "$(cat "$run/foreign")" 1 # the id names another process by now
    state failed true 'left some'
    leave 3 ;;
esac
END_HANPS
chmod +x "$scratch/hanps"
fail=0
expect() { # title, wanted, got
    [ "$2" = "$3" ] || { printf '%s: wanted %s, got %s\n' "$1" "$2" "$3"; sed 's/^/    /' "$scratch/out"; fail=1; }
}
go() { # name, words to play, options
    echo "$2" >"$scratch/$1.play"
    timeout 100 deploy/supervise --pause 0 -n 4 --hanps "$scratch/hanps" "${@:3}" "$scratch/$1.play" --run "$scratch/$1" >"$scratch/out" 2>&1
}
starts() { wc -l <"$scratch/$1/starts"; }
alive() { grep -qs '^State:.[RSDT]' "/proc/$1/status"; }

go again 'lost failed done' --mca a b
expect 'lost, failed, done' 0 $?
expect 'lost, failed, done: starts' 3 "$(starts again)"
expect 'the first start' "4 train $scratch/again.play --run $scratch/again" "$(head -n 1 "$scratch/again/starts")"
expect 'the last start' "4 train $scratch/again.play --run $scratch/again --resume" "$(tail -n 1 "$scratch/again/starts")"
grep -q 'all of it died; restart 1 of 10 in 0 s, from step 1' "$scratch/out" || { echo 'why and from where is not said'; cat "$scratch/out"; fail=1; }
grep -q 'server 1 is lost; restart 2 of 10' "$scratch/out" || { echo 'the reason is not passed on'; fail=1; }
for case in 'input 2' 'stopped 130' 'nonfinite 3' 'done 0'; do
    read -r word code <<<"$case"
    go "$word" "$word done"
    expect "$word" "$code" $?
    expect "$word: starts" 1 "$(starts "$word")"
done
go locked 'lost input done'
expect 'refused after it had begun once' 0 $?
expect 'refused after it had begun once: starts' 3 "$(starts locked)"
grep -q 'it was refused; restart 2 of 10' "$scratch/out" || { echo 'that it was refused is not said'; cat "$scratch/out"; fail=1; }
go bounded 'lost lost lost lost lost' --restarts 2
expect 'no more restarts' 3 $?
expect 'no more restarts: starts' 3 "$(starts bounded)"

# A process that was left behind is ended; one that only has the id of another rank is not.
sleep 300 &
foreign=$!
mkdir -p "$scratch/left"
echo $foreign >"$scratch/left/foreign"
go left 'left done'
expect 'left over' 0 $?
mine=$(cat "$scratch/left/mine")
for _ in $(seq 20); do alive "$mine" || break; sleep 0.1; done
alive "$mine" && { echo "process $mine was left behind"; kill -KILL "$mine"; fail=1; }
alive $foreign || { echo 'a foreign process was ended'; fail=1; }
kill $foreign
expect 'records of ended processes' '' "$(ls "$scratch/left/ranks")"

# Nor are the ranks of a run that somebody else has started in the folder: not when this supervisor is refused, nor later.
sleep 300 &
other=$!
mkdir -p "$scratch/other/ranks"
cat >"$scratch/other/ranks/0001" <<END
{"rank":1,"host":"$(hostname)","pid":$other,"started":$(sed 's/.*) //' /proc/$other/stat | cut -d ' ' -f 20),"boot":"$(cat /proc/sys/kernel/random/boot_id)","start":1}
END
go other 'input'
expect 'in use by another run' 2 $?
alive $other || { echo "another run's rank was ended"; fail=1; }
expect 'the record of another run' 0001 "$(ls "$scratch/other/ranks")"
go other 'input failed done'
expect 'beside another run' 0 $?
alive $other || { echo "another run's rank was ended after a failure"; fail=1; }
grep -q "not started by this supervisor, left alone on $(hostname): $other\$" "$scratch/out" || { echo 'what is left alone is not said'; cat "$scratch/out"; fail=1; }
kill $other

# Hosts that do not answer are left out, ranks and servers in proportion, and come back.
cat >"$scratch/rsh" <<END_RSH
#!/bin/sh
[ "\$1" != nowhere ]
END_RSH
chmod +x "$scratch/rsh"
go hosts 'failed done' --rsh "$scratch/rsh" -H "$(hostname):2,nowhere:2" --servers 2
expect 'a host less' 0 $?
expect 'a host less: ranks and servers' "2 train $scratch/hosts.play --run $scratch/hosts --servers 1" "$(head -n 1 "$scratch/hosts/starts")"
printf '# all\n%s slots=3\nnowhere slots=1 # far\n' "$(hostname)" >"$scratch/hosts.txt"
go file 'done' --rsh "$scratch/rsh" --hostfile "$scratch/hosts.txt" --servers=1
expect 'a host less in the file' 0 $?
expect 'a host less in the file: ranks' "3 train $scratch/file.play --run $scratch/file --servers 1" "$(cat "$scratch/file/starts")"
go none 'done' --rsh "$scratch/rsh" -H nowhere:4 --restarts 1
expect 'no host' 3 $?

# Two of them for one run; a stop is no reason to start again.
echo wait >"$scratch/wait.play"
timeout 100 deploy/supervise -n 2 --hanps "$scratch/hanps" "$scratch/wait.play" --run "$scratch/wait" >"$scratch/out.wait" 2>&1 &
supervisor=$!
for _ in $(seq 100); do [ -e "$scratch/wait/ready" ] && break; sleep 0.1; done
go wait 'done'
expect 'a second supervisor' 2 $?
grep -q 'is supervised already by process' "$scratch/out" || { echo 'by whom it is supervised is not said'; cat "$scratch/out"; fail=1; }
echo wait >"$scratch/wait.play"
sleep 0.5
kill -TERM $supervisor
wait $supervisor
expect 'TERM stops with a checkpoint' 130 $?
expect 'TERM: starts' 1 "$(starts wait)"

# hanps stop while a run that failed waits to be started again.
echo 'failed done' >"$scratch/paused.play"
timeout 100 deploy/supervise --pause 60 -n 2 --hanps "$scratch/hanps" "$scratch/paused.play" --run "$scratch/paused" >"$scratch/out" 2>&1 &
supervisor=$!
for _ in $(seq 100); do grep -q 'restart 1 of 10' "$scratch/out" && break; sleep 0.1; done
"$HANPS" stop "$scratch/paused" >"$scratch/stop" 2>&1
expect 'hanps stop: it had failed' 3 $?
grep -q 'server 1 is lost' "$scratch/stop" || { echo "hanps stop: $(cat "$scratch/stop")"; fail=1; }
wait $supervisor
expect 'hanps stop before a restart' 130 $?
expect 'hanps stop before a restart: starts' 1 "$(starts paused)"
[ ! -e "$scratch/paused/stop" ] || { echo 'the request to stop is left'; fail=1; }

# TERM while hosts are asked whether they answer: nothing is started after that.
printf '#!/bin/sh\ntouch "%s/asked"; sleep 2; [ "$1" != nowhere ]\n' "$scratch" >"$scratch/slow"
chmod +x "$scratch/slow"
echo wait >"$scratch/early.play"
timeout 60 deploy/supervise -n 2 --hanps "$scratch/hanps" --rsh "$scratch/slow" -H "$(hostname):2,nowhere:1" "$scratch/early.play" --run "$scratch/early" >"$scratch/out" 2>&1 &
supervisor=$!
for _ in $(seq 100); do [ -e "$scratch/asked" ] && break; sleep 0.1; done
kill -TERM $supervisor
wait $supervisor
expect 'TERM before the start' 130 $?
[ ! -e "$scratch/early/starts" ] || { echo "TERM before the start: $(cat "$scratch/out")"; fail=1; }

for wrong in '' '-n' '-n x c --run r' '-n 2 c' '-n 2 --restarts x c --run r' "-n 2 --hostfile /none c --run $scratch/r"; do
    # shellcheck disable=SC2086
    deploy/supervise $wrong >"$scratch/out" 2>&1
    expect "deploy/supervise $wrong" 2 $?
    expect "one line for deploy/supervise $wrong" 1 "$(wc -l <"$scratch/out")"
done
[ ! -e "$scratch/r" ] || { echo 'a refused start left a folder'; fail=1; }
exit $fail
