# SPDX-License-Identifier: BSD-2-Clause
"""Register names, functions and topology of PCI, as the host sees them."""
