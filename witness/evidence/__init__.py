# SPDX-License-Identifier: BSD-2-Clause
"""What a judge may ask of one run."""
