# SPDX-License-Identifier: BSD-2-Clause
"""Whether frames really left the machine, and whether those received were sent from outside.

A frame that a device returned as sent has to be in the peer's record, from the address on QEMU's command line. A buffer
that it returned as received has to hold a frame of the peer; and the guest has to log the address that the peer has chosen
for this run, which it can know only from a received frame.
"""

from __future__ import annotations

from typing import Iterator

from witness import devices
from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.machine.description import Nic
from witness.machine.peer import Arp, sent_by_guest, sent_by_peer
from witness.machine.record import Ram
from witness.pci.topology import Bdf


def contradictions(case: Case, nic: Nic, images: list[str]) -> list[str]:
    """images: those of this project, in order."""
    return [f"{_bdf(nic)}: {problem}" for problem in _contradictions(case, nic, images)]


def looked_at(case: Case, nic: Nic) -> str:
    out, into = len(_probes(case, nic)), len(sent_by_peer(nic, case.run.directory))
    gateway = " or ".join(sorted(address.hex(":") for address in _gateways(case, nic))) or "no address"
    return f"{_bdf(nic)}: {out} frames out, {into} for it, 10.0.2.2 is at {gateway}"


def _contradictions(case: Case, nic: Nic, images: list[str]) -> Iterator[str]:
    outside, gateways = set(sent_by_peer(nic, case.run.directory)), _gateways(case, nic)
    probes = len(_probes(case, nic))
    sent = 0
    for image, lines, ram in _images_with_ram(case, images):
        returned = _returned(case, nic, lines, ram)
        if returned is None:
            yield f"{image} set up no queues"
            continue
        sent, received = sent + returned[0], returned[1]
        if gateways and not received:
            yield f"{image} received no frame"
        if not received <= outside:
            yield f"{image} received a frame that was not sent"
    if not probes or probes < sent:
        yield f"{sent} frames were returned as sent, {probes} left the machine"
    logged = guestlog.gateways(case.run.log, _bdf(nic))
    if [image for image, _ in logged] != (images if gateways else []):
        yield f"10.0.2.2 is logged by {', '.join(image for image, _ in logged) or 'no image'}"
    yield from (f"{image} logs 10.0.2.2 at {a.hex(':')}" for image, a in logged if a not in gateways)


def _bdf(nic: Nic) -> Bdf:
    return Bdf(0, nic.slot, 0)


def _probes(case: Case, nic: Nic) -> list[bytes]:
    """The correct frames that left the machine."""
    arps = ((frame, Arp.of(frame)) for frame in sent_by_guest(nic, case.run.directory))
    return [frame for frame, arp in arps if arp and arp.asks_for_gateway and arp.sender == nic.address]


def _gateways(case: Case, nic: Nic) -> set[bytes]:
    return {arp.sender for arp in map(Arp.of, sent_by_peer(nic, case.run.directory)) if arp}


def _returned(case: Case, nic: Nic, lines: range, ram: Ram) -> tuple[int, set[bytes]] | None:
    """The number of frames that the card returned as sent, and the frames that it returned as received."""
    model = devices.model_of(case.topology.functions[_bdf(nic)])
    return model.frames(case, _bdf(nic), lines, ram) if isinstance(model, devices.NetworkModel) else None


def _images_with_ram(case: Case, images: list[str]) -> Iterator[tuple[str, range, Ram]]:
    """The images whose RAM was kept: the head of the chain, at the jump, and the last, at the end."""
    hops, first = case.handed_over, case.first
    if first and first.name in case.entry_lines:
        start = case.entry_lines[first.name]
        if not hops:
            yield first.name, range(start, case.end + 1), case.run.ram_after()
        elif case.next:
            yield first.name, range(start, hops[0].out.start), case.run.ram_at(case.next)
    if hops and case.chain[-1] in images:
        yield case.chain[-1], hops[-1].inward, case.run.ram_after()
