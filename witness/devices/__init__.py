# SPDX-License-Identifier: BSD-2-Clause
"""One file a kind of device: what a driver told it, and what it was to write, read from outside."""
