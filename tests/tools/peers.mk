# The tools that "make peers" measures beside us. One that cannot be built is a
# line of the table that says so.
# Mountpoint's library; the command itself is not on crates.io, but an example
# that mounts is.
MOUNTPOINT := mountpoint-s3-fs@0.11.0

.PHONY: peers
peers: packages peers-packages $(TOOLS)/versitygw $(TOOLS)/rclone peers-mountpoint $(VENV)/done ## other mounts and loaders beside us, into bin/peers: ROWS=regexp RUNS=5 PEERSFLAGS=
	go build -o $(TOOLS)/peers ./tests/peers
	@$(TOOLS)/peers $(if $(ROWS),--rows '$(ROWS)') $(if $(RUNS),--runs $(RUNS)) $(PEERSFLAGS)

.PHONY: peers-packages
peers-packages:
	@tests/tools/packages.sh peers

$(TOOLS)/rclone: $(wildcard tests/tools/rclone/*)
	cd tests/tools/rclone && go build -o $@ .
	@touch $@

# Rust is taken where it is there, and is not installed for this. A build that did
# not work is tried again the next time.
.PHONY: peers-mountpoint
peers-mountpoint: DIR := $(TOOLS)/mountpoint-s3
peers-mountpoint: | peers-packages
	@mkdir -p $(DIR)
	@if grep -qxF $(MOUNTPOINT) $(DIR)/version 2>/dev/null; then exit 0; fi; \
	rm -f $(DIR)/version; \
	if ! command -v cargo >/dev/null; then echo "mountpoint-s3 is not measured: it needs Rust (cargo)"; exit 0; fi; \
	if CARGO_TARGET_DIR=$(DIR)/target cargo install -q --locked --root $(DIR) \
		--features manifest,event_log --example mount_from_config $(MOUNTPOINT); \
	then echo $(MOUNTPOINT) >$(DIR)/version; else echo "mountpoint-s3 is not measured: it cannot be built here"; fi; \
	rm -rf $(DIR)/target
