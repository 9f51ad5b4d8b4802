# Each target sets up what it needs. "make help" lists them.

SHELL := bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help
.PHONY: help run build test lint fmt fuzz crash sim mutation s3 bench

FUZZTIME ?= 30s
ROUNDS ?= 20
CLUSTER ?= 5m
SEEDS ?= 1000
FIRST ?= 1
ARGS ?=

# Packages whose tests do a share of their rounds under the race detector, and all
# of them without it.
IN_ROUNDS = ./internal/sim/simcluster ./rsm/rsmarchive ./rsm/rsmraft ./wal ./wallet ./wallet/walletpebble

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## start everything with its data in ./data; it prints where it listens
	.bin/maru serve --data ./data $(ARGS)

build: ## build .bin/maru
	@tools/setup.sh
	go build -o .bin/maru ./cmd/maru

test: ## run all checks: lint, vet and every test with the race detector
	@tools/setup.sh race
	@$(MAKE) --no-print-directory lint
	go vet ./...
	go vet -tags s3 ./rsm/rsms3 ./cmd/maru
	{ go test -race -timeout 15m -json ./... && go test -timeout 10m -json $(IN_ROUNDS) && \
	  go test -timeout 10m -json -run '^TestCrash$$' ./cmd/maru; } | go run ./internal/testreport

lint: .bin/golangci-lint ## run the linters
	.bin/golangci-lint run ./...

fmt: .bin/golangci-lint ## format all code
	.bin/golangci-lint fmt ./...

fuzz: ## run every fuzz target for FUZZTIME (30s) each
	@tools/setup.sh
	tools/fuzz.sh $(FUZZTIME)

crash: ## kill -9 a server under load, ROUNDS (20) times in a row, and the nodes of a cluster for CLUSTER (5m)
	@tools/setup.sh
	go test ./cmd/maru -run Crash -count 1 -timeout 2h -v -crash.rounds=$(ROUNDS) -crash.cluster=$(CLUSTER)

sim: ## simulate SEEDS (1000) clusters, from seed FIRST (1) on; it prints the seeds that fail
	@tools/setup.sh
	go test ./internal/sim/simcluster -run TestSeeds -count 1 -timeout 24h -v -seeds=$(SEEDS) -seed=$(FIRST) $(ARGS)

mutation: ## plant every bug, one after the other, and see whether the tests find it
	@tools/setup.sh
	go test ./internal/mutation -run TestPlantedBugs -count 1 -timeout 2h -v -every

s3: .bin/versitygw ## test the archive in a bucket, on a server of Amazon S3's protocol
	go test -race -tags s3 -count 1 ./rsm/rsms3
	go test -tags s3 -count 1 -run '^TestBucket$$' ./cmd/maru

bench: build ## measure the wallet; ARGS='--accounts 1000000' and so on
	.bin/maru bench wallet $(ARGS)

.bin/golangci-lint: tools/go.mod tools/go.sum
	@tools/setup.sh
	go build -C tools -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

# A server of Amazon S3's protocol, for tests.
.bin/versitygw: tools/s3server/go.mod tools/s3server/go.sum
	@tools/setup.sh
	go build -C tools/s3server -o ../../$@ github.com/versity/versitygw/cmd/versitygw
	@touch $@
