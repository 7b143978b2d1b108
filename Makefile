# hanps: one Makefile. `make help` lists the targets.
#
# Sources are found by folder: a new .c file in common, ps, worker, cli or tests needs no entry here.
# Layers: proto <- common <- {ps, worker} <- cli.

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
PREFIX ?= /usr/local
DEVELOPER ?=
SANITIZER ?=
JOBS ?= $(shell nproc)

MODULES := ompi-c openblas lmdb libprotobuf-c yaml-0.1 hdf5 libpng libjpeg yajl libxxhash zlib
TEST_MODULES := cmocka
PROGRAMS := protoc-c mpirun

comma := ,

# Debian packages: the one list that `make deps`, the container recipe and the tests read.
include deploy/packages.mk

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
ifneq ($(DEVELOPER),)
WARN += -Werror
endif
# No -ffast-math, no contraction: the same bits from every compiler setting that keeps IEEE 754.
# -fno-trapping-math and -fno-math-errno change no value: they let gcc make vector code of loops
# with a comparison or a root.
OPT := -O3 -g -fno-omit-frame-pointer -ffp-contract=off -fno-trapping-math -fno-math-errno
ifneq ($(SANITIZER),)
ifeq ($(filter $(SANITIZER),address undefined thread),)
$(error SANITIZER=$(SANITIZER) is not allowed: address, undefined or thread)
endif
OPT := -O1 -g -fno-omit-frame-pointer -ffp-contract=off \
  -fsanitize=$(SANITIZER) -fno-sanitize-recover=all -DHP_SANITIZED
BUILD := build/$(SANITIZER)
endif

# What is missing is said before the first file is compiled, by the targets that compile.
NODEPS := help deps deps-check demo test check bench bench-cluster cluster plan-check sanitize format clean
ifneq ($(filter-out $(NODEPS),$(or $(MAKECMDGOALS),all)),)
MISSING := $(shell \
  for m in $(MODULES) $(TEST_MODULES); do pkg-config --exists $$m 2>/dev/null || echo $$m; done; \
  for p in $(firstword $(CC)) $(PROGRAMS); do command -v $$p >/dev/null || echo $$p; done)
endif

# oneDNN is used where it is there: it has no pkg-config module on Debian. DNNL= builds without it.
ifeq ($(origin DNNL),undefined)
DNNL := $(shell printf '\043include <dnnl.h>\nint main(void) { return dnnl_version() == 0; }' | \
  $(CC) -x c - -o /dev/null -ldnnl -lgomp 2>/dev/null && echo yes)
endif
ifneq ($(DNNL),)
DNNL_LIBS := -ldnnl -lgomp
endif

PKG_CFLAGS := $(shell pkg-config --cflags $(MODULES) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(MODULES) 2>/dev/null)
TEST_LIBS := $(shell pkg-config --libs $(TEST_MODULES) 2>/dev/null)
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE
CFLAGS_ALL = -std=c11 $(WARN) $(OPT) -pthread $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL = -pthread $(OPT) $(LDFLAGS)
LDLIBS_ALL = $(PKG_LIBS) $(DNNL_LIBS) -lm

ifneq ($(DNNL),)
$(patsubst %,$(BUILD)/obj/common/%.o,gemm_dnnl convolution_dnnl parallel): CPPFLAGS += -DHP_WITH_DNNL
endif

PROTO := $(wildcard proto/*.proto)
PROTO_H := $(PROTO:%.proto=$(BUILD)/gen/%.pb-c.h)
PROTO_O := $(PROTO:%.proto=$(BUILD)/gen/%.pb-c.o)

WORKER_DIRS := worker worker/nn worker/data worker/import worker/report
object = $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard $(addsuffix /*.c,$(1)))))
COMMON_O := $(call object,common)
PS_O := $(call object,ps)
WORKER_O := $(call object,$(WORKER_DIRS))
MAIN_O := $(BUILD)/obj/cli/main.o
CLI_O := $(filter-out $(MAIN_O),$(call object,cli))
LIBS := $(patsubst %,$(BUILD)/lib%.a,cli ps worker common proto)
TEST_O := $(call object,tests/support)
FAULT_O := $(filter-out $(BUILD)/obj/tests/fault/test_% $(BUILD)/obj/tests/fault/preload.o,$(call object,tests/fault))

# The network again in double, for finite differences.
DOUBLE_C := $(wildcard worker/nn/*.c worker/model*.c worker/data/coords.c tests/numeric/naive*.c)
DOUBLE_O := $(patsubst %.c,$(BUILD)/double/%.o,$(sort $(DOUBLE_C)))
DOUBLE_LIBS := $(patsubst %,$(BUILD)/lib%.a,double common proto)

programs = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/$(1)/test_*.c)))
UNIT := $(call programs,unit)
FAULT := $(call programs,fault)
# Tests in tests/fault catch these calls (schedule.c, faults.c).
WRAP := pthread_create pthread_join pthread_mutex_lock pthread_mutex_unlock pthread_cond_wait \
  pthread_cond_timedwait pthread_cond_signal pthread_cond_broadcast nanosleep usleep sched_yield \
  clock_gettime open write fsync rename mkdir aligned_alloc mdb_get
FUZZ := $(BUILD)/tests/fuzz/fuzz
FUZZ_O := $(call object,tests/fuzz)
NUMERIC := $(call programs,numeric)
MPI_TESTS := $(call programs,mpi)

# V=1 shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1) $(@:$(BUILD)/%=%)')
# Another make with all cores, unless this one has been told how many.
PARALLEL = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: all
all: $(BUILD)/hanps ## build build/hanps (the default)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	  awk -F '\t' '{printf "  %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  DEVELOPER=1                           warnings are errors"
	@echo "  SANITIZER=address|undefined|thread    build/SANITIZER/hanps, instrumented"
	@echo "  CC=gcc|clang  CFLAGS=...  BUILD=DIR   another compiler, more flags, another folder"
	@echo "  DNNL=                                 without oneDNN: no model.gemm onednn, no bf16, a slower cnn"
	@echo "  V=1  JOBS=N  PREFIX=DIR               whole commands; cores to use; where to install"

ifneq ($(MISSING),)
$(BUILD)/flags: missing
.PHONY: missing
missing:
	@echo "hanps: missing: $(MISSING)" >&2
	@echo "hanps: 'make deps' installs what is needed, or: apt-get install $(PACKAGES)" >&2
	@exit 1
endif

# Everything is rebuilt when the compiler or a flag changes; -Werror changes no output.
FLAGS_NOW := $(filter-out -Werror, $(shell $(CC) --version 2>/dev/null | head -n 1) : \
  $(CC) $(CPPFLAGS) $(CFLAGS_ALL) : $(LDFLAGS_ALL) $(LDLIBS_ALL) $(TEST_LIBS))
ifneq ($(strip $(file <$(BUILD)/flags)),$(FLAGS_NOW))
.PHONY: FORCE
FORCE:
$(BUILD)/flags: FORCE
endif
$(BUILD)/flags:
	@$(shell mkdir -p $(BUILD)/gen)$(file >$@,$(FLAGS_NOW)):

$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h: %.proto $(BUILD)/flags
	$(call say,proto)
	$(Q)protoc-c --c_out=$(BUILD)/gen $<

$(BUILD)/gen/%.pb-c.o: $(BUILD)/gen/%.pb-c.c $(BUILD)/flags
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -w $(OPT) $(PKG_CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(PROTO_H)
	@mkdir -p $(@D)
	$(call say,cc)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/double/%.o: %.c $(BUILD)/flags | $(PROTO_H)
	@mkdir -p $(@D)
	$(call say,cc)
	$(Q)$(CC) $(CPPFLAGS) -DNN_DOUBLE $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/libcommon.a: $(COMMON_O)
$(BUILD)/libps.a: $(PS_O)
$(BUILD)/libworker.a: $(WORKER_O)
$(BUILD)/libcli.a: $(CLI_O)
$(BUILD)/libproto.a: $(PROTO_O)
$(BUILD)/libtest.a: $(TEST_O)
$(BUILD)/libfault.a: $(FAULT_O)
$(BUILD)/libdouble.a: $(DOUBLE_O)
$(BUILD)/lib%.a: $(BUILD)/flags
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/hanps: $(MAIN_O) $(LIBS)
	$(call say,link)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(MAIN_O) $(LIBS) $(LDLIBS_ALL)

$(UNIT) $(MPI_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(BUILD)/libtest.a $(LIBS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/libtest.a $(LIBS) $(LDLIBS_ALL) $(TEST_LIBS)

$(FAULT): $(BUILD)/%: $(BUILD)/obj/%.o $(BUILD)/libfault.a $(BUILD)/libtest.a $(LIBS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(LDFLAGS_ALL) $(patsubst %,-Wl$(comma)--wrap=%,$(WRAP)) -o $@ $< \
	  $(BUILD)/libtest.a $(BUILD)/libfault.a $(LIBS) $(LDLIBS_ALL) $(TEST_LIBS)

# What tests put before a rank's own libraries.
PRELOAD := $(BUILD)/tests/fault/preload.so
$(PRELOAD): $(BUILD)/%.so: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 $(WARN) -O1 -fPIC -shared -o $@ $<

$(FUZZ): $(FUZZ_O) $(BUILD)/libtest.a $(LIBS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(FUZZ_O) $(BUILD)/libtest.a $(LIBS) $(LDLIBS_ALL) $(TEST_LIBS)

$(NUMERIC): $(BUILD)/%: $(BUILD)/double/%.o $(DOUBLE_LIBS)
	@mkdir -p $(@D)
	$(call say,link)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< $(DOUBLE_LIBS) $(LDLIBS_ALL) $(TEST_LIBS)

# Kept, though nothing names them but a chain of rules.
.SECONDARY: $(PROTO_H) $(PROTO:%.proto=$(BUILD)/gen/%.pb-c.c)

.PHONY: deps
deps: ## install what is missing (Debian packages; sudo only if not root)
	@deploy/deps $(PACKAGES)

.PHONY: deps-check
deps-check: ## install the tools of `make check` too
	@deploy/deps $(PACKAGES) $(CHECK_PACKAGES)

.PHONY: demo
demo: deps ## make data, train with mpirun, score, show the selected cells
	@$(PARALLEL) all
	@deploy/demo.sh

.PHONY: test
test: deps ## build and run every test
	@$(PARALLEL) test-only

.PHONY: unit
unit: $(UNIT)

.PHONY: tests
tests: all $(UNIT) $(NUMERIC) $(FAULT) $(MPI_TESTS) $(PRELOAD) $(FUZZ) ## build the tests

.PHONY: test-only
test-only: tests ## run the tests, without looking at the dependencies
	@tests/run --build $(BUILD)

.PHONY: check
check: deps-check ## layers, headers, format, cppcheck, clang-tidy, both compilers
	@$(PARALLEL) tests
	@tests/run --build $(BUILD) --kinds lint --timeout 1800

.PHONY: chaos
chaos: all $(FAULT) $(PRELOAD) ## 5,000 schedules, 100 runs that lose a rank, every call and message that may fail; HANPS_SEED=n for others
	@HANPS_SCHEDULES=$${HANPS_SCHEDULES:-5000} $(BUILD)/tests/fault/test_simulator
	@tests/fault/ranks.py --build $(BUILD) --trials $${HANPS_KILLS:-100}
	@HANPS_LONG=1 $(BUILD)/tests/fault/test_countdown
	@HANPS_LONG=1 $(BUILD)/tests/fault/test_countdown_run

.PHONY: cluster
cluster: deps ## the tests of a cluster of network namespaces, with outages of a minute and slow hosts
	@$(PARALLEL) tests
	@HANPS_LONG=1 tests/run --build $(BUILD) --kinds cluster --timeout 1800

.PHONY: plan-check
plan-check: deps ## what hanps plan says, beside what runs in network namespaces do
	@$(PARALLEL) all
	@HANPS_LONG=1 HANPS=$(abspath $(BUILD)/hanps) BUILD=$(abspath $(BUILD)) bash tests/cluster/test_plan.sh

.PHONY: fuzz
fuzz: deps ## libFuzzer over everything that is imported; FUZZ_SECONDS=60 for each target
	@tests/fuzz/run

.PHONY: sanitize
sanitize: deps ## the tests under address, undefined and thread sanitizers
	@for s in address undefined thread; do \
	  $(PARALLEL) SANITIZER=$$s tests && \
	  tests/run --build build/$$s --kinds unit,numeric,cli --timeout 1200 || exit 1; done

.PHONY: bench
bench: deps ## the speed of a training step on this machine
	@$(PARALLEL) all
	@$(BUILD)/hanps bench $(wildcard configs/bench/*.yaml)

.PHONY: bench-cluster
bench-cluster: deps ## what servers, checkpoints and a slow worker cost the workers
	@$(PARALLEL) all
	@tests/bench/ratios.py --hanps $(BUILD)/hanps
	@tests/bench/ratios.py --hanps $(BUILD)/hanps --workers 1 --only communication

.PHONY: bench-peer
bench-peer: all ## the same step in PyTorch, in turn with ours (needs python3-torch)
	@for python in python3 /usr/bin/python3; do \
	  $$python -c 'import torch' 2>/dev/null && exec $$python tests/bench/peer.py --hanps $(BUILD)/hanps; \
	  done; echo "bench-peer: PyTorch is not installed: apt-get install python3-torch" >&2; exit 1

.PHONY: format
format: ## run clang-format over the sources
	clang-format -i $(shell git ls-files '*.c' '*.h')

.PHONY: install
install: all ## copy hanps, its launcher and configs to PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/hanps
	install -m 755 $(BUILD)/hanps $(DESTDIR)$(PREFIX)/bin/hanps
	install -m 755 deploy/run $(DESTDIR)$(PREFIX)/bin/hanps-run
	install -m 755 deploy/stage $(DESTDIR)$(PREFIX)/bin/hanps-stage
	install -m 755 deploy/supervise $(DESTDIR)$(PREFIX)/bin/hanps-supervise
	cp -R configs $(DESTDIR)$(PREFIX)/share/hanps/

.PHONY: clean
clean: ## remove what was built
	rm -rf build

-include $(shell find $(BUILD)/obj $(BUILD)/double -name '*.d' 2>/dev/null)
