# What the libraries' object code may not hold: writable data, and calls that end the process, print
# or overflow. It reads symbols, so comments and macros do not matter.
set -u

print='printf|vprintf|puts|putchar|perror|stdout|stderr|__printf_chk'
end='exit|_exit|abort|quick_exit|__assert_fail|__assert'
unsafe='strcpy|strcat|stpcpy|sprintf|vsprintf|gets|strtok|atoi|atol|atof|rand|srand|tmpnam|mktemp|localtime|gmtime|strerror'
memory='malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|strdup|strndup|asprintf|vasprintf'

allowed() { # object:symbol, each exception with its reason
    case $1 in
    memory.o:*) true ;;     # the one place that allocates
    log.o:stderr) true ;;   # the one place that writes to the console
    config*.o:strerror) true ;; # names an errno in the middle of a line; one thread reads configurations
    store_verify.o:_exit) true ;; # the end of its own child process
    features_apart.o:_exit) true ;; # the same
    signals.o:_exit) true ;; # the second signal: the user wants out
    *) false ;;
    esac
}

calls() { # library, banned
    nm -A -u "$BUILD/lib$1.a" 2>/dev/null | sed -nE 's/^.*:([^:]+\.o):[[:space:]]+U ([^@]*).*$/\1 \2/p' |
        grep -E " ($2)$" | while read -r object symbol; do
        allowed "$object:$symbol" || echo "lib$1.a($object): $symbol is banned here"
    done
}

# Sections .data, .bss and their kin; .data.rel.ro is constant.
globals() {
    objdump -t "$BUILD/lib$1.a" | awk -v library="lib$1.a" '
        / file format / { object = $1; sub(":", "", object) }
        {
            for (i = 1; i < NF; i++)
                if ($i ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $i !~ /^\.data\.rel\.ro/ &&
                    $NF !~ /^\./ && $(i + 1) !~ /^0+$/)
                    print library "(" object "): " $NF " is a mutable global (" $i ")"
        }'
}

found=$(
    for library in common ps worker; do calls $library "$print|$end|$unsafe|$memory"; done
    calls cli "$end|$unsafe"
    for library in common ps worker cli; do globals $library; done
)
[ -z "$found" ] && exit 0
echo "$found"
exit 1
