# SPDX-License-Identifier: BSD-2-Clause
"""Whether frames really left the machine, and whether what came into it was sent from outside.

What a device returned as sent has to be in the peer's record, from the address that QEMU was told on its command line.
What is in a buffer that it returned as received has to be a frame of the peer's; and the guest has to name the address
that the peer has chosen for this run, which nobody inside can know who has not received one.
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
    out, came = len(_probes(case, nic)), len(sent_by_peer(nic, case.run.directory))
    who = " or ".join(sorted(address.hex(":") for address in _names(case, nic))) or "nobody"
    return f"{_bdf(nic)}: {out} frames out, {came} for it, 10.0.2.2 is at {who}"


def _contradictions(case: Case, nic: Nic, images: list[str]) -> Iterator[str]:
    outside, names = set(sent_by_peer(nic, case.run.directory)), _names(case, nic)
    probes = len(_probes(case, nic))
    sent = 0
    for image, lines, ram in _remembered(case, images):
        passed = _passed(case, nic, lines, ram)
        if passed is None:
            yield f"{image} set up no queues"
            continue
        sent, came = sent + passed[0], passed[1]
        if names and not came:
            yield f"no frame came to {image}"
        if not came <= outside:
            yield f"a frame came to {image} that nobody sent"
    if not probes or probes < sent:
        yield f"{sent} frames were returned as sent, {probes} came out"
    told = guestlog.gateways(case.run.log, _bdf(nic))
    if [image for image, _ in told] != (images if names else []):
        yield f"10.0.2.2 is named by {', '.join(image for image, _ in told) or 'nobody'}"
    yield from (f"{image} says that 10.0.2.2 is at {a.hex(':')}" for image, a in told if a not in names)


def _bdf(nic: Nic) -> Bdf:
    return Bdf(0, nic.slot, 0)


def _probes(case: Case, nic: Nic) -> list[bytes]:
    """Frames that came out as they have to be."""
    arps = ((frame, Arp.of(frame)) for frame in sent_by_guest(nic, case.run.directory))
    return [frame for frame, arp in arps if arp and arp.asks_for_gateway and arp.sender == nic.address]


def _names(case: Case, nic: Nic) -> set[bytes]:
    return {arp.sender for arp in map(Arp.of, sent_by_peer(nic, case.run.directory)) if arp}


def _passed(case: Case, nic: Nic, lines: range, ram: Ram) -> tuple[int, set[bytes]] | None:
    """How many frames the card returned as sent, and those that it returned as received."""
    model = devices.model_of(case.topology.functions[_bdf(nic)])
    return model.frames(case, _bdf(nic), lines, ram) if isinstance(model, devices.NetworkModel) else None


def _remembered(case: Case, images: list[str]) -> Iterator[tuple[str, range, Ram]]:
    """Those whose RAM was kept: the head of the chain at the jump, and the last at the end."""
    hops, first = case.handed_over, case.first
    if first and first.name in case.entry_lines:
        start = case.entry_lines[first.name]
        if not hops:
            yield first.name, range(start, case.end + 1), case.run.ram_after()
        elif case.next:
            yield first.name, range(start, hops[0].out.start), case.run.ram_at(case.next)
    if hops and case.chain[-1] in images:
        yield case.chain[-1], hops[-1].inward, case.run.ram_after()
