# Arbiter. `make` prints the targets; `make run` and `make test` are all a newcomer needs.
SHELL       := /bin/bash
GO          ?= go
BIN         := bin/arbiter
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -X github.com/arbiterhq/arbiter/runtime/telemetry.version=$(VERSION)
FUZZTIME    ?= 30s
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@latest
HELM        := v3.19.0
ARGS        ?=
CHAOS       ?= -chaos.for 5m

.DEFAULT_GOAL := help
.PHONY: help build run test test-race lint fmt fuzz bench bench-http bench-compare bench-models bench-store bench-events bench-rules bench-cluster bench-log bench-plugins bench-campaign replays chaos kafka-demo kafka-chaos test-python python-libraries sdk bench-sdk clean toolchain helm bench-backup

help: ## print the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

toolchain:
	@command -v $(GO) >/dev/null || { echo "Go is not installed. Install Go 1.26 or newer (https://go.dev/doc/install) and run make again." >&2; exit 1; }
	@$(GO) version >/dev/null || exit 1

build: toolchain ## build bin/arbiter
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/arbiter

run: build ## build, then start a demo operator on http://127.0.0.1:8080 (ARGS="--data DIR")
	@exec $(BIN) dev $(ARGS)

test: toolchain ## run every test
	@test -x bin/helm || $(MAKE) helm || echo "helm cannot be installed here: the test of the chart is skipped"
	$(GO) vet ./...
	$(GO) test -timeout 14m ./...

test-race: toolchain ## run the tests under the race detector, the long ones shortened
	GORACE=halt_on_error=1 $(GO) test -race -short -timeout 40m ./...

test-python: build python-libraries ## run the Python client's tests with the real model libraries, installed under .cache
	cd sdk/client/python && PYTHONDONTWRITEBYTECODE=1 ARBITER_BIN='$(CURDIR)/$(BIN)' '$(CURDIR)/.cache/python/bin/python' -W ignore -m unittest -v

python-libraries:
	@command -v python3 >/dev/null || { echo "python3 is not installed" >&2; exit 1; }
	@cmp -s sdk/client/python/tests/requirements.txt .cache/python/installed || { \
	  rm -rf .cache/python && python3 -m venv .cache/python && \
	  .cache/python/bin/pip install --quiet --disable-pip-version-check -r sdk/client/python/tests/requirements.txt && \
	  cp sdk/client/python/tests/requirements.txt .cache/python/installed; }

sdk: toolchain ## install the toolchains of the guest SDKs, build and test them all
	sdk/toolchains.sh
	ARBITER_SDK=1 $(GO) test -count=1 -timeout 20m ./sdk/... ./plugins/project ./plugins/adapter
	ARBITER_SDK=1 $(GO) test -count=1 -timeout 20m -run TestStrategiesInEveryLanguage ./cmd/arbiter/e2e

bench-sdk: toolchain ## the same plugin in four languages: size, compile, start, time a call
	sdk/toolchains.sh
	ARBITER_SDK=1 $(GO) test -run '^$$' -bench BenchmarkGuestSDKs -benchtime 20000x -count 5 ./plugins/project

fmt: toolchain ## format the code
	gofmt -w $$(git ls-files '*.go')

lint: toolchain ## formatting, vet, staticcheck, tidy modules
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

fuzz: toolchain ## fuzz every decoder for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
	  done; done

bench: build ## the published figures: in-process benchmarks, then HTTP against a constant handler
	docs/benchmarks/run.sh

bench-http: build ## only the HTTP part of the figures
	docs/benchmarks/run.sh http

bench-models: build ## compiled models against the real libraries, which it installs (ARGS="--rounds 41 NAME…")
	docs/benchmarks/models/run.sh $(ARGS)

bench-rules: toolchain ## policies and decision tables beside GoRules Zen, OPA and cel-go on the same rules (ARGS="-rounds 31")
	docs/benchmarks/rules/run.sh $(ARGS)

bench-store: build ## three nodes against three of etcd, callers in process, restarts, memory, idle groups (ARGS="compare --rounds 5")
	docs/benchmarks/store/run.sh $(ARGS)

bench-events: build ## events of 300 bytes over HTTP, three nodes, applied to windows and subjects, beside etcd's transactions (ARGS="-rounds 5")
	docs/benchmarks/store/run.sh events $(ARGS)

bench-backup: build ## backup of three nodes while they decide, and a restore into a new cluster, until it serves
	docs/benchmarks/backup.sh

bench-cluster: build ## decisions of three nodes with their contacts committed: peak, and latency at half of it
	docs/benchmarks/cluster.sh

.PHONY: bench-membership
bench-membership: build ## a node that joins, transfers of leads, a rolling restart: what they cost callers (SUBSCRIBERS=1000000)
	docs/benchmarks/membership.sh

.PHONY: bench-timers
bench-timers: toolchain ## 24 hours of windows and timers: bytes, memory, restart, firing (SUBJECTS=1000000 EVENTS=4)
	ARBITER_SUBJECTS=$(or $(SUBJECTS),1000000) ARBITER_EVENTS=$(or $(EVENTS),4) $(GO) test -run '^$$' -bench BenchmarkTimers -benchtime 1x -timeout 30m ./cluster/fsm

bench-campaign: toolchain ## a whole campaign on three nodes beside LightGBM scoring the same rows (SUBJECTS=1000000)
	docs/benchmarks/campaign.sh

bench-plugins: toolchain ## a call of a plugin against wazero alone and against Extism's SDK (ARGS="-rounds 31")
	docs/benchmarks/plugins/run.sh $(ARGS)

replays: toolchain ## make 100,000 random decisions and make each again, byte for byte
	ARBITER_REPLAYS=110000 $(GO) test ./cluster/node -count 1 -v -run 'TestReplay$$' -timeout 0
	ARBITER_REPLAYS=100000 $(GO) test ./runtime/replay -count 1 -v -run TestRandomDecisionsReplay -timeout 0

chaos: toolchain ## break clusters of real processes under load and judge what clients saw (CHAOS="-chaos.for 30m -run Pause")
	$(GO) test ./cmd/arbiter/chaos -count 1 -v -timeout 0 $(CHAOS)

kafka-demo: build ## a Kafka broker, three nodes, roaming events into them and messages out of them; ends by itself (ARGS=2000)
	scripts/kafka/demo.sh $(ARGS)

kafka-chaos: toolchain ## 1,000,000 events from Kafka while leaders are killed: each counted once (ARGS="-kafka.events 100000")
	$(GO) test ./cmd/arbiter/e2e -count 1 -v -timeout 0 -run TestKafkaThroughCrashes -kafka.events 1000000 $(ARGS)

bench-log: toolchain ## the log of a node against raft-wal and raft-boltdb (ARGS="-seconds 2 -rounds 5 -dir DIR")
	cd cluster/wal/bench && $(GO) run . $(ARGS)

bench-compare: toolchain ## compare the in-process benchmarks with another commit: make bench-compare REF=main
	docs/benchmarks/compare.sh $(REF) $(BENCHSTAT)

helm: toolchain ## install helm into bin/, for the test of the chart
	GOBIN='$(CURDIR)/bin' $(GO) install helm.sh/helm/v3/cmd/helm@$(HELM)

clean: ## remove what was built
	rm -rf bin
