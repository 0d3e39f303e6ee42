# The package of Debian whose kernel it is.
KERNEL ?= linux-image-amd64
KILLS ?= 8

.PHONY: kernel-test
kernel-test: bin/mountd packages $(TOOLS)/versitygw ## take-overs on Debian's kernel, in a virtual machine: KERNEL=linux-image-amd64 KILLS=8
	@tests/tools/packages.sh kernel
	go test -c -o $(TOOLS)/takeover ./tests/takeover
	tests/kernel/boot.sh $(KERNEL) "uname -r && cd $(CURDIR)/tests/takeover && PATH='$(PATH)' WEIGHTFS_BIN=$(CURDIR)/bin $(TOOLS)/takeover -test.v -test.run TestReadersSeeNoDeath -test.timeout 1h -kills $(KILLS)"
