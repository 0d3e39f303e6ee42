# What the tests of deploy/monitoring need: promtool, which checks rules, from
# Debian's package of Prometheus, unpacked and not installed (installing it starts
# a server), and a check of dashboards by Grafana's own schema.
deploy-test: $(TOOLS)/promtool $(TOOLS)/dashboardlint

# The index of packages may be missing, or too old to find the file.
$(TOOLS)/promtool: tests/tools/monitoring.mk
	@mkdir -p $(TOOLS)/prometheus
	cd $(TOOLS)/prometheus && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; }
	cd $(TOOLS)/prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
	mv $(TOOLS)/prometheus/usr/bin/promtool $@ && rm -r $(TOOLS)/prometheus
	@touch $@

$(TOOLS)/dashboardlint: $(wildcard tests/tools/dashboardlint/*)
	cd tests/tools/dashboardlint && go build -o $@ .
