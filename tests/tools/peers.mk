# The tools that "make peers" measures beside us. One that cannot be built is a
# line of the table that says so.
RCLONE := github.com/rclone/rclone@v1.76.0
# Mountpoint's library; the command itself is not on crates.io, but an example
# that mounts is.
MOUNTPOINT := mountpoint-s3-fs@0.11.0

.PHONY: peers
peers: packages peers-packages $(TOOLS)/versitygw $(TOOLS)/rclone $(TOOLS)/mountpoint-s3/tried $(VENV)/done ## other mounts and loaders beside us, into bin/peers: ROWS=regexp RUNS=3 PEERSFLAGS=
	go build -o $(TOOLS)/peers ./tests/peers
	@$(TOOLS)/peers $(if $(ROWS),--rows '$(ROWS)') $(if $(RUNS),--runs $(RUNS)) $(PEERSFLAGS)

.PHONY: peers-packages
peers-packages:
	@tests/tools/packages.sh peers

$(TOOLS)/rclone: tests/tools/peers.mk
	GOBIN=$(TOOLS) GOFLAGS= go install $(RCLONE)
	@touch $@

# Rust is taken where it is there, and is not installed for this.
$(TOOLS)/mountpoint-s3/tried: tests/tools/peers.mk | peers-packages
	@mkdir -p $(@D)
	@if command -v cargo >/dev/null && CARGO_TARGET_DIR=$(@D)/target cargo install -q --locked --root $(@D) \
		--features manifest,event_log --example mount_from_config $(MOUNTPOINT); \
	then echo $(MOUNTPOINT) >$(@D)/version; else echo "mountpoint-s3 cannot be built here"; fi
	@rm -rf $(@D)/target
	@touch $@
