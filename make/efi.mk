# SPDX-License-Identifier: BSD-2-Clause
# Where GNU-EFI is, and how code that knows UEFI is compiled, for the loader and for its unit tests.
EFI_INCLUDE ?= /usr/include/efi
# ld takes each file from the first of these that has it. Debian: up to GNU-EFI 3.0.18, and from 4.0 on; by their packages' lists
# openSUSE, and Fedora, which keeps the linker script and crt0 in a folder.
EFI_LIB ?= /usr/lib /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib64/gnuefi
# UEFI text is UTF-16, and boot services are called directly
EFI_CFLAGS = -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem $(EFI_INCLUDE) -isystem $(EFI_INCLUDE)/x86_64
