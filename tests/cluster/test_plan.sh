# What hanps plan says of a few ranks on hosts with slow cables is what such runs do, within a factor of two; a table has the
# errors. A plan whose bytes are a quarter of what they are, or that knows of no delay, is seen to be wrong. HANPS_LONG
# (make plan-check): longer runs, more of them, and some in which computing is the limit: their errors are shown, and mean
# something where nothing else runs.
# timeout: 900
work= # set there
. tests/cluster/net.sh
most=2 seconds=6 all=4 delay=0.05ms
[ -z "${HANPS_LONG:-}" ] || seconds=20 all=9
hosts $all

# shellcheck disable=SC2034  # by name, in compare
# 1.7 million parameters: their way takes longer than the arithmetic.
large=(model.image.width=512 model.question.lstm=256 'model.classifier.layers=[1024]' cluster.threads=1 log.console_seconds=60)
# shellcheck disable=SC2034
# 270 thousand, and questions enough: the other way round.
small=(model.image.width=256 model.question.lstm=32 data.batch_size=64 data.group_by_image=false cluster.threads=1 log.console_seconds=60)

# shellcheck disable=SC2034
# A few thousand: with 5 ms one way, the way there and back takes longer than either.
tiny=(model.question.embedding=4 model.question.lstm=8 model.image.width=16 'model.classifier.layers=[8]' data.batch_size=16
    cluster.threads=1 log.console_seconds=60)

# plan_of BANDWIDTH HOSTS WORKERS SERVERS: examples/s, and what limits them, with the settings of `sets`.
plan_of() {
    "$HANPS" plan "$work/config.yaml" --hosts "$2" --workers "$3" --servers "$4" --bandwidth "$1" --latency "$delay" \
        --rates "$work/$model.rates" --json "$work/plan.json" "${sets[@]/#/--set=}" >"$work/out" 2>&1 || fail "plan: $(cat "$work/out")"
    python3 -c 'import json, sys
row, = json.load(open(sys.argv[1]))["rows"]
print(row["examples_per_s"], row["bottleneck"].replace(" ", "_"))' "$work/plan.json"
}

# measured RUN: of all workers, without their first two units.
measured() {
    python3 - "$work/$1"/log/worker-*.jsonl <<'END'
import json, sys
rate = 0
for name in sys.argv[1:]:
    lines = [json.loads(line) for line in open(name)][2:]
    if len(lines) > 2:
        rate += sum(l["examples"] for l in lines[1:]) / (lines[-1]["time_s"] - lines[0]["time_s"])
print(rate)
END
}

# compare NAME MODEL MBIT HOSTS WORKERS SERVERS PLACEMENT SETTING...: as many steps as the plan says fit into the time.
compare() {
    local name=$1 mbit=$3 placement=$7 h planned bottleneck steps real
    model=$2
    local -n of_model=$model
    sets=("${of_model[@]}" cluster.placement="$placement" "${@:8}")
    read -r planned bottleneck < <(plan_of "${mbit}Mbit" "$4" "$5" "$6")
    [ -n "$planned" ] || fail "$name: no plan"
    for h in $(seq $all); do [ $delay != 0.05ms ] || rate host$h "${mbit}mbit"; done
    # By turns: with as many ranks as hosts, servers have hosts of their own, and these come first.
    head -n "$4" "$work/hostfile" >"$work/hosts-of-it"
    mv "$work/hostfile" "$work/hosts-all" && cp "$work/hosts-of-it" "$work/hostfile"
    case " ${sets[*]} " in
    *consistency=async*) steps=$(awk "BEGIN{print int($planned * $seconds / 16) + 4 * $5}") ;;
    *) steps=$(awk "BEGIN{print int($planned * $seconds / 16 / $5) + 4}") ;;
    esac
    [ $model != small ] || steps=$((steps / 4 + 4)) # batches of 64
    launch -n $(($5 + $6)) --placement spread -- "$work/config.yaml" --run "$work/$name" --servers "$6" \
        "${sets[@]/#/--set=}" --set run.steps="$steps" >"$work/run.out" 2>&1 || fail "$name: $(cat "$work/run.out")"
    mv "$work/hosts-all" "$work/hostfile"
    real=$(measured "$name")
    printf '%-22s %5s Mbit/s %2d worker(s) %2d server(s) %12.1f %12.1f %8.0f %%  %s\n' "$name" "$mbit" "$5" "$6" "$planned" "$real" \
        "$(awk "BEGIN{print 100 * ($planned / $real - 1)}")" "$bottleneck"
    [ $model != tiny ] || [ "$bottleneck" = latency ] || fail "$name: limited by $bottleneck, not by latency"
    [ $bottleneck != compute ] || return # the hosts here share the cores of one machine
    awk "BEGIN{exit !($planned < $most * $real && $real < $most * $planned)}" || fail "$name: $planned examples/s planned, $real measured"
    if [ $model = tiny ]; then
        local was=$delay
        delay=0.05ms
        read -r planned _ < <(plan_of "${mbit}Mbit" "$4" "$5" "$6")
        delay=$was
        awk "BEGIN{exit !($planned > $most * $real)}" || fail "$name: without a delay, $planned examples/s, is not told from $real"
        return
    fi
    case $bottleneck in *links) ;; *) return ;; esac
    read -r planned _ < <(plan_of "$((4 * mbit))Mbit" "$4" "$5" "$6")
    awk "BEGIN{exit !($planned > $most * $real)}" || fail "$name: a quarter of the bytes, $planned examples/s, is not told from $real"
}

# Last: the cables are other ones then.
delayed() {
    wires 100 5 || { [ $? = 77 ] && return || fail 'no cables that delay'; }
    delay=5ms
    compare delayed tiny 100 2 1 1 packed cluster.consistency=async
    compare delayed-sync tiny 100 4 2 2 packed $auto
    [ -z "${HANPS_LONG:-}" ] || compare delayed-large large 100 2 1 1 packed cluster.consistency=async
}

auto=cluster.sync_shards=auto
printf '%-22s %12s %12s %12s %12s %12s %10s\n' '' link '' '' 'planned ex/s' measured error
compare async large 100 2 1 1 packed cluster.consistency=async
compare async-bf16 large 50 2 1 1 packed cluster.consistency=async cluster.wire=bf16
compare async-three large 100 4 3 1 packed cluster.consistency=async
compare sync large 100 4 2 2 packed $auto
[ -n "${HANPS_LONG:-}" ] || { delayed; exit 0; }
compare sync-three large 100 4 3 1 packed $auto
compare sync-bf16 large 50 4 2 2 packed $auto cluster.wire=bf16
compare async-two-servers large 100 4 2 2 packed cluster.consistency=async
compare sync-two-units large 100 3 2 1 packed cluster.sync_shards=4
compare beside large 100 2 2 2 spread cluster.consistency=async
compare beside-sync large 100 2 2 2 spread $auto
compare six large 100 9 6 3 packed cluster.consistency=async
compare six-sync large 100 9 6 3 packed $auto
compare fast large 1000 2 1 1 packed cluster.consistency=async
compare compute small 10000 2 1 1 packed cluster.consistency=async
compare compute-two small 10000 3 2 1 packed cluster.consistency=async
delayed
exit 0
