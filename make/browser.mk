# SPDX-License-Identifier: BSD-2-Clause
# The lab's page opened in Chromium, its dumps with GTKWave's readers. Screenshots are kept in $(O)/browser/.
.PHONY: test-browser
test-browser: | setup-test-browser ## the lab's page in a browser, its timelines in a waveform viewer
	@$(PYTEST) tests/browser
