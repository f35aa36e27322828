# SPDX-License-Identifier: BSD-2-Clause
"""What a human reads: text, tables, timelines, pages."""
