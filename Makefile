# Names for the commands of this project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(if $(FLOTILLA_CACHE),$(FLOTILLA_CACHE),$(HOME)/.cache/flotilla)
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(CACHE)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
E2E := cargo run --quiet --package e2e --bin flotilla-e2e --
DEMO ?= run

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

# ---- using it ----------------------------------------------------------------------------------

.PHONY: build
build: ## Build flotilla and flotilla-proxy
	@echo "building flotilla and flotilla-proxy (about 4 minutes the first time on two cores)"
	cargo build --quiet --package operator --package proxy --bins

.PHONY: demo
demo: build ## Three proxies, two upstreams and examples/quickstart on this machine (DEMO=once: make one edit, show it, end)
	target/debug/flotilla standalone --manifests examples/quickstart --proxies 3 $(if $(filter once,$(DEMO)),--once)

.PHONY: images
images: ## Static binaries in two OCI archives: target/images/flotilla.tar and flotilla-proxy.tar
	$(E2E) images

.PHONY: cluster
cluster: ## A real Kubernetes on this machine; prints how to point kubectl at it
	$(E2E) up

.PHONY: cluster-down
cluster-down: ## Remove every trace of it
	$(E2E) down

# ---- tests -------------------------------------------------------------------------------------

.PHONY: test
test: test-fast test-servers deny demo-once test-cluster ## Everything: format, lints, unit, golden, simulation, integration, real servers, demo, cluster

.PHONY: test-fast
test-fast: fmt-check lint test-rust ## The inner loop: all but the demo and the cluster

.PHONY: test-rust
test-rust:
	@echo "building and running the tests (about 5 minutes the first time on two cores)"
	cargo build --quiet --package operator --package proxy --bins
	cargo test --quiet --workspace --exclude e2e

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

.PHONY: lint
lint:
	@echo "checking with clippy (about 3 minutes the first time on two cores)"
	cargo clippy --quiet --workspace --all-targets -- -D warnings

.PHONY: deny
deny: $(CARGO_DENY) ## Licenses, banned crates and sources of every dependency
	$(CARGO_DENY) --log-level error check licenses bans sources

$(CARGO_DENY):
	@echo "building cargo-deny $(CARGO_DENY_VERSION) once, into $(CACHE) (about 5 minutes on two cores)"
	cargo install --quiet --locked --version $(CARGO_DENY_VERSION) --no-default-features \
	  --root $(CACHE)/cargo-deny-$(CARGO_DENY_VERSION) --target-dir $(CACHE)/build/cargo-deny cargo-deny
	rm -rf $(CACHE)/build/cargo-deny

.PHONY: demo-once
demo-once:
	$(MAKE) --no-print-directory demo DEMO=once

.PHONY: test-cluster
test-cluster: ## The scenarios on a real Kubernetes, with kubectl, helm and curl
	@echo "cluster scenarios (about 10 minutes; the first time also builds Kubernetes and helm: 10 more)"
	cargo test --quiet --package e2e

.PHONY: conformance
conformance: ## Gateway API's conformance suite against our proxies on a real Kubernetes (FLAGS=--run-test=NAME)
	@echo "conformance suite (about 20 minutes; the first time also builds Kubernetes and the suite)"
	$(E2E) conformance --report docs/conformance/report.yaml -- $(FLAGS)

SERVERS := $(CACHE)/servers
PACKAGES := nginx-light apache2-bin redis-server slapd

.PHONY: test-servers
test-servers: $(SERVERS)/unpacked ## Request smuggling before real nginx and Apache, plugins before real Redis and OpenLDAP
	cargo build --quiet --package proxy --bins
	SERVERS=$(SERVERS) cargo test --quiet --package proxy --test it -- hygiene backends

# Nothing is installed and nothing started: what is missing on this machine, with what it depends on, is only unpacked.
$(SERVERS)/unpacked:
	@echo "unpacking $(PACKAGES) once, into $(SERVERS) (half a minute)"
	rm -rf $(SERVERS) && mkdir -p $(SERVERS)/packages
	apt-get update --quiet --quiet
	cd $(SERVERS)/packages && apt-get --simulate --no-install-recommends install $(PACKAGES) \
	  | awk '/^Inst/ { print $$2 }' | xargs --no-run-if-empty apt-get --quiet --quiet download
	find $(SERVERS)/packages -name '*.deb' -exec dpkg-deb --extract {} $(SERVERS) \;
	rm -rf $(SERVERS)/packages && touch $@

.PHONY: fuzz
fuzz: ## A long run of the fuzz targets (CASES=100000 inputs each)
	cargo build --quiet --package proxy --bins
	FUZZ_CASES=$(or $(CASES),100000) cargo test --quiet --release --package proxy --test it -- fuzz

# ---- figures -----------------------------------------------------------------------------------

.PHONY: bench
bench: ## Convergence over 3 and 50 proxies on a real cluster, memory, API writes per change
	$(E2E) bench

.PHONY: bench-translate
bench-translate: ## Time on the processor, instructions (where they can be counted) and memory of a translation
	cargo build --quiet --release --package operator-core --example translate_speed
	for n in 10000 100000; do $(shell perf stat -e instructions:u true 2>/dev/null && echo perf stat -e instructions:u) \
		$${CARGO_TARGET_DIR:-target}/release/examples/translate_speed $$n || exit 1; done

.PHONY: bench-proxy
bench-proxy: ## The gateway beside nginx, HAProxy and Envoy (PART=memory: only that part)
	@echo "building the gateway for measuring (about 6 minutes the first time); nginx, HAProxy and Envoy are installed if missing"
	cargo bench --quiet --profile dist --package proxy --bench gateway -- $(PART)

# ---- generated files ---------------------------------------------------------------------------

.PHONY: generate
generate: ## Write crds/ and config/ anew
	UPDATE=1 cargo test --quiet --package operator-api
	UPDATE=1 cargo test --quiet --package operator --lib cli
	$(E2E) manifests
