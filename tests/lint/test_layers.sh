# Who may include whom: proto <- common <- {ps, worker} <- cli; and the one door to each library.
set -u
fail=0
refuse() { # title, pattern, files...
    title=$1 pattern=$2
    shift 2
    if grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]+$pattern" "$@" /dev/null; then
        echo "^ $title"
        fail=1
    fi
}
files() { git ls-files -co --exclude-standard "$@" | grep -E '\.[ch]$'; }
except() { grep -vE "$1" || true; }

# shellcheck disable=SC2046  # file names without blanks
{
    refuse "common knows neither ps, worker nor cli" '"(ps|worker|cli)/' $(files common)
    refuse "ps knows neither worker nor cli" '"(worker|cli)/' $(files ps)
    refuse "worker knows neither ps nor cli" '"(ps|cli)/' $(files worker)
    refuse "nothing but proto's own output in proto" '"(common|ps|worker|cli)/' $(files proto)
    refuse "mpi.h has one door: common/transport_mpi.c" '<mpi\.h>' \
        $(files common ps worker cli | except '^common/transport_mpi\.c$')
    refuse "cblas.h has one door: common/gemm.c" '<(cblas|openblas_config)\.h>' \
        $(files common ps worker cli tests | except '^common/gemm\.c$')
    refuse "oneDNN has one door: common/*_dnnl.c, by common/onednn.h" '<(oneapi/dnnl/)?dnnl[a-z_]*\.h(pp)?>' \
        $(files common ps worker cli tests | except '^common/onednn\.h$')
    refuse "common/onednn.h is for common/*_dnnl.c" '"common/onednn\.h"' \
        $(files common ps worker cli tests | except '^common/[a-z]+_dnnl\.c$')
    refuse "lmdb.h has one door: common/store*.c" '<lmdb\.h>' \
        $(files common ps worker cli | except '^common/store[a-z_]*\.[ch]$')
    refuse "the network knows nothing of MPI, LMDB, YAML or files" \
        '(<(mpi|lmdb|yaml|stdio)\.h>|"common/(transport|store|checkpoint|run_folder|log|metrics)|"proto/)' \
        $(files worker/nn)
    refuse "no test includes a .c file" '"[^"]*\.c"' $(files .)
    refuse "no assert.h: a status, not an abort" '<assert\.h>' $(files common ps worker cli)
}
exit $fail
