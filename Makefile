# vmferry's Makefile. The commands to know: make demo, make test, and make test-all, which leaves out nothing.
# make help lists the rest.

PREFIX  ?= /usr
SYSCONF ?= /etc
DESTDIR ?=
GO      ?= go
BENCH   ?=
N       ?= 0

# What a lab run has: SHARE=2/18 is the second eighteenth of the kill matrix and of what else is dealt out, SHARE=all is all of
# it. XEN=all has all parts on Xen. LAB is what go test -run gets: LAB=TestLab/kills is one part.
SHARE   ?= 1/18
XEN     ?= short
LAB     ?= ^TestLab

# How long make fuzz runs each target, and which: FUZZ=FuzzParseStat, FUZZ='migrate/blackout/reflector FuzzDatagram'.
# make test runs each for FUZZRUNS executions.
FUZZTIME ?= 1m
FUZZRUNS ?= 2000
FUZZ     ?=

# libvirt's library is opened at run time: no headers to build, and one binary
# for every release of it.
TAGS     := libvirt_dlopen
# What --version of every program says, and the meta-data.
VERSION  := $(shell git describe --tags --always --abbrev=12 2>/dev/null || echo unknown)
COMMIT   := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/vmferry/vmferry/migrate/version.linked=$(VERSION) -X github.com/vmferry/vmferry/migrate/version.commit=$(COMMIT)
# What runs as root on a node is position-independent. With C in it, the C compiler's linker makes it, and leaves no
# table of addresses writable. Such a program needs the node's ld.so: what runs in a guest or where there is no libc
# (blackout, the lab's) stays static, which Go's own linker makes position-dependent only.
PIE      := -buildmode=pie
HARDEN   := -linkmode=external -extldflags=-Wl,-z,relro,-z,now
BIN      := build/bin
CODE     := cmd hbplugin lab migrate resource
STAGE    := build/stage

# What Debian 12 or 13 must have. Building needs a C compiler for libvirt's
# binding; the rest boots the lab's nodes and checks what is shipped.
DEPS_BUILD := gcc libc6-dev
DEPS_LAB   := systemd-container mmdebstrap util-linux xz-utils zstd
# A lab with Xen needs these too; its QEMU comes with its image.
DEPS_XEN   := openssh-client e2fsprogs
DEPS_BENCH := irtt fping sockperf
# Those of make test; what make unit does not find of them, its tests do without.
DEPS_TEST  := libvirt0 dbus-daemon libxml2-utils mandoc cpio qemu-utils rsync spin util-linux

.PHONY: all build blackout stage install install-blackout install-export demo demo-xen bench torture test test-all lint unit sim model fuzz fuzz-short lab-test test-xen clean help deps-build deps-lab deps-xen deps-bench deps-test FORCE

all: build

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: deps-build $(BIN)/vmferry-agent $(BIN)/vmferry-agent-full $(BIN)/vmferryd $(BIN)/vmferry-guard $(BIN)/vmferry-mirror $(BIN)/fence_vmferry $(BIN)/vmferry-export $(BIN)/vmferry-nvme $(BIN)/vmferry $(BIN)/blackout $(BIN)/vmferry-lab $(BIN)/guest-init $(BIN)/dom0-init ## build all programs into build/bin

blackout: $(BIN)/blackout ## build the probe alone: one static program, no C compiler

# Go knows better than make what is up to date.
$(BIN)/vmferry-agent-full: FORCE
	$(GO) build -tags $(TAGS) -trimpath $(PIE) -ldflags '$(LDFLAGS) $(HARDEN)' -o $@ ./cmd/vmferry-agent
$(BIN)/vmferryd: FORCE
	$(GO) build -tags $(TAGS) -trimpath $(PIE) -ldflags '$(LDFLAGS) $(HARDEN)' -o $@ ./cmd/vmferryd
$(BIN)/vmferry-guard: FORCE
	$(GO) build -tags $(TAGS) -trimpath $(PIE) -ldflags '$(LDFLAGS) $(HARDEN)' -o $@ ./cmd/vmferry-guard
$(BIN)/vmferry-mirror: FORCE
	$(GO) build -tags $(TAGS) -trimpath $(PIE) -ldflags '$(LDFLAGS) $(HARDEN)' -o $@ ./cmd/vmferry-mirror
$(BIN)/vmferry: FORCE
	$(GO) build -tags $(TAGS) -trimpath $(PIE) -ldflags '$(LDFLAGS) $(HARDEN)' -o $@ ./cmd/vmferry

# No C in these: they start at once, run where there is no libvirt, and in a guest
# where there is nothing at all.
$(BIN)/vmferry-agent: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath $(PIE) -ldflags '$(LDFLAGS)' -o $@ ./cmd/vmferry-agent/front
$(BIN)/fence_vmferry: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath $(PIE) -ldflags '$(LDFLAGS)' -o $@ ./cmd/fence_vmferry
$(BIN)/vmferry-export: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/vmferry-export
$(BIN)/vmferry-nvme: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath $(PIE) -ldflags '$(LDFLAGS)' -o $@ ./cmd/vmferry-nvme
$(BIN)/blackout: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/blackout
$(BIN)/vmferry-lab: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/vmferry-lab
$(BIN)/guest-init: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./lab/guest/init
$(BIN)/dom0-init: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./lab/xen/init

# Each program knows its own completion.
complete = install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions && \
	$(BIN)/$(1) --completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$(2)

install-blackout: blackout ## install the probe alone
	install -D -m 755 $(BIN)/blackout $(DESTDIR)$(PREFIX)/bin/blackout
	install -D -m 644 cmd/blackout/blackout.1 $(DESTDIR)$(PREFIX)/share/man/man1/blackout.1
	$(call complete,blackout,blackout)
	install -D -m 644 cmd/blackout/blackout.service $(DESTDIR)$(PREFIX)/lib/systemd/system/blackout.service

install-export: $(BIN)/vmferry-export ## install what a storage machine needs: one static program, no C compiler
	install -D -m 755 $(BIN)/vmferry-export $(DESTDIR)$(PREFIX)/sbin/vmferry-export
	install -D -m 644 cmd/vmferry-export/vmferry-export.8 $(DESTDIR)$(PREFIX)/share/man/man8/vmferry-export.8
	install -D -m 644 cmd/vmferry-export/vmferry-export@.service $(DESTDIR)$(PREFIX)/lib/systemd/system/vmferry-export@.service

install: build install-blackout install-export ## install on this machine, or below DESTDIR
	install -D -m 755 $(BIN)/vmferry-agent $(DESTDIR)$(PREFIX)/sbin/vmferry-agent
	install -D -m 755 $(BIN)/vmferry-agent-full $(DESTDIR)$(PREFIX)/libexec/vmferry/agent
	install -D -m 755 $(BIN)/vmferryd $(DESTDIR)$(PREFIX)/sbin/vmferryd
	install -D -m 755 $(BIN)/vmferry $(DESTDIR)$(PREFIX)/sbin/vmferry
	install -D -m 755 $(BIN)/vmferry-guard $(DESTDIR)$(PREFIX)/sbin/vmferry-guard
	install -D -m 755 $(BIN)/vmferry-mirror $(DESTDIR)$(PREFIX)/sbin/vmferry-mirror
	install -D -m 755 $(BIN)/fence_vmferry $(DESTDIR)$(PREFIX)/sbin/fence_vmferry
	install -D -m 755 $(BIN)/vmferry-nvme $(DESTDIR)$(PREFIX)/sbin/vmferry-nvme
	install -D -m 644 cmd/vmferry-guard/vmferry-guard.service $(DESTDIR)$(PREFIX)/lib/systemd/system/vmferry-guard.service
	install -D -m 644 cmd/vmferry-mirror/vmferry-mirror.service $(DESTDIR)$(PREFIX)/lib/systemd/system/vmferry-mirror.service
	install -D -m 644 cmd/vmferry-guard/guard.toml $(DESTDIR)$(PREFIX)/share/doc/vmferry/guard.toml.example
	install -d $(DESTDIR)$(PREFIX)/lib/stonith/plugins/external
	ln -sf $(PREFIX)/sbin/fence_vmferry $(DESTDIR)$(PREFIX)/lib/stonith/plugins/external/vmferry
	$(call complete,vmferry,vmferry) && $(call complete,vmferryd,vmferryd) && $(call complete,vmferry-agent-full,vmferry-agent)
	$(call complete,vmferry-guard,vmferry-guard) && $(call complete,vmferry-mirror,vmferry-mirror) && $(call complete,fence_vmferry,fence_vmferry)
	install -d $(DESTDIR)$(PREFIX)/lib/ocf/resource.d/vmferry
	ln -sf $(PREFIX)/sbin/vmferry-agent $(DESTDIR)$(PREFIX)/lib/ocf/resource.d/vmferry/Domain
	install -D -m 644 resource/ocf/metadata/ra-api-1.1.dtd $(DESTDIR)$(PREFIX)/share/vmferry/ra-api-1.1.dtd
	install -d $(DESTDIR)$(SYSCONF)/ha.d/resource.d
	ln -sf $(PREFIX)/sbin/vmferry-agent $(DESTDIR)$(SYSCONF)/ha.d/resource.d/vmferry
	install -D -m 644 cmd/vmferryd/vmferryd.service $(DESTDIR)$(PREFIX)/lib/systemd/system/vmferryd.service
	for unit in pacemaker.service pacemaker_remote.service; do install -D -m 644 cmd/vmferryd/pacemaker.service.d/10-vmferry.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.d/10-vmferry.conf || exit 1; done
	install -D -m 644 cmd/vmferryd/heartbeat.service.d/10-vmferry.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/heartbeat.service.d/10-vmferry.conf
	install -D -m 644 cmd/vmferryd/logind.conf.d/90-vmferry.conf $(DESTDIR)$(PREFIX)/lib/systemd/logind.conf.d/90-vmferry.conf
	test -e $(DESTDIR)$(SYSCONF)/vmferry/vmferryd.toml || install -D -m 644 cmd/vmferryd/vmferryd.toml $(DESTDIR)$(SYSCONF)/vmferry/vmferryd.toml
	for page in $(filter-out cmd/vmferry-lab/%,$(wildcard cmd/*/*.[1578])); do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done

stage: ## install into build/stage: what the lab's nodes get
	rm -rf $(STAGE)
	$(MAKE) --no-print-directory install DESTDIR=$(STAGE)

demo: deps-lab stage ## show the main job on real nodes (first time under 10 minutes, then under 5)
	$(BIN)/vmferry-lab demo --out build/demo

demo-xen: deps-lab deps-xen stage ## the same on Xen, with ocf:heartbeat:Xen as the peer (about 20 minutes)
	$(BIN)/vmferry-lab demo --hypervisor xen --out build/demo-xen

bench: deps-lab deps-bench stage ## measure against the peers: build/bench/report.json; BENCH=idle-pause,plan-10k for a part, N=30 for that many turns
	$(BIN)/vmferry-lab bench --out build/bench --only '$(BENCH)' -n '$(N)'

torture: deps-lab stage ## break the nodes of a guarded cluster at random: build/torture/report.json; FAULTS=1000, SEED=1, RESUME=1 to continue
	$(BIN)/vmferry-lab torture --faults $(or $(FAULTS),1000) --seed $(or $(SEED),1) --out build/torture $(if $(RESUME),--resume)

test: deps-lab deps-xen deps-test stage lint unit sim fuzz-short lab-test ## lint, unit and script tests, short fuzzing, a lab run on QEMU and a short one on Xen (under 30 minutes); SHARE=2/18 for another share of it

test-all: deps-lab deps-xen deps-test stage lint unit sim fuzz-short ## all tests: make test with the whole kill matrix, all outages, all suites and all of Xen (under 90 minutes)
	$(MAKE) --no-print-directory lab-test SHARE=all XEN=all

lint: deps-build ## gofmt, man pages, go vet, staticcheck, and govulncheck (GOVULNDB=file:///path for an offline database)
	@unformatted=$$(gofmt -l $(CODE)) || exit 1; test -z "$$unformatted" || { echo "type: gofmt -w" $$unformatted >&2; exit 1; }
	if command -v mandoc >/dev/null || test "$$CI" = true; then mandoc -T lint -W warning cmd/*/*.[1578]; fi
	$(GO) vet -tags $(TAGS) ./...
	$(GO) tool -modfile=.ci/tools/go.mod staticcheck -tags $(TAGS) ./...
	@GO='$(GO)' .ci/vulncheck -tags $(TAGS) ./...

unit: deps-build ## the tests that need neither root nor a lab
	$(GO) test -race -tags $(TAGS) -skip "^TestLab" ./...

sim: deps-build ## 100,000 random schedules of faults on the guard's protocol; SEED=N plays one, line by line
	$(GO) test -count=1 ./lab/guardsim $(if $(SEED),-v -run TestSchedules -seed $(SEED),-schedules 100000)

model: deps-test ## check the model of the guard's protocol for two faults, too
	$(GO) test -count=1 -v -timeout 60m ./hbplugin/guard/model -two-faults

fuzz: deps-build ## run each fuzz target for a minute; FUZZTIME=10m for longer, FUZZ=FuzzParseStat for one
	$(GO) run ./lab/fuzz -for $(FUZZTIME) -only '$(FUZZ)' -go '$(GO)' -tags $(TAGS)

fuzz-short: deps-build ## run each fuzz target for a bounded number of executions, as make test does
	$(GO) run ./lab/fuzz -executions $(FUZZRUNS) -only '$(FUZZ)' -go '$(GO)' -tags $(TAGS)

lab-test: ## the lab runs alone; needs root, and what `make stage` built; LAB=TestLab/kills for one part
	VMFERRY_SHARE=$(SHARE) VMFERRY_XEN=$(XEN) VMFERRY_LAB=$(CURDIR)/$(BIN)/vmferry-lab $(GO) test -count=1 -v -timeout 120m -tags $(TAGS) -run '$(LAB)' ./lab

test-xen: deps-lab deps-xen stage ## the whole lab run on Xen; needs root; PARTS=short for the part that make test has
	$(MAKE) --no-print-directory lab-test LAB='^TestLabXen$$' XEN=$(or $(PARTS),all)

clean: ## remove what was built here; vmferry-lab's cache stays
	rm -rf build

# What is missing is installed; see there.
want = @.ci/install $(1)
deps-build: ; $(call want,$(DEPS_BUILD))
# Without root there is no lab: vmferry-lab says so, and its tests are skipped.
deps-lab: ; $(if $(filter 0,$(shell id -u)),$(call want,$(DEPS_LAB)))
deps-xen: ; $(if $(filter 0,$(shell id -u)),$(call want,$(DEPS_XEN)))
# The probe's peers; a result without them says so.
deps-bench: ; $(if $(filter 0,$(shell id -u)),$(call want,$(DEPS_BENCH)))
deps-test: ; $(call want,$(DEPS_TEST))
