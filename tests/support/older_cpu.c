#include "tests/support/older_cpu.h"

#include "common/gemm.h"

#include <stdlib.h>
#include <unistd.h>

int older_cpu_too(int failed, char **argv) {
    if (failed == 0 && getenv("DNNL_MAX_CPU_ISA") == NULL && hp_gemm_has_engine()) {
        setenv("DNNL_MAX_CPU_ISA", "AVX2", 1);
        execv("/proc/self/exe", argv);
        return 1;
    }
    return failed;
}
