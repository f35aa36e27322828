# SPDX-License-Identifier: BSD-2-Clause
"""The claims, each with the rule that judges it, in the order of the verdict table."""

from __future__ import annotations

from witness.evidence.case import Case
from witness.judge import rules_after, rules_driven, rules_in, rules_jump, rules_out, rules_run, rules_window
from witness.judge.engine import HopRule, JumpRule, Rule, Verdict
from witness.machine.record import Run

RULES: tuple[Rule | HopRule | JumpRule, ...] = (
    Rule("guest", "guest reports success", rules_run.guest_reports_success),
    Rule("hops", "every image hands over exactly once", rules_run.each_image_hands_over_once),
    HopRule("out-signature", "out: config writes are exactly the policy's", rules_out.config_writes_are_policys, none=True),
    HopRule("out-order", "out: children before parents", rules_out.children_before_parents),
    HopRule("out-device", "out: no write to a device but the policy's", rules_out.only_policy_writes_to_devices),
    JumpRule("load", "out: work is in flight when bus master is cleared", rules_out.work_is_in_flight),
    HopRule("window-msi", "window: no MSI", rules_window.no_msi),
    HopRule("window-intx", "window: no INTx before its device has an owner", rules_window.no_intx_without_owner),
    HopRule("window-device", "window: no write to a device but resets", rules_window.devices_are_only_reset),
    JumpRule("handed", "jump: registers are as the policy leaves them", rules_jump.registers_are_as_left),
    JumpRule("entry-state", "jump: CPU state follows the boot protocol", rules_jump.cpu_state_is_the_protocols),
    JumpRule("entry-quiet", "jump: 8259 and local APIC are masked", rules_jump.interrupt_controllers_are_masked),
    JumpRule("reserved", "jump: memory that devices may write is reserved", rules_jump.targets_are_reserved),
    JumpRule("entry-image", "jump: the image is in place, byte for byte", rules_jump.image_is_in_place),
    HopRule("startup", "in: config writes are exactly startup's", rules_in.config_writes_are_startups, none=True),
    HopRule("reset", "in: each device is reset before bus master is set", rules_in.reset_comes_before_bus_master, none=True),
    HopRule("upstream", "in: upstream bridges get bus master first", rules_in.upstream_bridges_come_first),
    Rule("driven-first", "first drives every device: INTx, MSI, MSI-X, DMA", rules_driven.first_drives_every_device),
    HopRule("driven-next", "the next image drives every device again", rules_driven.next_drives_every_device, none=True),
    Rule("frames", "net: frames leave the machine, answers arrive", rules_driven.frames_go_out_and_come_in),
    Rule("ram", "RAM: only requests in flight change the old image", rules_after.ram_changes_only_by_requests),
    Rule("disk", "disk: holds what the first image wrote", rules_after.disk_holds_the_pattern),
    Rule("disk-kept", "disk: nothing else was written", rules_after.disk_is_otherwise_kept),
    Rule("agreement", "log and trace show the same register changes", rules_run.log_and_trace_agree),
)


def judge(run: Run) -> list[Verdict]:
    case = Case(run)
    verdicts = (rule.verdict(case) for rule in RULES)
    return [verdict for verdict in verdicts if verdict]
