# What one does with patchlab's sources. `make help` lists it.
#
# Every Go command goes through .ci/go, which finds or fetches a Go that is new enough.

SHELL := /bin/bash
GO := .ci/go
LINT := bin/tools/golangci-lint
PROBE := harness/probe/embedded/bin/patchlab-probe

# The commit is recorded in the binary where git can tell it; a checkout of another user's makes git refuse.
STAMP := -buildvcs=$(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check build fmt lint vet unit fuzz probe clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: ## test a real update on a clone; installs what is missing, and says so before
	@.ci/demo

test: ## set-up, lint, unit tests, and the VM tests that fit in half an hour without KVM
	@.ci/test

test-all: ## the same with every VM test
	@.ci/test all

check: fmt lint vet unit ## what to run before a commit: formats, lints, vets, unit tests with -race

build: probe ## make bin/patchlab
	CGO_ENABLED=0 $(GO) build -trimpath $(STAMP) -o bin/patchlab ./cmd/patchlab

# The probe is part of the key under which baselines are cached: the same sources must give the same bytes, so no commit
# is recorded in it.
probe:
	@mkdir -p $(dir $(PROBE))
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w" -o $(PROBE) ./cmd/patchlab-probe

man: build ## the manual pages, in bin/man
	rm -rf bin/man
	bin/patchlab man bin/man

fmt: $(LINT) ## format the sources
	$(LINT) fmt

lint: $(LINT) probe ## lint, formatting and layers included
	PATH="$$($(GO) env GOROOT)/bin:$$PATH" $(LINT) run ./...

vet: probe ## go vet, the VM tests included
	$(GO) vet -tags vmtest ./...

unit: probe ## unit tests with -race: no VM, no network, no root
	$(GO) test -race ./...

FUZZTIME ?= 10m
fuzz: probe ## fuzz every parser of a guest's data for FUZZTIME (10m) each
	@.ci/fuzz $(FUZZTIME)

# Built once, as its own module pins it: minutes of compiling that no later run pays again.
$(LINT): .ci/tools/go.mod .ci/tools/go.sum
	$(GO) build -C .ci/tools -trimpath -buildvcs=false -o ../../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

clean: ## remove what was built here; images and runs stay
	rm -rf bin $(PROBE)
