#include "cli/doctor.h"
#include "common/cores.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "common/store.h"
#include "ps/server.h"
#include "worker/data/batch.h"
#include "worker/train.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static bool hash_file(const char *path, XXH128_hash_t *hash) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return false;
    void *data = fstat(fd, &st) == 0 && st.st_size > 0
                     ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                     : MAP_FAILED;
    close(fd);
    if (data == MAP_FAILED) return false;
    *hash = XXH3_128bits(data, (size_t)st.st_size);
    munmap(data, (size_t)st.st_size);
    return true;
}

static void add_library(doctor_machine_t *m, const char *path) {
    XXH128_hash_t hash;
    char real[4096];
    const char *name = strrchr(path, '/');
    /* Plug-ins of MPI and of the C library follow the hardware and the host's settings. */
    if (name == NULL || strncmp(name, "/lib", 4) != 0 || strncmp(name, "/libnss", 7) == 0) return;
    if (m->libraries == DOCTOR_LIBRARIES || realpath(path, real) == NULL || !hash_file(real, &hash))
        return;
    snprintf(m->library[m->libraries].name, sizeof m->library[0].name, "%s", name + 1);
    snprintf(m->library[m->libraries].file, sizeof m->library[0].file, "%s",
             strrchr(real, '/') + 1);
    m->library[m->libraries++].hash = hash.low64 ^ hash.high64;
}

static int see_object(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    add_library(context, info->dlpi_name);
    return 0;
}

/* The first number of a file; 0 where there is none. */
static uint64_t number_in(const char *path) {
    unsigned long long n = 0;
    FILE *in = fopen(path, "r");
    if (in == NULL) return 0;
    if (fscanf(in, "%llu", &n) != 1) n = 0;
    fclose(in);
    return n;
}

static uint64_t available_memory(void) {
    char line[256];
    unsigned long long kib = 0;
    FILE *in = fopen("/proc/meminfo", "r");
    while (in != NULL && fgets(line, sizeof line, in) != NULL)
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
    if (in != NULL) fclose(in);
    uint64_t bytes = (uint64_t)kib * 1024;
    /* A container's own limit, of either kind of control group. */
    static const char *const group[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
         "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    for (int i = 0; i < 2; i++) {
        uint64_t most = number_in(group[i][0]), used = number_in(group[i][1]);
        if (most > used && most - used < bytes) bytes = most - used;
    }
    return bytes;
}

static void find_networks(doctor_machine_t *m) {
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i != NULL && m->networks < DOCTOR_NETWORKS;
         i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_netmask == NULL || i->ifa_addr->sa_family != AF_INET)
            continue;
        if (!(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK) continue;
        struct sockaddr_in address, mask;
        memcpy(&address, i->ifa_addr, sizeof address);
        memcpy(&mask, i->ifa_netmask, sizeof mask);
        m->network[m->networks].address = ntohl(address.sin_addr.s_addr);
        m->network[m->networks].mask = ntohl(mask.sin_addr.s_addr);
        snprintf(m->network[m->networks++].name, sizeof m->network[0].name, "%.15s", i->ifa_name);
    }
    freeifaddrs(all);
}

static void describe_kernels(char *text, size_t bytes) {
    hp_gemm_engine_t *engine = NULL;
    hp_gemm_set_threads(1); /* not the host's cores, which are another matter */
    hp_gemm_describe(text, bytes);
    if (!hp_gemm_has_engine() || hp_gemm_engine_open(false, &engine, NULL) != HP_OK) return;
    hp_gemm_engine_describe(engine, text, bytes); /* both libraries */
    hp_gemm_engine_close(engine);
}

void doctor_machine(doctor_machine_t *machine) {
    XXH128_hash_t hash;
    memset(machine, 0, sizeof *machine);
    machine->bytes = sizeof *machine;
    if (hash_file("/proc/self/exe", &hash))
        snprintf(machine->program, sizeof machine->program, "%016" PRIx64 "%016" PRIx64,
                 hash.high64, hash.low64);
    describe_kernels(machine->kernel, sizeof machine->kernel);
    machine->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    machine->allowed = hp_usable_cores();
    machine->memory = available_memory();
    find_networks(machine);
    dl_iterate_phdr(see_object, machine);
}

static hp_status_t find_need(const hp_config_t *config, hp_store_t *store, int servers, int role,
                             uint64_t *need, hp_error_t *err) {
    wk_model_shape_t shape;
    hp_params_t params = {0};
    hp_status_t status = wk_batch_shape(config, hp_store_info(store), &shape, err);
    if (status == HP_OK) status = wk_model_table(config, &shape, &params, err);
    size_t bytes = 0;
    if (status == HP_OK && role < servers) {
        status = ps_server_memory(config, &params, servers, role < 0 ? 0 : role, &bytes, err);
        *need += bytes;
    }
    if (status == HP_OK && (role < 0 || role >= servers)) {
        status = wk_train_memory(config, store, &bytes, err);
        *need += bytes;
    }
    hp_params_release(&params);
    return status;
}

hp_status_t doctor_push(const hp_config_t *config, size_t *bytes_p) {
    hp_store_t *store = NULL;
    wk_model_shape_t shape;
    hp_params_t params = {0};
    HP_TRY(hp_store_open(config->data.store, &store, NULL));
    hp_status_t status = wk_batch_shape(config, hp_store_info(store), &shape, NULL);
    if (status == HP_OK) status = wk_model_table(config, &shape, &params, NULL);
    *bytes_p = (size_t)params.total * sizeof(float);
    hp_params_release(&params);
    hp_store_close(store);
    return status;
}

void doctor_fit(const hp_config_t *config, int servers, int role, doctor_fit_t *fit) {
    hp_store_t *store = NULL;
    hp_error_t err = {0};
    hp_status_t status = hp_store_open(config->data.store, &store, &err);
    if (status == HP_OK) {
        snprintf(fit->store, sizeof fit->store, "%s", hp_store_info(store)->digest);
        status = find_need(config, store, servers, role, &fit->need, &err);
    } else if (role > 0 && role < servers) {
        status = HP_OK; /* a server but the first reads no data */
    }
    hp_store_close(store);
    if (status != HP_OK)
        snprintf(fit->store_wrong, sizeof fit->store_wrong, "%.*s", DOCTOR_TEXT - 1, err.text);
}
