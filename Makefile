# make          the program, in bin/
# make test     every check of the project; as root on Debian it first installs the peers
# make docs     what is generated: docs/elements.md and the pictures
# make bench    as root: measures it beside every peer that is installed, for docs/performance.md
# make install  program, manual pages and shell completion, below PREFIX

PREFIX ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
PLATFORMS = linux/arm64 darwin/arm64 windows/amd64 freebsd/amd64 netbsd/amd64 openbsd/amd64

.PHONY: build test peers lint cross docs docs-check unit fuzz bench install clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tmelink ./cmd/tmelink

test: peers lint cross docs-check unit

peers:
	scripts/peers

lint:
	@unformatted="$$(gofmt -l bench cmd internal)"; test -z "$$unformatted" || { echo "not formatted by gofmt: $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

cross:
	@for p in $(PLATFORMS); do echo "build for $$p"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./cmd/tmelink || exit 1; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go vet ./... || exit 1; done

DOCS = docs
docs: build
	bin/tmelink elements --markdown > $(DOCS)/elements.md
	bin/tmelink graph --format svg examples/two-machines/a.tme examples/two-machines/b.tme > $(DOCS)/two-machines.svg
	bin/tmelink graph --format svg examples/shared-tap/*.tme > $(DOCS)/shared-tap.svg

docs-check: build
	@made="$$(mktemp -d)"; trap 'rm -rf "$$made"' EXIT; $(MAKE) -s docs DOCS="$$made" >/dev/null || exit 1; \
	  for f in "$$made"/*; do cmp "$$f" "docs/$${f##*/}" || { echo "docs/$${f##*/} is stale: run 'make docs'"; exit 1; }; done

unit:
	scripts/test

fuzz: # FUZZTIME of every fuzz target, one after the other
	scripts/fuzz

BENCHFLAGS ?= --rounds 3 --seconds 4
bench:
	go build -trimpath -o bin/bench ./bench
	bin/bench run $(BENCHFLAGS) --json bench/result.json --page docs

install: build
	install -D -m 755 bin/tmelink $(DESTDIR)$(PREFIX)/bin/tmelink
	bin/tmelink man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/tmelink completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tmelink
	bin/tmelink completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tmelink
	bin/tmelink completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tmelink.fish

clean:
	rm -rf bin
