# hanps: one Makefile. `make help` lists the targets.
#
# Sources are found by folder: a new .c file in common, ps, worker, cli or tests needs no entry here.
# Layers: proto <- common <- {ps, worker} <- cli.

CC ?= gcc
BUILD ?= build
PREFIX ?= /usr/local
DEVELOPER ?=
SANITIZER ?=

MODULES := ompi-c openblas lmdb libprotobuf-c yaml-0.1 hdf5 libpng libjpeg yajl libxxhash
TEST_MODULES := cmocka

# Debian packages: the one list that `make deps`, the container recipe and the check read.
include deploy/packages.mk

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
ifdef DEVELOPER
WARN += -Werror
endif
OPT := -O2 -g -fno-omit-frame-pointer -ffp-contract=off
ifeq ($(SANITIZER),)
else ifneq ($(filter $(SANITIZER),address undefined thread),)
OPT += -fsanitize=$(SANITIZER) -fno-sanitize-recover=all
BUILD := build/$(SANITIZER)
else
$(error SANITIZER=$(SANITIZER): allowed are address, undefined, thread)
endif

NODEPS := help deps clean format
ifneq ($(filter-out $(NODEPS),$(or $(MAKECMDGOALS),all)),)
MISSING := $(shell for m in $(MODULES); do pkg-config --exists $$m 2>/dev/null || echo $$m; done)
endif

PKG_CFLAGS := $(shell pkg-config --cflags $(MODULES) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(MODULES) 2>/dev/null)
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE
CFLAGS_ALL = -std=c11 $(WARN) $(OPT) -pthread $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL = -pthread $(OPT) $(LDFLAGS)
LDLIBS_ALL = $(PKG_LIBS) -lm

PROTO := $(wildcard proto/*.proto)
PROTO_H := $(PROTO:%.proto=$(BUILD)/gen/%.pb-c.h)
PROTO_O := $(PROTO:%.proto=$(BUILD)/gen/%.pb-c.o)

src = $(sort $(foreach d,$(1),$(wildcard $(d)/*.c)))
COMMON_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,common))
PS_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,ps))
WORKER_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,worker worker/nn worker/data worker/import worker/report))
CLI_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out cli/main.c,$(call src,cli)))
MAIN_O := $(BUILD)/obj/cli/main.o
LIBS := $(BUILD)/libcli.a $(BUILD)/libps.a $(BUILD)/libworker.a $(BUILD)/libcommon.a $(BUILD)/libproto.a

TEST_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,tests/support))

# The network again in double, for finite differences.
DOUBLE_O := $(patsubst %.c,$(BUILD)/double/%.o,$(call src,worker/nn) $(wildcard worker/model*.c) $(wildcard tests/numeric/naive*.c))

UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
NUMERIC := $(patsubst tests/numeric/%.c,$(BUILD)/tests/numeric/%,$(wildcard tests/numeric/test_*.c))
MPI_T := $(patsubst tests/mpi/%.c,$(BUILD)/tests/mpi/%,$(wildcard tests/mpi/test_*.c))

.PHONY: all
all: $(BUILD)/hanps

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "  variables: SANITIZER=address|undefined|thread  DEVELOPER=1  CC=gcc|clang  BUILD=folder"

ifneq ($(MISSING),)
$(BUILD)/flags: missing
.PHONY: missing
missing:
	@echo "hanps: missing libraries (pkg-config): $(MISSING)" >&2
	@echo "hanps: run 'make deps' to install them, or: apt-get install $(PACKAGES)" >&2
	@exit 1
endif

# Rebuild when the compiler or a flag changes.
FLAGS_NOW := $(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS_ALL)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(BUILD)/gen
	protoc-c --c_out=$(BUILD)/gen $<

$(BUILD)/gen/proto/%.pb-c.o: $(BUILD)/gen/proto/%.pb-c.c $(BUILD)/flags
	$(CC) $(CPPFLAGS) -std=c11 -w $(OPT) $(PKG_CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(PROTO_H)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/double/%.o: %.c $(BUILD)/flags | $(PROTO_H)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DNN_DOUBLE $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/libcommon.a: $(COMMON_O)
$(BUILD)/libps.a: $(PS_O)
$(BUILD)/libworker.a: $(WORKER_O)
$(BUILD)/libcli.a: $(CLI_O)
$(BUILD)/libproto.a: $(PROTO_O)
$(BUILD)/libtest.a: $(TEST_O)
$(BUILD)/libdouble.a: $(DOUBLE_O)
$(BUILD)/lib%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/hanps: $(MAIN_O) $(LIBS)
	$(CC) $(LDFLAGS_ALL) -o $@ $(MAIN_O) $(LIBS) $(LDLIBS_ALL)

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libtest.a $(LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/libtest.a $(LIBS) $(LDLIBS_ALL) -lcmocka

$(BUILD)/tests/mpi/%: $(BUILD)/obj/tests/mpi/%.o $(BUILD)/libtest.a $(LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/libtest.a $(LIBS) $(LDLIBS_ALL) -lcmocka

$(BUILD)/tests/numeric/%: $(BUILD)/double/tests/numeric/%.o $(BUILD)/libdouble.a $(BUILD)/libcommon.a $(BUILD)/libproto.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/libdouble.a $(BUILD)/libcommon.a $(BUILD)/libproto.a $(LDLIBS_ALL) -lcmocka

.SECONDARY:

.PHONY: deps
deps: ## install what is missing (Debian packages; sudo only if not root)
	@deploy/deps $(PACKAGES)

.PHONY: test
test: deps ## build and run every test
	@$(MAKE) --no-print-directory test-only

.PHONY: test-only
test-only: all $(UNIT) $(NUMERIC) $(MPI_T)
	@tests/run --build $(BUILD)

.PHONY: clean
clean: ## remove what was built
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
