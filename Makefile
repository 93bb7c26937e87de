# Everything is done from here; `make` alone lists what there is.
# GNU make 4.3 or later. All that is made goes under build/.

MAKEFLAGS += --no-print-directory --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := help

## Variables of check, prove, explain, diff and soak:
##   LESSON=03        lessons, by number or name, or a list: "02 03"
##   ROLE=server      server or client
##   STEP=2           steps, by number or name, or a list; last: the last ones
##   CASE='echo/*'    cases, by name or pattern
##   SUBMISSION=dir   judge the programs in that folder
##   LEAKS=no         leave out the runs under Valgrind and with sanitizers
##   SWEEP=yes        besides, let each call of a scenario go wrong in each way;
##                    SWEEP=accept@1=EMFILE plays that fault alone
##   TURN=yes         of what takes long only a share, that of this commit
##   VARIANT=address  build the programs in another way: with AddressSanitizer
##                    and UndefinedBehaviorSanitizer, with ThreadSanitizer
##                    (thread), or against another C library (musl)
##   JOBS=4           so many cases at a time
##   OUT=dir          write the report there, not in build/report
##   SEED=n           send the same bytes as a run that printed this seed
##   A=1 B=2          the two steps of diff
##   N=200 LOAD=2     soak: so many runs, with so many busy loops beside, and in
##   UNDER=memory     turn under each of: busy memory one-processor low-priority
##                    listeners
## Variables of the build:
##   CC=clang  CPPFLAGS=  CFLAGS=-O2  LDFLAGS=  LDLIBS=
##                    the compiler, and flags of yours beside those of the kit
##   WERROR=yes       a warning is an error (`make test` sets it)
##   V=1              show each command in full
##   PYTHON=path      the interpreter, if not the one of the system
## Examples:
##   make check LESSON=03 ROLE=server STEP=2
##   make check LESSON=02 SUBMISSION=$HOME/echo CASE='*/short-*'
##   make diff LESSON=03 ROLE=server A=1 B=2

# These reach the runner through the environment, so that no shell ever reads
# them as a part of its command. $(value) takes the text as it was typed: a
# dollar sign in it is only a dollar sign.
OPTIONS := LESSON ROLE STEP CASE SUBMISSION LEAKS SWEEP VARIANT JOBS OUT A B N \
           LOAD UNDER TURN SEED
$(foreach v,$(OPTIONS),$(if $(value $v),\
    $(eval export override $v := $$(value $v))))
option = $(if $(value $2),--$1="$$$2")

# ------------------------------------------------------------------- flags
CFLAGS ?= -O1

KIT_CPPFLAGS := -Isrc
KIT_CFLAGS := -std=c11 -g -pthread -Wall -Wextra -Wpedantic -Wshadow \
              -Wconversion -Wstrict-prototypes
KIT_WERROR := $(if $(filter yes,$(WERROR)),-Werror)

COMPILE = $(CC) $(KIT_CPPFLAGS) $(CPPFLAGS) $(KIT_CFLAGS) $(CFLAGS) \
          $(KIT_WERROR)
DEPEND = -MMD -MP -MT $@ -MF $@.d

Q := $(if $(filter 1,$(V)),,@)
say = @printf '  %-7s %s\n' $1 $2

# As many compilations at a time as there are processors, unless the user has
# said otherwise.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc) \
           --output-sync=target)

# ------------------------------------------------------------------- files
PROGRAMS := $(patsubst %.c,build/%,$(wildcard lessons/*/*-[0-9]*-*.c))
LIBRARY := build/src/libsockstep.a
LIBRARY_OBJECTS := $(patsubst %.c,build/%.o,$(wildcard src/ss_*.c))
PLAN_OBJECT := $(patsubst %.c,build/%.o,$(wildcard src/fault_plan.c))
# Programs of their own in src/: src/prog_NAME.c, and the checker of fault
# plans. The other fault_*.c make the preload.
TOOLS := $(patsubst src/prog_%.c,build/src/%,$(wildcard src/prog_*.c)) \
         $(patsubst %.c,build/%,$(wildcard src/fault_*_check.c))
PRELOAD := $(patsubst %.c,build/%.so,$(wildcard src/fault_preload.c))
PRELOAD_OBJECTS := $(patsubst %.c,build/%.pic.o,\
                   $(filter-out %_check.c,$(wildcard src/fault_*.c)))
UNIT_TESTS := $(patsubst %.c,build/%,$(wildcard tests/unit/test_*.c))
UNIT_PROGRAMS := $(patsubst %.c,build/%,$(wildcard tests/unit/prog_*.c))

SOURCES := $(wildcard src/*.c lessons/*/*.c tests/unit/*.c)
HEADERS := $(wildcard src/*.h lessons/*/*.h tests/unit/*.h)
ANALYSED := $(patsubst %.c,build/analyse/%.ok,$(SOURCES))

# ------------------------------------------------------------------ Python
# The system's own interpreter with its own packages, whatever PATH, a virtual
# environment or the user's settings say; see conformance/setup.sh. It is
# looked for when first needed: the set-up may have to install it.
PYTHON = $(eval PYTHON := $$(shell conformance/setup.sh --python))$(PYTHON)

# MAKEFLAGS and its kin stay here: a Makefile in a submission must not obey
# what was meant for this one. PYTHONOPTIMIZE would take the asserts away.
PYTHON_RUN = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES \
             -u PYTHONHOME -u PYTHONSTARTUP -u PYTHONOPTIMIZE \
             -u PYTHONINSPECT -u PYTHONWARNINGS -u PYTHONSAFEPATH \
             -u PYTEST_ADDOPTS -u PYTEST_PLUGINS -u VIRTUAL_ENV \
             -u __PYVENV_LAUNCHER__ -u SOCKSTEP_FAULTS -u SOCKSTEP_CALLS \
             -u SOCKSTEP_PROOF -u PYTHONDONTWRITEBYTECODE \
             PYTHONPATH="$$PWD/conformance" \
             PYTHONPYCACHEPREFIX="$$PWD/build/pycache" PYTHONNOUSERSITE=1 \
             '$(PYTHON)' -P
SOCKSTEP = $(PYTHON_RUN) -m sockstep
SETUP = CC='$(CC)' conformance/setup.sh

# No settings file and no conftest.py from above this folder may join in.
PYTEST = $(PYTHON_RUN) -m pytest -p no:cacheprovider -c /dev/null \
         --rootdir=. --confcutdir=.

# ---------------------------------------------------------------- commands
.PHONY: help setup build build-tests check test unit harness prove golden \
        matrix variants \
        explain diff soak requirements format format-check analyze clean FORCE

# In parallel runs too, each of these does its parts one after the other: the
# set-up may install the compiler that the build needs.

check: ## Build the programs and judge them: the main command
	@$(SETUP) check
	@$(MAKE) $(PARALLEL) build
	@$(SOCKSTEP) check $(call option,lesson,LESSON) $(call option,role,ROLE) \
	    $(call option,step,STEP) $(call option,case,CASE) \
	    $(call option,submission,SUBMISSION) $(call option,leaks,LEAKS) \
	    $(call option,sweep,SWEEP) $(call option,variant,VARIANT) \
	    $(call option,turn,TURN) $(call option,jobs,JOBS) $(call option,out,OUT) \
	    $(call option,seed,SEED)

part = @printf '\n== make test, part %s of 8: %s\n' $1 $2

# One way to build for all parts: another one would build all anew.
test: export override WERROR = yes
test: ## Prove the kit itself, then check; CI runs this
	$(call part,1,'set-up')
	@$(SETUP) check test
	$(call part,2,'build with warnings as errors')
	@$(MAKE) $(PARALLEL) build build-tests
	$(call part,3,'unit tests of src/ in C')
	@$(MAKE) unit
	$(call part,4,'tests of the runner')
	@$(MAKE) harness
	$(call part,5,'mutants and null and foreign programs')
	@$(MAKE) prove TURN=yes
	$(call part,6,'robust programs with sanitizers and against musl')
	@$(MAKE) variants VARIANTS='gcc:address musl-gcc:musl' \
	    LEAKS=no TURN=yes
	@$(MAKE) variants VARIANTS=gcc:thread LESSON=07 TURN=yes
	$(call part,7,'every call of the robust programs made to fail')
	@$(MAKE) check STEP=last SWEEP=yes CASE='sweep/*' OUT=build/report-sweep
	$(call part,8,'every lesson')
	@$(MAKE) check TURN=yes
	@printf '\n== make test: all 8 parts passed\n'

explain: ## What a case asks for, why, and how to see it: CASE=
	@$(SETUP) check
	@$(SOCKSTEP) explain $(call option,case,CASE)

diff: ## One step beside the next: LESSON= ROLE= [A= B=]
	@$(SETUP) check
	@$(SOCKSTEP) diff $(call option,lesson,LESSON) $(call option,role,ROLE) \
	    $(call option,a,A) $(call option,b,B)

soak: ## Check again and again on busy processors: N= LOAD=
	@$(SETUP) check
	@$(MAKE) $(PARALLEL) build
	@$(SOCKSTEP) soak $(call option,lesson,LESSON) $(call option,role,ROLE) \
	    $(call option,step,STEP) $(call option,case,CASE) \
	    $(call option,leaks,LEAKS) $(call option,jobs,JOBS) \
	    $(call option,n,N) $(call option,load,LOAD) \
	    $(call option,under,UNDER) $(call option,seed,SEED)

requirements: ## Make requirements.md, catalogue.md and foreign.md of docs anew
	@$(SETUP) check
	@for each in requirements catalogue foreign; do \
	    $(SOCKSTEP) $$each >docs/$$each.md.new && \
	    mv docs/$$each.md.new docs/$$each.md || exit 1; \
	done

build: $(PROGRAMS) $(LIBRARY) $(PRELOAD) $(TOOLS) ## Build the programs
	@:

build-tests: $(UNIT_TESTS) $(UNIT_PROGRAMS)
	@:

# A test that hangs is ended by its deadline. Under Valgrind the children that
# a test starts by exec run outside of it.
UNIT_SECONDS := 300
UNIT_VALGRIND := valgrind --quiet --leak-check=full \
                 --errors-for-leak-kinds=definite,possible \
                 --error-exitcode=99

unit: build build-tests ## The unit tests of src/, also under Valgrind
	$(Q)test -n '$(UNIT_TESTS)' || \
	    { echo 'make unit: there is no tests/unit/test_*.c' >&2; exit 1; }
	$(Q)failed=; \
	for t in $(UNIT_TESTS); do \
	    for under in '' '$(UNIT_VALGRIND)'; do \
	        printf '  %-7s %s%s\n' UNIT "$$t" "$${under:+, under Valgrind}"; \
	        timeout -k 5 $(UNIT_SECONDS) $$under "./$$t" </dev/null \
	            >"$$t.log" 2>&1 && continue; \
	        status=$$?; cat "$$t.log" >&2; failed=yes; \
	        echo "make unit: $$t: status $$status" >&2; \
	    done; \
	done; \
	test -z "$$failed"

harness: build ## The tests of the runner's own parts
	@$(PYTEST) -q -n $(or $(JOBS),$(shell nproc)) tests/harness

prove: build ## Mutants, null and foreign programs: does each case bite?
	@$(SOCKSTEP) prove $(call option,turn,TURN) $(call option,case,CASE) \
	    $(call option,jobs,JOBS)

golden: ## Write the texts of tests/golden anew: read what has changed
	@$(SOCKSTEP) prove --only mutants --golden
	@git --no-pager diff --stat tests/golden 2>/dev/null || :

matrix: build ## Every mutant against every case, into docs/mutants.md: CASE=
	@$(SOCKSTEP) matrix $(call option,case,CASE) $(call option,jobs,JOBS)

# The compilers and the variants that the last steps are checked with; what is
# not installed is left out, and said.
VARIANTS := gcc:address gcc:thread clang:address clang:thread musl-gcc:musl

variants: build ## The last steps with sanitizers, and against musl
	@for each in $(VARIANTS); do \
	    cc=$${each%:*}; variant=$${each#*:}; \
	    if ! command -v "$$cc" >/dev/null; then \
	        echo "make variants: $$cc is not installed: no $$variant by it"; \
	        continue; \
	    fi; \
	    printf '\n  %s, %s\n' "$$cc" "$$variant"; \
	    CC="$$cc" $(SOCKSTEP) check --step last --variant "$$variant" \
	        $(call option,lesson,LESSON) $(call option,leaks,LEAKS) \
	        $(call option,turn,TURN) --out build/report-variants \
	        || exit 1; \
	done

format: ## Lay out the C files by .clang-format
	@$(SETUP) format
	clang-format -i $(SOURCES) $(HEADERS)

format-check: ## Fail if `make format` would change anything
	@$(SETUP) format
	clang-format --dry-run -Werror $(SOURCES) $(HEADERS)

analyze: ## gcc -fanalyzer; clang and cppcheck where present
	@$(MAKE) $(PARALLEL) --keep-going build/analyse/all

setup: ## Install what check and test need, or say how to
	@$(SETUP) check test

clean: ## Remove build/
	rm -rf build

help: ## This list
	@echo 'Commands:'
	@awk 'BEGIN { FS = ":.*## " } \
	    /^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' Makefile
	@sed -n 's/^## //p' Makefile

# ------------------------------------------------------------------- rules
# The flags of the last build: all is built anew when they change.
build/flags: export KIT_FLAGS = $(COMPILE) $(LDFLAGS) $(LDLIBS) \
                                $(LIBRARY_OBJECTS) $(PRELOAD_OBJECTS)
build/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$KIT_FLAGS" | cmp -s - $@ || \
	    printf '%s\n' "$$KIT_FLAGS" >$@

build/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) $(DEPEND) -c -o $@ $<

build/%.pic.o: %.c build/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -fPIC $(DEPEND) -c -o $@ $<

$(LIBRARY): $(LIBRARY_OBJECTS) build/flags
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(LIBRARY_OBJECTS)

$(PRELOAD): $(PRELOAD_OBJECTS)
	$(call say,LINK,$@)
	$(Q)$(COMPILE) -shared -fPIC $(LDFLAGS) -o $@.new $^ $(LDLIBS) -ldl && \
	    mv -f $@.new $@

# A program is one file. Libraries beyond libc and the kit's are named in its
# head comment, in a line such as ` * Links: -luring`. It appears under its name
# when it is complete: another run may be using the one before it.
link_program = $(COMPILE) $(DEPEND) $(LDFLAGS) -o $@.new \
    $(filter %.c %.o %.a,$^) $$(sed -n 's/^ \* Links: //p' $<) $(1) \
    $(LDLIBS) && mv -f $@.new $@

$(PROGRAMS) $(UNIT_PROGRAMS): build/%: %.c $(LIBRARY) build/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(call link_program)

build/src/%: src/prog_%.c $(PLAN_OBJECT) $(LIBRARY) build/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(call link_program)

build/src/%_check: src/%_check.c $(PLAN_OBJECT) $(LIBRARY) build/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(call link_program)

$(UNIT_TESTS): build/%: %.c $(PLAN_OBJECT) $(LIBRARY) build/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(call link_program,-lcmocka -lpthread)

# What is not installed is left out, and said once for each run.
HAVE_GCC = $(shell command -v gcc)
HAVE_CLANG = $(shell command -v clang)
HAVE_CPPCHECK = $(shell command -v cppcheck)
ANALYSE_FLAGS := $(KIT_CPPFLAGS) $(KIT_CFLAGS) -O2 -Werror
CPPCHECK_FLAGS := --quiet --std=c11 --inline-suppr --error-exitcode=1 \
                  --enable=warning,performance,portability

$(ANALYSED): build/analyse/%.ok: %.c Makefile | build/analyse/tools
	@mkdir -p $(@D)
	$(call say,ANALYSE,$<)
	$(Q)$(if $(HAVE_GCC),gcc $(ANALYSE_FLAGS) -fanalyzer $(DEPEND) -c -o $@.o \
	    $<,:)
	$(Q)$(if $(HAVE_CLANG),clang $(ANALYSE_FLAGS) -fsyntax-only $<,:)
	$(Q)$(if $(HAVE_CPPCHECK),cppcheck $(CPPCHECK_FLAGS) $(KIT_CPPFLAGS) $<,:)
	@touch $@

.PHONY: build/analyse/all build/analyse/tools
build/analyse/all: $(ANALYSED)

build/analyse/tools:
	@for tool in gcc clang cppcheck; do \
	    command -v "$$tool" >/dev/null || \
	        echo "make analyze: $$tool is not installed and is left out"; \
	done

DEPENDENCIES := $(patsubst %,%.d,$(PROGRAMS) $(LIBRARY_OBJECTS) $(PLAN_OBJECT) \
                $(PRELOAD_OBJECTS) $(TOOLS) $(UNIT_TESTS) $(UNIT_PROGRAMS) \
                $(ANALYSED))
-include $(wildcard $(DEPENDENCIES))
