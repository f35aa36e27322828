/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_I8259_H
#define IRQ_I8259_H

#include "irq/vector.h"

/*
 * INTx, by way of the two 8259s: the one routing that needs no AML interpreter, because firmware leaves it programmed and writes
 * the input that it chose into each function's Interrupt Line.
 */

#define I8259_LINES 16

/* Both controllers initialised at VECTOR_8259, all lines masked. */
void i8259_init(void);

/*
 * Adds a handler to a line, sets the line level-triggered (ELCR) and unmasks it. Lines are shared: each handler of a line is
 * called, and returns whether the interrupt was its device's. ERR_RANGE, after one line: an edge-only line, or no room for a
 * handler.
 */
enum status i8259_request(u8 line, irq_handler handler, void *context);

/* Removes a handler from its line; the line is masked when it was the last. A function that uses MSI has none on its line. */
void i8259_release(u8 line, irq_handler handler, void *context);

/* Whether it was disabled: "nobody cared". */
bool i8259_line_disabled(u8 line);

/* All lines masked, for the jump. */
void i8259_mask_all(void);

#endif
